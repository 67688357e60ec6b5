//! A published head as a model.

use std::cell::RefCell;
use std::sync::Arc;

use clip_backbone::ClipModel;
use prompts::Tokenize;
use tch::{Tensor, nn};

use super::{HeadConfig, Scorer, Shots};
use crate::examples::folds;
use crate::scores::{for_each_video, unit};
use crate::zero_shot::text_features;
use crate::{
    Classifier, Clips, Error, Evidence, Examples, Learning, Result, Scores, Targets, TrainingLoss,
    VideoTextModel, WarmStart, label_text,
};

/// A published head, solved over all training clips.
///
/// Its weights belong to the classes it was fitted to, so it scores only those.
pub struct Head {
    config: HeadConfig,
    clip: ClipModel,
    tokenizer: Arc<dyn Tokenize>,
    /// No parameter is trained by gradient steps.
    trained: nn::VarStore,
    fitted: RefCell<Option<Fitted>>,
}

#[derive(Debug)]
struct Fitted {
    labels: Vec<String>,
    /// `[K, D]`
    text: Tensor,
    scorer: Scorer,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Head")
            .field("config", &self.config)
            .field("fitted", &self.fitted)
            .finish_non_exhaustive()
    }
}

impl Head {
    /// A head that is not fitted yet.
    pub fn new(config: &HeadConfig, clip: ClipModel, tokenizer: Arc<dyn Tokenize>) -> Self {
        Self {
            config: config.clone(),
            trained: nn::VarStore::new(clip.text.device()),
            clip,
            tokenizer,
            fitted: RefCell::default(),
        }
    }
}

impl VideoTextModel for Head {
    fn bind<'a>(&'a self, labels: &[String]) -> Result<Box<dyn Classifier + 'a>> {
        let fitted = self.fitted.borrow();
        let refuse = |got: &str| Error::Config {
            field: "labels",
            expected: "the labels that the head was fitted to".into(),
            got: got.into(),
        };
        let fitted = fitted.as_ref().ok_or_else(|| refuse("set before a fit"))?;
        if fitted.labels != labels {
            return Err(refuse(&labels.join(", ")));
        }
        let context = self.clip.config().text.context;
        let templates = &self.config.templates;
        Ok(Box::new(Bound {
            clip: &self.clip,
            notes: label_text::of_templates(templates, &*self.tokenizer, context, labels)?,
            labels: labels.to_vec(),
            text: fitted.text.shallow_clone(),
            scorer: fitted.scorer.shallow_clone(),
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

    /// Fits the head to the first view of each clip; its hyper-parameters are chosen on them, and logged.
    ///
    /// # Errors
    /// [`Error::NoClips`] for a label without clips.
    fn solve(&self, labels: &[String], examples: &Examples<'_>) -> Result<Option<WarmStart>> {
        examples.check()?;
        let Examples {
            classes,
            recordings,
            ..
        } = *examples;
        let missing = (0i64..)
            .zip(labels)
            .find(|(class, _)| !classes.contains(class));
        if let Some((_, label)) = missing {
            return Err(Error::NoClips {
                label: label.clone(),
            });
        }
        let text = text_features(&self.clip, &*self.tokenizer, &self.config.templates, labels)?;
        let scale = self.clip.logit_scale().exp().double_value(&[]);
        let means = examples.first_views(&examples.clips.means(&self.clip)?)?;
        let shots = Shots::new(&means, classes, &text, scale)?;
        let folds = folds(classes, recordings);
        let solve = || tch::no_grad(|| self.config.method.solve(&shots, folds.as_deref()));
        let choice = parallel::whole(text.device(), solve)?;
        tracing::info!(
            method = ?self.config.method,
            setting = choice.setting,
            held_out_loss = choice.held_out_loss,
            "head fitted"
        );
        *self.fitted.borrow_mut() = Some(Fitted {
            labels: labels.to_vec(),
            text,
            scorer: choice.scorer,
        });
        Ok(None)
    }
}

struct Bound<'a> {
    clip: &'a ClipModel,
    labels: Vec<String>,
    notes: Vec<String>,
    text: Tensor,
    scorer: Scorer,
}

impl Classifier for Bound<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn score(&self, clips: &Clips) -> Result<Scores> {
        let video = clips.means(self.clip)?; // (B, D)
        let text = for_each_video(&self.text, video.size()[0]); // (B, K, D)
        Ok(Scores {
            logits: self.scorer.logits(&unit(&video)),
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
            model: "a solved head",
        })
    }
}
