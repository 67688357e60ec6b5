//! Videos decoded and cropped ahead of the model, in order, within a bounded window.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use clip_backbone::Preprocess;
use data::decode::{Limits, Video};
use data::sampler::Sampling;

use super::{PredictError, UsedFrame};

/// The sampled frames of one video as the backbone wants them, before normalisation.
#[derive(Debug)]
pub struct Clip {
    /// T x S x S x 3 bytes.
    pub rgb: Vec<u8>,
    /// S, the side of a frame in pixels.
    pub side: i64,
    /// Which frames they are.
    pub frames: Vec<UsedFrame>,
    /// Frames in the file.
    pub frame_count: usize,
}

/// A video that a thread is decoding.
type Running = (PathBuf, JoinHandle<Result<Clip, PredictError>>);

/// Decodes `videos` on as many threads as there are processors, from now on, and yields them in
/// order.
///
/// T = `frames` segment centres are taken from each. No more clips than threads are held.
pub fn decode_ahead(
    videos: Vec<PathBuf>,
    frames: usize,
    preprocess: &Preprocess,
) -> impl Iterator<Item = (PathBuf, Result<Clip, PredictError>)> + use<> {
    let window = std::thread::available_parallelism().map_or(1, usize::from);
    let preprocess = Arc::new(preprocess.clone());
    let mut waiting = videos.into_iter();
    let mut start = move || {
        let path = waiting.next()?;
        let (file, preprocess) = (path.clone(), Arc::clone(&preprocess));
        let job = std::thread::spawn(move || decode(&file, frames, &preprocess));
        Some((path, job))
    };
    let mut running: VecDeque<Running> = std::iter::from_fn(&mut start).take(window).collect();
    std::iter::from_fn(move || {
        if running.len() < window {
            running.extend(start());
        }
        let (path, job) = running.pop_front()?;
        let clip = job
            .join()
            .unwrap_or_else(|_| Err(PredictError::Decoder(path.clone())));
        Some((path, clip))
    })
}

fn decode(path: &Path, frames: usize, preprocess: &Preprocess) -> Result<Clip, PredictError> {
    let sampling = Sampling::Segments { frames };
    let sample = Video::open(path, &Limits::default())?.sample(|count| sampling.centre(count))?;
    let mut rgb = Vec::new();
    let mut used = Vec::new();
    for frame in &sample.frames {
        let (width, height) = (side(frame.width), side(frame.height));
        rgb.extend(preprocess.crop(&frame.rgb, width, height)?);
        used.push(UsedFrame {
            index: frame.index,
            time: frame.time,
        });
    }
    Ok(Clip {
        rgb,
        side: preprocess.size,
        frames: used,
        frame_count: sample.count.frames,
    })
}

/// A side of a decoded picture; the decoder's limits keep it far below the bound.
pub(super) fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).unwrap_or(u32::MAX)
}
