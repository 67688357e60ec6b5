//! Durations as they are written.

use std::str::FromStr;

use crate::{Error, Result};

/// A positive duration.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Span(f64);

impl Span {
    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::Span(text.to_owned());
        // The longer unit first: it ends with the shorter one.
        let (number, unit) = [("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
            .into_iter()
            .find_map(|(name, seconds)| Some((text.strip_suffix(name)?, seconds)))
            .ok_or_else(refused)?;
        let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let seconds = number.parse::<f64>().map_err(|_| refused())? * unit;
        if !plain || !seconds.is_finite() || seconds < 1e-3 {
            return Err(refused());
        }
        Ok(Self(seconds))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, seconds) in [("2s", 2.0), ("500ms", 0.5), ("1.5m", 90.0), ("0.25s", 0.25)] {
            assert_eq!(text.parse::<Span>().unwrap().seconds(), seconds, "{text}");
        }
        for text in [
            "", "2", "s", "ms", "-1s", "0s", "nans", "infs", "1e3s", "2 s", "2h", "+2s", "0.1ms",
            "1.2.3s",
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("2s, 500ms"), "{text}: {error}");
        }
    }
}
