//! Stored features of some clips under one recipe, read from their mapped files.

use std::collections::{BTreeMap, HashMap};

use tch::Tensor;

use crate::feature_cache::FeatureReader;
use crate::{Error, Result};

/// Stored features of some clips under one recipe. Only the features being read are in
/// memory.
pub struct FeatureSet {
    reader: FeatureReader,
    /// The row in the stored subset of each position of the data set.
    places: HashMap<usize, usize>,
}

impl FeatureSet {
    /// The features in `reader` of the clips at `positions`, in its order.
    #[must_use]
    pub fn new(reader: FeatureReader, positions: &[usize]) -> Self {
        let places = positions.iter().enumerate();
        Self {
            places: places.map(|(place, at)| (*at, place)).collect(),
            reader,
        }
    }

    /// V, views per clip.
    #[must_use]
    pub fn views(&self) -> usize {
        self.reader.layout().views
    }

    /// Whether the clip at a position of the data set has features; one that cannot be
    /// decoded has none.
    #[must_use]
    pub fn has(&self, position: usize) -> bool {
        self.places
            .get(&position)
            .is_some_and(|place| self.reader.has(*place))
    }

    /// Clips without features: the position in the data set, and the reason.
    #[must_use]
    pub fn skipped(&self) -> BTreeMap<usize, String> {
        let skipped = self.reader.skipped();
        let named = |(at, place): (&usize, &usize)| Some((*at, skipped.get(place)?.clone()));
        self.places.iter().filter_map(named).collect()
    }

    /// One view, `[T, D]` in fp32, into `out`.
    ///
    /// # Errors
    /// The clip or view does not exist, or `out` has another length.
    pub fn copy_view(&self, position: usize, view: usize, out: &mut [f32]) -> Result<()> {
        let place = self.places.get(&position).ok_or_else(|| Error::Option {
            name: "clip",
            expected: "one whose features were computed".into(),
            got: position.to_string(),
        })?;
        self.reader.copy_view(*place, view, out)
    }

    /// All views of the clips at `positions`: `[N, V, T, D]` in fp32.
    ///
    /// # Errors
    /// A clip has no features.
    pub fn read(&self, positions: &[usize]) -> Result<Tensor> {
        let views = self.views();
        let all = |&position: &usize| (0..views).map(move |view| (self, position, view));
        let rows: Vec<_> = positions.iter().flat_map(all).collect();
        let [count, frames, width] = [positions.len(), self.frames(), self.width()];
        let size = [count, views, frames, width].map(|size| size as i64);
        Ok(Self::gather(&rows)?.f_view(size)?)
    }

    /// Views of clips, each from a given set: `[B, T, D]` in fp32. The sets have the same T
    /// and D.
    ///
    /// # Errors
    /// There are no views, a clip has no features, or the sets differ in shape.
    pub fn gather(rows: &[(&Self, usize, usize)]) -> Result<Tensor> {
        let Some((first, ..)) = rows.first() else {
            return Err(Error::Option {
                name: "clips",
                expected: "at least 1".into(),
                got: "0".into(),
            });
        };
        let [frames, width] = [first.frames(), first.width()];
        let mut values = vec![0f32; rows.len() * frames * width];
        let slots = values.chunks_exact_mut(frames * width);
        for ((set, position, view), slot) in rows.iter().zip(slots) {
            set.copy_view(*position, *view, slot)?;
        }
        let size = [rows.len(), frames, width].map(|size| size as i64);
        Ok(Tensor::from_slice(&values).f_view(size)?)
    }

    fn frames(&self) -> usize {
        self.reader.layout().frames
    }

    fn width(&self) -> usize {
        self.reader.layout().width
    }
}
