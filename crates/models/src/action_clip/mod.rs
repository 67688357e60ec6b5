//! ActionCLIP: all of CLIP fine-tuned on videos, with a temporal head over its frame features.

mod config;
mod embedding;
mod gradients;
mod heads;
mod joint;
mod loss;
mod official;
mod shift;
mod templates;

pub use config::{ActionClipConfig, VisualPrompt};
pub use heads::{Head, TemporalHead};
pub use joint::TemporalEmbedding;
pub use loss::{same_class, symmetric_kl};
pub use official::Official;
pub use shift::TemporalShift;
pub use templates::TEMPLATES;

use std::cell::RefCell;
use std::sync::{Arc, PoisonError};

use clip_backbone::{BlockHook, ClipModel, NoHook};
use prompts::{Template, Tokenize};
use tch::{Kind, Tensor, nn};

use crate::label_text;
use crate::scores::{for_each_video, unit};
use crate::zero_shot::sentence_features;
use crate::{
    Classifier, Clips, Error, Evidence, Lanes, Learned, Mates, ParameterGroup, Piece, Result,
    Scores, Targets, TrainingLoss, VideoTextModel,
};
use embedding::pull;
use gradients::Gradients;

/// Prefix of the backbone's parameters among the trained ones.
const BACKBONE: &str = "clip.";
/// The end of the temperature's name.
const LOGIT_SCALE: &str = "logit_scale";
/// Learning rate of the head as a multiple of the backbone's.
const HEAD_RATE: f64 = 10.0;
/// Parts of the names of parameters without weight decay.
const STILL: [&str; 9] = [
    "norm",
    "ln_",
    "bias",
    "position",
    "pos_embed",
    "class_embedding",
    "cls_token",
    "temporal_embedding",
    "logit_scale",
];

