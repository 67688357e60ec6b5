//! The frames of a clip, reduced to what its views need.

use std::collections::BTreeSet;

use pixels::{Picture, Resizer, Rows, View};
use video::FrameSink;

use super::Recipe;
use crate::pixels::ClipPixels;

/// Takes the frames of a clip, and converts each as the recipe needs while it is available.
pub(super) struct Frames<'a> {
    recipe: &'a Recipe,
    id: &'a str,
    pub(super) resizer: &'a mut Resizer,
    crops: Vec<View>,
    /// Decodable frames.
    count: usize,
    /// In ascending order, as all that follows.
    pub(super) indices: Vec<usize>,
    times: Vec<f64>,
    /// For testing: the pixels of every frame, for each crop.
    pub(super) views: Vec<Vec<u8>>,
    /// For training: whole frames.
    pub(super) pictures: Vec<Picture>,
    pub(super) failed: Option<::pixels::Error>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(recipe: &'a Recipe, id: &'a str, resizer: &'a mut Resizer) -> Self {
        Self {
            recipe,
            id,
            resizer,
            crops: recipe.crops(),
            count: 0,
            indices: Vec::new(),
            times: Vec::new(),
            views: Vec::new(),
            pictures: Vec::new(),
            failed: None,
        }
    }

    /// A clip of the frames at these places, and their pixels.
    pub(super) fn clip(&self, places: &[usize], size: usize, rgb: Vec<u8>) -> ClipPixels {
        ClipPixels {
            frames: places.len(),
            size,
            rgb,
            indices: places.iter().map(|&place| self.indices[place]).collect(),
            times: places.iter().map(|&place| self.times[place]).collect(),
            frame_count: self.count,
        }
    }

    fn keep(&mut self, picture: &mut dyn Rows) -> ::pixels::Result<()> {
        if self.crops.is_empty() {
            self.pictures.push(Picture::from_rows(&mut *picture)?);
        }
        for (crop, view) in self.crops.iter().zip(&mut self.views) {
            let geometry = self.recipe.geometry();
            geometry.append_view(self.resizer, &mut *picture, *crop, view)?;
        }
        Ok(())
    }
}

/// Pixels of a view for which room is made at once.
const MOST_PIXELS: usize = 1 << 28;

impl FrameSink for Frames<'_> {
    fn choose(&mut self, count: usize) -> Vec<usize> {
        self.count = count;
        self.indices.clear();
        self.times.clear();
        self.pictures.clear();
        self.failed = None;
        let choices = self.recipe.choices(count, self.id);
        let wanted: BTreeSet<usize> = choices.into_iter().flatten().collect();
        let size = self.recipe.geometry().size;
        let pixels = wanted.len().saturating_mul(size.saturating_mul(size));
        let view = || {
            let mut view = Vec::new();
            // Before decoding takes memory in pieces. A size too large is refused later.
            if pixels < MOST_PIXELS {
                let _ = view.try_reserve_exact(3 * pixels);
            }
            view
        };
        self.views = self.crops.iter().map(|_| view()).collect();
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
