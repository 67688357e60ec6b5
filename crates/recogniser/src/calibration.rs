//! What held-out clips tell about a run's answers: how sure it may be, and which clips belong to
//! none of its classes.

use clip_backbone::{ClipModel, FrameTokens};
use models::{Classifier, Clips};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Standard deviation below which a feature counts as constant.
const STILL: f64 = 1e-12;

/// The calibration of a run, chosen on clips that were held out of its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Logits are divided by it before softmax.
    pub temperature: f64,
    /// The score of belonging.
    pub score: BelongingScore,
    /// The classes' clips, for that score.
    pub classes: ClassMeans,
    /// A clip with a smaller score of belonging shows none of the classes.
    pub threshold: f64,
    /// The share of clips of the classes that the threshold was to refuse, 0 to 1.
    pub wrongly_refused: f64,
}

/// The kind of a score of belonging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BelongingScore {
    /// See [`ClassMeans::scores`].
    ClassSimilarity,
}

/// Whether a clip belongs to one of the classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Belonging {
    /// Whether it does: the score is not below the threshold.
    pub known: bool,
    /// The score, -1 to 1: see [`ClassMeans::scores`].
    #[serde(rename = "belonging")]
    pub score: f64,
    /// The threshold.
    pub threshold: f64,
}

impl Calibration {
    /// Probabilities of `logits`, `[B, K]`, in double precision.
    pub fn probabilities(&self, logits: &Tensor) -> Tensor {
        (logits.to_kind(Kind::Double) / self.temperature).softmax(-1, Kind::Double)
    }

    /// Whether each clip of frame features `[B, T, D]` belongs to a class.
    ///
    /// # Errors
    /// The width is not that of the run.
    pub fn belonging(&self, features: &Tensor) -> Result<Vec<Belonging>> {
        let scores = self.classes.scores(features)?;
        Ok(scores
            .into_iter()
            .map(|score| self.of_score(score))
            .collect())
    }

    /// Whether a clip with this score of belonging belongs to a class.
    #[must_use]
    pub fn of_score(&self, score: f64) -> Belonging {
        Belonging {
            known: score >= self.threshold,
            score,
            threshold: self.threshold,
        }
    }

    /// The calibrated probabilities of some clips, `[B, K]`, and whether each belongs to a class.
    /// `classifier` is the run's, with its own classes, `tower` the frozen image tower, of which the run
    /// reads `tokens`.
    ///
    /// # Errors
    /// The clips do not fit the model, or a score is not finite.
    pub fn judge(
        &self,
        classifier: &dyn Classifier,
        clips: &Clips,
        tower: &ClipModel,
        tokens: FrameTokens,
    ) -> Result<(Tensor, Vec<Belonging>)> {
        tch::no_grad(|| {
            let features = clips.frames(tower, tokens)?; // (B, T, F)
            let belonging = self.belonging(&features)?;
            let scores = classifier.score(&Clips::Features(features))?;
            let _ = scores.finite_probabilities()?;
            Ok((self.probabilities(&scores.logits), belonging))
        })
    }
}

/// The mean clip of each class, in standardised mean frame features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMeans {
    /// Mean of each feature over the clips: `[D]`.
    mean: Vec<f32>,
    /// Standard deviation of each feature: `[D]`.
    deviation: Vec<f32>,
    /// The mean standardised clip of each class that has clips: `[K][D]`.
    classes: Vec<Vec<f32>>,
}

impl ClassMeans {
    /// Those of clips with frame features `[N, T, D]` and the class of each.
    ///
    /// # Errors
    /// There are no clips, or not as many classes as clips.
    pub fn fit(features: &Tensor, classes: &[i64]) -> Result<Self> {
        let size = features.size();
        if size.len() != 3 || size[0] != classes.len() as i64 || classes.is_empty() {
            let expected = format!("[{}, T, D], at least one clip", classes.len());
            return Err(Error::mismatch(
                "features of the classes' clips",
                expected,
                format!("{size:?}"),
            ));
        }
        let rows = clips(features); // (N, D)
        let mean = rows.mean_dim(0, false, Kind::Double);
        let deviation = rows.std_dim(0, false, false);
        let deviation = deviation.where_self(&deviation.gt(STILL), &deviation.ones_like());
        let rows = (rows - &mean) / &deviation;
        let own = Tensor::from_slice(classes);
        let mut present = classes.to_vec();
        present.sort_unstable();
        present.dedup();
        let mean_of = |class: i64| {
            let at = own.eq(class).nonzero().f_squeeze_dim(1)?;
            numbers(
                &rows
                    .f_index_select(0, &at)?
                    .mean_dim(0, false, Kind::Double),
            )
        };
        Ok(Self {
            classes: present.into_iter().map(mean_of).collect::<Result<_>>()?,
            mean: numbers(&mean)?,
            deviation: numbers(&deviation)?,
        })
    }

