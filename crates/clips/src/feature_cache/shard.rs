//! One shard of features.
//!
//! A plain safetensors file with two tensors, `features` [n, views, T, D] (F16 or F32) and
//! `positions` [n] (U32, ascending), and one metadata entry `shard`, a JSON object with the
//! shard's number, the fingerprint, the skipped clips, and the SHA-256 of both tensors'
//! bytes and of the rest of the object.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use disk::Mapped;
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{FORMAT, FeatureLayout, Index, Storage};
use crate::fingerprint::Fingerprint;
use crate::{Error, Result};

/// The features of one clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The clip's position in the manifest.
    pub position: usize,
    /// `[views, T, D]`.
    pub features: Vec<f32>,
}

/// The content of a shard: each of its positions is a row or skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardRows {
    /// Rows in order of positions.
    pub rows: Vec<Row>,
    /// Positions of clips that could not be read, with the reason.
    pub skipped: BTreeMap<usize, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    format: u32,
    shard: usize,
    fingerprint: Fingerprint,
    skipped: BTreeMap<usize, String>,
    sha256: String,
}

/// Writes a shard whose rows were already checked against the layout.
pub(super) fn write(path: &Path, index: &Index, shard: usize, content: &ShardRows) -> Result<()> {
    let layout = &index.layout;
    let fail = |what: String| Error::Features {
        path: path.into(),
        what,
    };
    let mut features = Vec::with_capacity(content.rows.len() * layout.clip_len() * 4);
    let mut positions = Vec::with_capacity(content.rows.len() * 4);
    for row in &content.rows {
        let position = u32::try_from(row.position).map_err(|error| fail(error.to_string()))?;
        positions.extend_from_slice(&position.to_le_bytes());
        for value in &row.features {
            match layout.storage {
                Storage::F16 => {
                    features.extend_from_slice(&f16::from_f32(*value).to_le_bytes());
                }
                Storage::F32 => features.extend_from_slice(&value.to_le_bytes()),
            }
        }
    }
    let mut meta = Meta {
        format: FORMAT,
        shard,
        fingerprint: index.fingerprint.clone(),
        skipped: content.skipped.clone(),
        sha256: String::new(),
    };
    meta.sha256 = digest(&features, &positions, &meta).map_err(fail)?;
    let meta = serde_json::to_string(&meta).map_err(|error| fail(error.to_string()))?;
    let rows = content.rows.len();
    let shape = vec![rows, layout.views, layout.frames, layout.width];
    let tensor = |dtype, shape, data| {
        TensorView::new(dtype, shape, data).map_err(|error| fail(error.to_string()))
    };
    let tensors = [
        ("features", tensor(dtype(layout.storage), shape, &features)?),
        ("positions", tensor(Dtype::U32, vec![rows], &positions)?),
    ];
    // One entry only: the order of several would change the bytes.
    let metadata = HashMap::from([("shard".to_owned(), meta)]);
    let bytes =
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| fail(error.to_string()))?;
    Ok(disk::write(path, &bytes)?)
}

/// An open shard, mapped into memory.
pub(super) struct Shard {
    map: Mapped,
    path: PathBuf,
    storage: Storage,
    /// Byte range of the features in the file.
    features: std::ops::Range<usize>,
    /// The row of each position that has one.
    rows: HashMap<usize, usize>,
    skipped: BTreeMap<usize, String>,
    clip_len: usize,
}

