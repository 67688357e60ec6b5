//! What can name the action in a clip.

use std::path::Path;

use clip_backbone::Preprocess;
use tch::{Kind, Tensor};

use super::{Answer, Clip};
use crate::Result;

/// A model made ready for a set of labels.
pub trait Recognise {
    /// The classes.
    fn labels(&self) -> &[String];

    /// The probability of each class for one clip: frames `[T, 3, S, S]`, normalised, to K
    /// numbers that add up to 1. They depend on which other classes are asked for.
    ///
    /// # Errors
    /// Where the frames have another size or number than the model's.
    fn probabilities(&self, frames: &Tensor) -> Result<Vec<f64>>;
}

/// What `model` says of a decoded clip: its `top` best classes.
///
/// # Errors
/// Where the clip does not fit the model.
pub fn answer(
    model: &dyn Recognise,
    preprocess: &Preprocess,
    video: &Path,
    clip: &Clip,
    top: usize,
) -> Result<Answer> {
    let probabilities = probabilities(model, preprocess, clip)?;
    Ok(Answer::new(
        video,
        model.labels(),
        &probabilities,
        top,
        clip.frames.clone(),
        clip.frame_count,
    ))
}

/// The probability of each of `model`'s classes for a decoded clip.
pub(super) fn probabilities(
    model: &dyn Recognise,
    preprocess: &Preprocess,
    clip: &Clip,
) -> Result<Vec<f64>> {
    let _guard = tch::no_grad_guard();
    let (t, side) = (clip.frames.len() as i64, clip.side);
    let pixels = Tensor::f_from_data_size(&clip.rgb, &[t, side, side, 3], Kind::Uint8)?;
    model.probabilities(&preprocess.normalise(&pixels)?)
}
