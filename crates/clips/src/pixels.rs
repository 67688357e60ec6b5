//! The pixels of a clip's views, and the input tensor of the image tower.

use clip_backbone::Preprocess;
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// One view of a clip, 8-bit RGB.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipPixels {
    /// T.
    pub frames: usize,
    /// S, the side of a frame.
    pub size: usize,
    /// `T * S * S * 3` bytes in this order: frame, row, column, channel.
    pub rgb: Vec<u8>,
    /// Index of each frame in the file.
    pub indices: Vec<usize>,
    /// Time of each frame in seconds.
    pub times: Vec<f64>,
    /// Decodable frames of the file.
    pub frame_count: usize,
}

/// Views of equal size as a normalised batch, `[B, T, 3, S, S]`; empty for none.
///
/// # Errors
/// [`Error::Option`] if they differ in size, and any error of `preprocess` or libtorch.
pub fn to_tensor<'a>(
    views: impl IntoIterator<Item = &'a ClipPixels>,
    preprocess: &Preprocess,
    device: Device,
) -> Result<Tensor> {
    let views: Vec<&ClipPixels> = views.into_iter().collect();
    let Some(first) = views.first() else {
        return Ok(Tensor::zeros([0], (Kind::Float, device)));
    };
    let shape = |view: &ClipPixels| [view.frames, view.size];
    if let Some(other) = views.iter().find(|view| shape(view) != shape(first)) {
        return Err(Error::Option {
            name: "views of one batch",
            expected: format!("{:?}", shape(first)),
            got: format!("{:?}", shape(other)),
        });
    }
    let [frames, size] = shape(first).map(|size| size as i64);
    let count = views.len() as i64;
    let shape = [count * frames, size, size, 3];
    let joined;
    let rgb: &[u8] = match &views[..] {
        [only] => &only.rgb,
        several => {
            let parts: Vec<&[u8]> = several.iter().map(|view| view.rgb.as_slice()).collect();
            joined = parts.concat();
            &joined
        }
    };
    let bytes = Tensor::f_from_data_size(rgb, &shape, Kind::Uint8)?;
    let normal = preprocess.normalise(&bytes.to_device(device))?; // (B T, 3, S, S)
    Ok(normal.f_view([count, frames, 3, size, size])?)
}
