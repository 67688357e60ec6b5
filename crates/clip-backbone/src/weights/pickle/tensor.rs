//! Tensors as a pickle describes them.

use tch::Kind;

/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// A tensor as described by a pickle; its data is elsewhere in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name of the storage that holds the data.
    pub storage: String,
    /// The storage's element type.
    pub kind: Kind,
    /// The storage's length in elements, as the pickle claims it.
    pub storage_length: i64,
    /// The first element's position in the storage.
    pub offset: i64,
    /// Extent of each dimension.
    pub shape: Vec<i64>,
    /// Elements between neighbours in each dimension.
    pub strides: Vec<i64>,
}

/// The element type of the storage class `torch.{name}`.
pub(super) fn storage_kind(name: &str) -> Option<Kind> {
    Some(match name {
        "FloatStorage" => Kind::Float,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "DoubleStorage" => Kind::Double,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        "ComplexFloatStorage" => Kind::ComplexFloat,
        "ComplexDoubleStorage" => Kind::ComplexDouble,
        "QInt8Storage" => Kind::QInt8,
        "QUInt8Storage" => Kind::QUInt8,
        "QInt32Storage" => Kind::QInt32,
        "UntypedStorage" => Kind::Uint8,
        _ => return None,
    })
}

impl TensorSpec {
    /// Whether every element is in the storage, and the tensor is not larger than the storage
    /// through repeated elements.
    pub(super) fn fits(&self) -> bool {
        if self.shape.len() != self.strides.len() || self.shape.len() > MAX_RANK {
            return false;
        }
        if self.offset < 0 || self.shape.iter().chain(&self.strides).any(|&n| n < 0) {
            return false;
        }
        let count = self
            .shape
            .iter()
            .try_fold(1i64, |count, &n| count.checked_mul(n));
        match count {
            Some(0) => true,
            Some(count) if count <= self.storage_length => {
                let last = self
                    .shape
                    .iter()
                    .zip(&self.strides)
                    .try_fold(self.offset, |at, (&n, &stride)| {
                        at.checked_add((n - 1).checked_mul(stride)?)
                    });
                last.is_some_and(|last| last < self.storage_length)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_stride_or_an_outgrown_storage_does_not_fit() {
        let spec = |offset, shape: &[i64], strides: &[i64]| TensorSpec {
            storage: "0".into(),
            kind: Kind::Float,
            storage_length: 12,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        };
        assert!(spec(0, &[3, 4], &[4, 1]).fits());
        assert!(spec(0, &[4, 3], &[1, 4]).fits());
        assert!(spec(11, &[], &[]).fits());
        assert!(spec(99, &[0, 4], &[4, 1]).fits());
        for bad in [
            spec(1, &[3, 4], &[4, 1]),
            spec(-1, &[2], &[1]),
            spec(0, &[2], &[-1]),
            spec(12, &[], &[]),
            spec(0, &[13], &[0]),
            spec(0, &[i64::MAX, i64::MAX], &[1, 1]),
            spec(0, &[2, 2], &[i64::MAX, 1]),
            spec(0, &[2], &[1, 1]),
            spec(0, &[1; 9], &[1; 9]),
        ] {
            assert!(!bad.fits(), "{bad:?}");
        }
    }
}
