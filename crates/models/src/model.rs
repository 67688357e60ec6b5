//! What everything that scores videos against labels has in common.

use std::sync::Arc;

use clip_backbone::ClipModel;
use prompts::Tokenize;
use tch::{Kind, Tensor, nn};

use crate::action_clip::ActionClip;
use crate::{
    Clips, Error, LinearProbe, ModelConfig, Result, Scores, SeeingInFlowing, Targets, TrainingLoss,
    WarmStart, ZeroShot,
};

/// A system that scores videos against labels.
///
/// A model may be built on one thread and moved to another, which then owns it; what it is bound
/// to labels with stays on that thread.
pub trait VideoTextModel: Send {
    /// The model made ready for one set of labels.
    ///
    /// # Errors
    /// Where a label cannot be encoded.
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>>;

    /// What learns, and nothing else.
    fn trained(&self) -> &nn::VarStore;

    /// As [`trained`](Self::trained), to load into.
    fn trained_mut(&mut self) -> &mut nn::VarStore;

    /// How it comes to its parameters.
    fn learning(&self) -> Learning {
        match self.trained().is_empty() {
            true => Learning::Frozen,
            false => Learning::Steps,
        }
    }

    /// Solves what can be solved over the training clips before the first update, all of it where
    /// that is all its [`learning`](Self::learning), and says what it chose: see [`WarmStart`].
    /// `None` where there is nothing to choose, or too few clips.
    ///
    /// # Errors
    /// Where the clips or their classes do not fit.
    fn solve(
        &self,
        _labels: &[String],
        _clips: &Clips,
        _classes: &[i64],
    ) -> Result<Option<WarmStart>> {
        Ok(None)
    }

    /// How a trained parameter is optimised.
    fn group(&self, name: &str) -> ParameterGroup {
        let last = name.rsplit('.').next().unwrap_or(name);
        let still = last.ends_with("bias")
            || last.ends_with("positions")
            || last == "logit_scale"
            || name.split('.').any(|part| part.starts_with("norm"));
        ParameterGroup {
            rate: 1.0,
            decay: !still,
        }
    }
}

/// How a model comes to its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// It has none to learn.
    Frozen,
    /// By [`VideoTextModel::solve`], over all training clips at once.
    Solved,
    /// In steps along the gradient of [`Classifier::loss`].
    Steps,
}

/// How a parameter is optimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterGroup {
    /// Its learning rate as a multiple of the schedule's.
    pub rate: f64,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// A piece of a batch.
#[derive(Debug)]
pub struct Piece {
    /// Its clips.
    pub clips: Clips,
    /// What they show.
    pub targets: Targets,
}

/// The result of one accumulated backward pass.
#[derive(Debug)]
pub struct Learned {
    /// The loss, over the whole batch: one number, f64. It is left on its device, so that a GPU is
    /// not waited for before all work is handed to it.
    pub loss: Tensor,
    /// The class each clip is nearest to: `[B]`.
    pub predicted: Tensor,
}

/// A model with the labels it scores against.
pub trait Classifier {
    /// The labels, in the order of the scores.
    fn labels(&self) -> &[String];

    /// Scores of a batch of clips, dropout off. Records gradients unless they are switched off.
    ///
    /// # Errors
    /// [`Error::Shape`] where the clips do not fit the model.
    fn score(&self, clips: &Clips) -> Result<Scores>;

    /// The loss of a batch of clips, dropout on, the graph recorded.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::TargetClass`] where clips or targets do not fit;
    /// [`Error::Frozen`] where the model cannot learn.
    fn loss<'a>(&'a self, clips: &Clips, targets: &Targets) -> Result<TrainingLoss<'a>>;

    /// Adds the gradient of a batch's loss to every trained parameter. The batch comes in
    /// pieces, of which one at a time is computed, to save memory: the step is the same.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn learn(&self, pieces: &[Piece]) -> Result<Learned> {
        let total: i64 = pieces.iter().map(|piece| piece.clips.count()).sum();
        let (mut losses, mut predicted) = (Vec::new(), Vec::new());
        for piece in pieces {
            let computed = self.loss(&piece.clips, &piece.targets)?;
            let share = piece.clips.count() as f64 / total as f64;
            losses.push(computed.value.detach().to_kind(Kind::Double) * share);
            predicted.push(computed.predicted.shallow_clone());
            computed.backward(share)?;
        }
        Ok(Learned {
            loss: Tensor::f_stack(&losses, 0)?.sum(Kind::Double),
            predicted: Tensor::f_cat(&predicted, 0)?,
        })
    }

    /// Probabilities of each label, the mean over several views of the same clips: `[B, K]`.
    ///
    /// # Errors
    /// [`Error::Shape`] without views, or where one does not fit the model.
    fn probabilities(&self, views: &[Clips]) -> Result<Tensor> {
        tch::no_grad(|| {
            let mut sum: Option<Tensor> = None;
            for view in views {
                let one = self.score(view)?.probabilities();
                sum = Some(match sum {
                    None => one,
                    Some(sum) if sum.size() == one.size() => sum + one,
                    Some(sum) => {
                        return Err(Error::Shape {
                            op: "views",
                            expected: format!("as many clips in every view, {}", sum.size()[0]),
                            got: one.size(),
                        });
                    }
                });
            }
            sum.map(|sum| sum / views.len() as f64)
                .ok_or_else(|| Error::Shape {
                    op: "views",
                    expected: "at least 1".into(),
                    got: vec![0],
                })
        })
    }
}

/// Builds the model a configuration names, on the backbone's device. The backbone has to be
/// loaded for [`ModelConfig::usage`].
///
/// # Errors
/// [`Error::Config`] and its like from the parts for a configuration that makes no model.
pub fn build(
    config: &ModelConfig,
    clip: ClipModel,
    tokenizer: Arc<dyn Tokenize>,
) -> Result<Box<dyn VideoTextModel>> {
    Ok(match config {
        ModelConfig::SeeingInFlowing(config) => {
            Box::new(SeeingInFlowing::new(config, clip, tokenizer)?)
        }
        ModelConfig::ActionClip(config) => Box::new(ActionClip::new(config, clip, tokenizer)?),
        ModelConfig::Clip(config) => Box::new(ZeroShot::new(config, clip, tokenizer)),
        ModelConfig::LinearProbe => Box::new(LinearProbe::new(clip)),
    })
}
