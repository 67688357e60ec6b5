//! Scores of a batch of clips, and its training targets.

use motion::MotionFeatures;
use tch::{Device, Kind, Reduction, Tensor};

use crate::{Error, Result};

/// Lower bound on norms, so a zero vector never divides by zero.
const SMALLEST_NORM: f64 = 1e-12;

/// A batch of clips scored against K labels.
#[derive(Debug)]
pub struct Scores {
    /// cos(T'_i, V') / τ, Eq. 3: `[B, K]`.
    pub logits: Tensor,
    /// V': `[B, D]`, not normalised.
    pub video: Tensor,
    /// T': `[B, K, D]`, not normalised.
    pub text: Tensor,
    /// The intermediate results.
    pub evidence: Evidence,
}

/// The intermediate results of the scores.
#[derive(Debug)]
pub struct Evidence {
    /// V, Eq. 6: `[B, D]`.
    pub video: Tensor,
    /// T: `[B, K, D]`.
    pub text: Tensor,
    /// The streams of the motion modelling block, if there is one.
    pub motion: Option<MotionFeatures>,
    /// r, added to the prompt vectors of each video: `[B, W]`, if conditioned.
    pub prompt_residual: Option<Tensor>,
}

impl Scores {
    /// Scores of videos `[B, D]` against texts `[B, K, D]`: `scale` times their cosines.
    pub(crate) fn new(video: Tensor, text: Tensor, scale: &Tensor, evidence: Evidence) -> Self {
        let cosines = unit(&text)
            .matmul(&unit(&video).unsqueeze(2))
            .squeeze_dim(2); // (B, K)
        Self {
            logits: cosines * scale,
            video,
            text,
            evidence,
        }
    }

    /// The same for texts shared by all videos, `[K, D]`: each is normalised once, and no tensor
    /// of size `[B, K, D]` is made.
    pub(crate) fn of_shared_text(
        video: Tensor,
        text: &Tensor,
        scale: &Tensor,
        evidence: Evidence,
    ) -> Self {
        let cosines = unit(&video).matmul(&unit(text).tr()); // (B, K)
        Self {
            logits: cosines * scale,
            text: for_each_video(text, video.size()[0]),
            video,
            evidence,
        }
    }

    /// softmax of the logits over the labels: `[B, K]`, in fp32, or fp64 if the logits are.
    pub fn probabilities(&self) -> Tensor {
        let kind = match self.logits.kind() {
            Kind::Double => Kind::Double,
            _ => Kind::Float,
        };
        self.logits.softmax(-1, kind)
    }

    /// The same, if they are numbers.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first tensor, from the frames to the scores, that holds NaN or
    /// infinite numbers, or vectors too long to be normalised.
    pub fn finite_probabilities(&self) -> Result<Tensor> {
        let evidence = &self.evidence;
        let motion = evidence
            .motion
            .as_ref()
            .and_then(|seen| seen.motion.as_ref());
        let named = [
            ("motion features", motion.map(|cues| &cues.pooled)),
            ("video features", Some(&evidence.video)),
            ("text features", Some(&evidence.text)),
            ("video features after communication", Some(&self.video)),
            ("text features after communication", Some(&self.text)),
        ];
        let probabilities = self.probabilities();
        for (tensor, values) in named {
            if let Some(values) = values
                && !is_finite(values)?
            {
                return Err(Error::NotFinite { tensor });
            }
        }
        match is_finite(&probabilities)? {
            true => Ok(probabilities),
            false => Err(Error::NotFinite { tensor: "scores" }),
        }
    }
}

/// Whether the length of every vector of `x` is finite.
fn is_finite(x: &Tensor) -> Result<bool> {
    let longest = x.detach().norm_scalaropt_dim(2, [-1], false).f_max()?;
    Ok(longest.double_value(&[]).is_finite())
}

/// `[.., D]` scaled to length 1.
pub(crate) fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true).clamp_min(SMALLEST_NORM)
}

