//! Frame features stored on disk, so that no run computes or decodes them again.
//!
//! A folder holds `features.json` (what the features were made from, and their shape) and
//! shards `features-NNNNN.safetensors`, each with the clips of a contiguous range of manifest
//! positions. A shard is complete or absent, and depends on its positions only; so
//! an interrupted extraction continues by computing the missing shards,
//! several processes can share the work, and the result is the same byte for byte.

mod reader;
mod shard;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::{Error, Result};

pub use reader::FeatureReader;
pub use shard::{Row, ShardRows};
pub use writer::{FeatureWriter, ShareOfWork};

const FORMAT: u32 = 1;
const INDEX: &str = "features.json";

/// How features are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Half precision, rounded to nearest.
    #[default]
    F16,
    /// Single precision: exactly what was computed.
    F32,
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// The shape of stored features, and their division into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureLayout {
    /// Clips of the manifest.
    pub clips: usize,
    /// Views per clip.
    pub views: usize,
    /// T, frames per view.
    pub frames: usize,
    /// D, the feature width.
    pub width: usize,
    /// Manifest positions per shard.
    pub clips_per_shard: usize,
    /// The precision stored.
    pub storage: Storage,
}

impl FeatureLayout {
    /// Numbers per clip: views x T x D.
    #[must_use]
    pub fn clip_len(&self) -> usize {
        self.views
            .saturating_mul(self.frames)
            .saturating_mul(self.width)
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.clips.div_ceil(self.clips_per_shard.max(1))
    }

    /// The manifest positions of a shard.
    #[must_use]
    pub fn positions(&self, shard: usize) -> Range<usize> {
        let start = shard.saturating_mul(self.clips_per_shard).min(self.clips);
        start..start.saturating_add(self.clips_per_shard).min(self.clips)
    }

    fn check(&self) -> Result<()> {
        let fail = |name, expected: &str, got: usize| {
            Err(Error::Option {
                name,
                expected: expected.into(),
                got: got.to_string(),
            })
        };
        for (name, number) in [
            ("clips", self.clips),
            ("views", self.views),
            ("frames", self.frames),
            ("width", self.width),
            ("clips_per_shard", self.clips_per_shard),
        ] {
            if number == 0 || number > u32::MAX as usize {
                return fail(name, "at least 1, within 32 bits", number);
            }
        }
        Ok(())
    }
}

/// The index file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    layout: FeatureLayout,
    fingerprint: Fingerprint,
}

impl Index {
    fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(INDEX);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("cannot read", path)(error)),
        };
        let damaged = |what: String| Error::Features {
            path: path.clone(),
            what,
        };
        let text = disk::expect_sealed(&text).map_err(damaged)?;
        let index: Self = serde_json::from_str(&text)
            .map_err(|error| damaged(format!("is not an index of features: {error}")))?;
        if index.format != FORMAT {
            return Err(damaged(format!(
                "format {}, this version reads {FORMAT}",
                index.format
            )));
        }
        index.layout.check()?;
        Ok(Some(index))
    }

    /// Refuses features made with other settings.
    fn expect(&self, folder: &Path, fingerprint: &Fingerprint) -> Result<()> {
        let differences = fingerprint.differences(&self.fingerprint);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Fingerprint {
            path: folder.into(),
            differences,
        })
    }
}

/// The fingerprint of the features in `folder`, without reading them; `None` if there are none.
pub(crate) fn fingerprint_in(folder: &Path) -> Option<Fingerprint> {
    Some(Index::load(folder).ok()??.fingerprint)
}

fn shard_path(folder: &Path, shard: usize) -> PathBuf {
    folder.join(format!("features-{shard:05}.safetensors"))
}
