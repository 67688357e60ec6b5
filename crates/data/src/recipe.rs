//! From a clip to the pixels of its views.

use std::collections::BTreeSet;
use std::path::Path;

use crate::clip_source::ClipSource;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::manifest::Clip;
use crate::sampler::{Sampling, train_stream};
use crate::transform::{Augment, Picture, Resizer, View, append_view, short_side};
use crate::views::Views;

/// What is made of each clip of a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Random frames, random transform.
    Train {
        /// Which frames.
        sampling: Sampling,
        /// What is done to them.
        augment: Augment,
        /// The run's seed.
        seed: u64,
        /// The epoch of the first copy.
        epoch: u64,
        /// Views a clip: those of the epochs `epoch..epoch + copies`. Training takes 1;
        /// kept features hold more.
        copies: usize,
    },
    /// Fixed frames, fixed crops.
    Test {
        /// Which frames.
        sampling: Sampling,
        /// How many looks.
        views: Views,
        /// Side of a view in pixels.
        size: usize,
        /// Seeds the frames of temporal views beyond one.
        seed: u64,
    },
}

/// One view of a clip, 8-bit RGB.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipPixels {
    /// T.
    pub frames: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// `T * H * W * 3` bytes in this order: frame, row, column, channel.
    pub rgb: Vec<u8>,
    /// Index of each frame in the file.
    pub indices: Vec<usize>,
    /// Time of each frame in seconds.
    pub times: Vec<f64>,
}

impl Recipe {
    /// Views of a clip.
    #[must_use]
    pub fn views(&self) -> usize {
        match self {
            Self::Train { copies, .. } => *copies,
            Self::Test { views, .. } => views.count(),
        }
    }

    /// Refuses settings that make no picture.
    ///
    /// # Errors
    /// No frames, no copies, or a transform out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |name| Error::Option {
            name,
            expected: "at least 1".into(),
            got: "0".into(),
        };
        match self {
            Self::Train {
                sampling,
                augment,
                copies,
                ..
            } => {
                sampling.check()?;
                augment.check()?;
                if *copies == 0 {
                    Err(fail("copies"))
                } else {
                    Ok(())
                }
            }
            Self::Test { sampling, size, .. } => {
                sampling.check()?;
                if *size == 0 {
                    Err(fail("size"))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Decodes the frames that all views together need, once, and makes the views.
    ///
    /// The result depends on the recipe and the clip only.
    ///
    /// # Errors
    /// [`Error::Clip`]: the clip has no frame, or cannot be decoded or transformed.
    pub fn prepare(
        &self,
        source: &dyn ClipSource,
        clip: &Clip,
        path: &Path,
    ) -> Result<Vec<ClipPixels>> {
        let fail = |what: String| Error::Clip {
            id: clip.id.clone(),
            what,
        };
        let choose = |count| {
            let choices = self.choices(count, &clip.id);
            let wanted: BTreeSet<usize> = choices.into_iter().flatten().collect();
            wanted.into_iter().collect()
        };
        let decoded = source
            .decode(clip, path, &choose)
            .map_err(|error| fail(chain(error.as_ref())))?;
        let choices = self.choices(decoded.count, &clip.id);
        if decoded.count == 0 {
            return Err(fail("has no frame that can be decoded".into()));
        }
        let stills = decoded.frames.into_iter().map(Still::new);
        let frames: Vec<Still> = stills
            .collect::<Result<_>>()
            .map_err(|error| fail(error.to_string()))?;
        let views = choices.iter().enumerate().map(|(number, indices)| {
            let chosen = indices
                .iter()
                .map(|index| {
                    frames
                        .iter()
                        .find(|frame| frame.index == *index)
                        .ok_or_else(|| fail(format!("frame {index} was not decoded")))
                })
                .collect::<Result<Vec<_>>>()?;
            self.transform(number, &chosen, &clip.id)
                .map_err(|error| match error {
                    Error::Clip { .. } => error,
                    other => fail(other.to_string()),
                })
        });
        Ok(views
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Frame indices, once for each temporal view or copy.
    fn choices(&self, count: usize, id: &str) -> Vec<Vec<usize>> {
        match self {
            Self::Train {
                sampling,
                seed,
                epoch,
                copies,
                ..
            } => (0..*copies as u64)
                .map(|copy| {
                    sampling.random(
                        count,
                        &mut train_stream(*seed, epoch.wrapping_add(copy), id),
                    )
                })
                .collect(),
            Self::Test {
                sampling,
                views,
                seed,
                ..
            } => sampling.test(count, views.clips(), *seed, id),
        }
    }

    /// The views of one choice: a copy is one, a temporal view one for each crop.
    fn transform(&self, choice: usize, frames: &[&Still], id: &str) -> Result<Vec<ClipPixels>> {
        let resizer = &mut Resizer::new();
        match self {
            Self::Train {
                augment,
                seed,
                epoch,
                ..
            } => {
                let epoch = epoch.wrapping_add(choice as u64);
                // Frames and transform are drawn from streams of their own, so that
                // another number of frames leaves the transform as it is.
                let mut stream = train_stream(*seed, epoch, &format!("{id} transform"));
                let mut draw = augment.draw(&mut stream);
                let clip = stack(frames, |place, frame, rgb| {
                    if augment.each_frame && place > 0 {
                        draw = augment.draw(&mut stream);
                    }
                    let picture = draw.apply(resizer, &frame.picture)?;
                    rgb.extend_from_slice(picture.rgb());
                    Ok((picture.width(), picture.height()))
                });
                Ok(vec![clip?])
            }
            Self::Test { views, size, .. } => {
                if views.crops() == 1 {
                    let which = View { place: 0, of: 1 };
                    let clip = stack(frames, |_, frame, rgb| {
                        append_view(resizer, &frame.picture, *size, which, rgb)?;
                        Ok((*size, *size))
                    });
                    return Ok(vec![clip?]);
                }
                // Resized once for all crops: a view of a picture whose short side fits
                // is a crop.
                let resized = frames.iter().map(|frame| {
                    let picture = &frame.picture;
                    let (w, h) = short_side(picture.width(), picture.height(), *size);
                    resizer.resize(picture, w, h)
                });
                let resized = resized.collect::<Result<Vec<_>>>()?;
                View::all(*views)
                    .map(|which| {
                        stack(frames, |place, _, rgb| {
                            append_view(resizer, &resized[place], *size, which, rgb)?;
                            Ok((*size, *size))
                        })
                    })
                    .collect()
            }
        }
    }
}

/// A decoded frame as a picture.
struct Still {
    index: usize,
    time: f64,
    picture: Picture,
}

impl Still {
    fn new(frame: Frame) -> Result<Self> {
        Ok(Self {
            index: frame.index,
            time: frame.time,
            picture: Picture::new(frame.width, frame.height, frame.rgb)?,
        })
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What `append` makes of each of `frames`, one behind the other; it answers with the width and
/// height.
fn stack(
    frames: &[&Still],
    mut append: impl FnMut(usize, &Still, &mut Vec<u8>) -> Result<(usize, usize)>,
) -> Result<ClipPixels> {
    let (mut width, mut height) = (0, 0);
    let mut rgb = Vec::new();
    for (place, frame) in frames.iter().enumerate() {
        (width, height) = append(place, frame, &mut rgb)?;
        if place == 0 {
            rgb.reserve_exact((frames.len() - 1) * rgb.len());
        }
    }
    Ok(ClipPixels {
        frames: frames.len(),
        height,
        width,
        rgb,
        indices: frames.iter().map(|frame| frame.index).collect(),
        times: frames.iter().map(|frame| frame.time).collect(),
    })
}