/// The same text for every video: `[K, D]` to `[B, K, D]`, without a copy.
pub(crate) fn for_each_video(text: &Tensor, videos: i64) -> Tensor {
    let size = text.size();
    text.unsqueeze(0).expand([videos, size[0], size[1]], false)
}

/// The training targets of a batch of clips.
#[derive(Debug)]
pub struct Targets {
    truth: Truth,
    /// `[B, K]`, 1 for each class a clip shows, if some show several.
    shown: Option<Tensor>,
    smoothing: f64,
}

#[derive(Debug)]
enum Truth {
    /// With the lowest and the highest.
    Classes(Tensor, [i64; 2]),
    Weights(Tensor),
}

impl Targets {
    /// One class per clip: `[B]`, integers 0..K.
    pub fn classes(classes: &Tensor) -> Self {
        let classes = classes.to_kind(Kind::Int64);
        // Read now: later they may be on a GPU, and reading would wait for it.
        let ends = match classes.numel() {
            0 => [0; 2],
            _ => [classes.min(), classes.max()].map(|end| end.int64_value(&[])),
        };
        Self {
            truth: Truth::Classes(classes, ends),
            shown: None,
            smoothing: 0.0,
        }
    }

    /// A weight for each class of a clip, as mixed clips have: `[B, K]`, rows summing to 1.
    pub fn weights(weights: &Tensor) -> Self {
        Self {
            truth: Truth::Weights(weights.to_kind(Kind::Float)),
            shown: None,
            smoothing: 0.0,
        }
    }

    /// The same for clips that show other classes besides: `shown` is `[B, K]`, 1 for each class
    /// shown, the given one included.
    ///
    /// A loss over all classes is shared evenly by those shown; for a contrast of the batch all
    /// of them are positives.
    pub fn showing(self, shown: &Tensor) -> Self {
        Self {
            shown: Some(shown.to_kind(Kind::Float)),
            ..self
        }
    }

    /// The number of clips.
    pub fn count(&self) -> i64 {
        let (Truth::Classes(rows, _) | Truth::Weights(rows)) = &self.truth;
        rows.size().first().copied().unwrap_or(0)
    }

    /// The same on `device`, to be copied there before the scores are computed.
    #[must_use]
    pub fn on(&self, device: Device) -> Self {
        Self {
            truth: match &self.truth {
                Truth::Classes(classes, ends) => Truth::Classes(classes.to_device(device), *ends),
                Truth::Weights(weights) => Truth::Weights(weights.to_device(device)),
            },
            shown: self.shown.as_ref().map(|shown| shown.to_device(device)),
            smoothing: self.smoothing,
        }
    }

    /// The classes each clip shows, `[B, K]`, if some show several.
    pub fn shown(&self) -> Option<&Tensor> {
        self.shown.as_ref()
    }

    /// The same with label smoothing: a share of each clip (0 to 1) spread evenly over all classes.
    ///
    /// # Errors
    /// [`Error::Config`] if the share is out of range.
    pub fn smoothed(self, share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::Config {
                field: "label smoothing",
                expected: "0 to 1".into(),
                got: share.to_string(),
            });
        }
        Ok(Self {
            smoothing: share,
            ..self
        })
    }

    /// The class of each clip, `[B]`, if each has exactly one.
    pub fn as_classes(&self) -> Option<&Tensor> {
        match &self.truth {
            Truth::Classes(classes, _) => Some(classes),
            Truth::Weights(_) => None,
        }
    }

    /// The mean cross-entropy of `logits` `[B, K]`: the loss under Eq. 3.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::TargetClass`] if the targets do not fit the logits.
    pub fn cross_entropy(&self, logits: &Tensor) -> Result<Tensor> {
        let size = logits.size();
        let [batch @ 1..=i64::MAX, classes @ 1..=i64::MAX] = size[..] else {
            return Err(Error::Shape {
                op: "logits",
                expected: "[B, K] with B, K >= 1".into(),
                got: size,
            });
        };
        let shared = self
            .shown
            .as_ref()
            .map(|shown| shown / shown.sum_dim_intlist(-1, true, Kind::Float).clamp_min(1.0));
        let (truth, expected) = match (&self.truth, &shared) {
            (_, Some(shared)) => (shared, vec![batch, classes]),
            (Truth::Classes(truth, _), None) => (truth, vec![batch]),
            (Truth::Weights(truth), None) => (truth, vec![batch, classes]),
        };
        if truth.size() != expected {
            return Err(Error::Shape {
                op: "targets",
                expected: format!("{expected:?}"),
                got: truth.size(),
            });
        }
        if let Truth::Classes(_, ends) = self.truth {
            for got in ends {
                if !(0..classes).contains(&got) {
                    return Err(Error::TargetClass {
                        most: classes - 1,
                        got,
                    });
                }
            }
        }
        // No class is ignored; libtorch requires an index anyway.
        let ignored = -100;
        Ok(logits.f_cross_entropy_loss(
            &truth.to_device(logits.device()),
            None::<&Tensor>,
            Reduction::Mean,
            ignored,
            self.smoothing,
        )?)
    }
}