/// ActionCLIP: CLIP, a temporal head, and a contrastive loss with several positives.
pub struct ActionClip {
    config: ActionClipConfig,
    clip: ClipModel,
    tokenizer: Arc<dyn Tokenize>,
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
    /// A model on `clip`, loaded for fine-tuning if the backbone is to be trained; on a frozen one
    /// only the head is trained.
    ///
    /// # Errors
    /// [`Error::Config`] for a head that cannot be combined with the other visual prompt, or a size
    /// out of range.
    pub fn new(
        config: &ActionClipConfig,
        clip: ClipModel,
        tokenizer: Arc<dyn Tokenize>,
    ) -> Result<Self> {
        config.check()?;
        let trained = nn::VarStore::new(clip.text.device());
        let root = trained.root();
        let width = clip.config().joint_width;
        // Joint attention has merged the frames before the head sees them.
        let tokens = if config.visual_prompt == VisualPrompt::PreNetwork {
            1
        } else {
            config.frames
        };
        let head = TemporalHead::new(&root, config.head, tokens, width)?;
        let joint = match config.visual_prompt {
            VisualPrompt::PreNetwork => {
                let vision = clip.vision.config();
                Some(TemporalEmbedding::new(&root, config.frames, vision.width)?)
            }
            VisualPrompt::None | VisualPrompt::InNetwork => None,
        };
        clip.freeze(config.frozen)?;
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

    /// Its configuration.
    pub fn config(&self) -> &ActionClipConfig {
        &self.config
    }

    /// Video features `[B, D]`, not normalised.
    ///
    /// # Errors
    /// [`Error::Shape`] if the clips are not a batch of T frames, or are features while the
    /// model acts inside the network.
    pub fn video(&self, clips: &Clips, train: bool) -> Result<Tensor> {
        let frames = self.frames(clips)?;
        self.head.forward(&frames.to_kind(Kind::Float), train)
    }

    /// Frame features `[B, T, D]`, or `[B, 1, D]` with joint attention.
    fn frames(&self, clips: &Clips) -> Result<Tensor> {
        match clips {
            Clips::Features(_) if self.config.visual_prompt != VisualPrompt::None => {
                Err(Error::Config {
                    field: "visual_prompt",
                    expected: "none, for frame features already computed".into(),
                    got: self.config.visual_prompt.to_string(),
                })
            }
            Clips::Features(_) => clips.features(&self.clip),
            Clips::Pixels(pixels) => {
                let tokens = self.tokens(pixels)?;
                let vision = &self.clip.vision;
                let features = vision.forward_tokens(tokens, &mut *self.hook());
                Ok(self.by_clip(&features, pixels))
            }
        }
    }

    /// `[N, D]` to `[B, T, D]`, or `[B, 1, D]` with joint attention.
    fn by_clip(&self, features: &Tensor, pixels: &Tensor) -> Tensor {
        features.view([pixels.size()[0], -1, self.clip.config().joint_width])
    }

    /// The operation before each block of the image tower.
    fn hook(&self) -> Box<dyn BlockHook> {
        match self.config.visual_prompt {
            VisualPrompt::InNetwork => Box::new(TemporalShift {
                frames: self.config.frames,
            }),
            VisualPrompt::None | VisualPrompt::PreNetwork => Box::new(NoHook),
        }
    }

    /// Frames `[B, T, 3, S, S]` to the input of the first block: `[B T, 1 + P, width]`, or
    /// `[B, 1 + T P, width]` with joint attention.
    fn tokens(&self, pixels: &Tensor) -> Result<Tensor> {
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
        let tokens = vision.embed(&pixels.flatten(0, 1))?; // (B T, 1 + P, W)
        match &self.joint {
            Some(joint) => joint.forward(&tokens),
            None => Ok(tokens),
        }
    }

    /// exp of the learned logit scale.
    fn scale(&self) -> Tensor {
        self.clip.logit_scale().exp()
    }
}

impl VideoTextModel for ActionClip {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        let context = self.clip.config().text.context;
        let (templates, tokenizer) = (&self.templates, &*self.tokenizer);
        Ok(Box::new(Bound {
            model: self,
            labels: labels.to_vec(),
            notes: label_text::of_templates(templates, tokenizer, context, labels)?,
            texts: RefCell::default(),
        }))
    }

    fn trained(&self) -> &nn::VarStore {
        &self.trained
    }

    fn trained_mut(&mut self) -> &mut nn::VarStore {
        &mut self.trained
    }

    /// New parameters have ten times the backbone's learning rate. Norms, biases, positions and
    /// the temperature have no weight decay.
    fn group(&self, name: &str) -> ParameterGroup {
        let new = !name.starts_with(BACKBONE);
        let still = STILL.iter().any(|word| name.contains(word));
        ParameterGroup {
            rate: if new { HEAD_RATE } else { 1.0 },
            decay: !still,
        }
    }
}

/// Adds the fine-tuned backbone's leaves to the trained parameters, except the frozen ones.
fn adopt(trained: &nn::VarStore, clip: &ClipModel) {
    // A panic elsewhere while the lock was held leaves the map valid.
    let variables = trained.variables_.lock();
    let mut variables = variables.unwrap_or_else(PoisonError::into_inner);
    for (name, leaf) in clip.parameters() {
        if leaf.requires_grad() {
            let name = format!("{BACKBONE}{name}");
            variables.named_variables.insert(name, leaf.shallow_clone());
        }
    }
}

