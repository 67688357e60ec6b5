//! Writes features, shard by shard.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::shard::{Shard, ShardRows, check_positions};
use super::{FORMAT, FeatureLayout, INDEX, Index, shard, shard_path};
use crate::fingerprint::Fingerprint;
use crate::{Error, Result};

/// The shards that one of several processes writes: "i/n", i from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareOfWork {
    index: usize,
    of: usize,
}

impl ShareOfWork {
    /// All shards.
    pub const ALL: Self = Self { index: 0, of: 1 };

    /// Share `index` of `of`.
    ///
    /// # Errors
    /// `index` is not below `of`.
    pub fn new(index: usize, of: usize) -> Result<Self> {
        if index < of {
            return Ok(Self { index, of });
        }
        Err(refuse_share(&format!("{index}/{of}")))
    }
}

impl FromStr for ShareOfWork {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (index, of) = text.split_once('/').ok_or_else(|| refuse_share(text))?;
        match (index.parse(), of.parse()) {
            (Ok(index), Ok(of)) => Self::new(index, of),
            _ => Err(refuse_share(text)),
        }
    }
}

fn refuse_share(got: &str) -> Error {
    Error::Option {
        name: "shard",
        expected: "'i/n' with i from 0 to n - 1".into(),
        got: format!("'{got}'"),
    }
}

/// Writes the features of one manifest into one folder.
pub struct FeatureWriter {
    folder: PathBuf,
    index: Index,
}

impl FeatureWriter {
    /// Opens `folder` for features of this shape and origin; continues existing ones.
    ///
    /// # Errors
    /// The layout is out of range, features of another shape or origin exist, or a
    /// file cannot be written.
    pub fn open(folder: &Path, layout: FeatureLayout, fingerprint: Fingerprint) -> Result<Self> {
        layout.check()?;
        disk::make_folder(folder)?;
        let index = Index {
            format: FORMAT,
            layout,
            fingerprint,
        };
        match Index::load(folder)? {
            Some(there) => {
                there.expect(folder, &index.fingerprint)?;
                if there.layout != layout {
                    return Err(Error::Features {
                        path: folder.into(),
                        what: format!("have the layout {:?}, expected {layout:?}", there.layout),
                    });
                }
            }
            // Two processes that arrive here at once write the same bytes.
            None => {
                let path = folder.join(INDEX);
                let text =
                    serde_json::to_string_pretty(&index).map_err(|error| Error::Features {
                        path: path.clone(),
                        what: error.to_string(),
                    })?;
                disk::write(&path, disk::seal(&text).as_bytes())?;
            }
        }
        Ok(Self {
            folder: folder.into(),
            index,
        })
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &FeatureLayout {
        &self.index.layout
    }

    /// The missing shards of `share`. A file that fails its
    /// check counts as missing.
    #[must_use]
    pub fn pending(&self, share: ShareOfWork) -> Vec<usize> {
        (share.index..self.index.layout.shards())
            .step_by(share.of)
            .filter(|number| {
                Shard::open(&shard_path(&self.folder, *number), &self.index, *number).is_err()
            })
            .collect()
    }

    /// Writes one shard, complete or not at all.
    ///
    /// # Errors
    /// A position of the shard is neither a row nor skipped, a row has another length than
    /// views x T x D or holds numbers that are not finite (in the stored precision), or a
    /// file cannot be written.
    pub fn write(&self, number: usize, content: &ShardRows) -> Result<()> {
        let path = shard_path(&self.folder, number);
        let fail = |what: String| Error::Features {
            path: path.clone(),
            what,
        };
        let rows: Vec<usize> = content.rows.iter().map(|row| row.position).collect();
        check_positions(&self.index.layout, number, &rows, &content.skipped).map_err(fail)?;
        let limit = match self.index.layout.storage {
            super::Storage::F16 => half::f16::MAX.to_f32(),
            super::Storage::F32 => f32::MAX,
        };
        for row in &content.rows {
            if row.features.len() != self.index.layout.clip_len() {
                return Err(fail(format!(
                    "position {}: expected {} numbers (views x T x D), got {}",
                    row.position,
                    self.index.layout.clip_len(),
                    row.features.len()
                )));
            }
            if let Some(bad) = row
                .features
                .iter()
                .find(|value| value.is_nan() || value.abs() > limit)
            {
                return Err(fail(format!(
                    "position {}: the number {bad} cannot be stored; at most {limit} in this \
                     precision",
                    row.position
                )));
            }
        }
        shard::write(&path, &self.index, number, content)
    }
}
