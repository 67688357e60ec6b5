//! ActionCLIP: all of CLIP fine-tuned on videos, with a temporal head over its frame features.

mod config;
mod heads;
mod joint;
mod loss;
mod shift;
mod templates;

pub use config::{ActionClipConfig, Inside};
pub use heads::{Head, TemporalHead};
pub use joint::TemporalEmbedding;
pub use loss::{same_class, symmetric_kl};
pub use shift::TemporalShift;
pub use templates::TEMPLATES;

use std::rc::Rc;

use clip_backbone::{Clip, NoHook};
use prompts::{Template, Tokenize};
use tch::{Kind, Tensor, nn};

use crate::scores::unit;
use crate::zero_shot::{for_each_video, sentence_features};
use crate::{
    Classifier, Clips, Error, Evidence, ParameterGroup, Result, Scores, Targets, TrainingLoss,
    VideoTextModel,
};

/// Prefix of the backbone's parameters among the trained ones.
const BACKBONE: &str = "clip.";
/// Learning rate of the head as a multiple of the backbone's.
const HEAD_RATE: f64 = 10.0;

/// The second system: CLIP, a temporal head, and a contrast with several positives.
pub struct ActionClip {
    config: ActionClipConfig,
    clip: Rc<Clip>,
    tokenizer: Rc<dyn Tokenize>,
    templates: Vec<Template>,
    trained: nn::VarStore,
    head: TemporalHead,
    joint: Option<TemporalEmbedding>,
}

impl std::fmt::Debug for ActionClip {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ActionClip")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ActionClip {
    /// A model on `clip`, loaded for fine-tuning where the backbone shall learn; of a frozen
    /// one only the head learns.
    ///
    /// # Errors
    /// [`Error::Config`] for a head that cannot stand on what is inside the network, or a size
    /// out of range.
    pub fn new(
        config: &ActionClipConfig,
        clip: Rc<Clip>,
        tokenizer: Rc<dyn Tokenize>,
    ) -> Result<Self> {
        config.check()?;
        let trained = nn::VarStore::new(clip.text.device());
        let root = trained.root();
        let width = clip.config().joint_width;
        // Joint attention has merged the frames before the head sees them.
        let tokens = if config.inside == Inside::Joint {
            1
        } else {
            config.frames
        };
        let head = TemporalHead::new(&root, config.head, tokens, width)?;
        let joint = match config.inside {
            Inside::Joint => {
                let vision = clip.vision.config();
                Some(TemporalEmbedding::new(&root, config.frames, vision.width)?)
            }
            Inside::Nothing | Inside::Shift => None,
        };
        adopt(&trained, &clip);
        Ok(Self {
            templates: config.templates()?,
            config: config.clone(),
            clip,
            tokenizer,
            trained,
            head,
            joint,
        })
    }

    /// Its switches.
    pub fn config(&self) -> &ActionClipConfig {
        &self.config
    }

    /// Video features `[B, D]`, not normalised.
    ///
    /// # Errors
    /// [`Error::Shape`] where the clips are no batch of T frames, or features are handed to a
    /// model that acts inside the network.
    pub fn video(&self, clips: &Clips, train: bool) -> Result<Tensor> {
        let frames = match clips {
            Clips::Features(_) if self.config.inside != Inside::Nothing => {
                return Err(Error::Config {
                    field: "inside",
                    expected: "nothing, for frame features already computed".into(),
                    got: self.config.inside.to_string(),
                });
            }
            Clips::Features(_) => clips.features(&self.clip)?,
            Clips::Pixels(pixels) => self.encode(pixels)?,
        };
        self.head.forward(&frames.to_kind(Kind::Float), train)
    }

    /// Frames `[B, T, 3, S, S]` to features `[B, T, D]`, or `[B, 1, D]` with joint attention.
    fn encode(&self, pixels: &Tensor) -> Result<Tensor> {
        let (vision, t) = (&self.clip.vision, self.config.frames);
        let side = vision.config().image_size;
        let size = pixels.size();
        if size.len() != 5 || size[0] < 1 || size[1..] != [t, 3, side, side] {
            return Err(Error::Shape {
                op: "frames",
                expected: format!("[B, {t}, 3, {side}, {side}] with B >= 1"),
                got: size,
            });
        }
        let frames = pixels.flatten(0, 1); // (B T, 3, S, S)
        let features = match &self.joint {
            Some(joint) => {
                let tokens = joint.forward(&vision.embed(&frames)?)?;
                vision.forward_tokens(tokens, &mut NoHook)
            }
            None if self.config.inside == Inside::Shift => {
                vision.forward_hooked(&frames, &mut TemporalShift { frames: t })?
            }
            None => vision.forward(&frames)?,
        };
        Ok(features.view([size[0], -1, self.clip.config().joint_width]))
    }

    /// exp of the learned logit scale.
    fn scale(&self) -> Tensor {
        self.clip.logit_scale().exp()
    }
}

