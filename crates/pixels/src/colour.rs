//! Colour operations, bit-exact with PIL, which the field's code trains with.

use super::Picture;

/// Blends with black: 0 is black, 1 the picture itself, more is brighter.
pub fn brightness(picture: &mut Picture, factor: f32) {
    let table = std::array::from_fn(|value| blend(0, value as u8, factor));
    picture.map(&[table; 3]);
}

/// Blends with the picture's mean grey.
pub fn blend_contrast(picture: &mut Picture, factor: f32) {
    let pixels = picture.pixels();
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    let table = std::array::from_fn(|value| blend(mean, value as u8, factor));
    picture.map(&[table; 3]);
}

/// Blends with the grey picture: 0 is grey, more than 1 is more colourful.
pub fn saturation(picture: &mut Picture, factor: f32) {
    for pixel in picture.pixels_mut() {
        let grey = luma(*pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor));
    }
}

/// Blends with a smoothed picture: less than 1 is softer, more is sharper.
pub fn sharpness(picture: &mut Picture, factor: f32) {
    let (width, height) = (picture.width(), picture.height());
    let source = picture.pixels().to_vec();
    // The border has no full neighbourhood and stays.
    if width < 3 || height < 3 {
        return;
    }
    let target = picture.pixels_mut();
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let at = y * width + x;
            for channel in 0..3 {
                // Weights 1 around 5, their sum 13; rows of three, as floats, PIL's order.
                let row = |start: usize, middle: f32| {
                    let value = |place: usize| f32::from(source[place][channel]);
                    (value(start) + middle * value(start + 1) + value(start + 2)) / 13.0
                };
                let smooth = row(at + width - 1, 1.0) + row(at - 1, 5.0) + row(at - width - 1, 1.0);
                let smooth = (smooth + 0.5).clamp(0.0, 255.0) as u8;
                target[at][channel] = blend(smooth, source[at][channel], factor);
            }
        }
    }
}

/// Rotates the hue by `turn` of a full circle, in PIL's 8-bit HSV.
pub fn hue(picture: &mut Picture, turn: f64) {
    // Toward zero, then around the circle of 256.
    let shift = (turn * 255.0) as i64 as u8;
    for pixel in picture.pixels_mut() {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = to_rgb([h.wrapping_add(shift), s, v]);
    }
}

/// Grey in all three channels.
pub fn grey(picture: &mut Picture) {
    for pixel in picture.pixels_mut() {
        *pixel = [luma(*pixel); 3];
    }
}

/// Keeps the highest `bits` of every value.
pub fn posterize(picture: &mut Picture, bits: u32) {
    let mask = !(0xFF_u8.checked_shr(bits).unwrap_or(0));
    let table = std::array::from_fn(|value| value as u8 & mask);
    picture.map(&[table; 3]);
}

/// Inverts the values at and above `threshold`.
pub fn solarize(picture: &mut Picture, threshold: f64) {
    let table = std::array::from_fn(|value| {
        if (value as f64) < threshold {
            value as u8
        } else {
            255 - value as u8
        }
    });
    picture.map(&[table; 3]);
}

/// Stretches each channel to the full range.
pub fn autocontrast(picture: &mut Picture) {
    let tables = histograms(picture).map(|histogram| {
        let lowest = histogram.iter().position(|count| *count > 0).unwrap_or(0);
        let highest = histogram.iter().rposition(|count| *count > 0).unwrap_or(0);
        std::array::from_fn(|value| {
            if highest <= lowest {
                return value as u8;
            }
            let scale = 255.0 / (highest - lowest) as f64;
            (value as f64 * scale - lowest as f64 * scale).clamp(0.0, 255.0) as u8
        })
    });
    picture.map(&tables);
}

/// Makes all values of each channel about equally frequent.
pub fn equalize(picture: &mut Picture) {
    let tables = histograms(picture).map(|histogram| {
        let last = histogram
            .iter()
            .rev()
            .find(|count| **count > 0)
            .copied()
            .unwrap_or(0);
        let step = (histogram.iter().sum::<usize>() - last) / 255;
        let mut sum = step / 2;
        std::array::from_fn(|value| {
            if step == 0 {
                return value as u8;
            }
            let level = (sum / step).min(255) as u8;
            sum += histogram[value];
            level
        })
    });
    picture.map(&tables);
}

fn histograms(picture: &Picture) -> [[usize; 256]; 3] {
    let mut histograms = [[0; 256]; 3];
    for pixel in picture.pixels() {
        for (histogram, value) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(*value)] += 1;
        }
    }
    histograms
}

/// ITU-R 601-2 luma in 16-bit fixed point.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let sum = 19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 0x8000;
    (sum >> 16) as u8
}

/// From `from` (factor 0) through `to` (1) and beyond, cut off toward zero.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + factor * (to - from)).clamp(0.0, 255.0) as u8
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let distance = |value: u8| f32::from(max - value) / range;
    let sector = if r == max {
        distance(b) - distance(g)
    } else if g == max {
        (2.0 + f64::from(distance(r)) - f64::from(distance(b))) as f32
    } else {
        (4.0 + f64::from(distance(g)) - f64::from(distance(r))) as f32
    };
    let h = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    let s = range / f32::from(max);
    [
        (f64::from(h) * 255.0) as u8,
        (f64::from(s) * 255.0) as u8,
        max,
    ]
}

fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sextant = f64::from(h) * 6.0 / 255.0;
    let part = (sextant - sextant.floor()) as f32;
    let s = f32::from(s) / 255.0;
    let level = |share: f64| (f64::from(v) * share).round().clamp(0.0, 255.0) as u8;
    let p = level(1.0 - f64::from(s));
    let q = level(1.0 - f64::from(s * part));
    let t = level(1.0 - f64::from(s) * (1.0 - f64::from(part)));
    match sextant.floor() as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