struct Bound<'m> {
    model: &'m ActionClip,
    labels: Vec<String>,
    notes: Vec<String>,
    /// Features of every label in each template, `[K, D]`, for scoring; outdated after a step.
    texts: RefCell<Vec<Tensor>>,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Softmax for each template, then the mean over the templates; the logits are its
    /// logarithm, so that their softmax is that mean.
    fn score(&self, clips: &Clips) -> Result<Scores> {
        let model = self.model;
        let video = parallel::whole(clips.device(), || model.video(clips, false))?; // (B, D)
        let direction = unit(&video);
        let mut texts = self.texts.borrow_mut();
        if texts.is_empty() {
            *texts = self.encode_labels()?;
        }
        let probabilities: Vec<Tensor> = texts
            .iter()
            .map(|text| {
                let logits = direction.matmul(&unit(text).tr()) * model.scale(); // (B, K)
                logits.softmax(-1, Kind::Float)
            })
            .collect();
        let mean = |all: &[Tensor]| Tensor::stack(all, 0).mean_dim(0, false, Kind::Float);
        let text = for_each_video(&mean(&texts), video.size()[0]); // (B, K, D)
        Ok(Scores {
            logits: mean(&probabilities).log(),
            evidence: evidence(&video, &text),
            video,
            text,
        })
    }

    /// The symmetric contrastive loss of the batch's videos with one sentence each, its template
    /// drawn from libtorch's generator.
    fn loss<'a>(&'a self, clips: &Clips, targets: &Targets) -> Result<TrainingLoss<'a>> {
        self.texts.borrow_mut().clear();
        let classes = one_class_each(targets, clips.count())?;
        let sentences = self.sentences(&classes)?; // (B, context)
        let embedded = self.model.embed(clips, &sentences)?;
        let Contrast {
            value,
            scores,
            predicted,
        } = self
            .model
            .contrast(&embedded.video, &embedded.text, &classes, targets.shown())?;
        let held = embedded.held;
        Ok(TrainingLoss::new(value, scores, predicted, |loss| {
            loss.f_backward()?;
            held.map_or(Ok(()), |held| held.backward(|_| Ok(())))
        }))
    }

    /// A single lane is learned as [`learn`](Classifier::learn) does. Of several, every process embeds
    /// its own clips, computes the contrast of the whole batch over all embeddings, and has the complete
    /// gradient of its own among them: none comes back from another process.
    fn learn_lanes(&self, lanes: Lanes, mates: &dyn Mates) -> Result<Learned> {
        let device = self.model.clip.vision.device();
        parallel::whole(device, || match lanes.count {
            1 => {
                let pieces = lanes.own.into_iter().flat_map(|lane| lane.pieces);
                self.learn(&pieces.collect::<Vec<_>>())
            }
            _ => self.contrast_lanes(&lanes, mates),
        })
    }

    /// The contrast spans the whole batch (Gao et al., 2021, "GradCache"): every piece
    /// is embedded, the loss is taken over all embeddings, and each piece is embedded again to
    /// propagate its embeddings' gradients. A head with dropout drops the same units in both
    /// passes, but other units than it would in one piece.
    fn learn(&self, pieces: &[Piece]) -> Result<Learned> {
        let model = self.model;
        let counts: Vec<i64> = pieces.iter().map(|piece| piece.clips.count()).collect();
        if let [only] = pieces {
            let computed = self.loss(&only.clips, &only.targets)?;
            let (loss, predicted) = (
                computed.value.detach().to_kind(Kind::Double),
                computed.predicted.shallow_clone(),
            );
            computed.backward(1.0)?;
            return Ok(Learned { loss, predicted });
        }
        self.texts.borrow_mut().clear();
        let classes = pieces
            .iter()
            .zip(&counts)
            .map(|(piece, count)| one_class_each(&piece.targets, *count))
            .collect::<Result<Vec<_>>>()?;
        let classes = Tensor::f_cat(&classes, 0)?; // (B)
        let shown: Vec<&Tensor> = pieces.iter().filter_map(|p| p.targets.shown()).collect();
        let shown = match shown.len() == pieces.len() {
            true => Some(Tensor::f_cat(&shown, 0)?), // (B, K)
            false => None,
        };
        let sentences = self.sentences(&classes)?; // (B, context)
        let of_piece = sentences.f_split_with_sizes(&counts, 0)?;
        let options = (Kind::Int64, tch::Device::Cpu);
        let seed = Tensor::randint(i64::MAX, [1], options).int64_value(&[0]);
        let embed = |(place, (piece, sentences)): (usize, (&Piece, &Tensor))| {
            tch::manual_seed(seed.wrapping_add(place as i64));
            model.embed(&piece.clips, sentences)
        };
        let (mut videos, mut texts) = (Vec::new(), Vec::new());
        for piece in pieces.iter().zip(&of_piece).enumerate() {
            let embedded = embed(piece)?;
            videos.push(embedded.video.detach());
            texts.push(embedded.text.detach());
        }
        let videos = Tensor::f_cat(&videos, 0)?.set_requires_grad(true); // (B, D)
        let texts = Tensor::f_cat(&texts, 0)?.set_requires_grad(true); // (B, D)
        let contrast = model.contrast(&videos, &texts, &classes, shown.as_ref())?;
        contrast.value.f_backward()?;

        let of_videos = videos.grad().f_split_with_sizes(&counts, 0)?;
        let of_texts = texts.grad().f_split_with_sizes(&counts, 0)?;
        let gradients = of_videos.iter().zip(&of_texts);
        for (piece, (video, text)) in pieces.iter().zip(&of_piece).enumerate().zip(gradients) {
            let embedded = embed(piece)?;
            pull(&[(&embedded.video, video), (&embedded.text, text)])?;
            if let Some(held) = embedded.held {
                held.backward(|_| Ok(()))?;
            }
        }
        Ok(Learned {
            loss: contrast.value.detach().to_kind(Kind::Double),
            predicted: contrast.predicted,
        })
    }
}

