//! Text features of prompts that differ from video to video: `[B, H, W]` to `[B, K, D]`.
//!
//! Literally, each video costs K sequences of 77 tokens. The text tower is causal, so tokens
//! after a sequence's \[EOS\] are never read, and \[SOS\] P_1..P_H, the common prefix of
//! all classes, is computed once per video. Both savings are exact.

mod bins;
mod packed;
mod sequence;

use std::ops::Range;

use clip_backbone::TextTower;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use self::packed::{LastBlock, Packed};
use self::sequence::Sequences;
use crate::{ClassTokens, Error, Result};

/// How the text features are computed. All paths give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPath {
    /// Every sequence at the full context, through every block: the reference.
    Literal,
    /// Sequences cut after the longest \[EOS\].
    CutAtEos,
    /// \[SOS\] P_1..P_H once per video, and padded class suffixes that attend to it.
    SharedPrefix,
    /// The same with suffixes packed instead of padded, and only the \[EOS\] rows computed
    /// in the last block.
    Packed,
}

/// Options of the encoding; none of them changes the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextEncoding {
    /// How the features are computed.
    pub path: TextPath,
    /// The most pairs of video and class at once. A larger batch is encoded in
    /// pieces and, in training, recomputed in the backward pass.
    pub chunk: usize,
}

impl Default for TextEncoding {
    fn default() -> Self {
        Self {
            path: TextPath::Packed,
            chunk: 2048,
        }
    }
}

/// The pairs of video and class in a part of a batch without gradients.
const PAIRS: i64 = 32;

/// The classes of one task, laid out for one text tower.
#[derive(Debug)]
pub struct TextEncoder {
    groups: Vec<Group>,
    classes: i64,
    chunk: i64,
    prompts: i64,
    width: i64,
    /// The tower's precision and device.
    options: (Kind, tch::Device),
}

// As for a frozen tower: its tensors are only read.
#[allow(unsafe_code)]
unsafe impl Sync for TextEncoder {}

/// Classes that are encoded together.
#[derive(Debug)]
struct Group {
    classes: i64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Sequences(Sequences),
    Packed(Packed),
}

impl Form {
    fn new(
        tower: &TextTower,
        start: i64,
        suffixes: &[Vec<i64>],
        prompts: i64,
        path: TextPath,
    ) -> Result<Self> {
        let sequences = |length| Sequences::new(tower, start, suffixes, prompts, length);
        let packed = |last| Packed::new(tower, start, suffixes, prompts, last);
        tch::no_grad(|| {
            Ok(match path {
                TextPath::Literal => Self::Sequences(sequences(Some(tower.config().context))?),
                TextPath::CutAtEos => Self::Sequences(sequences(None)?),
                TextPath::SharedPrefix => Self::Packed(packed(LastBlock::AllRows)?),
                TextPath::Packed => Self::Packed(packed(LastBlock::EndRows)?),
            })
        })
    }
}

