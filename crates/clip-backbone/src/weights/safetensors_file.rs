//! The safetensors format: a JSON header, then the numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use tch::Kind;

use super::stored::{Mapped, StoredTensor, row_major};
use crate::{Error, Result};

/// The tensors of a safetensors file, by name. The data is read on demand.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened; [`Error::CutOff`] if it is shorter than its header
/// says; [`Error::Malformed`] for a header that is too large, not JSON, or whose tensors overlap,
/// leave holes or end before the file.
pub fn open_safetensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>> {
    read(&Mapped::open(path)?)
}

pub(super) fn read(file: &Arc<Mapped>) -> Result<BTreeMap<String, StoredTensor>> {
    let malformed = |item: &str, reason: String| Error::Malformed {
        path: file.path().into(),
        item: item.into(),
        reason,
    };
    let bytes = file.bytes();
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => wrong_length(file),
        other => malformed("safetensors header", other.to_string()),
    })?;
    // The length itself takes eight bytes.
    let data = header + 8;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let kind = kind_of(info.dtype)
            .ok_or_else(|| malformed(&name, format!("element type {:?}", info.dtype)))?;
        let stored = || {
            let shape = info
                .shape
                .iter()
                .map(|&n| i64::try_from(n).ok())
                .collect::<Option<Vec<_>>>()?;
            let (start, end) = info.data_offsets;
            let range = data.checked_add(start)?..data.checked_add(end)?;
            let strides = row_major(&shape);
            StoredTensor::new(file, &name, range, kind, 0, shape, strides)
        };
        let stored = stored()
            .ok_or_else(|| malformed(&name, format!("its shape {:?} does not fit", info.shape)))?;
        tensors.insert(name, stored);
    }
    Ok(tensors)
}

/// The error for a file that is shorter or longer than its header says.
fn wrong_length(file: &Mapped) -> Error {
    let (path, bytes) = (file.path(), file.bytes());
    let cut_off = |rest: String| Error::CutOff {
        path: path.into(),
        got: bytes.len() as u64,
        rest,
    };
    let Some(length) = bytes.first_chunk() else {
        return cut_off("of at least 8".into());
    };
    let data = u64::from_le_bytes(*length).saturating_add(8);
    let header = usize::try_from(data).ok().and_then(|end| bytes.get(8..end));
    let Some(header) = header else {
        return cut_off(format!("of at least {data}"));
    };
    let tensors: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).unwrap_or_default();
    let ends = tensors
        .values()
        .filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    let total = data.saturating_add(ends.max().unwrap_or(0));
    if total > bytes.len() as u64 {
        return cut_off(format!("of {total}"));
    }
    Error::Malformed {
        path: path.into(),
        item: "the end".into(),
        reason: format!("{} bytes; its tensors end at {total}", bytes.len()),
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}
