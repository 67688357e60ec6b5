//! The linear probe: the accuracy of the frozen frame features without the method.

use std::cell::RefCell;

use clip_backbone::ClipModel;
use tch::nn;

use crate::scores::for_each_video;
use crate::warm_start::best_by_folds;
use crate::{
    Classifier, Clips, Error, Evidence, Examples, Learning, LogisticRegression, Result, Scores,
    Targets, TrainingLoss, VideoTextModel, WarmStart,
};

/// The strength of the probe's L2 penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// 1 on standardised features, scikit-learn's default.
    One,
    /// That with which the clips are most probable while they are held out, by recording; every class
    /// counts the same. As [`One`](Self::One) if a class has a single clip.
    CrossValidated,
}

/// Multinomial logistic regression on the standardised mean of the frame features, in double
/// precision.
///
/// Its weights belong to the classes it was fitted to, so it scores only those.
pub struct LinearProbe {
    clip: ClipModel,
    penalty: Penalty,
    /// No parameter is trained by gradient steps.
    trained: nn::VarStore,
    fitted: RefCell<Option<Fitted>>,
}

#[derive(Debug)]
struct Fitted {
    labels: Vec<String>,
    regression: LogisticRegression,
}

impl std::fmt::Debug for LinearProbe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LinearProbe")
            .field("fitted", &self.fitted)
            .finish_non_exhaustive()
    }
}

impl LinearProbe {
    /// A probe that is not fitted yet.
    pub fn new(clip: ClipModel, penalty: Penalty) -> Self {
        Self {
            penalty,
            trained: nn::VarStore::new(clip.text.device()),
            clip,
            fitted: RefCell::default(),
        }
    }
}

impl VideoTextModel for LinearProbe {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        let fitted = self.fitted.borrow();
        let refuse = |got: &str| Error::Config {
            field: "labels",
            expected: "the labels that the linear probe was fitted to".into(),
            got: got.into(),
        };
        let fitted = fitted.as_ref().ok_or_else(|| refuse("set before a fit"))?;
        if fitted.labels != labels {
            return Err(refuse(&labels.join(", ")));
        }
        Ok(Box::new(Bound {
            clip: &self.clip,
            labels: labels.to_vec(),
            regression: LogisticRegression {
                weights: fitted.regression.weights.shallow_clone(),
                bias: fitted.regression.bias.shallow_clone(),
            },
        }))
    }

    fn trained(&self) -> &nn::VarStore {
        &self.trained
    }

    fn trained_mut(&mut self) -> &mut nn::VarStore {
        &mut self.trained
    }

    fn learning(&self) -> Learning {
        Learning::Solved
    }

    /// Fits the regression.
    fn solve(&self, labels: &[String], examples: &Examples<'_>) -> Result<Option<WarmStart>> {
        examples.check()?;
        let rows = examples.clips.means(&self.clip)?; // (N V, D)
        let classes = examples.class_of_view();
        let folds = match self.penalty {
            Penalty::One => None,
            Penalty::CrossValidated => examples.folds(),
        };
        let regression = match folds {
            Some(folds) => best_by_folds(&rows, &classes, labels.len(), examples.views, &folds)?,
            None => {
                let first = examples.first_views(&rows)?;
                LogisticRegression::fit(&first, examples.classes, labels.len(), None)?
            }
        };
        *self.fitted.borrow_mut() = Some(Fitted {
            labels: labels.to_vec(),
            regression,
        });
        Ok(None)
    }
}

struct Bound<'a> {
    clip: &'a ClipModel,
    labels: Vec<String>,
    regression: LogisticRegression,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The class weights take the place of the texts.
    fn score(&self, clips: &Clips) -> Result<Scores> {
        let video = clips.means(self.clip)?; // (B, D)
        let text = for_each_video(&self.regression.weights.tr(), video.size()[0]); // (B, K, D)
        Ok(Scores {
            logits: self.regression.logits(&video)?,
            evidence: Evidence {
                video: video.shallow_clone(),
                text: text.shallow_clone(),
                motion: None,
                prompt_residual: None,
            },
            video,
            text,
        })
    }

    fn loss<'a>(&'a self, _clips: &Clips, _targets: &Targets) -> Result<TrainingLoss<'a>> {
        Err(Error::Frozen {
            model: "a linear probe",
        })
    }
}