/// A batch's loss with its inputs.
struct Contrast {
    value: Tensor,
    scores: Scores,
    predicted: Tensor,
}

impl ActionClip {
    /// The loss of embedded videos and sentences, each `[B, D]`. The sentences are of
    /// `classes` `[B]`; a clip's positives are those of its own class, or of all the classes
    /// that are `shown` `[B, K]`.
    fn contrast(
        &self,
        video: &Tensor,
        text: &Tensor,
        classes: &Tensor,
        shown: Option<&Tensor>,
    ) -> Result<Contrast> {
        let batch = video.size()[0];
        let scores = Scores::of_shared_text(
            video.shallow_clone(),
            text,
            &self.scale(),
            evidence(video, &for_each_video(text, batch)),
        );
        let classes = classes.to_device(scores.logits.device());
        let truth = match shown {
            Some(shown) => shown.to_device(classes.device()).index_select(1, &classes),
            None => same_class(&classes)?,
        };
        let value = symmetric_kl(&scores.logits, &truth)?;
        let nearest = scores.logits.detach().argmax(1, false);
        Ok(Contrast {
            value,
            scores,
            predicted: classes.index_select(0, &nearest),
        })
    }
}

/// A micro-batch of this process.
struct OwnPiece<'a> {
    clips: &'a Clips,
    /// `[B, context]`
    sentences: Tensor,
    seed: i64,
    /// Whether its graph is kept until the gradient comes back; else it is embedded again.
    keeps: bool,
}

/// The class of each of `count` clips: `[B]`.
fn one_class_each(targets: &Targets, count: i64) -> Result<Tensor> {
    let classes = targets.as_classes().ok_or_else(|| Error::Config {
        field: "targets",
        expected: "one class per clip".into(),
        got: "a weight for each class".into(),
    })?;
    if classes.size() != [count] {
        return Err(Error::Shape {
            op: "targets",
            expected: format!("[{count}]"),
            got: classes.size(),
        });
    }
    Ok(classes.shallow_clone())
}

/// The intermediate results; there are no motion cues.
fn evidence(video: &Tensor, text: &Tensor) -> Evidence {
    Evidence {
        video: video.shallow_clone(),
        text: text.shallow_clone(),
        motion: None,
        prompt_residual: None,
    }
}

