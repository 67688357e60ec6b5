//! The communication block: SMA and SAA in parallel.

use layers::tch::Tensor;
use layers::tch::nn::Path;
use layers::{LinearInit, MultiHeadAttention, attend};

use crate::config::{Attention, CheckedMcb, SmaKeys};
use crate::{Error, Result};

/// Text and video attend to each other, each with a residual (Eq. 2).
#[derive(Debug)]
pub struct CommunicationBlock {
    config: CheckedMcb,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Projected {
        sma: MultiHeadAttention,
        saa: MultiHeadAttention,
    },
    ParameterFree,
    Off,
}

impl CommunicationBlock {
    /// A block with its parameters at `path`; their names are in the crate's description.
    ///
    /// # Errors
    /// [`Error::Layers`] if a parameter cannot be allocated.
    pub fn new(path: &Path<'_>, config: &CheckedMcb) -> Result<Self> {
        let attention = |name: &str| {
            let out_init = match config.config().zero_init {
                true => LinearInit::Zero,
                false => LinearInit::UniformZeroBias,
            };
            let heads = config.config().heads;
            MultiHeadAttention::new(&(path / name), config.width(), heads, out_init)
        };
        let form = match config.config().attention {
            Attention::Projected => Form::Projected {
                sma: attention("sma")?,
                saa: attention("saa")?,
            },
            Attention::ParameterFree => Form::ParameterFree,
            Attention::Off => Form::Off,
        };
        Ok(Self {
            config: config.clone(),
            form,
        })
    }

    /// The configuration and the width it was built for.
    pub fn config(&self) -> &CheckedMcb {
        &self.config
    }

    /// T' = T + SMA(q = T, kv = the video's tokens) and V' = V + SAA(q = V, kv = T).
    ///
    /// `text` is `[B, K, D]`, fp32, not normalised. Both attentions read the inputs, not
    /// each other's output.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor does not fit; [`Error::MissingTokens`] if the tokens that SMA
    /// reads are missing.
    pub fn forward(&self, text: &Tensor, video: &VideoTokens<'_>) -> Result<Communicated> {
        self.check(text, video)?;
        let vector = video.vector.unsqueeze(1); // (B, 1, D)
        let (sma, saa) = match &self.form {
            Form::Off => {
                return Ok(Communicated {
                    text: text.shallow_clone(),
                    video: video.vector.shallow_clone(),
                });
            }
            Form::Projected { sma, saa } => {
                let tokens = self.tokens(video, &vector)?;
                (sma.cross(text, &tokens)?, saa.cross(&vector, text)?)
            }
            Form::ParameterFree => {
                let tokens = self.tokens(video, &vector)?;
                // One head of width D; the tokens are keys and values.
                (
                    attend(text, &tokens, &tokens, None),
                    attend(&vector, text, text, None),
                )
            }
        };
        Ok(Communicated {
            text: text + sma,
            video: (vector + saa).squeeze_dim(1),
        })
    }

    /// The tokens that SMA reads: `[B, N, D]`.
    fn tokens(&self, video: &VideoTokens<'_>, vector: &Tensor) -> Result<Tensor> {
        let sma_kv = self.config.config().sma_kv;
        let need = |tokens: Option<&Tensor>, missing| {
            tokens
                .map(Tensor::shallow_clone)
                .ok_or(Error::MissingTokens { sma_kv, missing })
        };
        Ok(match sma_kv {
            SmaKeys::Vector => vector.shallow_clone(),
            SmaKeys::Frames => need(video.frames, "frame")?,
            SmaKeys::FramesAndMotion => {
                let both = [need(video.frames, "frame")?, need(video.motion, "motion")?];
                Tensor::f_cat(&both, 1)?
            }
        })
    }

    fn check(&self, text: &Tensor, video: &VideoTokens<'_>) -> Result<()> {
        let width = self.config.width();
        let size = text.size();
        if size.len() != 3 || size[0] < 1 || size[1] < 1 || size[2] != width {
            return Err(Error::Shape {
                op: "communication block, text",
                expected: format!("[B, K, {width}] with B, K >= 1"),
                got: size,
            });
        }
        let batch = size[0];
        if video.vector.size() != [batch, width] {
            return Err(Error::Shape {
                op: "communication block, video",
                expected: format!("[{batch}, {width}]"),
                got: video.vector.size(),
            });
        }
        let tokens = [
            ("communication block, frames", video.frames),
            ("communication block, motion", video.motion),
        ];
        for (op, tokens) in tokens {
            let Some(size) = tokens.map(Tensor::size) else {
                continue;
            };
            if size.len() != 3 || size[0] != batch || size[1] < 1 || size[2] != width {
                return Err(Error::Shape {
                    op,
                    expected: format!("[{batch}, N, {width}] with N >= 1"),
                    got: size,
                });
            }
        }
        Ok(())
    }
}

/// A batch of videos, as vectors and as tokens.
#[derive(Debug, Clone, Copy)]
pub struct VideoTokens<'a> {
    /// V: `[B, D]`.
    pub vector: &'a Tensor,
    /// S: `[B, T, D]`.
    pub frames: Option<&'a Tensor>,
    /// M: `[B, L, D]`.
    pub motion: Option<&'a Tensor>,
}

/// Text and video after communication.
#[derive(Debug)]
pub struct Communicated {
    /// T': `[B, K, D]`.
    pub text: Tensor,
    /// V': `[B, D]`.
    pub video: Tensor,
}
