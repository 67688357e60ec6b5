//! Frozen CLIP as a recogniser: the mean of the frame features against the labels' texts.

use clip_backbone::{Checkpoint, Usage, VisionTower};
use tch::{Device, Kind, Tensor};

use super::{Labels, Recognise, Templates};
use crate::Result;

/// Frozen CLIP with the texts of its labels encoded once.
#[derive(Debug)]
pub struct ZeroShot {
    vision: VisionTower,
    labels: Labels,
    /// `[K, D]`, unit length.
    text: Tensor,
    /// The factor on cosines.
    scale: f64,
}

impl ZeroShot {
    /// Loads `checkpoint` and encodes the labels: a label's text feature is the mean of its
    /// templates' unit features.
    ///
    /// # Errors
    /// Whatever keeps the checkpoint from loading.
    pub fn load(
        checkpoint: &Checkpoint,
        labels: Labels,
        templates: &Templates,
        device: Device,
        kind: Kind,
    ) -> Result<Self> {
        let _guard = tch::no_grad_guard();
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
            labels,
            text: unit(&mean),
            scale,
        })
    }
}

impl Recognise for ZeroShot {
    fn labels(&self) -> &[String] {
        self.labels.names()
    }

    /// softmax over the labels of cosine times the logit scale.
    fn probabilities(&self, frames: &Tensor) -> Result<Vec<f64>> {
        let frames = self.vision.forward(frames)?; // (T, D)
        let video = unit(&frames.to_kind(Kind::Float).mean_dim(0, false, Kind::Float));
        let cosines = self.text.mv(&video); // (K)
        let probabilities = (cosines * self.scale).softmax(0, Kind::Double);
        Ok(Vec::try_from(probabilities.to_device(Device::Cpu))?)
    }
}

fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true)
}
