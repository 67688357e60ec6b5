//! The pinned wheels of libtorch and of programs.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::registry::Wheel;
use crate::{Error, Result};

/// The wheels for an operating system and processor.
#[derive(Debug, Deserialize)]
pub(crate) struct Pins {
    /// The dependencies of the CPU libraries, torch first.
    pub(crate) cpu: Vec<Wheel>,
    /// The further dependencies of CUDA; none where CUDA is not supported.
    #[serde(default)]
    pub(crate) cuda: Vec<Wheel>,
    /// The programs that check the dependencies.
    pub(crate) tools: Vec<Wheel>,
}

/// The pins for an operating system and processor in the names of `std::env::consts`.
pub(crate) fn pins(os: &str, arch: &str) -> Result<Option<Pins>> {
    let all: BTreeMap<String, Pins> = toml::from_str(include_str!("wheels.toml"))
        .map_err(|e| Error::invalid("setup/wheels.toml", e))?;
    let platform = format!("{os}-{arch}");
    Ok(all
        .into_iter()
        .find_map(|(name, pins)| (name == platform).then_some(pins)))
}

/// The wheel that contains OpenAI's vocabulary.
pub(crate) fn open_clip() -> Wheel {
    Wheel {
        file: "open_clip_torch-3.3.0-py3-none-any.whl".into(),
        sha256: "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce".into(),
        bytes: 1_547_268,
    }
}

/// The wheel that contains MPICH's launcher, where there is one.
pub(crate) fn mpich() -> Option<Wheel> {
    cfg!(all(target_os = "linux", target_arch = "x86_64")).then(|| Wheel {
        file: "mpich-5.0.2-py3-none-manylinux_2_28_x86_64.whl".into(),
        sha256: "8fed465ebff269ea2ebac179a25de02671ddf8df476e0f115be089015015cfd4".into(),
        bytes: 13_282_595,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_pin_is_well_formed_and_for_its_platform() {
        for (os, arch, tag) in [
            ("linux", "x86_64", "x86_64.whl"),
            ("linux", "aarch64", "aarch64.whl"),
            ("macos", "aarch64", "arm64.whl"),
        ] {
            let pins = pins(os, arch).unwrap().unwrap();
            for wheel in pins.cpu.iter().chain(&pins.cuda).chain(&pins.tools) {
                assert!(wheel.file.ends_with(tag), "{}", wheel.file);
                assert_eq!(wheel.sha256.len(), 64);
                assert!(wheel.bytes > 0);
            }
            assert_eq!(pins.cpu[0].package(), "torch");
            assert_eq!(pins.cpu[0].version(), crate::setup::libtorch::VERSION);
        }
        assert!(pins("windows", "x86_64").unwrap().is_none());
    }
}
