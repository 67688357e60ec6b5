//! Frozen CLIP: the mean of the frame features against hand-crafted prompts.

use std::sync::Arc;

use clip_backbone::ClipModel;
use prompts::{Template, Tokenize};
use tch::{Kind, Tensor, nn};

use crate::label_text;
use crate::scores::{for_each_video, unit};
use crate::{
    Classifier, Clips, Error, Evidence, Result, Scores, Targets, TrainingLoss, VideoTextModel,
    ZeroShotConfig,
};

/// Sentences encoded at once.
const SENTENCES: i64 = 256;

/// The paper's "CLIP" rows.
pub struct ZeroShot {
    config: ZeroShotConfig,
    clip: ClipModel,
    tokenizer: Arc<dyn Tokenize>,
    trained: nn::VarStore,
}

impl std::fmt::Debug for ZeroShot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ZeroShot")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ZeroShot {
    /// Frozen CLIP with one hand-crafted prompt.
    pub fn new(config: &ZeroShotConfig, clip: ClipModel, tokenizer: Arc<dyn Tokenize>) -> Self {
        Self {
            config: config.clone(),
            trained: nn::VarStore::new(clip.text.device()),
            clip,
            tokenizer,
        }
    }
}

impl VideoTextModel for ZeroShot {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        let (templates, context) = (&self.config.templates, self.clip.config().text.context);
        let notes = label_text::of_templates(templates, &*self.tokenizer, context, labels)?;
        let text = text_features(&self.clip, &*self.tokenizer, templates, labels)?;
        Ok(Box::new(Bound {
            clip: &self.clip,
            labels: labels.to_vec(),
            notes,
            text,
        }))
    }

    fn trained(&self) -> &nn::VarStore {
        &self.trained
    }

    fn trained_mut(&mut self) -> &mut nn::VarStore {
        &mut self.trained
    }
}

struct Bound<'a> {
    clip: &'a ClipModel,
    labels: Vec<String>,
    notes: Vec<String>,
    /// `[K, D]`
    text: Tensor,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn score(&self, clips: &Clips) -> Result<Scores> {
        let features = clips.features(self.clip)?; // (B, T, D)
        let video = features.mean_dim(1, false, Kind::Float); // (B, D)
        let text = for_each_video(&self.text, video.size()[0]);
        let evidence = Evidence {
            video: video.shallow_clone(),
            text: text.shallow_clone(),
            motion: None,
            prompt_residual: None,
        };
        Ok(Scores::new(
            video,
            text,
            &self.clip.logit_scale().exp(),
            evidence,
        ))
    }

    fn loss<'a>(&'a self, _clips: &Clips, _targets: &Targets) -> Result<TrainingLoss<'a>> {
        Err(Error::Frozen { model: "CLIP" })
    }
}

/// Text features of one hand-crafted prompt, or the mean of several normalised ones, fp32, not
/// normalised: `[K, D]`.
pub(crate) fn text_features(
    clip: &ClipModel,
    tokenizer: &dyn Tokenize,
    templates: &[Template],
    labels: &[String],
) -> Result<Tensor> {
    let of = |template| sentence_features(clip, tokenizer, template, labels);
    match templates {
        [template] => of(template),
        several => {
            let each = several.iter().map(|template| Ok(unit(&of(template)?)));
            let each = each.collect::<Result<Vec<_>>>()?;
            Ok(Tensor::f_stack(&each, 0)?.mean_dim(0, false, Kind::Float))
        }
    }
}

/// Text features of a hand-crafted prompt, fp32, not normalised: `[K, D]`.
pub(crate) fn sentence_features(
    clip: &ClipModel,
    tokenizer: &dyn Tokenize,
    template: &Template,
    labels: &[String],
) -> Result<Tensor> {
    let sentences = template.sentences(labels, tokenizer, clip.config().text.context)?;
    tch::no_grad(|| {
        let pieces = sentences
            .ids
            .split(SENTENCES, 0)
            .iter()
            .map(|ids| Ok(clip.text.forward(ids)?.to_kind(Kind::Float)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&pieces, 0)?)
    })
}
