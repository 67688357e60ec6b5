//! From a clip to the pixels of its views.

mod frames;

use std::path::Path;

use data::sampler::train_stream;
use data::{Sampling, Views};
use pixels::{Augment, Geometry, Resizer, View};

use self::frames::Frames;
use crate::clip_source::ClipSource;
use crate::pixels::ClipPixels;
use crate::{Error, Result};

/// How the views of each clip are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Random frames, random transform.
    Train {
        /// The frames taken.
        sampling: Sampling,
        /// The backbone's geometry.
        geometry: Geometry,
        /// The random transform.
        augment: Augment,
        /// The run's seed.
        seed: u64,
        /// The epoch of the first copy.
        epoch: u64,
        /// Views per clip: those of the epochs `epoch..epoch + copies`. Training uses 1;
        /// stored features hold more.
        copies: usize,
    },
    /// Fixed frames, fixed crops.
    Test {
        /// The frames taken.
        sampling: Sampling,
        /// The backbone's geometry.
        geometry: Geometry,
        /// Temporal and spatial views.
        views: Views,
        /// Seeds the frames of temporal views beyond one.
        seed: u64,
    },
}

impl Recipe {
    /// Views per clip.
    #[must_use]
    pub fn views(&self) -> usize {
        match self {
            Self::Train { copies, .. } => *copies,
            Self::Test { views, .. } => views.count(),
        }
    }

    /// The frames taken.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        match self {
            Self::Train { sampling, .. } | Self::Test { sampling, .. } => *sampling,
        }
    }

    /// The backbone's geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        match self {
            Self::Train { geometry, .. } | Self::Test { geometry, .. } => geometry,
        }
    }

    /// Everything that determines the pixels, except the geometry, in one line that is stable
    /// across versions.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let sampling = match self.sampling() {
            Sampling::Segments { frames } => format!("{frames} segments"),
            Sampling::Dense { frames, stride } => format!("{frames} frames, stride {stride}"),
        };
        match self {
            Self::Train {
                augment,
                seed,
                epoch,
                copies,
                ..
            } => format!(
                "train, {sampling}, seed {seed}, epoch {epoch}, copies {copies}, {}",
                augment.fingerprint()
            ),
            Self::Test { views, seed, .. } => {
                format!("test, {sampling}, views {views}, seed {seed}")
            }
        }
    }

    /// Refuses invalid settings.
    ///
    /// # Errors
    /// No frames, no pixels, no copies, or a transform out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |name| Error::Option {
            name,
            expected: "at least 1".into(),
            got: "0".into(),
        };
        self.sampling().check()?;
        if self.geometry().size == 0 {
            return Err(fail("size"));
        }
        if let Self::Train {
            augment, copies, ..
        } = self
        {
            augment.check()?;
            if *copies == 0 {
                return Err(fail("copies"));
            }
        }
        Ok(())
    }

    /// Decodes the frames that all views together need, once, and makes the views of the clip `id`
    /// in the file `path`, with `frames` decodable frames if that is known.
    ///
    /// The result depends on the recipe and the clip only; `resizer` is reused to save time.
    ///
    /// # Errors
    /// [`Error::Source`] if the clip cannot be decoded, [`Error::Clip`] if it has no frame or
    /// one that cannot be transformed.
    pub fn prepare(
        &self,
        source: &dyn ClipSource,
        id: &str,
        path: &Path,
        frames: Option<usize>,
        resizer: &mut Resizer,
    ) -> Result<Vec<ClipPixels>> {
        let fail = |reason: String| Error::Clip {
            id: id.into(),
            reason,
        };
        let mut taken = Frames::new(self, id, resizer);
        let count = source
            .decode(path, frames, &mut taken)
            .map_err(Error::Source)?;
        if count == 0 {
            return Err(fail("has no frame that can be decoded".into()));
        }
        if let Some(error) = taken.failed.take() {
            return Err(fail(error.to_string()));
        }
        let choices = self.choices(count, id);
        let views = choices.iter().enumerate().map(|(number, indices)| {
            let place = |index: &usize| {
                let place = taken.indices.iter().position(|taken| taken == index);
                place.ok_or_else(|| fail(format!("frame {index} was not decoded")))
            };
            let places = indices.iter().map(place).collect::<Result<Vec<_>>>()?;
            let made = self.views_of(number, &places, &mut taken, id);
            made.map_err(|error| fail(error.to_string()))
        });
        Ok(views.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Frame indices of each temporal view or copy.
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
                    let mut stream = train_stream(*seed, epoch.wrapping_add(copy), id);
                    sampling.random(count, &mut stream)
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

    /// The views of one choice of frames, at these places: a copy is one view, a temporal view
    /// one per crop.
    fn views_of(
        &self,
        choice: usize,
        places: &[usize],
        frames: &mut Frames<'_>,
        id: &str,
    ) -> ::pixels::Result<Vec<ClipPixels>> {
        let geometry = self.geometry();
        match self {
            Self::Train {
                augment,
                seed,
                epoch,
                ..
            } => {
                let epoch = epoch.wrapping_add(choice as u64);
                // Frames and transform are drawn from separate streams, so that
                // another number of frames leaves the transform unchanged.
                let mut stream = train_stream(*seed, epoch, &format!("{id} transform"));
                let mut draw = augment.draw(&mut stream);
                let mut rgb = Vec::with_capacity(places.len() * geometry.size.pow(2) * 3);
                for (number, &place) in places.iter().enumerate() {
                    if augment.each_frame && number > 0 {
                        draw = augment.draw(&mut stream);
                    }
                    let picture = draw.apply(frames.resizer, &frames.pictures[place], geometry)?;
                    rgb.extend_from_slice(picture.rgb());
                }
                Ok(vec![frames.clip(places, geometry.size, rgb)])
            }
            Self::Test { views, .. } => {
                let all = places.iter().copied().eq(0..frames.indices.len());
                let bytes = geometry.size.pow(2) * 3;
                let crops = 0..views.crops();
                let clips = crops.map(|crop| {
                    let rgb = if all && views.clips() == 1 {
                        std::mem::take(&mut frames.views[crop])
                    } else {
                        let view = &frames.views[crop];
                        let parts = places.iter().map(|at| &view[at * bytes..][..bytes]);
                        parts.collect::<Vec<_>>().concat()
                    };
                    frames.clip(places, geometry.size, rgb)
                });
                Ok(clips.collect())
            }
        }
    }

    /// The crops of a test, in order; none in training.
    fn crops(&self) -> Vec<View> {
        match self {
            Self::Train { .. } => Vec::new(),
            Self::Test { views, .. } => View::all(views.crops()).collect(),
        }
    }
}
