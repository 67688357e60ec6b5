//! Filter weights along one side.

use std::ops::Range;

/// Bits of a weight without its sign.
const BITS: u32 = 15;
/// The most fraction bits: sums have room for a byte and two bits more.
const MOST_PRECISION: u32 = 32 - 8 - 2;
/// The filter's support on either side, in pixels of the smaller picture.
const SUPPORT: f64 = 2.0;

/// Fixed-point weights of the bicubic filter for every pixel of a side, as
/// `fast_image_resize` rounds them.
pub(super) struct Weights {
    /// The start of each pixel's window, and how much of `window` it uses.
    starts: Vec<(usize, usize)>,
    taps: Vec<i16>,
    /// Slots for the weights of each pixel.
    window: usize,
    /// Fraction bits.
    pub(super) precision: u32,
}

impl Weights {
    /// For `to` pixels out of the part from `begin` to `end` of a side of `from`.
    pub(super) fn new(from: usize, [begin, end]: [f64; 2], to: usize) -> Self {
        let scale = (end - begin) / to as f64;
        let shrink = scale.max(1.0);
        let radius = SUPPORT * shrink;
        let window = radius.ceil() as usize * 2 + 1;
        let mut starts = Vec::with_capacity(to);
        let mut weights = Vec::with_capacity(to * window);
        for pixel in 0..to {
            let centre = begin + (pixel as f64 + 0.5) * scale;
            let first = (centre - radius).floor().max(0.0) as usize;
            let last = (centre + radius).ceil().min(from as f64) as usize;
            let weight = |x: usize| bicubic((x as f64 - (centre - 0.5)) * (1.0 / shrink));
            let nothing = (first..last).take_while(|&x| weight(x) == 0.0).count();
            let begins = weights.len();
            weights.extend((first + nothing..last).map(weight));
            let sum: f64 = weights[begins..].iter().sum();
            let used = weights[begins..].iter().rposition(|&w| w != 0.0);
            starts.push((first + nothing, used.map_or(0, |last| last + 1)));
            if sum != 0.0 {
                weights[begins..].iter_mut().for_each(|w| *w /= sum);
            }
            weights.resize(begins + window, 0.0);
        }
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let fits = |bits: u32| ((largest * f64::from(1u32 << bits)).round() as u32) < 1 << BITS;
        let precision = (0..MOST_PRECISION - 1)
            .find(|&precision| !fits(precision + 1))
            .unwrap_or(MOST_PRECISION - 1);
        let one = f64::from(1u32 << precision);
        Self {
            starts,
            taps: weights.iter().map(|w| (w * one).round() as i16).collect(),
            window,
            precision,
        }
    }

    /// All source pixels that contribute to any output pixel.
    pub(super) fn reach(&self) -> Range<usize> {
        let starts = self.starts.iter().map(|(start, _)| *start);
        let ends = self.starts.iter().map(|(start, used)| start + used);
        starts.min().unwrap_or(0)..ends.max().unwrap_or(0)
    }

    /// For each pixel its first source pixel, and the weights from there on.
    pub(super) fn windows(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let windows = self.taps.chunks_exact(self.window);
        let windows = self.starts.iter().zip(windows);
        windows.map(|(&(start, used), taps)| (start, &taps[..used]))
    }
}

/// Keys' cubic with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
