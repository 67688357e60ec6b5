//! Frozen CLIP as a recogniser: the mean of the frame features against the labels' texts.

use std::path::Path;

use clip_backbone::{Checkpoint, Preprocess, Usage, VisionTower};
use tch::{Device, Kind, Tensor};

use super::{Answer, Clip, Labels, PredictError, Templates};

/// Frozen CLIP with the texts of its labels encoded once.
#[derive(Debug)]
pub struct ZeroShot {
    vision: VisionTower,
    preprocess: Preprocess,
    labels: Labels,
    /// `[K, D]`, unit length.
    text: Tensor,
    /// The factor on cosines.
    scale: f64,
}

impl ZeroShot {
    /// Loads `checkpoint` (a folder, a file or a hub id) and encodes the labels: a label's text
    /// feature is the mean of its templates' unit features.
    ///
    /// # Errors
    /// Whatever keeps the checkpoint from loading.
    pub fn open(
        checkpoint: &str,
        labels: Labels,
        templates: &Templates,
        device: Device,
        kind: Kind,
    ) -> Result<Self, clip_backbone::Error> {
        let _guard = tch::no_grad_guard();
        let checkpoint = Checkpoint::open(checkpoint)?;
        let tokenizer = checkpoint.tokenizer()?;
        let clip = checkpoint.load(Usage::Frozen, device, kind)?;
        let sentences: Vec<String> = labels
            .names()
            .iter()
            .flat_map(|label| templates.fill(label))
            .collect();
        let ids = tokenizer.encode_batch(&sentences);
        let features = unit(&clip.text.forward(&ids)?.to_kind(Kind::Float)); // (K * templates, D)
        let (k, templates) = (labels.names().len() as i64, templates.count() as i64);
        let mean = features
            .view([k, templates, -1])
            .mean_dim(1, false, Kind::Float);
        let scale = clip.logit_scale().exp().double_value(&[]);
        Ok(Self {
            vision: clip.vision,
            preprocess: checkpoint.preprocess().clone(),
            labels,
            text: unit(&mean),
            scale,
        })
    }

    /// How frames are resized, cropped and normalised for this backbone.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Scores one clip: softmax over the labels of cosine times the logit scale.
    ///
    /// # Errors
    /// [`clip_backbone::Error`] where the frames have another size than the backbone's.
    pub fn answer(&self, video: &Path, clip: &Clip, top: usize) -> Result<Answer, PredictError> {
        let _guard = tch::no_grad_guard();
        let (t, side) = (clip.frames.len() as i64, clip.side);
        let pixels = Tensor::from_slice(&clip.rgb).view([t, side, side, 3]);
        let frames = self.vision.forward(&self.preprocess.normalise(&pixels)?)?; // (T, D)
        let video_feature = unit(&frames.to_kind(Kind::Float).mean_dim(0, false, Kind::Float));
        let cosines = self.text.mv(&video_feature); // (K)
        let probabilities = (cosines * self.scale).softmax(0, Kind::Double);
        let probabilities: Vec<f64> = (0..self.labels.names().len())
            .map(|i| probabilities.double_value(&[i as i64]))
            .collect();
        Ok(Answer::new(
            video,
            self.labels.names(),
            &probabilities,
            top,
            clip.frames.clone(),
            clip.frame_count,
        ))
    }
}

fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true)
}
