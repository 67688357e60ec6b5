//! Film strips: a clip as a row of thumbnails.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use data::Sampling;
use pixels::{Filter, Geometry, Picture, Resizer};
use video::{Frame, Limits, Video};

/// Frames per strip.
const FRAMES: usize = 6;
/// Short side of a thumbnail in pixels.
const SIDE: usize = 72;
const JPEG_QUALITY: u8 = 70;

/// Paths of a run's videos.
#[derive(Debug, Default)]
pub struct FilmStrips {
    paths: HashMap<String, PathBuf>,
}

impl FilmStrips {
    /// Clips by id.
    #[must_use]
    pub fn new(paths: HashMap<String, PathBuf>) -> Self {
        Self { paths }
    }

    /// The strip of a clip as data URLs, left to right; none if it cannot be made, since a
    /// report must not fail because of a missing video.
    pub(super) fn pictures(&self, id: &str) -> Option<Vec<String>> {
        strip(self.paths.get(id)?)
    }
}

fn strip(path: &Path) -> Option<Vec<String>> {
    let sampling = Sampling::Segments { frames: FRAMES };
    let mut video = Video::open(path, &Limits::default()).ok()?;
    let sample = video.sample(|count| sampling.centre(count)).ok()?;
    let mut resizer = Resizer::new();
    sample
        .frames
        .into_iter()
        .map(|frame| jpeg(&mut resizer, frame))
        .collect()
}

fn jpeg(resizer: &mut Resizer, frame: Frame) -> Option<String> {
    let picture = Picture::new(frame.width, frame.height, frame.rgb).ok()?;
    let sides = Geometry::openai(SIDE).resized(picture.width(), picture.height());
    let small = resizer.resize(&picture, sides, Filter::Bicubic).ok()?;
    let [width, height] = sides;
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY)
        .encode(small.rgb(), width, height, jpeg_encoder::ColorType::Rgb)
        .ok()?;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Some(format!("data:image/jpeg;base64,{text}"))
}