/// The rest of a backward pass, for models that detach parts of their graph.
type Finish<'a> = Box<dyn FnOnce(&Tensor) -> Result<()> + 'a>;

/// The loss of one batch, and its backward pass.
#[must_use]
pub struct TrainingLoss<'a> {
    /// A scalar.
    pub value: Tensor,
    /// The scores it was computed from: against the labels, or against the batch's own sentences.
    pub scores: Scores,
    /// The class with the highest score for each clip: `[B]`.
    pub predicted: Tensor,
    finish: Finish<'a>,
}

impl std::fmt::Debug for TrainingLoss<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TrainingLoss")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl<'a> TrainingLoss<'a> {
    /// A loss whose backward pass is `finish`, called with a multiple of `value`.
    pub fn new(
        value: Tensor,
        scores: Scores,
        predicted: Tensor,
        finish: impl FnOnce(&Tensor) -> Result<()> + 'a,
    ) -> Self {
        Self {
            value,
            scores,
            predicted,
            finish: Box::new(finish),
        }
    }

    /// Adds the gradient of `share` times the loss to every trained parameter; the share is
    /// 1, or this micro-batch's fraction of the step.
    ///
    /// # Errors
    /// [`Error::Torch`] if a libtorch operation fails.
    pub fn backward(self, share: f64) -> Result<()> {
        (self.finish)(&(&self.value * share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits, and the gradients of video and text.
    fn with_gradients(score: impl Fn(&Tensor, &Tensor) -> Scores) -> [Tensor; 3] {
        tch::manual_seed(5);
        let leaf = |rows| {
            let values = Tensor::randn([rows, 16], (Kind::Float, Device::Cpu));
            values.set_requires_grad(true)
        };
        let (video, text) = (leaf(6), leaf(4));
        let scores = score(&video, &text);
        assert_eq!(scores.text.size(), [6, 4, 16]);
        (scores.logits.cos() * 3.0).sum(Kind::Float).backward();
        [scores.logits, video.grad(), text.grad()]
    }

    #[test]
    fn a_shared_text_scores_as_the_same_text_of_each_video() {
        let scale = Tensor::from(20.0f32);
        let evidence = |video: &Tensor, text: &Tensor| Evidence {
            video: video.shallow_clone(),
            text: text.shallow_clone(),
            motion: None,
            prompt_residual: None,
        };
        let direct = with_gradients(|video, text| {
            let text = for_each_video(text, 6);
            let evidence = evidence(video, &text);
            Scores::new(video.shallow_clone(), text, &scale, evidence)
        });
        let shared = with_gradients(|video, text| {
            let evidence = evidence(video, text);
            Scores::of_shared_text(video.shallow_clone(), text, &scale, evidence)
        });
        for (direct, shared) in direct.iter().zip(&shared) {
            assert!(direct.abs().max().double_value(&[]) > 0.1);
            assert!((direct - shared).abs().max().double_value(&[]) < 1e-4);
        }
    }
}
