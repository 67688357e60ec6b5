//! The prompt learner: H vectors shared by all classes, Eq. 7.

use clip_backbone::TextTower;
use tch::nn::Path;
use tch::{Kind, Tensor};

use crate::{Error, Result, Tokenize};

/// The maximum number of prompt vectors.
const MOST: i64 = 16;

/// P_1..P_H.
#[derive(Debug)]
pub struct PromptLearner {
    vectors: Tensor,
}

impl PromptLearner {
    /// Vectors at `path.prompts` that start as the token embeddings of `words`, which must
    /// have exactly `count` (H, 1 to 16) tokens.
    ///
    /// # Errors
    /// [`Error::Config`] if `count` is out of range; [`Error::TokenCount`] if `words`
    /// have another number of tokens.
    pub fn from_words(
        path: &Path<'_>,
        count: i64,
        words: &str,
        tower: &TextTower,
        tokenizer: &dyn Tokenize,
    ) -> Result<Self> {
        check_count(count)?;
        let ids = tokenizer.tokens(words);
        if i64::try_from(ids.len()) != Ok(count) {
            return Err(Error::TokenCount {
                text: words.to_owned(),
                expected: count,
                got: ids.len(),
            });
        }
        Self::from_vectors(path, &tower.embed(&Tensor::from_slice(&ids))?)
    }

    /// Vectors at `path.prompts` that start as `vectors`, `[H, W]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `vectors` is `[1..=16, W]`.
    pub fn from_vectors(path: &Path<'_>, vectors: &Tensor) -> Result<Self> {
        let size = vectors.size();
        if size.len() != 2 || !(1..=MOST).contains(&size[0]) || size[1] < 1 {
            return Err(Error::Shape {
                op: "prompt learner",
                expected: format!("[1..={MOST}, W]"),
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

/// Checks the number of prompt vectors.
pub(crate) fn check_count(count: i64) -> Result<()> {
    match (1..=MOST).contains(&count) {
        true => Ok(()),
        false => Err(Error::Config {
            field: "vectors",
            expected: format!("1 to {MOST}"),
            got: count.to_string(),
        }),
    }
}
