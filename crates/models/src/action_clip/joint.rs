//! Pre-network joint attention: the patches of all frames as one sequence.

use tch::Tensor;
use tch::nn::{Init, Path};

use crate::{Error, Result};

/// The name of the parameter.
pub(super) const NAME: &str = "temporal_embedding";

/// A temporal embedding, added to the patches before the first block.
#[derive(Debug)]
pub struct TemporalEmbedding {
    /// `[T, width]`
    weight: Tensor,
}

impl TemporalEmbedding {
    /// T rows of `width`, normal with standard deviation width^-0.5.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch cannot create the parameter.
    pub fn new(path: &Path<'_>, frames: i64, width: i64) -> Result<Self> {
        let start = Init::Randn {
            mean: 0.0,
            stdev: (width as f64).powf(-0.5),
        };
        Ok(Self {
            weight: path.f_var(NAME, &[frames, width], start)?,
        })
    }

    /// Tokens of single frames `[B T, 1 + P, width]` to joint tokens `[B, 1 + T P, width]`.
    ///
    /// The class token is the first frame's, which is every frame's: it is learned, with its
    /// position, and has not seen a patch yet.
    ///
    /// # Errors
    /// [`Error::Shape`] if the first dimension is not a multiple of T.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (t, width) = self.weight.size2()?;
        let size = tokens.size();
        if size.len() != 3 || size[0] < 1 || size[0] % t != 0 || size[1] < 2 || size[2] != width {
            return Err(Error::Shape {
                op: "joint attention",
                expected: format!("[B * {t}, 1 + P, {width}]"),
                got: size,
            });
        }
        let (batch, patches) = (size[0] / t, size[1] - 1);
        let clips = tokens.view([batch, t, 1 + patches, width]);
        let class = clips.select(1, 0).narrow(1, 0, 1); // (B, 1, W)
        let time = self.weight.to_kind(tokens.kind()).view([1, t, 1, width]);
        let joined = (clips.narrow(2, 1, patches) + time).reshape([batch, t * patches, width]);
        Ok(Tensor::cat(&[class, joined], 1))
    }
}
