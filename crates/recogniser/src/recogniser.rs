//! From a CLIP checkpoint or a trained run to answers.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use clip_backbone::{
    Checkpoint, ClipModel, EncodedFrames, FrameTokens, Preprocess, Tokenizer, Usage,
};
use clips::{Backbone, ClipPixels, Identity, Precision, VideoFiles, to_tensor};
use data::ClassName;
use models::{Classifier, Clips, ModelConfig, Template, VideoTextModel, ZeroShotConfig};
use tch::{Device, Kind, Tensor};

use crate::run_folder::{Trained, load_parameters};
use crate::timeline::{Cut, Timeline, timeline};
use crate::{Answer, Backbones, Belonging, Calibration, Error, Labels, Result, UsedFrame};

/// A model that recognises the action in a video.
pub struct Recogniser {
    model: Box<dyn VideoTextModel>,
    /// The towers, if they are frozen: then the features of frames do not depend on the model.
    frozen: Option<ClipModel>,
    /// The backbone, where it was opened as one.
    backbone: Option<Identity>,
    preprocess: Preprocess,
    device: Device,
    frames: usize,
    /// The features of each frame that the model reads.
    tokens: FrameTokens,
    /// Class names as prompts have them, and as they are printed.
    labels: Vec<String>,
    names: Vec<String>,
    /// Of a run that was cross-validated, with the tower whose features it needs.
    calibration: Option<(Calibration, ClipModel)>,
    notes: Vec<String>,
}

impl Recogniser {
    /// Frozen CLIP with hand-crafted prompts, averaged if several, on `frames` frames per
    /// clip. It has no labels of its own.
    ///
    /// # Errors
    /// Any error of loading the checkpoint.
    pub fn zero_shot(
        checkpoint: &Checkpoint,
        templates: Vec<Template>,
        frames: usize,
        device: Device,
        precision: Precision,
    ) -> Result<Self> {
        let clip = checkpoint.load(Usage::Frozen, device, precision.kind())?;
        let words = Arc::new(checkpoint.tokenizer()?);
        let notes = checkpoint.notes();
        Self::untrained(
            clip,
            words,
            checkpoint.preprocess(),
            notes,
            templates,
            frames,
            device,
        )
    }

    /// As [`zero_shot`](Self::zero_shot), with the towers of a backbone that others use, too.
    ///
    /// # Errors
    /// Any error of loading the weights.
    pub fn zero_shot_on(
        backbone: &Backbone,
        templates: Vec<Template>,
        frames: usize,
    ) -> Result<Self> {
        let Backbone {
            words, preprocess, ..
        } = backbone;
        let (clip, device) = (backbone.clip(Usage::Frozen)?, backbone.device());
        let notes = backbone.notes();
        let made = Self::untrained(
            clip,
            words.clone(),
            preprocess,
            notes,
            templates,
            frames,
            device,
        )?;
        Ok(Self {
            backbone: Some(backbone.identity.clone()),
            ..made
        })
    }

    fn untrained(
        clip: ClipModel,
        words: Arc<Tokenizer>,
        preprocess: &Preprocess,
        notes: &[String],
        templates: Vec<Template>,
        frames: usize,
        device: Device,
    ) -> Result<Self> {
        let config = ModelConfig::Clip(ZeroShotConfig { templates });
        Ok(Self {
            frozen: Some(clip.shallow_clone()),
            model: models::build(&config, clip, words)?,
            backbone: None,
            preprocess: preprocess.clone(),
            device,
            frames,
            tokens: FrameTokens::Class,
            labels: Vec::new(),
            names: Vec::new(),
            calibration: None,
            notes: notes.to_vec(),
        })
    }

    /// The newest checkpoint in `folder`, or the exported run there, and the backbone it was trained on, from its
    /// path in training or from `backbone`, with the `architecture` of the training or the given one for a
    /// backbone that does not state its own, in the given `precision` or that of the training, replaced by
    /// fp32 if the device lacks it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is none, or the backbone is another; any error of loading
    /// the backbone.
    pub fn of_run(
        folder: &Path,
        backbone: Option<&Path>,
        architecture: Option<&str>,
        precision: Option<Precision>,
        device: Device,
    ) -> Result<Self> {
        let mut own = Backbones::default();
        Self::of_run_sharing(&mut own, folder, backbone, architecture, precision, device)
    }