impl VideoTextModel for ActionClip {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        Ok(Box::new(Bound {
            model: self,
            labels: labels.to_vec(),
        }))
    }

    fn trained(&self) -> &nn::VarStore {
        &self.trained
    }

    fn trained_mut(&mut self) -> &mut nn::VarStore {
        &mut self.trained
    }

    /// The head learns ten times as fast as the backbone; everything decays.
    fn group(&self, name: &str) -> ParameterGroup {
        let rate = if name.starts_with(BACKBONE) {
            1.0
        } else {
            HEAD_RATE
        };
        ParameterGroup { rate, decay: true }
    }
}

/// Makes the fine-tuned backbone's leaves part of what is trained.
fn adopt(trained: &nn::VarStore, clip: &Clip) {
    if let Ok(mut variables) = trained.variables_.lock() {
        for (name, leaf) in clip.parameters() {
            let name = format!("{BACKBONE}{name}");
            variables.named_variables.insert(name, leaf.shallow_clone());
        }
    }
}

struct Bound<'m> {
    model: &'m ActionClip,
    labels: Vec<String>,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Softmax for each template, then the mean over the templates; the logits are its
    /// logarithm, so that their softmax is that mean.
    fn score(&self, clips: &Clips) -> Result<Scores> {
        let model = self.model;
        let video = model.video(clips, false)?; // (B, D)
        let direction = unit(&video);
        let mut texts = Vec::with_capacity(model.templates.len());
        let mut probabilities = Vec::with_capacity(model.templates.len());
        for template in &model.templates {
            let text = sentence_features(&model.clip, &*model.tokenizer, template, &self.labels)?;
            let logits = direction.matmul(&unit(&text).tr()) * model.scale(); // (B, K)
            probabilities.push(logits.softmax(-1, Kind::Float));
            texts.push(text);
        }
        let mean = |all: &[Tensor]| Tensor::stack(all, 0).mean_dim(0, false, Kind::Float);
        let text = for_each_video(&mean(&texts), video.size()[0]); // (B, K, D)
        Ok(Scores {
            logits: mean(&probabilities).log(),
            evidence: evidence(&video, &text),
            video,
            text,
        })
    }

    /// The symmetric contrast of the batch's videos with one sentence each, its template drawn
    /// from libtorch's generator.
    fn loss<'a>(&'a self, clips: &Clips, targets: &Targets) -> Result<TrainingLoss<'a>> {
        let model = self.model;
        let classes = targets.as_classes().ok_or_else(|| Error::Config {
            field: "targets",
            expected: "one class a clip".into(),
            got: "a weight for each class".into(),
        })?;
        let video = model.video(clips, true)?; // (B, D)
        if classes.size() != [video.size()[0]] {
            return Err(Error::Shape {
                op: "targets",
                expected: format!("[{}]", video.size()[0]),
                got: classes.size(),
            });
        }
        let ids = self.sentences(classes)?; // (B, context)
        let text = model.clip.text.forward(&ids)?.to_kind(Kind::Float); // (B, D)
        let batch = video.size()[0];
        let evidence = evidence(&video, &for_each_video(&text, batch));
        let scores = Scores::new(
            video,
            for_each_video(&text, batch),
            &model.scale(),
            evidence,
        );
        let truth = same_class(&classes.to_device(scores.logits.device()))?;
        let value = symmetric_kl(&scores.logits, &truth)?;
        let nearest = scores.logits.detach().argmax(1, false);
        let predicted = classes
            .to_device(nearest.device())
            .index_select(0, &nearest);
        Ok(TrainingLoss::new(value, scores, predicted, |loss| {
            Ok(loss.f_backward()?)
        }))
    }
}

/// What the scores were made from; there are no motion cues.
fn evidence(video: &Tensor, text: &Tensor) -> Evidence {
    Evidence {
        video: video.shallow_clone(),
        text: text.shallow_clone(),
        motion: None,
        prompt_residual: None,
    }
}

impl Bound<'_> {
    /// One sentence a clip, each in a template of its own: `[B, context]`.
    fn sentences(&self, classes: &Tensor) -> Result<Tensor> {
        let model = self.model;
        let context = model.clip.config().text.context;
        let count = model.templates.len() as i64;
        let draws = Tensor::randint(count, classes.size(), (Kind::Int64, tch::Device::Cpu));
        let mut rows = Vec::new();
        for position in 0..classes.size1()? {
            let class = classes.int64_value(&[position]);
            let label = usize::try_from(class)
                .ok()
                .and_then(|class| self.labels.get(class));
            let label = label.ok_or(Error::TargetClass {
                most: self.labels.len() as i64 - 1,
                got: class,
            })?;
            let draw = draws.int64_value(&[position]);
            let template = usize::try_from(draw)
                .ok()
                .and_then(|i| model.templates.get(i));
            if let Some(template) = template {
                rows.push(
                    template
                        .sentences(&[label], &*model.tokenizer, context)?
                        .ids,
                );
            }
        }
        Ok(Tensor::f_cat(&rows, 0)?)
    }
}
