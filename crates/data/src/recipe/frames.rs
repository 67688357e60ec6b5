//! What is kept of the frames of a clip: no more than its views need.

use std::collections::BTreeSet;

use super::{ClipPixels, Recipe};
use crate::clip_source::FrameSink;
use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::transform::{Picture, Resizer, View, append_view, short_side};

/// Takes the frames of a clip, and makes of each what a recipe needs while it is at hand.
pub(super) struct Frames<'a> {
    recipe: &'a Recipe,
    id: &'a str,
    pub(super) resizer: &'a mut Resizer,
    /// In rising order, and with them all that follows.
    pub(super) indices: Vec<usize>,
    times: Vec<f64>,
    /// Of a test with one crop the pixels of that, otherwise `pictures`.
    pub(super) views: Vec<u8>,
    /// Whole frames, or for several crops resized ones.
    pub(super) pictures: Vec<Picture>,
    pub(super) failed: Option<Error>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(recipe: &'a Recipe, id: &'a str, resizer: &'a mut Resizer) -> Self {
        Self {
            recipe,
            id,
            resizer,
            indices: Vec::new(),
            times: Vec::new(),
            views: Vec::new(),
            pictures: Vec::new(),
            failed: None,
        }
    }

    /// A clip of the frames at these places, and their pixels.
    pub(super) fn clip(
        &self,
        places: &[usize],
        [width, height]: [usize; 2],
        rgb: Vec<u8>,
    ) -> ClipPixels {
        ClipPixels {
            frames: places.len(),
            height,
            width,
            rgb,
            indices: places.iter().map(|&place| self.indices[place]).collect(),
            times: places.iter().map(|&place| self.times[place]).collect(),
        }
    }

    fn keep(&mut self, picture: &mut dyn Rows) -> Result<()> {
        match self.recipe {
            Recipe::Train { .. } => self.pictures.push(Picture::from_rows(picture)?),
            Recipe::Test { views, size, .. } if views.crops() == 1 => {
                let which = View { place: 0, of: 1 };
                append_view(self.resizer, picture, *size, which, &mut self.views)?;
            }
            // Resized once for all crops: a view of a picture whose short side fits is a crop.
            Recipe::Test { size, .. } => {
                let (width, height) = short_side(picture.width(), picture.height(), *size);
                let picture = self.resizer.resize(picture, width, height)?;
                self.pictures.push(picture);
            }
        }
        Ok(())
    }
}

impl FrameSink for Frames<'_> {
    fn choose(&mut self, count: usize) -> Vec<usize> {
        self.indices.clear();
        self.times.clear();
        self.views.clear();
        self.pictures.clear();
        self.failed = None;
        let choices = self.recipe.choices(count, self.id);
        let wanted: BTreeSet<usize> = choices.into_iter().flatten().collect();
        if let Recipe::Test { views, size, .. } = self.recipe
            && views.crops() == 1
        {
            // Before decoding takes memory in pieces. A size too large is refused later.
            let pixels = wanted.len().saturating_mul(size.saturating_mul(*size));
            let _ = self.views.try_reserve_exact(pixels.saturating_mul(3));
        }
        wanted.into_iter().collect()
    }

    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows) {
        if self.failed.is_none() {
            self.failed = self.keep(picture).err();
            self.indices.push(index);
            self.times.push(time);
        }
    }
}
