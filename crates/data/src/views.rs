//! How many looks a test takes at a clip: "4x3" is 4 temporal by 3 spatial views.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Temporal clips times spatial crops; view number `clip * crops + crop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Views {
    clips: usize,
    crops: usize,
}

impl Views {
    /// One look: centre frames, centre crop.
    pub const SINGLE: Self = Self { clips: 1, crops: 1 };

    /// The paper's closed-set tests: four clips, three crops.
    pub const FOUR_BY_THREE: Self = Self { clips: 4, crops: 3 };

    /// `clips` x `crops` views.
    ///
    /// # Errors
    /// One of them is 0 or above 100.
    pub fn new(clips: usize, crops: usize) -> Result<Self> {
        if (1..=100).contains(&clips) && (1..=100).contains(&crops) {
            return Ok(Self { clips, crops });
        }
        Err(refuse(&format!("{clips}x{crops}")))
    }

    /// Temporal views.
    #[must_use]
    pub fn clips(self) -> usize {
        self.clips
    }

    /// Spatial views: 1 is the centre; more lie at equal distances along the long side
    /// from one end to the other, so that 3 are left, centre, right (or top to bottom).
    #[must_use]
    pub fn crops(self) -> usize {
        self.crops
    }

    /// Views in all.
    #[must_use]
    pub fn count(self) -> usize {
        self.clips * self.crops
    }
}

impl fmt::Display for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.clips, self.crops)
    }
}

impl FromStr for Views {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (clips, crops) = text.split_once('x').ok_or_else(|| refuse(text))?;
        match (clips.parse(), crops.parse()) {
            (Ok(clips), Ok(crops)) => Self::new(clips, crops),
            _ => Err(refuse(text)),
        }
    }
}

impl TryFrom<String> for Views {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Views> for String {
    fn from(views: Views) -> Self {
        views.to_string()
    }
}

fn refuse(got: &str) -> Error {
    Error::Option {
        name: "views",
        expected: "clips x crops, each 1 to 100, as in '4x3'".into(),
        got: format!("'{got}'"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::Views;

    #[test]
    fn views_are_written_clips_by_crops() {
        for text in ["1x1", "4x3", "10x3", "2x5"] {
            assert_eq!(text.parse::<Views>().unwrap().to_string(), text);
        }
        let views: Views = "4x3".parse().unwrap();
        assert_eq!((views.clips(), views.crops(), views.count()), (4, 3, 12));
        for text in [
            "", "4", "0x3", "4x0", "x", "4x3x2", "-1x1", "101x1", "4 x 3",
        ] {
            assert!(text.parse::<Views>().is_err(), "{text}");
        }
    }
}
