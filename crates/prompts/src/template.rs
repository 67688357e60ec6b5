//! Hand-crafted prompts: a sentence with a placeholder for the label, tokenised whole.

use std::fmt;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::context::{cut, expect_tokens};
use crate::{Error, Result, Tokenize};

/// A sentence with one `{}` for the label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

impl Template {
    /// Hand-crafted prompt A of the paper's Table 1.
    pub fn a() -> Self {
        Self("human action of {}.".into())
    }

    /// Hand-crafted prompt B.
    pub fn b() -> Self {
        Self("a human action of {}.".into())
    }

    /// Hand-crafted prompt C.
    pub fn c() -> Self {
        Self("a common human action of {}.".into())
    }

    /// A custom template.
    ///
    /// # Errors
    /// [`Error::Template`] unless it holds `{}` exactly once.
    pub fn new(template: impl Into<String>) -> Result<Self> {
        let template = template.into();
        match template.matches("{}").count() {
            1 => Ok(Self(template)),
            got => Err(Error::Template { template, got }),
        }
    }

    /// The sentence for `label`.
    pub fn fill(&self, label: &str) -> String {
        self.0.replacen("{}", label, 1)
    }

    /// The sentence's token ids for every label: \[SOS\] tokens \[EOS\], padded to `context`.
    ///
    /// A sentence that is too long is truncated and keeps its \[EOS\].
    ///
    /// # Errors
    /// [`Error::NoClasses`] without labels; [`Error::EmptyLabel`] for a label without a token;
    /// [`Error::SameAfterCut`] for two labels whose sentences are the same after the cut;
    /// [`Error::Config`] if `context` has no room for a token.
    pub fn sentences<S: AsRef<str>>(
        &self,
        labels: &[S],
        tokenizer: &dyn Tokenize,
        context: i64,
    ) -> Result<Sentences> {
        let room = match usize::try_from(context) {
            Ok(context) if context >= 3 => context - 2,
            _ => {
                return Err(Error::Config {
                    field: "context",
                    expected: "at least 3".into(),
                    got: context.to_string(),
                });
            }
        };
        let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
        let mut rows = Vec::with_capacity(labels.len());
        for label in &labels {
            expect_tokens(label, &tokenizer.tokens(label))?;
            rows.push(tokenizer.tokens(&self.fill(label)));
        }
        let truncated = cut(&labels, &mut rows, room)?;
        let mut ids = Vec::with_capacity(labels.len() * (room + 2));
        for tokens in rows {
            let padding = room - tokens.len();
            ids.push(tokenizer.start());
            ids.extend(tokens);
            ids.push(tokenizer.end());
            ids.extend(std::iter::repeat_n(0, padding));
        }
        if ids.is_empty() {
            return Err(Error::NoClasses);
        }
        Ok(Sentences {
            ids: Tensor::from_slice(&ids).view([-1, context]),
            truncated,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(template: String) -> Result<Self> {
        Self::new(template)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

/// One sentence per label.
#[derive(Debug)]
pub struct Sentences {
    /// Token ids, `[K, context]`.
    pub ids: Tensor,
    /// The labels whose sentence was truncated.
    pub truncated: Vec<String>,
}
