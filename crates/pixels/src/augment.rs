//! The training transform: one draw for all frames of a clip.

use serde::{Deserialize, Serialize};

use super::jitter::JitterDraw;
use super::multi_scale::MultiScaleDraw;
use super::{ColourJitter, Geometry, MultiScale, Picture, RandAugment, RandOp, Resizer, View};
use super::{colour, crop};
use crate::{Error, Result};
use random::Stream;

/// Augmentation of training clips, in this order: multi-scale crop, resize, flip, colour
/// jitter, greyscale, RandAugment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Random crops; if absent, the centre crop, as in evaluation.
    pub multi_scale: Option<MultiScale>,
    /// Probability of mirroring; 0 if direction carries the meaning.
    pub flip: f64,
    /// Colour jitter.
    pub jitter: Option<ColourJitter>,
    /// Probability of greyscale.
    pub grey: f64,
    /// RandAugment.
    pub rand_augment: Option<RandAugment>,
    /// Draws for every frame instead of once per clip.
    pub each_frame: bool,
}

impl Default for Augment {
    /// The paper's: multi-scale crop and flip.
    fn default() -> Self {
        Self {
            multi_scale: Some(MultiScale::default()),
            flip: 0.5,
            jitter: None,
            grey: 0.0,
            rand_augment: None,
            each_frame: false,
        }
    }
}

impl Augment {
    /// Refuses sizes, probabilities and scales out of range.
    ///
    /// # Errors
    /// The first value out of range.
    pub fn check(&self) -> Result<()> {
        let jitter = self.jitter.unwrap_or_default();
        for (name, share, most) in [
            ("flip", self.flip, 1.0),
            ("grey", self.grey, 1.0),
            ("jitter.probability", jitter.probability, 1.0),
            ("jitter.brightness", jitter.brightness, f64::MAX),
            ("jitter.contrast", jitter.contrast, f64::MAX),
            ("jitter.saturation", jitter.saturation, f64::MAX),
            ("jitter.hue", jitter.hue, 0.5),
        ] {
            if !(0.0..=most).contains(&share) {
                return Err(refuse(name, &format!("0 to {most}"), share));
            }
        }
        if let Some(crop) = &self.multi_scale {
            let bad = crop
                .scales
                .iter()
                .find(|scale| !(**scale > 0.0 && **scale <= 1.0));
            if let Some(scale) = bad {
                return Err(refuse("multi_scale.scales", "shares in (0, 1]", scale));
            }
            if crop.scales.is_empty() {
                return Err(refuse("multi_scale.scales", "at least one", "none"));
            }
        }
        self.rand_augment
            .map_or(Ok(()), |augment| augment.check().map(|_| ()))
    }

    /// Every setting, in one line that stays the same from version to version.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let crops = self.multi_scale.as_ref().map(|crop| {
            let places = match crop.positions {
                super::Positions::Five => 5,
                super::Positions::Thirteen => 13,
            };
            format!(", scales {:?} at {places} places", crop.scales)
        });
        let jitter = self.jitter.map(|jitter| {
            let ColourJitter {
                probability,
                brightness,
                contrast,
                saturation,
                hue,
            } = jitter;
            format!(", jitter {probability} {brightness} {contrast} {saturation} {hue}")
        });
        let rand = self.rand_augment;
        let rand = rand.map(|rand| format!(", RandAugment {} {}", rand.ops, rand.magnitude));
        format!(
            "flip {}, grey {}, each frame {}{}{}{}",
            self.flip,
            self.grey,
            self.each_frame,
            crops.unwrap_or_default(),
            jitter.unwrap_or_default(),
            rand.unwrap_or_default()
        )
    }

    /// Draws all random values.
    pub fn draw(&self, stream: &mut Stream) -> Augmentation {
        Augmentation {
            multi_scale: self.multi_scale.as_ref().map(|crop| crop.draw(stream)),
            flip: stream.chance(self.flip),
            jitter: self.jitter.and_then(|jitter| jitter.draw(stream)),
            grey: stream.chance(self.grey),
            ops: self
                .rand_augment
                .map(|augment| augment.draw(stream))
                .unwrap_or_default(),
        }
    }
}

/// One draw of an [`Augment`].
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    multi_scale: Option<MultiScaleDraw>,
    flip: bool,
    jitter: Option<JitterDraw>,
    grey: bool,
    ops: Vec<RandOp>,
}

impl Augmentation {
    /// The frame as the model will see it: S x S, with the filter of `geometry`.
    ///
    /// # Errors
    /// S is 0.
    pub fn apply(
        &self,
        resizer: &mut Resizer,
        picture: &Picture,
        geometry: &Geometry,
    ) -> Result<Picture> {
        let mut picture = match self.multi_scale {
            Some(draw) => draw.apply(resizer, picture, geometry)?,
            None => geometry.view(resizer, picture, View::CENTRE)?,
        };
        if self.flip {
            crop::flip(&mut picture);
        }
        if let Some(jitter) = &self.jitter {
            jitter.apply(&mut picture);
        }
        if self.grey {
            colour::grey(&mut picture);
        }
        for op in &self.ops {
            op.apply(&mut picture);
        }
        Ok(picture)
    }
}

fn refuse(name: &'static str, expected: &str, got: impl ToString) -> Error {
    Error::Option {
        name,
        expected: expected.into(),
        got: got.to_string(),
    }
}
