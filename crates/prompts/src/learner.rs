//! The prompt learner: H vectors shared by all classes, Eq. 7.

use clip_backbone::TextTower;
use tch::nn::Path;
use tch::{Kind, Tensor};

use crate::{Error, Result, Tokenize};

/// Tokens of the context besides prompt vectors: \[SOS\], at least one of a label, "." and \[EOS\].
const OTHERS: i64 = 4;

/// P_1..P_H.
#[derive(Debug)]
pub struct PromptLearner {
    vectors: Tensor,
}

impl PromptLearner {
    /// Vectors at `path.prompts` that start as the token embeddings of `words`, one per token;
    /// `count`, if given, is the number (H) that there must be.
    ///
    /// # Errors
    /// As [`word_tokens`].
    pub fn from_words(
        path: &Path<'_>,
        count: Option<i64>,
        words: &str,
        tower: &TextTower,
        tokenizer: &dyn Tokenize,
    ) -> Result<Self> {
        let ids = word_tokens(words, count, tokenizer, tower.config().context)?;
        Self::from_vectors(path, &tower.embed(&Tensor::from_slice(&ids))?)
    }

    /// Vectors at `path.prompts` that start as `vectors`, `[H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `vectors` is `[H, W]` with H, W >= 1.
    pub fn from_vectors(path: &Path<'_>, vectors: &Tensor) -> Result<Self> {
        let size = vectors.size();
        if size.len() != 2 || size[0] < 1 || size[1] < 1 {
            return Err(Error::Shape {
                op: "prompt learner",
                expected: "[H, W] with H, W >= 1".into(),
                got: size,
            });
        }
        let vectors = vectors.to_kind(Kind::Float).to_device(path.device());
        Ok(Self {
            vectors: path.f_var_copy("prompts", &vectors)?,
        })
    }

    /// P: `[H, W]`, fp32.
    pub fn vectors(&self) -> &Tensor {
        &self.vectors
    }

    /// P_i(video) = P_i + r(video): residuals `[B, W]` of the motion adapter to `[B, H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `residual` is not `[B, W]`.
    pub fn conditioned(&self, residual: &Tensor) -> Result<Tensor> {
        let width = self.vectors.size()[1];
        let size = residual.size();
        if size.len() != 2 || size[1] != width {
            return Err(Error::Shape {
                op: "motion-aware prompts",
                expected: format!("[B, {width}]"),
                got: size,
            });
        }
        Ok(&self.vectors + residual.unsqueeze(1)) // (B, H, W)
    }
}

/// The paper's initial words for H vectors; `None` if it gives none.
pub fn paper_words(count: i64) -> Option<&'static str> {
    match count {
        3 => Some("human action of"),
        4 => Some("a human action of"),
        5 => Some("a common human action of"),
        _ => None,
    }
}

/// The token ids of `words`, the initial values of prompt vectors; `count`, if given, is the number
/// that there must be.
///
/// # Errors
/// [`Error::TokenCount`] for another number; [`Error::Config`] for a number that leaves no room for
/// a label in `context`.
pub fn word_tokens(
    words: &str,
    count: Option<i64>,
    tokenizer: &dyn Tokenize,
    context: i64,
) -> Result<Vec<i64>> {
    if let Some(count) = count {
        check_count(count, context)?;
    }
    let ids = tokenizer.tokens(words);
    let got = ids.len();
    match count {
        Some(expected) if i64::try_from(got) != Ok(expected) => Err(Error::TokenCount {
            text: words.to_owned(),
            expected,
            got,
        }),
        _ => check_count(got as i64, context).map(|()| ids),
    }
}

/// Checks the number of prompt vectors.
pub(crate) fn check_count(count: i64, context: i64) -> Result<()> {
    let most = context - OTHERS;
    match (1..=most).contains(&count) {
        true => Ok(()),
        false => Err(Error::Config {
            field: "vectors",
            expected: format!("1 to {most} tokens, for which a context of {context} has room"),
            got: count.to_string(),
        }),
    }
}