    /// The score of belonging of clips `[B, T, D]`: the largest cosine between the clip and the
    /// mean clip of a class, in standardised mean frame features; -1 to 1.
    ///
    /// # Errors
    /// The width is another.
    pub fn scores(&self, features: &Tensor) -> Result<Vec<f64>> {
        let width = self.mean.len() as i64;
        let size = features.size();
        if size.len() != 3 || size[2] != width {
            let expected = format!("[B, T, {width}]");
            return Err(Error::mismatch("features", expected, format!("{size:?}")));
        }
        let row = |values: &[f32]| Tensor::from_slice(values).to_kind(Kind::Double);
        let rows = (clips(features) - row(&self.mean)) / row(&self.deviation); // (B, D)
        let classes: Vec<Tensor> = self.classes.iter().map(|class| row(class)).collect();
        let classes = Tensor::f_stack(&classes, 0)?; // (K, D)
        let cosines = unit(&rows).f_matmul(&unit(&classes).tr())?;
        Ok(Vec::try_from(cosines.amax([-1], false))?)
    }
}

/// The mean over frames, in double precision on the CPU: `[N, T, D]` to `[N, D]`.
fn clips(features: &Tensor) -> Tensor {
    let features = features.to_device(tch::Device::Cpu).to_kind(Kind::Double);
    features.mean_dim(1, false, Kind::Double)
}

fn unit(rows: &Tensor) -> Tensor {
    rows / rows
        .norm_scalaropt_dim(2, [-1], true)
        .clamp_min(f64::MIN_POSITIVE)
}

fn numbers(row: &Tensor) -> Result<Vec<f32>> {
    Ok(Vec::try_from(row.to_kind(Kind::Float))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Clips of two frames in three features, around the corner of their class.
    fn features(corners: &[[f64; 3]]) -> Tensor {
        let frame = |corner: &[f64; 3], off: f64| corner.map(|x| x + off);
        let flat: Vec<f64> = corners
            .iter()
            .flat_map(|corner| [frame(corner, 0.1), frame(corner, -0.1)].concat())
            .collect();
        Tensor::from_slice(&flat).view([corners.len() as i64, 2, 3])
    }

    #[test]
    fn a_clip_like_those_of_a_class_belongs_more_than_one_unlike_all() {
        let (a, b) = ([4.0, 0.0, 1.0], [0.0, 4.0, 1.0]);
        let near = |[x, y, z]: [f64; 3]| [x + 0.3, y, z];
        let classes = ClassMeans::fit(&features(&[a, near(a), b, near(b)]), &[0, 0, 3, 3]).unwrap();
        let scores = classes
            .scores(&features(&[
                near(a),
                near(b),
                [2.0, 2.0, 1.0],
                [-9.0, -9.0, 1.0],
            ]))
            .unwrap();
        assert!(scores[0] > 0.9 && scores[1] > 0.9, "{scores:?}");
        assert!(scores[2] < 0.8 && scores[3] < 0.8, "{scores:?}");
        let calibration = Calibration {
            temperature: 2.0,
            score: BelongingScore::ClassSimilarity,
            classes,
            threshold: 0.85,
            wrongly_refused: 0.05,
        };
        let text = serde_json::to_string(&calibration).unwrap();
        assert!(text.contains("\"score\":\"class-similarity\""), "{text}");
        let read: Calibration = serde_json::from_str(&text).unwrap();
        assert_eq!(read, calibration);
        let other = text.replace("class-similarity", "energy");
        assert!(serde_json::from_str::<Calibration>(&other).is_err());
        let belonging = read.belonging(&features(&[a, [-9.0, -9.0, 1.0]])).unwrap();
        assert!(belonging[0].known && !belonging[1].known);
    }

    #[test]
    fn a_temperature_above_one_makes_it_less_sure() {
        let logits = Tensor::from_slice(&[3.0, 0.0]).view([1, 2]);
        let classes = ClassMeans::fit(&features(&[[0.0; 3]]), &[0]).unwrap();
        let calibration = Calibration {
            temperature: 3.0,
            score: BelongingScore::ClassSimilarity,
            classes,
            threshold: 0.0,
            wrongly_refused: 0.05,
        };
        let seen = calibration.probabilities(&logits).double_value(&[0, 0]);
        assert!((seen - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn other_shapes_are_refused() {
        let two = features(&[[0.0; 3], [1.0, 2.0, 3.0]]);
        assert!(ClassMeans::fit(&two, &[0]).is_err());
        let classes = ClassMeans::fit(&two, &[0, 1]).unwrap();
        assert!(classes.scores(&two.narrow(2, 0, 2)).is_err());
    }
}
