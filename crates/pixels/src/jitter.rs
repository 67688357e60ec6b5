//! Random changes of brightness, contrast, saturation and hue, in random order.

use serde::{Deserialize, Serialize};

use super::{Picture, blend_contrast, brightness, hue, saturation};
use random::Stream;

/// Colour jitter as torchvision defines it: factors uniform in `1 -+ amount`, a hue rotated
/// by up to `hue` of the circle either way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColourJitter {
    /// Probability that a clip is changed.
    pub probability: f64,
    /// Amount of brightness.
    pub brightness: f64,
    /// Amount of contrast.
    pub contrast: f64,
    /// Amount of saturation.
    pub saturation: f64,
    /// Share of the hue circle, up to 0.5.
    pub hue: f64,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self {
            probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
        }
    }
}

/// The four changes in the order drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JitterDraw(Vec<Change>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Hue(f64),
}

impl ColourJitter {
    pub(super) fn draw(&self, stream: &mut Stream) -> Option<JitterDraw> {
        if !stream.chance(self.probability) {
            return None;
        }
        let mut factor = |amount: f64| stream.between((1.0 - amount).max(0.0), 1.0 + amount) as f32;
        let mut changes = vec![
            Change::Brightness(factor(self.brightness)),
            Change::Contrast(factor(self.contrast)),
            Change::Saturation(factor(self.saturation)),
        ];
        changes.push(Change::Hue(stream.between(-self.hue, self.hue)));
        stream.shuffle(&mut changes);
        Some(JitterDraw(changes))
    }
}

impl JitterDraw {
    pub(super) fn apply(&self, picture: &mut Picture) {
        for change in &self.0 {
            match *change {
                Change::Brightness(factor) => brightness(picture, factor),
                Change::Contrast(factor) => blend_contrast(picture, factor),
                Change::Saturation(factor) => saturation(picture, factor),
                Change::Hue(turn) => hue(picture, turn),
            }
        }
    }
}