impl TextEncoder {
    /// Lays out `classes` after `prompts` (H) vectors. Labels that do not fit are cut:
    /// [`ClassTokens::truncated`] names them.
    ///
    /// The tower must be frozen: its activations of the classes alone are computed here and kept.
    ///
    /// # Errors
    /// [`Error::Config`] if the chunk is out of range; those of [`ClassTokens::truncated`];
    /// [`Error::Backbone`] for a token id the tower does not know.
    pub fn new(
        tower: &TextTower,
        classes: &ClassTokens,
        prompts: i64,
        encoding: TextEncoding,
    ) -> Result<Self> {
        if encoding.chunk < 1 {
            return Err(Error::Config {
                field: "chunk",
                expected: "at least 1".into(),
                got: encoding.chunk.to_string(),
            });
        }
        let (suffixes, _) = classes.suffixes(prompts, tower.config().context)?;
        // Groups of about the same size, none larger than a chunk.
        let count = suffixes.len().div_ceil(encoding.chunk);
        let groups = suffixes
            .chunks(suffixes.len().div_ceil(count))
            .map(|suffixes| {
                let form = Form::new(tower, classes.start(), suffixes, prompts, encoding.path)?;
                Ok(Group {
                    classes: suffixes.len() as i64,
                    form,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            groups,
            classes: suffixes.len() as i64,
            chunk: i64::try_from(encoding.chunk).unwrap_or(i64::MAX),
            prompts,
            width: tower.config().width,
            options: (tower.kind(), tower.device()),
        })
    }

    /// K, the number of classes.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// Prompt vectors `[B, H, W]`, or `[H, W]` for all videos, to features in fp32, not
    /// normalised: `[B, K, D]`, or `[K, D]`. `tower` is the one the encoder was made for.
    ///
    /// # Errors
    /// [`Error::Shape`] if `prompts` or the tower do not fit.
    pub fn encode<'a>(&'a self, tower: &'a TextTower, prompts: &Tensor) -> Result<EncodedText<'a>> {
        let (h, width) = (self.prompts, self.width);
        let size = prompts.size();
        let fits = match size[..] {
            [b, ..] if size.len() == 3 => b >= 1 && size[1..] == [h, width],
            _ => size == [h, width],
        };
        if !fits {
            return Err(Error::Shape {
                op: "text encoding",
                expected: format!("[B, {h}, {width}] with B >= 1, or [{h}, {width}]"),
                got: size,
            });
        }
        if (tower.kind(), tower.device()) != self.options || tower.config().width != width {
            return Err(Error::Config {
                field: "tower",
                expected: format!("the one laid out for: {:?}, width {width}", self.options),
                got: format!(
                    "{:?}, width {}",
                    (tower.kind(), tower.device()),
                    tower.config().width
                ),
            });
        }
        let shared = size.len() == 2;
        let prompts = if shared {
            prompts.unsqueeze(0)
        } else {
            prompts.shallow_clone()
        };
        let prompts = prompts.to_device(self.options.1).to_kind(Kind::Float);
        // Without gradients, or within one chunk, nothing need be computed twice. A view
        // tells whether gradients are recorded here and now.
        let recorded = prompts.alias().requires_grad();
        let passes = match !recorded && parallel::divides(self.options.1) {
            true => self.passes(prompts.size()[0], self.chunk.min(PAIRS)),
            false => self.passes(prompts.size()[0], self.chunk),
        };
        let recompute = recorded && passes.iter().map(Vec::len).sum::<usize>() > 1;
        let features = if recompute {
            tch::no_grad(|| self.features(tower, &prompts, &passes))?.set_requires_grad(true)
        } else {
            self.features(tower, &prompts, &passes)?
        };
        Ok(EncodedText {
            features: if shared {
                features.squeeze_dim(0)
            } else {
                features.shallow_clone()
            },
            recompute: recompute.then(|| Recompute {
                encoder: self,
                tower,
                passes,
                prompts,
                features,
            }),
        })
    }

    /// The pieces of a batch, of about `pairs` of video and class at most: for each range of videos,
    /// each group of classes.
    fn passes(&self, videos: i64, pairs: i64) -> Vec<Vec<Pass>> {
        let largest = self.groups.iter().map(|g| g.classes).max().unwrap_or(1);
        let step = (pairs / largest).max(1);
        (0..videos)
            .step_by(usize::try_from(step).unwrap_or(usize::MAX))
            .map(|first| {
                let videos = first..(first + step.min(videos - first));
                let mut next = 0;
                self.groups
                    .iter()
                    .enumerate()
                    .map(|(group, Group { classes, .. })| {
                        let classes = next..next + classes;
                        next = classes.end;
                        Pass {
                            videos: videos.clone(),
                            classes,
                            group,
                        }
                    })
                    .collect()
            })
            .collect()
    }

    /// The features of all passes. If there are several, no gradients are recorded.
    fn features(
        &self,
        tower: &TextTower,
        prompts: &Tensor,
        passes: &[Vec<Pass>],
    ) -> Result<Tensor> {
        let pass = |prompts: &Tensor, group| self.piece(tower, prompts, group);
        if passes.len() == 1 && self.groups.len() == 1 {
            return pass(prompts, 0);
        }
        let inputs = passes.iter().flatten();
        let inputs = inputs.map(|pass| (pass.videos_of(prompts).detach(), pass.group));
        let pieces = parallel::each(self.options.1, inputs.collect(), |(prompts, group)| {
            tch::no_grad(|| pass(&prompts, group))
        });
        let pieces = pieces.into_iter().collect::<Result<Vec<_>>>()?;
        let rows = pieces.chunks(self.groups.len()).map(|row| cat(row, 1));
        cat(&rows.collect::<Result<Vec<_>>>()?, 0)
    }

    /// The features of one group's classes: `[b, H, W]` to `[b, k, D]`, in fp32.
    fn piece(&self, tower: &TextTower, prompts: &Tensor, group: usize) -> Result<Tensor> {
        let forward = |prompts: &Tensor| match &self.groups[group].form {
            Form::Sequences(sequences) => sequences.forward(tower, prompts),
            Form::Packed(packed) => packed.forward(tower, prompts),
        };
        if self.options.0 != Kind::Half || !prompts.requires_grad() {
            return Ok(forward(prompts)?.to_kind(Kind::Float));
        }
        let features = forward(&gradient_times(prompts, FP16_GRADIENTS.recip()))?;
        Ok(gradient_times(
            &features.to_kind(Kind::Float),
            FP16_GRADIENTS,
        ))
    }
}

/// The loss scale for gradients through an fp16 tower (Micikevicius et al.,
/// 2018, "Mixed Precision Training"), so that small ones do not underflow.
const FP16_GRADIENTS: f64 = 1024.0;

/// `x` unchanged, with its gradient multiplied by `factor`.
fn gradient_times(x: &Tensor, factor: f64) -> Tensor {
    let still = x.detach();
    let nothing = x - &still;
    still + nothing * factor
}

fn cat(pieces: &[Tensor], dim: i64) -> Result<Tensor> {
    Ok(match pieces {
        [piece] => piece.shallow_clone(),
        _ => Tensor::f_cat(pieces, dim)?,
    })
}

/// One piece of a batch.
#[derive(Debug)]
struct Pass {
    videos: Range<i64>,
    classes: Range<i64>,
    group: usize,
}

impl Pass {
    fn videos_of(&self, x: &Tensor) -> Tensor {
        x.narrow(0, self.videos.start, self.videos.end - self.videos.start)
    }

    fn classes_of(&self, x: &Tensor) -> Tensor {
        x.narrow(1, self.classes.start, self.classes.end - self.classes.start)
    }
}

/// Text features, and the path of their gradient to the prompt vectors.
#[derive(Debug)]
#[must_use]
pub struct EncodedText<'a> {
    /// `[B, K, D]`, or `[K, D]` for prompts shared by all videos.
    pub features: Tensor,
    recompute: Option<Recompute<'a>>,
}

#[derive(Debug)]
struct Recompute<'a> {
    encoder: &'a TextEncoder,
    tower: &'a TextTower,
    passes: Vec<Vec<Pass>>,
    /// `[B, H, W]`, part of the graph that computed them.
    prompts: Tensor,
    /// `[B, K, D]`, a leaf.
    features: Tensor,
}

