//! "Seeing in Flowing": motion modelling, motion-aware prompts, communication.

use std::sync::Arc;

use clip_backbone::ClipModel;
use mcb::{CommunicationBlock, VideoTokens};
use motion::{MotionModellingBlock, TimeStatistics};
use parallel::Tree;
use prompts::{ClassTokens, EncodedText, MotionAdapter, PromptLearner, TextEncoder, Tokenize};
use tch::{Kind, Tensor, nn};

use crate::label_text;
use crate::lanes::{accumulate, add_each, leaves};
use crate::scores::for_each_video;
use crate::warm_start::States;
use crate::zero_shot::sentence_features;
use crate::{
    Classifier, Clips, Error, Evidence, Examples, Lane, Lanes, Learned, Mates, Piece, Result,
    Scores, SifConfig, Targets, Temperature, TrainingLoss, VideoTextModel, WarmStart,
};

/// Clips encoded at once in a warm start.
const PART: i64 = 64;

/// The paper's model, whole or in part.
pub struct SeeingInFlowing {
    config: SifConfig,
    clip: ClipModel,
    tokenizer: Arc<dyn Tokenize>,
    trained: nn::VarStore,
    motion: MotionModellingBlock,
    prompts: Option<MotionAwarePrompts>,
    communication: CommunicationBlock,
    scale: Scale,
}

/// The trainable part of the text side.
#[derive(Debug)]
struct MotionAwarePrompts {
    learner: PromptLearner,
    adapter: MotionAdapter,
}

/// The factor of the cosines.
#[derive(Debug)]
enum Scale {
    Constant(Tensor),
    /// ln of the factor.
    Learned(Tensor),
}

impl std::fmt::Debug for SeeingInFlowing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SeeingInFlowing")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl SeeingInFlowing {
    /// A model on a frozen backbone, its parameters drawn from libtorch's generator.
    ///
    /// # Errors
    /// [`Error::Config`] and the like from the parts for an invalid configuration.
    pub fn new(config: &SifConfig, clip: ClipModel, tokenizer: Arc<dyn Tokenize>) -> Result<Self> {
        config.check()?;
        let (joint, width) = (clip.config().joint_width, clip.config().text.width);
        let further = config.tokens.count() - 1;
        let motion = config
            .motion
            .check(config.frames, joint)?
            .with_further_features(further)?;
        let communication = config.communication.check(joint)?;
        let trained = nn::VarStore::new(clip.text.device());
        let root = trained.root();
        let prompts = match config.prompts.motion_aware {
            true => Some(MotionAwarePrompts {
                learner: PromptLearner::from_vectors(&root, &words(config, &clip, &*tokenizer)?)?,
                adapter: MotionAdapter::new(&root, &config.prompts.adapter, joint, width)?,
            }),
            false => None,
        };
        let scale = match config.temperature {
            Temperature::Fixed { tau } => Scale::Constant(Tensor::from(tau.recip() as f32)),
            Temperature::Clip { learned: false } => Scale::Constant(clip.logit_scale().exp()),
            Temperature::Clip { learned: true } => {
                Scale::Learned(root.f_var_copy("logit_scale", clip.logit_scale())?)
            }
        };
        Ok(Self {
            motion: MotionModellingBlock::new(&root, &motion)?,
            communication: CommunicationBlock::new(&root, &communication)?,
            config: config.clone(),
            clip,
            tokenizer,
            prompts,
            scale,
            trained,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &SifConfig {
        &self.config
    }
}

/// The embeddings of the words that initialise the prompt vectors: `[H, W]`.
fn words(config: &SifConfig, clip: &ClipModel, tokenizer: &dyn Tokenize) -> Result<Tensor> {
    let context = clip.config().text.context;
    let ids = config.prompts.init_tokens(tokenizer, context)?;
    Ok(clip.text.embed(&Tensor::from_slice(&ids))?)
}

impl VideoTextModel for SeeingInFlowing {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        let context = self.clip.config().text.context;
        let notes = label_text::of_prompts(&self.config, &*self.tokenizer, context, labels)?;
        let text = match &self.prompts {
            Some(prompts) => {
                let classes = ClassTokens::new(labels, &*self.tokenizer)?;
                let tower = &self.clip.text;
                let vectors = prompts.learner.vectors().size()[0];
                Text::MotionAware {
                    encoder: TextEncoder::new(tower, &classes, vectors, self.config.text)?,
                    prompts,
                }
            }
            None => Text::HandCrafted(sentence_features(
                &self.clip,
                &*self.tokenizer,
                &self.config.prompts.template,
                labels,
            )?),
        };
        Ok(Box::new(Bound {
            model: self,
            labels: labels.to_vec(),
            notes,
            text,
        }))
    }

    fn solve(&self, labels: &[String], examples: &Examples<'_>) -> Result<Option<WarmStart>> {
        examples.check()?;
        if !(self.config.motion.outer_residual && self.config.motion.zero_init) {
            return Ok(None);
        }
        let _guard = tch::no_grad_guard();
        let Some(folds) = examples.folds() else {
            return Ok(None);
        };
        let frames = examples.clips.frames(&self.clip, self.config.tokens)?; // (N V, T, F)
        let mut spatial = Vec::new();
        for part in frames.split(PART, 0) {
            let seen = self.motion.forward(&part, false)?;
            spatial.push(seen.spatial.mean_dim(1, false, Kind::Float));
        }
        let width = self.clip.config().joint_width;
        let mean = |from: i64, width: i64| {
            let part = frames.f_narrow(2, from, width)?;
            Ok::<_, Error>(part.mean_dim(1, false, Kind::Float))
        };
        let further = (self.config.tokens.count() - 1) * width;
        let own = &self.config.motion;
        let has_statistics = own.motion_stream && own.time_statistics;
        // A motion adapter initialised to zero gives every video the same texts.
        let first = Clips::Features(frames.f_narrow(0, 0, 1)?);
        let scores = self.bind(labels)?.score(&first)?;
        let scale = match &self.scale {
            Scale::Constant(scale) => scale.shallow_clone(),
            Scale::Learned(log) => log.exp(),
        };
        let states = States {
            video: mean(0, width)?,
            spatial: Tensor::f_cat(&spatial, 0)?,
            further: match own.motion_stream && further > 0 {
                true => Some(mean(width, further)?),
                false => None,
            },
            time: match has_statistics {
                true => {
                    let statistics = TimeStatistics::new(self.config.frames);
                    Some(statistics.forward(&frames.f_narrow(2, 0, width)?))
                }
                false => None,
            },
            classes: &examples.class_of_view(),
            views: examples.views,
            text: scores.evidence.text.f_select(0, 0)?,
            scale: scale.double_value(&[]),
        };
        let (chosen, residual) = states.solve(&folds)?;
        self.motion.start_residual(
            &residual.spatial,
            &residual.bias,
            residual.further.as_ref(),
            residual.time.as_ref(),
        )?;
        if let Scale::Learned(log) = &self.scale {
            let sure = scale.log() + chosen.sureness.ln();
            log.detach().f_copy_(&sure)?;
        }
        Ok(Some(chosen))
    }

    fn trained(&self) -> &nn::VarStore {
        &self.trained
    }

    fn trained_mut(&mut self) -> &mut nn::VarStore {
        &mut self.trained
    }
}

struct Bound<'m> {
    model: &'m SeeingInFlowing,
    labels: Vec<String>,
    notes: Vec<String>,
    text: Text<'m>,
}

