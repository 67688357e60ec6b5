//! Videos decoded for a model: whole clips, one or several ahead of use.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clip_backbone::pixels::{Geometry, Resizer};
use clips::check_videos::truncation;
use clips::{Ahead, ClipError, ClipPixels, ClipSource, Emit, ReadAhead, Recipe, VideoFiles};
use data::{Sampling, Views};
use video::{FrameSink, Video};

use crate::{Error, Result};

/// A decoded video.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedVideo {
    /// The frames that the model takes.
    pub clip: ClipPixels,
    /// Which stream was decoded, if the file has several videos, and whether it is cut off.
    pub note: Option<String>,
}

/// Decodes `videos` ahead, on one thread per processor, and yields them in
/// order: T = `frames` segment centres of each. No more clips than threads are held.
///
/// # Errors
/// A thread cannot be started.
pub fn decode_ahead(
    videos: Vec<PathBuf>,
    files: &VideoFiles,
    frames: usize,
    geometry: Geometry,
) -> Result<impl Iterator<Item = (PathBuf, Result<DecodedVideo>)> + use<>> {
    let workers = Ahead::default().workers.min(videos.len()).max(1);
    let jobs = workers;
    let mut stream = ReadAhead::new(Ahead { workers, jobs }, || {
        let files = files.clone();
        let mut resizer = Resizer::new();
        move |path: PathBuf, emit: &mut Emit<'_, DecodedVideo>| {
            let open = || files.open(&path);
            let _ = emit(prepare(&path, open, frames, geometry, &mut resizer)?);
            Ok(())
        }
    })?;
    videos.iter().for_each(|path| stream.push(path.clone()));
    let answers = stream.filter_map(move |(job, clip)| {
        let path = videos.get(job)?.clone();
        Some((path, clip.map_err(Error::from)))
    });
    Ok(answers)
}

/// Decodes the video that `open` opens and errors call `name`: T = `frames` segment centres of it.
///
/// # Errors
/// The video cannot be decoded.
pub fn decode_clip(
    name: &Path,
    open: impl Fn() -> Result<Video, video::Error> + Send + Sync,
    frames: usize,
    geometry: Geometry,
) -> Result<DecodedVideo> {
    Ok(prepare(name, open, frames, geometry, &mut Resizer::new())?)
}

fn prepare(
    name: &Path,
    open: impl Fn() -> Result<Video, video::Error> + Send + Sync,
    frames: usize,
    geometry: Geometry,
    resizer: &mut Resizer,
) -> clips::Result<DecodedVideo> {
    let recipe = Recipe::Test {
        sampling: Sampling::Segments { frames },
        geometry,
        views: Views::SINGLE,
        seed: 0,
    };
    recipe.check()?;
    let source = Noting {
        open,
        note: Mutex::default(),
    };
    let id = name.to_string_lossy();
    let mut clips = recipe.prepare(&source, &id, name, None, resizer)?;
    let note = source.note.into_inner().unwrap_or_default();
    // The recipe has a single view.
    let clip = clips.swap_remove(0);
    Ok(DecodedVideo { clip, note })
}

/// A video, with a note of the one decoded last: the stream chosen, or that it is cut off.
struct Noting<O> {
    open: O,
    note: Mutex<Option<String>>,
}

impl<O: Fn() -> Result<Video, video::Error> + Send + Sync> ClipSource for Noting<O> {
    fn decode(
        &self,
        _: &Path,
        _: Option<usize>,
        sink: &mut dyn FrameSink,
    ) -> std::result::Result<usize, ClipError> {
        let mut video = (self.open)()?;
        let (choice, stated) = (video.header().choice(), video.header().frames);
        let frames = video.show(sink)?.frames;
        let notes: Vec<String> = choice
            .into_iter()
            .chain(truncation(frames, stated))
            .collect();
        if let Ok(mut note) = self.note.lock() {
            *note = (!notes.is_empty()).then(|| notes.join("; "));
        }
        Ok(frames)
    }
}