impl Shard {
    /// Maps the file and checks it against `index`: its shapes, its positions, its
    /// fingerprint, and the hash of its content.
    pub(super) fn open(path: &Path, index: &Index, number: usize) -> Result<Self> {
        let layout = &index.layout;
        let fail = |what: String| Error::Features {
            path: path.into(),
            what,
        };
        let map = Mapped::open(path)?;
        let bytes = &map[..];
        let damaged = |error: safetensors::SafeTensorError| fail(format!("is damaged: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let meta = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("shard"));
        let meta = meta.ok_or_else(|| fail("is damaged: no entry 'shard'".into()))?;
        let meta: Meta = serde_json::from_str(meta)
            .map_err(|error| fail(format!("is damaged: entry 'shard': {error}")))?;
        if meta.format != FORMAT || meta.shard != number {
            return Err(fail(format!(
                "is shard {} of format {}, expected shard {number} of format {FORMAT}",
                meta.shard, meta.format
            )));
        }
        let differences = index.fingerprint.differences(&meta.fingerprint);
        if !differences.is_empty() {
            return Err(Error::Fingerprint {
                path: path.into(),
                differences,
            });
        }
        let features = file.tensor("features").map_err(damaged)?;
        let positions = file.tensor("positions").map_err(damaged)?;
        let rows = positions.shape().first().copied().unwrap_or_default();
        let shape = [rows, layout.views, layout.frames, layout.width];
        if features.shape() != shape
            || features.dtype() != dtype(layout.storage)
            || positions.shape() != [rows]
            || positions.dtype() != Dtype::U32
            || file.len() != 2
        {
            return Err(fail(format!(
                "holds features {:?} {:?} and positions {:?}, expected {shape:?} {:?}",
                features.dtype(),
                features.shape(),
                positions.shape(),
                dtype(layout.storage),
            )));
        }
        if digest(features.data(), positions.data(), &meta).map_err(fail)? != meta.sha256 {
            return Err(fail("is damaged: the content differs from its hash".into()));
        }
        let listed: Vec<usize> = positions
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes) as usize)
            .collect();
        check_positions(layout, number, &listed, &meta.skipped).map_err(fail)?;
        let start = features.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let range = start..start + features.data().len();
        Ok(Self {
            storage: layout.storage,
            features: range,
            rows: listed
                .into_iter()
                .enumerate()
                .map(|(row, position)| (position, row))
                .collect(),
            skipped: meta.skipped,
            clip_len: layout.clip_len(),
            path: path.into(),
            map,
        })
    }

    pub(super) fn skipped(&self) -> &BTreeMap<usize, String> {
        &self.skipped
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.rows.contains_key(&position)
    }

    /// Copies numbers `part` of a clip's `[views, T, D]` into `out`.
    pub(super) fn copy(
        &self,
        position: usize,
        part: std::ops::Range<usize>,
        out: &mut [f32],
    ) -> Result<()> {
        let fail = |what: String| Error::Features {
            path: self.path.clone(),
            what,
        };
        let row = self
            .rows
            .get(&position)
            .ok_or_else(|| fail(format!("position {position} was skipped")))?;
        let size = if self.storage == Storage::F16 { 2 } else { 4 };
        let start = self.features.start + row * self.clip_len * size;
        let bytes = self
            .map
            .get(start + part.start * size..start + part.end * size);
        let bytes = bytes
            .filter(|bytes| bytes.len() == out.len() * size)
            .ok_or_else(|| {
                fail(format!(
                    "expected {} numbers, got {}",
                    part.len(),
                    out.len()
                ))
            })?;
        match self.storage {
            Storage::F16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Storage::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
        }
        Ok(())
    }
}

/// Every position of the shard is a row or skipped, exactly once, and rows are ascending.
pub(super) fn check_positions(
    layout: &FeatureLayout,
    shard: usize,
    rows: &[usize],
    skipped: &BTreeMap<usize, String>,
) -> std::result::Result<(), String> {
    let expected = layout.positions(shard);
    if let Some(pair) = rows.windows(2).find(|pair| pair.first() >= pair.last()) {
        return Err(format!("positions are not ascending: {pair:?}"));
    }
    for position in rows.iter().chain(skipped.keys()) {
        if !expected.contains(position) {
            return Err(format!("position {position} is not one of {expected:?}"));
        }
    }
    if let Some(position) = rows.iter().find(|position| skipped.contains_key(position)) {
        return Err(format!(
            "position {position} has features and is also skipped"
        ));
    }
    if rows.len() + skipped.len() != expected.len() {
        return Err(format!(
            "{} clips with features and {} skipped, expected {} in all",
            rows.len(),
            skipped.len(),
            expected.len()
        ));
    }
    Ok(())
}

fn dtype(storage: Storage) -> Dtype {
    match storage {
        Storage::F16 => Dtype::F16,
        Storage::F32 => Dtype::F32,
    }
}

/// SHA-256 over the tensors and over `meta` but its own.
fn digest(features: &[u8], positions: &[u8], meta: &Meta) -> std::result::Result<String, String> {
    let rest = (meta.format, meta.shard, &meta.fingerprint, &meta.skipped);
    let mut hash = Sha256::new();
    hash.update(features);
    hash.update(positions);
    hash.update(serde_json::to_string(&rest).map_err(|error| error.to_string())?);
    Ok(disk::hex(hash.finalize()))
}