enum Text<'m> {
    MotionAware {
        encoder: TextEncoder,
        prompts: &'m MotionAwarePrompts,
    },
    /// The same for all videos, computed once: `[K, D]`.
    HandCrafted(Tensor),
}

/// A batch's scores, with gradients to the prompts.
struct Forward<'a> {
    scores: Scores,
    encoded: Option<EncodedText<'a>>,
}

impl Bound<'_> {
    fn forward(&self, clips: &Clips, train: bool) -> Result<Forward<'_>> {
        let model = self.model;
        let frames = clips.frames(&model.clip, model.config.tokens)?; // (B, T, F)
        let motion = model.motion.forward(&frames, train)?;
        let mut prompt_residual = None;
        let (text, encoded) = match (&self.text, &motion.motion) {
            (Text::MotionAware { encoder, prompts }, Some(cues)) => {
                let residual = prompts.adapter.forward(&cues.pooled)?; // (B, W)
                let vectors = prompts.learner.conditioned(&residual)?; // (B, H, W)
                prompt_residual = Some(residual);
                let encoded = encoder.encode(&model.clip.text, &vectors)?;
                (encoded.features.shallow_clone(), Some(encoded))
            }
            (Text::MotionAware { .. }, None) => {
                return Err(Error::Config {
                    field: "prompts.motion_aware",
                    expected: "no use of motion with `motion.motion_stream=false`".into(),
                    got: "true".into(),
                });
            }
            (Text::HandCrafted(text), _) => (for_each_video(text, frames.size()[0]), None),
        };
        let tokens = VideoTokens {
            vector: &motion.video,
            frames: Some(&motion.spatial),
            motion: motion.motion.as_ref().map(|cues| &cues.states),
        };
        let communicated = model.communication.forward(&text, &tokens)?;
        let scale = match &model.scale {
            Scale::Constant(scale) => scale.shallow_clone(),
            Scale::Learned(log) => log.exp(),
        };
        let evidence = Evidence {
            video: motion.video.shallow_clone(),
            text,
            motion: Some(motion),
            prompt_residual,
        };
        let scores = Scores::new(communicated.video, communicated.text, &scale, evidence);
        Ok(Forward { scores, encoded })
    }
}

