//! From a clip to the pixels of its views.

mod frames;

use std::path::Path;

use self::frames::Frames;
use crate::clip_source::ClipSource;
use crate::error::{Error, Result};
use crate::manifest::Clip;
use crate::sampler::{Sampling, train_stream};
use crate::transform::{Augment, Resizer, View, append_view};
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
    /// The result depends on the recipe and the clip only; what `resizer` keeps saves time.
    ///
    /// # Errors
    /// [`Error::Clip`]: the clip has no frame, or cannot be decoded or transformed.
    pub fn prepare(
        &self,
        source: &dyn ClipSource,
        clip: &Clip,
        path: &Path,
        resizer: &mut Resizer,
    ) -> Result<Vec<ClipPixels>> {
        let fail = |what: String| Error::Clip {
            id: clip.id.clone(),
            what,
        };
        let mut frames = Frames::new(self, &clip.id, resizer);
        let count = source
            .decode(clip, path, &mut frames)
            .map_err(|error| fail(chain(error.as_ref())))?;
        if count == 0 {
            return Err(fail("has no frame that can be decoded".into()));
        }
        let words = |error: Error| match error {
            Error::Clip { .. } => error,
            other => fail(other.to_string()),
        };
        if let Some(error) = frames.failed.take() {
            return Err(words(error));
        }
        let choices = self.choices(count, &clip.id);
        let views = choices.iter().enumerate().map(|(number, indices)| {
            let place = |index: &usize| {
                let place = frames.indices.iter().position(|taken| taken == index);
                place.ok_or_else(|| fail(format!("frame {index} was not decoded")))
            };
            let places = indices.iter().map(place).collect::<Result<Vec<_>>>()?;
            self.views_of(number, &places, &mut frames, &clip.id)
                .map_err(words)
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

    /// The views of one choice, of the frames at these places: a copy is one, a temporal view
    /// one for each crop.
    fn views_of(
        &self,
        choice: usize,
        places: &[usize],
        frames: &mut Frames<'_>,
        id: &str,
    ) -> Result<Vec<ClipPixels>> {
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
                let mut sides = [0; 2];
                let mut rgb = Vec::new();
                for (number, &place) in places.iter().enumerate() {
                    if augment.each_frame && number > 0 {
                        draw = augment.draw(&mut stream);
                    }
                    let picture = draw.apply(frames.resizer, &frames.pictures[place])?;
                    sides = [picture.width(), picture.height()];
                    rgb.extend_from_slice(picture.rgb());
                    if number == 0 {
                        rgb.reserve_exact((places.len() - 1) * rgb.len());
                    }
                }
                Ok(vec![frames.clip(places, sides, rgb)])
            }
            Self::Test { views, size, .. } if views.crops() == 1 => {
                let all = places.iter().copied().eq(0..frames.indices.len());
                let rgb = if all && views.clips() == 1 {
                    std::mem::take(&mut frames.views)
                } else {
                    let bytes = size * size * 3;
                    let views = places.iter().map(|at| &frames.views[at * bytes..][..bytes]);
                    views.collect::<Vec<_>>().concat()
                };
                Ok(vec![frames.clip(places, [*size; 2], rgb)])
            }
            Self::Test { views, size, .. } => {
                let clips = View::all(*views).map(|which| {
                    let mut rgb = Vec::with_capacity(places.len() * size * size * 3);
                    for &place in places {
                        let picture = &frames.pictures[place];
                        append_view(frames.resizer, picture, *size, which, &mut rgb)?;
                    }
                    Ok(frames.clip(places, [*size; 2], rgb))
                });
                clips.collect()
            }
        }
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
