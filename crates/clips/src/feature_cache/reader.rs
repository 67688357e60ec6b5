//! Reads stored features.

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
    /// There are no features, they were made with other settings than `fingerprint`
    /// (each field that differs is named), shards are missing, or one is damaged.
    pub fn open(folder: &Path, fingerprint: &Fingerprint) -> Result<Self> {
        let reader = Self::open_any(folder)?;
        reader.index.expect(folder, fingerprint)?;
        Ok(reader)
    }

    /// The same for features of any origin: to inspect or check them.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub fn open_any(folder: &Path) -> Result<Self> {
        let fail = |what: String| Error::Features {
            path: folder.into(),
            what,
        };
        let index =
            Index::load(folder)?.ok_or_else(|| fail(format!("{} is missing", super::INDEX)))?;
        let count = index.layout.shards();
        let absent: Vec<usize> = (0..count)
            .filter(|shard| !shard_path(folder, *shard).exists())
            .collect();
        if let Some(first) = absent.first() {
            return Err(fail(format!(
                "{} of {count} shards are missing, the first is {}; continue the extraction",
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

    /// The settings the features were made with.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.index.fingerprint
    }

    /// Clips without features, by position, each with the reason.
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
    /// The clip or view does not exist, the clip was skipped, or `out` has another length.
    pub fn copy_view(&self, position: usize, view: usize, out: &mut [f32]) -> Result<()> {
        let layout = &self.index.layout;
        let fail = |what: String| Error::Features {
            path: self.folder.clone(),
            what,
        };
        let size = layout.frames * layout.width;
        if view >= layout.views {
            return Err(fail(format!("no view {view}, there are {}", layout.views)));
        }
        self.shard(position)
            .ok_or_else(|| fail(format!("no clip {position}, there are {}", layout.clips)))?
            .copy(position, view * size..(view + 1) * size, out)
    }

    fn shard(&self, position: usize) -> Option<&Shard> {
        self.shards
            .get(position / self.index.layout.clips_per_shard)
    }
}