/// A model that several threads compute with.
struct Shared<'a>(&'a Bound<'a>);

// A lane reads the model's tensors, which libtorch allows from several threads at once, as it does
// backward passes that add to no shared gradient.
#[allow(unsafe_code)]
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    /// The loss and the predictions of a lane, and its part of the gradients of `parameters`, for a
    /// batch of `total` clips.
    fn lane(&self, lane: &Lane, total: i64, parameters: &[Tensor]) -> Result<LaneResult> {
        let (mut losses, mut predicted) = (Vec::new(), Vec::new());
        let mut gradients = Tree::new(add_each);
        if let Some(seed) = lane
            .seed
            .filter(|_| self.0.model.config.motion.dropout > 0.0)
        {
            tch::manual_seed(seed);
        }
        for (place, Piece { clips, targets }) in lane.pieces.iter().enumerate() {
            let targets = targets.on(self.0.model.clip.vision.device());
            let Forward { scores, encoded } = self.0.forward(clips, true)?;
            let share = clips.count() as f64 / total as f64;
            let loss = targets.cross_entropy(&scores.logits)? * share;
            losses.push(loss.detach().to_kind(Kind::Double));
            predicted.push(scores.logits.detach().argmax(1, false));
            let of_piece = match encoded {
                Some(encoded) => encoded.gradients(&loss, parameters)?,
                None => Tensor::f_run_backward(&[loss], parameters, false, false)?,
            };
            gradients.push(place, of_piece);
        }
        Ok(LaneResult {
            number: lane.number,
            loss: Tensor::f_stack(&losses, 0)?.sum(Kind::Double),
            predicted: Tensor::f_cat(&predicted, 0)?,
            gradients: gradients.sum().unwrap_or_default(),
        })
    }
}

/// The result of a lane.
struct LaneResult {
    number: usize,
    /// f64
    loss: Tensor,
    predicted: Tensor,
    /// One for each parameter, undefined where the loss does not depend on it.
    gradients: Vec<Tensor>,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn score(&self, clips: &Clips) -> Result<Scores> {
        Ok(self.forward(clips, false)?.scores)
    }

    fn learn_lanes(&self, lanes: Lanes, mates: &dyn Mates) -> Result<Learned> {
        let device = self.model.clip.vision.device();
        let total = lanes.targets.count();
        let leaves: Vec<Tensor> = leaves(&self.model.trained)
            .into_iter()
            .map(|(_, leaf)| leaf)
            .collect();
        let parameters =
            || -> Vec<Tensor> { leaves.iter().map(|leaf| leaf.shallow_clone()).collect() };
        let shared = Shared(self);
        let inputs = lanes.own.into_iter().map(|lane| (lane, parameters()));
        let lane = |(lane, parameters): (Lane, Vec<Tensor>)| {
            let shared = &shared;
            shared.lane(&lane, total, &parameters)
        };
        let computed = match self.model.config.motion.dropout > 0.0 {
            // It draws from one generator for all threads.
            true => inputs.map(lane).collect::<Result<Vec<_>>>()?,
            false => parallel::each(device, inputs.collect(), lane)
                .into_iter()
                .collect::<Result<Vec<_>>>()?,
        };
        let mut losses = vec![Tensor::zeros([0], (Kind::Double, device))];
        let mut predicted = vec![Tensor::zeros([0], (Kind::Int64, device))];
        let mut gradients = Tree::new(add_each);
        for lane in computed {
            losses.push(lane.loss.view(1));
            predicted.push(lane.predicted);
            gradients.push(lane.number, lane.gradients);
        }
        let losses = mates.gather(Tensor::f_cat(&losses, 0)?)?;
        let predicted = mates.gather(Tensor::f_cat(&predicted, 0)?)?;
        accumulate(&leaves, mates.sum(gradients.sum(), &leaves)?)?;
        Ok(Learned {
            loss: losses.f_sum(Kind::Double)?,
            predicted,
        })
    }

    fn loss<'a>(&'a self, clips: &Clips, targets: &Targets) -> Result<TrainingLoss<'a>> {
        let targets = targets.on(self.model.clip.vision.device());
        let Forward { scores, encoded } = self.forward(clips, true)?;
        let value = targets.cross_entropy(&scores.logits)?;
        let predicted = scores.logits.detach().argmax(1, false);
        Ok(TrainingLoss::new(
            value,
            scores,
            predicted,
            |loss| match encoded {
                Some(encoded) => Ok(encoded.backward(loss)?),
                None => Ok(loss.f_backward()?),
            },
        ))
    }
}
