//! The interface shared by everything that scores videos against labels.

use std::sync::Arc;

use clip_backbone::ClipModel;
use prompts::Tokenize;
use tch::{Device, Kind, Tensor, nn};

use crate::action_clip::ActionClip;
use crate::{
    Clips, Error, Examples, Head, Lanes, LinearProbe, Mates, ModelConfig, Penalty, Result, Scores,
    SeeingInFlowing, Targets, TrainingLoss, WarmStart, ZeroShot,
};

/// A system that scores videos against labels.
///
/// A model may be built on one thread and moved to another, which then owns it; its
/// classifiers stay on that thread.
pub trait VideoTextModel: Send {
    /// The model with one set of labels.
    ///
    /// # Errors
    /// If a label cannot be encoded.
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>>;

    /// The trainable parameters, and nothing else.
    fn trained(&self) -> &nn::VarStore;

    /// The same as [`trained`](Self::trained), to load into.
    fn trained_mut(&mut self) -> &mut nn::VarStore;

    /// How its parameters are found.
    fn learning(&self) -> Learning {
        match self.trained().is_empty() {
            true => Learning::Frozen,
            false => Learning::Steps,
        }
    }

    /// Solves what can be solved over the training clips before the first update (all parameters if
    /// [`learning`](Self::learning) says so) and returns its choices: see [`WarmStart`].
    /// `None` if there is nothing to choose, or too few clips. Clips of one recording are held out
    /// together.
    ///
    /// # Errors
    /// If the clips or their classes do not fit.
    fn solve(&self, _labels: &[String], _examples: &Examples<'_>) -> Result<Option<WarmStart>> {
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

/// How a model's parameters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// It has no trainable parameters.
    Frozen,
    /// By [`VideoTextModel::solve`], over all training clips at once.
    Solved,
    /// By gradient steps on [`Classifier::loss`].
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

/// A micro-batch.
#[derive(Debug)]
pub struct Piece {
    /// Its clips.
    pub clips: Clips,
    /// Their targets.
    pub targets: Targets,
}

/// The result of one accumulated backward pass.
#[derive(Debug)]
pub struct Learned {
    /// The loss over the whole batch: one number, f64. It is left on its device, so that the host
    /// does not wait for a GPU before all work is queued.
    pub loss: Tensor,
    /// The class with the highest score for each clip: `[B]`.
    pub predicted: Tensor,
}

/// A model with the labels it scores against.
pub trait Classifier {
    /// The labels, in the order of the scores.
    fn labels(&self) -> &[String];

    /// Remarks on the labels, such as those that are cut to the context.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Scores of a batch of clips, dropout off. Gradients are recorded unless disabled.
    ///
    /// # Errors
    /// [`Error::Shape`] if the clips do not fit the model.
    fn score(&self, clips: &Clips) -> Result<Scores>;

    /// The loss of a batch of clips, dropout on, the graph recorded.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::TargetClass`] if clips or targets do not fit;
    /// [`Error::Frozen`] if the model has nothing to train.
    fn loss<'a>(&'a self, clips: &Clips, targets: &Targets) -> Result<TrainingLoss<'a>>;

    /// As [`learn`](Self::learn) for a batch in lanes, each of micro-batches, of which `mates` compute
    /// others. A lane has gradients of its own, summed up in a tree over the lanes' numbers, so that the
    /// result does not depend on where and when each is computed: by default one after another, by
    /// one process. Gradients, loss and predictions are those of the whole batch.
    ///
    /// # Errors
    /// Same as [`loss`](Self::loss); [`Error::Mates`] if another process fails, or the model
    /// cannot be trained by several.
    fn learn_lanes(&self, lanes: Lanes, _mates: &dyn Mates) -> Result<Learned> {
        let whole = lanes.targets.count();
        let pieces: Vec<Piece> = lanes.own.into_iter().flat_map(|lane| lane.pieces).collect();
        let own: i64 = pieces.iter().map(|piece| piece.clips.count()).sum();
        if own != whole {
            let what =
                format!("this model is trained by one process, which has {own} of {whole} clips");
            return Err(Error::Mates(what));
        }
        let device = pieces
            .first()
            .map_or(Device::Cpu, |piece| piece.clips.device());
        parallel::whole(device, || self.learn(&pieces))
    }

    /// Adds the gradient of a batch's loss to every trained parameter. The batch comes in
    /// micro-batches, computed one at a time to save memory: the step is the same.
    ///
    /// # Errors
    /// Same as [`loss`](Self::loss).
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

    /// Probabilities of each label, averaged over several views of the same clips: `[B, K]`.
    ///
    /// # Errors
    /// [`Error::Shape`] without views, or if one does not fit the model; [`Error::NotFinite`] with
    /// the first tensor that is not.
    fn probabilities(&self, views: &[Clips]) -> Result<Tensor> {
        tch::no_grad(|| {
            let mut sum: Option<Tensor> = None;
            for view in views {
                let one = self.score(view)?.finite_probabilities()?;
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

/// Builds the model of a configuration on the backbone's device. The backbone has to be
/// loaded for [`ModelConfig::usage`].
///
/// # Errors
/// [`Error::Config`] and the like from the parts for an invalid configuration.
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
        ModelConfig::LinearProbe => Box::new(LinearProbe::new(clip, Penalty::One)),
        ModelConfig::ValidatedProbe => Box::new(LinearProbe::new(clip, Penalty::CrossValidated)),
        ModelConfig::Head(config) => Box::new(Head::new(config, clip, tokenizer)),
    })
}
