//! Reading kept features.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::shard::Shard;
use super::{FeatureLayout, Index, shard_path};
use crate::fingerprint::Fingerprint;
use crate::{Error, Result};

/// All features of a manifest, mapped into memory.
pub struct FeatureReader {
    folder: PathBuf,
    index: Index,
    shards: Vec<Shard>,
}

impl FeatureReader {
    /// Opens every shard and checks it, hashes included.
    ///
    /// # Errors
    /// No features are there, they were made from something else than `fingerprint` says
    /// (each field that differs is named), shards are absent, or one is damaged.
    pub fn open(folder: &Path, fingerprint: &Fingerprint) -> Result<Self> {
        let reader = Self::open_any(folder)?;
        reader.index.expect(folder, fingerprint)?;
        Ok(reader)
    }

    /// The same for features of whatever origin: to look at them, or to check them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_any(folder: &Path) -> Result<Self> {
        let fail = |what: String| Error::Features {
            path: folder.into(),
            what,
        };
        let index =
            Index::load(folder)?.ok_or_else(|| fail(format!("there is no {}", super::INDEX)))?;
        let count = index.layout.shards();
        let absent: Vec<usize> = (0..count)
            .filter(|shard| !shard_path(folder, *shard).exists())
            .collect();
        if let Some(first) = absent.first() {
            return Err(fail(format!(
                "{} of {count} shards are not there, first {}; continue the extraction",
                absent.len(),
                shard_path(Path::new(""), *first).display()
            )));
        }
        let shards = (0..count)
            .map(|number| Shard::open(&shard_path(folder, number), &index, number))
            .collect::<Result<_>>()?;
        Ok(Self {
            folder: folder.into(),
            index,
            shards,
        })
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &FeatureLayout {
        &self.index.layout
    }

    /// What the features were made from.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.index.fingerprint
    }

    /// Clips without features, by position, each with its reason.
    #[must_use]
    pub fn skipped(&self) -> BTreeMap<usize, String> {
        let skipped = self.shards.iter().flat_map(Shard::skipped);
        skipped
            .map(|(position, reason)| (*position, reason.clone()))
            .collect()
    }

    /// Whether the clip has features.
    #[must_use]
    pub fn has(&self, position: usize) -> bool {
        self.shard(position)
            .is_some_and(|shard| shard.has(position))
    }

    /// One view of a clip into `out`, `[T, D]`.
    ///
    /// # Errors
    /// There is no such clip or view, the clip was skipped, or `out` has another length.
    pub fn copy_view(&self, position: usize, view: usize, out: &mut [f32]) -> Result<()> {
        let layout = &self.index.layout;
        let fail = |what: String| Error::Features {
            path: self.folder.clone(),
            what,
        };
        let size = layout.frames * layout.width;
        if view >= layout.views {
            return Err(fail(format!("view {view}, there are {}", layout.views)));
        }
        self.shard(position)
            .ok_or_else(|| fail(format!("position {position}, there are {}", layout.clips)))?
            .copy(position, view * size..(view + 1) * size, out)
    }

    fn shard(&self, position: usize) -> Option<&Shard> {
        self.shards
            .get(position / self.index.layout.clips_per_shard)
    }
}
