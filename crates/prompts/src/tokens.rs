//! Labels as token ids.

use crate::context::{cut, expect_tokens};
use crate::learner::check_count;
use crate::{Error, Result};

/// Maps words to the token ids that a text tower was trained with.
pub trait Tokenize: Send + Sync {
    /// The ids of `text`, without start and end of text. Text never yields special tokens.
    fn tokens(&self, text: &str) -> Vec<i64>;

    /// \[SOS\], the id every sequence starts with.
    fn start(&self) -> i64;

    /// \[EOS\], the id every sequence ends with.
    fn end(&self) -> i64;
}

impl Tokenize for clip_backbone::Tokenizer {
    fn tokens(&self, text: &str) -> Vec<i64> {
        self.pieces(text)
    }

    fn start(&self) -> i64 {
        self.start_of_text()
    }

    fn end(&self) -> i64 {
        self.end_of_text()
    }
}

/// The classes of one task, tokenised for learned prompts (Eq. 7).
///
/// A label and the full stop after it are tokenised separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassTokens {
    classes: Vec<Class>,
    start: i64,
    dot: i64,
    end: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    label: String,
    tokens: Vec<i64>,
}

impl ClassTokens {
    /// Tokenises `labels`.
    ///
    /// # Errors
    /// [`Error::NoClasses`] without labels; [`Error::TokenCount`] where the full stop is not
    /// one token.
    pub fn new<S: AsRef<str>>(labels: &[S], tokenizer: &dyn Tokenize) -> Result<Self> {
        let dots = tokenizer.tokens(".");
        let [dot] = dots[..] else {
            return Err(Error::TokenCount {
                text: ".".into(),
                expected: 1,
                got: dots.len(),
            });
        };
        let classes = labels
            .iter()
            .map(AsRef::as_ref)
            .map(|label| (label.to_owned(), tokenizer.tokens(label)));
        Self::from_ids(classes, tokenizer.start(), dot, tokenizer.end())
    }

    /// Takes labels with token ids from elsewhere, and the ids of \[SOS\], "." and \[EOS\].
    ///
    /// # Errors
    /// [`Error::NoClasses`] without labels.
    pub fn from_ids(
        classes: impl IntoIterator<Item = (String, Vec<i64>)>,
        start: i64,
        dot: i64,
        end: i64,
    ) -> Result<Self> {
        let classes: Vec<Class> = classes
            .into_iter()
            .map(|(label, tokens)| Class { label, tokens })
            .collect();
        if classes.is_empty() {
            return Err(Error::NoClasses);
        }
        Ok(Self {
            classes,
            start,
            dot,
            end,
        })
    }

    /// K, the number of classes; at least 1.
    pub fn count(&self) -> usize {
        self.classes.len()
    }

    /// The labels, in order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.label.as_str())
    }

    /// Tokens per video if its prompt is encoded once: \[SOS\], `prompts` vectors, and
    /// CLASS "." \[EOS\] of every class.
    pub fn packed_tokens(&self, prompts: i64) -> usize {
        let suffixes: usize = self.classes.iter().map(|c| c.tokens.len() + 2).sum();
        usize::try_from(prompts).unwrap_or(0) + 1 + suffixes
    }

    /// The id of \[SOS\].
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The labels that are cut to fit into `context` after `prompts` vectors.
    ///
    /// # Errors
    /// [`Error::EmptyLabel`] for a label without a token; [`Error::SameAfterCut`] for two that are
    /// the same after the cut; [`Error::Config`] if there are too many vectors for a label.
    pub fn truncated(&self, prompts: i64, context: i64) -> Result<Vec<String>> {
        Ok(self.suffixes(prompts, context)?.1)
    }

    /// Every class's tokens after the prompt vectors, CLASS "." \[EOS\], cut to fit into
    /// `context` with `prompts` vectors before them; and the labels that were cut.
    pub(crate) fn suffixes(
        &self,
        prompts: i64,
        context: i64,
    ) -> Result<(Vec<Vec<i64>>, Vec<String>)> {
        check_count(prompts, context)?;
        let most = usize::try_from(context - 3 - prompts).unwrap_or(0);
        for class in &self.classes {
            expect_tokens(&class.label, &class.tokens)?;
        }
        let labels: Vec<&str> = self.labels().collect();
        let mut rows: Vec<_> = self.classes.iter().map(|c| c.tokens.clone()).collect();
        let truncated = cut(&labels, &mut rows, most)?;
        for tokens in &mut rows {
            tokens.extend([self.dot, self.end]);
        }
        Ok((rows, truncated))
    }
}
