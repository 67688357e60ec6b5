//! The precision that is fastest here with features close to those in fp32.

use std::path::{Path, PathBuf};

use clip_backbone::{Checkpoint, Usage};
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::file_identity::file_identity;
use crate::precision::Precision;

/// The least cosine of a picture's features in both precisions.
const CLOSE: f64 = 0.999;
/// Pictures that are compared.
const PICTURES: i64 = 8;

/// A precision, and why it was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The precision.
    pub precision: Precision,
    /// A sentence.
    pub reason: String,
}

impl Chosen {
    /// The choice for a frozen `checkpoint` on `device`: bf16 on a processor that multiplies in it,
    /// if features of made pictures have a cosine of at least 0.999 with those in fp32; else fp32.
    ///
    /// The pictures are compared once for each checkpoint and kind of processor; the result is kept
    /// below `seeing-in-flowing` in the folder of caches.
    ///
    /// # Errors
    /// Any error of loading the checkpoint.
    pub fn of(checkpoint: &Checkpoint, device: Device) -> Result<Self> {
        let fp32 = |reason: &str| Self {
            precision: Precision::Fp32,
            reason: format!("computing in fp32: {reason}"),
        };
        if device != Device::Cpu {
            return Ok(fp32(
                "on a GPU bf16 is a choice (--precision bf16, or backbone.precision)",
            ));
        }
        if !multiplies_bf16() {
            return Ok(fp32("this processor does not multiply in bf16"));
        }
        let cosine = match kept(checkpoint) {
            Some(file) => recalled(&file).map_or_else(
                || {
                    let cosine = least_cosine(checkpoint)?;
                    // Without it the pictures are compared again.
                    let _ = disk::write(&file, cosine.to_string().as_bytes());
                    Ok(cosine)
                },
                Ok,
            ),
            None => least_cosine(checkpoint),
        }?;
        // Rounded down, so that no cosine is shown larger than it is.
        let shown = (cosine * 1e4).floor() / 1e4;
        Ok(match cosine >= CLOSE {
            true => Self {
                precision: Precision::Bf16,
                reason: format!(
                    "computing in bf16, faster here; cosine of features with those in fp32: {shown:.4}"
                ),
            },
            false => fp32(&format!(
                "in bf16 the cosine of features would be {shown:.4}, below {CLOSE}"
            )),
        })
    }
}

/// Whether the processor has instructions for products in bf16. Every one with AMX also has those of
/// AVX-512.
fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The file of a checkpoint's cosine: in `$XDG_CACHE_HOME`, or else `~/.cache`, below
/// `seeing-in-flowing`. `None` if there is no such folder.
fn kept(checkpoint: &Checkpoint) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let caches = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
    let files = checkpoint.files().iter();
    let weights: Vec<String> = files.map(|file| file_identity(file, true)).collect();
    let shape = format!("{:?}{:?}", checkpoint.config(), weights);
    let key = disk::sha256(shape);
    let name = format!("bf16-{}", key.get(..16).unwrap_or(&key));
    Some(caches.join("seeing-in-flowing/precision").join(name))
}

/// The cosine in a file that was kept.
fn recalled(file: &Path) -> Option<f64> {
    let cosine: f64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (-1.0..=1.0).contains(&cosine).then_some(cosine)
}

/// The least cosine of the made pictures' features in bf16 with those in fp32.
fn least_cosine(checkpoint: &Checkpoint) -> Result<f64> {
    let _guard = tch::no_grad_guard();
    let pixels = checkpoint
        .preprocess()
        .normalise(&pictures(checkpoint.preprocess().geometry.size))?;
    let features = |kind| -> Result<Tensor> {
        let clip = checkpoint.load(Usage::Frozen, Device::Cpu, kind)?;
        Ok(clip.vision.forward(&pixels)?.to_kind(Kind::Double))
    };
    let (half, full) = (features(Kind::BFloat16)?, features(Kind::Float)?);
    let cosines = Tensor::f_cosine_similarity(&half, &full, 1, 1e-12)?;
    // A feature without a number is none that is close.
    Ok(cosines
        .f_nan_to_num(-1.0, None, None)?
        .min()
        .double_value(&[]))
}

/// Pictures of waves, coarse ones stronger than fine ones as in photographs: `[N, S, S, 3]`, u8.
fn pictures(side: usize) -> Tensor {
    let side = side as i64;
    let options = (Kind::Float, Device::Cpu);
    let place = Tensor::arange(side, options) / side as f64 * std::f64::consts::TAU;
    let (down, across) = (place.view([1, side, 1, 1]), place.view([1, 1, side, 1]));
    let picture = Tensor::arange(PICTURES, options).view([PICTURES, 1, 1, 1]);
    let channel = Tensor::arange(3, options).view([1, 1, 1, 3]);
    let mut waves = Tensor::zeros([PICTURES, side, side, 3], options);
    for wave in 0..24 {
        let number = f64::from(wave);
        let (x, y) = (1.0 + number * 0.7, 0.5 + number * 1.1);
        let turn = (&picture * (1.3 + number)).cos() * &across * x;
        let phase =
            turn + (&picture * (0.4 + number)).sin() * &down * y + &channel * (0.2 * number);
        waves += (phase + &picture * number).sin() * (60.0 / (1.0 + number));
    }
    (waves + 127.5).clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kept_cosine_is_recalled_and_anything_else_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept");
        assert_eq!(recalled(&file), None);
        for (text, expected) in [
            ("0.99912\n", Some(0.99912)),
            ("nan", None),
            ("7", None),
            ("", None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(recalled(&file), expected, "{text}");
        }
    }

    #[test]
    fn the_pictures_differ_and_use_the_range() {
        let made = pictures(32).to_kind(Kind::Float);
        assert_eq!(made.size(), [PICTURES, 32, 32, 3]);
        assert!(made.std(true).double_value(&[]) > 30.0);
        let first = made.get(0);
        for other in 1..PICTURES {
            let gap = (made.get(other) - &first).abs().mean(Kind::Float);
            assert!(gap.double_value(&[]) > 10.0);
        }
    }
}
