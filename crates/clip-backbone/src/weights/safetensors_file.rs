//! The safetensors format: a JSON header, then the numbers.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use tch::Kind;

use super::stored::{Mapped, StoredTensor, row_major};
use crate::{Error, Result};

/// The tensors of a safetensors file, by name. The data is read on demand.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened; [`Error::Malformed`] for a header that is cut
/// off, too large, not JSON, or whose tensors overlap, leave holes or reach beyond the file.
pub fn open_safetensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>> {
    let file = Mapped::open(path)?;
    let malformed = |item: &str, reason: String| Error::Malformed {
        path: path.into(),
        item: item.into(),
        reason,
    };
    let bytes = file.bytes();
    let (header, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|e| malformed("safetensors header", e.to_string()))?;
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
            StoredTensor::new(&file, range, kind, 0, shape, strides)
        };
        let stored = stored()
            .ok_or_else(|| malformed(&name, format!("its shape {:?} does not fit", info.shape)))?;
        tensors.insert(name, stored);
    }
    Ok(tensors)
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