    /// As [`of_run`](Self::of_run), with the towers that another recogniser on the same backbone uses, if
    /// there is one.
    ///
    /// # Errors
    /// Same as [`of_run`](Self::of_run).
    pub fn of_run_sharing(
        backbones: &mut Backbones,
        folder: &Path,
        backbone: Option<&Path>,
        architecture: Option<&str>,
        precision: Option<Precision>,
        device: Device,
    ) -> Result<Self> {
        let Trained {
            path,
            card,
            parameters,
            unfinished,
        } = Trained::read(folder)?;
        // An exported run holds its backbone.
        let place = backbone.map_or_else(|| folder.join(&card.backbone.place), Path::to_path_buf);
        let precision = precision.unwrap_or(card.backbone.precision.on(device));
        let architecture = architecture.or(card.backbone.architecture.as_deref());
        let backbone = backbones.open(&place, architecture, precision, device)?;
        if backbone.identity.sha256 != card.backbone.sha256 {
            let reason = format!(
                "was trained on a backbone with SHA-256 {}; {} has {}",
                card.backbone.sha256,
                place.display(),
                backbone.identity.sha256
            );
            return Err(Error::Checkpoint { path, reason });
        }
        let mut notes = backbone.notes().to_vec();
        notes.extend(unfinished);
        let clip = backbone.clip(card.model.usage())?;
        let frozen = (card.model.usage() == Usage::Frozen).then(|| clip.shallow_clone());
        let calibration = match card.calibration {
            Some(calibration) => Some((calibration, backbone.clip(Usage::Frozen)?)),
            None => None,
        };
        let model = models::build(&card.model, clip, backbone.words.clone())?;
        load_parameters(model.as_ref(), &parameters)?;
        Ok(Self {
            model,
            frozen,
            backbone: Some(backbone.identity.clone()),
            preprocess: backbone.preprocess.clone(),
            device,
            frames: card.frames,
            tokens: card.model.tokens(),
            names: match card.names.len() == card.labels.len() {
                true => card.names,
                false => card.labels.clone(),
            },
            labels: card.labels,
            calibration,
            notes,
        })
    }

    /// Its backbone, unless it is a checkpoint of its own.
    #[must_use]
    pub fn backbone(&self) -> Option<&Identity> {
        self.backbone.as_ref()
    }

    /// Its preprocessing.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// T, frames per clip.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The classes it was trained on; none without training.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.names
    }

    /// Whether its image tower is the checkpoint's, so that frames can be encoded one by one.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The features of clips of one size, computed together: `[B, T, F]`, fp32, not normalised, where F
    /// is D or more ([`FrameTokens`]). `None` if training has changed the image tower: then a clip's
    /// features cannot be taken from it alone.
    ///
    /// # Errors
    /// The clips differ in size, or do not have the model's.
    pub fn features(&self, clips: &[&ClipPixels]) -> Result<Option<Tensor>> {
        let Some(towers) = &self.frozen else {
            return Ok(None);
        };
        let frames = to_tensor(clips.iter().copied(), &self.preprocess, self.device)?;
        Ok(Some(Clips::Pixels(frames).frames(towers, self.tokens)?))
    }

    /// The frames of a clip, from which the features of any clip that has them can be put together.
    /// `None` as for [`features`](Self::features).
    ///
    /// # Errors
    /// The frames do not have the model's size.
    pub fn encode(&self, clip: &ClipPixels) -> Result<Option<EncodedFrames>> {
        let Some(towers) = &self.frozen else {
            return Ok(None);
        };
        let frames = to_tensor([clip], &self.preprocess, self.device)?.f_flatten(0, 1)?;
        let encoded = tch::no_grad(|| towers.vision.encode(&frames, self.tokens));
        Ok(Some(encoded?))
    }

    /// The model with `labels`, or with those it was trained on. A label that is one of the latter
    /// has the prompts that it was trained with.
    ///
    /// # Errors
    /// [`Error::NoLabels`] if it has none either, or a label cannot be encoded.
    pub fn bind(&self, labels: Option<&Labels>) -> Result<Ready<'_>> {
        let names = labels.map_or(self.names.as_slice(), Labels::names);
        if names.is_empty() {
            return Err(Error::NoLabels { from: None });
        }
        let trained = self.names.iter().zip(&self.labels);
        let trained: HashMap<_, _> = trained
            .map(|(name, label)| (ClassName::new(name).key(), label))
            .collect();
        let prompted = |name: &String| {
            let label = trained.get(&ClassName::new(name).key());
            label.map_or_else(|| name.clone(), |label| (*label).clone())
        };
        let prompted: Vec<String> = names.iter().map(prompted).collect();
        let classifier = self.model.bind(&prompted)?;
        let mut notes = self.notes.clone();
        notes.extend_from_slice(classifier.notes());
        let calibrated = same_classes(names, &self.names);
        if self.calibration.is_some() && !calibrated {
            notes.push(
                "these are not the classes of the run: its calibration does not apply, and no video \
                 is said to show none of them"
                    .into(),
            );
        }
        Ok(Ready {
            classifier,
            names: names.to_vec(),
            calibration: self.calibration.as_ref().filter(|_| calibrated),
            recogniser: self,
            notes,
        })
    }
}