impl Bound<'_> {
    fn contrast_lanes(&self, lanes: &Lanes, mates: &dyn Mates) -> Result<Learned> {
        let model = self.model;
        self.texts.borrow_mut().clear();
        let classes = one_class_each(&lanes.targets, lanes.targets.count())?; // (B)
        let sentences = self.sentences(&classes)?; // (B, context)
        let mut start = lanes.start;
        let mut own = Vec::new();
        for lane in &lanes.own {
            for (place, piece) in lane.pieces.iter().enumerate() {
                let sentences = sentences.f_narrow(0, start, piece.clips.count())?;
                start += piece.clips.count();
                own.push(OwnPiece {
                    clips: &piece.clips,
                    sentences,
                    seed: lane.seed.unwrap_or(0).wrapping_add(place as i64),
                    // The graph of a lane in one piece is kept.
                    keeps: lane.pieces.len() == 1,
                });
            }
        }
        let embed = |piece: &OwnPiece<'_>| {
            tch::manual_seed(piece.seed);
            model.embed(piece.clips, &piece.sentences)
        };
        let width = model.clip.config().joint_width;
        let none = Tensor::zeros([0, 2 * width], (Kind::Float, model.clip.vision.device()));
        let (mut rows, mut kept) = (vec![none], Vec::new());
        for piece in &own {
            let embedded = embed(piece)?;
            let both = [embedded.video.detach(), embedded.text.detach()];
            rows.push(Tensor::f_cat(&both, 1)?);
            kept.push(piece.keeps.then_some(embedded));
        }
        let rows = mates.gather(Tensor::f_cat(&rows, 0)?)?; // (B, 2 D)
        let leaf = |start| -> Result<Tensor> {
            let half = rows.f_narrow(1, start, width)?.f_contiguous()?;
            Ok(half.set_requires_grad(true))
        };
        let (videos, texts) = (leaf(0)?, leaf(width)?); // (B, D) each
        let contrast = model.contrast(&videos, &texts, &classes, lanes.targets.shown())?;
        contrast.value.f_backward()?;

        let mut gradients = Gradients::new(model, mates);
        let mut start = lanes.start;
        let mut pieces = own.iter().zip(kept);
        for (place, lane) in lanes.own.iter().enumerate() {
            let is_last_lane = place + 1 == lanes.own.len();
            for (place, (piece, kept)) in pieces.by_ref().take(lane.pieces.len()).enumerate() {
                let count = piece.clips.count();
                let embedded = match kept {
                    Some(embedded) => embedded,
                    None => embed(piece)?,
                };
                let video = videos.grad().f_narrow(0, start, count)?;
                let text = texts.grad().f_narrow(0, start, count)?;
                start += count;
                pull(&[(&embedded.video, &video), (&embedded.text, &text)])?;
                let Some(held) = embedded.held else {
                    continue;
                };
                // Nothing follows that adds to a gradient.
                if is_last_lane && place + 1 == lane.pieces.len() {
                    gradients.passed_head(lane.number)?;
                    held.backward(|block| gradients.passed_block(lane.number, block))?;
                } else {
                    held.backward(|_| Ok(()))?;
                }
            }
            if !is_last_lane {
                gradients.keep(lane.number);
            }
        }
        gradients.finish(lanes.own.last().map(|lane| lane.number))?;
        Ok(Learned {
            loss: contrast.value.detach().to_kind(Kind::Double),
            predicted: contrast.predicted,
        })
    }

    /// Every label in each template: `[K, D]` per template.
    fn encode_labels(&self) -> Result<Vec<Tensor>> {
        let model = self.model;
        model
            .templates
            .iter()
            .map(|template| {
                sentence_features(&model.clip, &*model.tokenizer, template, &self.labels)
            })
            .collect()
    }

    /// One sentence per clip, each with a template drawn for it: `[B, context]`.
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