impl EncodedText<'_> {
    /// Whether [`backward`](Self::backward) will recompute the features.
    pub fn recomputes(&self) -> bool {
        self.recompute.is_some()
    }

    /// Adds the gradient of `loss`, a scalar made of the features and anything else, to every
    /// leaf below it. Replaces `loss.backward()`.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch fails, as for a loss that is not a scalar.
    pub fn backward(self, loss: &Tensor) -> Result<()> {
        Ok(self.in_full(loss)?.f_backward()?)
    }

    /// The gradient of `loss` with respect to each of the leaves `of`, added to none; an undefined
    /// tensor for one that it does not depend on.
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn gradients(self, loss: &Tensor, of: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(Tensor::f_run_backward(
            &[self.in_full(loss)?],
            of,
            false,
            false,
        )?)
    }

    /// A scalar whose graph has the gradients of `loss` to all leaves.
    fn in_full(self, loss: &Tensor) -> Result<Tensor> {
        let Some(Recompute {
            encoder,
            tower,
            passes,
            prompts,
            features,
        }) = self.recompute
        else {
            return Ok(loss.shallow_clone());
        };
        // The loss may reach the prompts' own graph by other ways too, so that graph is kept
        // until both gradients go through it in one pass.
        let upstream = Tensor::f_run_backward(&[loss], &[&features], true, false)?;
        let upstream = upstream.first().unwrap_or(&features).shallow_clone();
        let gradient = prompts.detach().zeros_like();
        for pass in passes.iter().flatten() {
            let leaf = pass
                .videos_of(&prompts)
                .detach()
                .copy()
                .set_requires_grad(true);
            let piece = encoder.piece(tower, &leaf, pass.group)?;
            let wanted = pass.classes_of(&pass.videos_of(&upstream));
            (piece * wanted).f_sum(Kind::Float)?.f_backward()?;
            let _ = pass.videos_of(&gradient).g_add_(&leaf.grad());
        }
        Ok(loss + (prompts * gradient).sum(Kind::Float))
    }
}