/// A recogniser with a set of labels.
pub struct Ready<'a> {
    classifier: Box<dyn Classifier + 'a>,
    names: Vec<String>,
    /// Of the classes that the run was trained on, all of them.
    calibration: Option<&'a (Calibration, ClipModel)>,
    recogniser: &'a Recogniser,
    notes: Vec<String>,
}

impl Ready<'_> {
    /// The classes, as the data set or the caller writes them.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.names
    }

    /// The model.
    #[must_use]
    pub fn recogniser(&self) -> &Recogniser {
        self.recogniser
    }

    /// What a user should know, each a sentence: choices made in opening the checkpoint, a run that
    /// is not finished, labels that are cut.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The probability of each class for one clip: K numbers whose sum is 1. They depend on the
    /// other classes.
    ///
    /// # Errors
    /// The frames do not have the model's size or number, or a feature or score is not finite.
    pub fn probabilities(&self, clip: &ClipPixels) -> Result<Vec<f64>> {
        Ok(self.judge(clip, None)?.probabilities)
    }

    /// The same, calibrated if the run is, and then also whether the clip belongs to a class; from the
    /// clip's row `[1, T, D]` of [`Recogniser::features`], if it was computed.
    ///
    /// # Errors
    /// Same as [`probabilities`](Self::probabilities).
    pub fn judge(&self, clip: &ClipPixels, features: Option<Tensor>) -> Result<Judged> {
        let Recogniser {
            preprocess, device, ..
        } = self.recogniser;
        let clips = match features {
            Some(features) => Clips::Features(features),
            None => Clips::Pixels(to_tensor([clip], preprocess, *device)?),
        };
        let (row, belonging) = match self.calibration {
            None => (self.classifier.probabilities(&[clips])?, None),
            Some((calibration, tower)) => {
                let tokens = self.recogniser.tokens;
                let classifier = self.classifier.as_ref();
                let (row, belonging) = calibration.judge(classifier, &clips, tower, tokens)?;
                (row, belonging.first().copied())
            }
        };
        let row = row.squeeze_dim(0).to_kind(Kind::Double);
        Ok(Judged {
            probabilities: Vec::try_from(row.to_device(Device::Cpu))?,
            belonging,
        })
    }

    /// The `top` best classes of a decoded clip of `video`.
    ///
    /// # Errors
    /// The clip does not fit the model.
    pub fn answer(&self, video: &Path, clip: &ClipPixels, top: usize) -> Result<Answer> {
        self.answer_with(video, clip, None, top)
    }

    /// As [`answer`](Self::answer), with the clip's row `[1, T, D]` of
    /// [`Recogniser::features`], if it was computed.
    ///
    /// # Errors
    /// The clip or its features do not fit the model.
    pub fn answer_with(
        &self,
        video: &Path,
        clip: &ClipPixels,
        features: Option<Tensor>,
        top: usize,
    ) -> Result<Answer> {
        let judged = of_video(video, self.judge(clip, features))?;
        let frames = UsedFrame::of(clip);
        let probabilities = &judged.probabilities;
        Ok(Answer {
            belonging: judged.belonging,
            ..Answer::new(
                video,
                self.labels(),
                probabilities,
                top,
                frames,
                clip.frame_count,
            )
        })
    }

    /// The best classes of each window of `video`, decoded once. `progress` is called with the
    /// number of windows answered and in all.
    ///
    /// # Errors
    /// A video that cannot be decoded, or frames that do not fit the model.
    pub fn timeline(
        &self,
        video: &Path,
        files: &VideoFiles,
        cut: &Cut,
        progress: impl FnMut(usize, usize),
    ) -> Result<Timeline> {
        let geometry = self.recogniser.preprocess.geometry;
        timeline(self, geometry, video, files, cut, progress)
    }
}

/// The scores of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The probability of each class; the sum is 1.
    pub probabilities: Vec<f64>,
    /// Whether the clip belongs to one of the classes, if the run tells.
    pub belonging: Option<Belonging>,
}

/// Whether both name the same classes, in any order.
#[must_use]
pub fn same_classes(some: &[String], others: &[String]) -> bool {
    let keys = |names: &[String]| -> HashSet<String> {
        names
            .iter()
            .map(|name| ClassName::new(name).key())
            .collect()
    };
    keys(some) == keys(others)
}

/// Names the video that the model has no answer for.
pub(crate) fn of_video<T>(video: &Path, answer: Result<T>) -> Result<T> {
    answer.map_err(|error| match error {
        Error::Model(source) => Error::NoAnswer {
            video: video.into(),
            source: source.into(),
        },
        other => other,
    })
}
