//! Tensors in a file, read on demand.
#![allow(unsafe_code)] // Tensors that view a memory map during one copy.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::parameters::place;
use crate::{Error, Result};

/// A file's bytes, mapped.
#[derive(Debug)]
pub(crate) struct Mapped {
    path: PathBuf,
    map: disk::Mapped,
}

impl Mapped {
    /// Maps a regular file.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let map = disk::Mapped::open(path).map_err(|error| match error.reason.kind() {
            ErrorKind::InvalidInput => not_a_file(path),
            _ => Error::Io {
                op: "read",
                path: path.into(),
                source: error.reason,
            },
        })?;
        // Loading reads everything, once.
        map.prefetch();
        Ok(Arc::new(Self {
            path: path.into(),
            map,
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// The error for a directory, a pipe or a device in place of a file.
pub(crate) fn not_a_file(path: &Path) -> Error {
    let found = match path.is_dir() {
        true => "a directory",
        false => "not a regular file",
    };
    Error::WrongFile {
        path: path.into(),
        found: found.into(),
    }
}

/// A tensor in a file: its location and shape.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    file: Arc<Mapped>,
    /// Its name in the file, that of the whole for a part.
    name: Arc<str>,
    kind: Kind,
    shape: Vec<i64>,
    /// In elements.
    strides: Vec<i64>,
    /// Of the first element, in bytes from the file's start.
    start: usize,
}

impl StoredTensor {
    /// A view of `bytes` of the file, beginning at element `offset`; `None` if an element
    /// would be outside them.
    pub(crate) fn new(
        file: &Arc<Mapped>,
        name: &str,
        bytes: Range<usize>,
        kind: Kind,
        offset: i64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    ) -> Option<Self> {
        let size = kind.elt_size_in_bytes();
        let start = usize::try_from(offset)
            .ok()?
            .checked_mul(size)?
            .checked_add(bytes.start)?;
        let stored = Self {
            file: Arc::clone(file),
            name: name.into(),
            kind,
            shape,
            strides,
            start,
        };
        let end = stored.span()?.checked_mul(size)?.checked_add(start)?;
        (end <= bytes.end && bytes.end <= file.bytes().len()).then_some(stored)
    }

    /// The element type in the file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Extent of each dimension.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The tensor on `device` in precision `kind`, row by row.
    ///
    /// # Errors
    /// [`Error::Torch`] if out of memory.
    pub fn read(&self, device: Device, kind: Kind) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(&self.shape, (kind, device))?;
        self.write(&mut tensor, None)?;
        Ok(tensor)
    }

    /// Writes the numbers, times `factor` if there is one, to `to`, a tensor of this shape.
    ///
    /// # Errors
    /// [`Error::Torch`] if out of memory.
    pub(crate) fn write(&self, to: &mut Tensor, factor: Option<f64>) -> Result<()> {
        let size = self.kind.elt_size_in_bytes();
        let span = self.span().unwrap_or(0);
        let bytes = self
            .file
            .bytes()
            .get(self.start..self.start + span * size)
            .unwrap_or_default();
        if span == 0 || bytes.is_empty() {
            let _ = to.f_zero_()?;
            return Ok(());
        }
        // No returned tensor may refer to the map: `view` is copied from and dropped here.
        let view = if bytes.as_ptr().addr().is_multiple_of(size) {
            // SAFETY: `bytes` holds every element that shape and strides reach (`span`), is
            // aligned, outlives `view`, and is not written: `view` is only copied from.
            unsafe {
                Tensor::f_from_blob(
                    bytes.as_ptr(),
                    &self.shape,
                    &self.strides,
                    self.kind,
                    Device::Cpu,
                )?
            }
        } else {
            Tensor::f_from_data_size(bytes, &[span as i64], self.kind)?.f_as_strided(
                self.shape.as_slice(),
                self.strides.as_slice(),
                None,
            )?
        };
        place(&view, to, factor)
    }

    /// Part `index` of `count` equal parts of the first dimension.
    pub(crate) fn part(&self, index: i64, count: i64) -> Option<Self> {
        let rows = *self.shape.first()?;
        let stride = *self.strides.first()?;
        if count < 1 || rows % count != 0 {
            return None;
        }
        let rows = rows / count;
        let skipped = usize::try_from(index * rows * stride).ok()?;
        let mut part = self.clone();
        *part.shape.first_mut()? = rows;
        part.start += skipped * self.kind.elt_size_in_bytes();
        Some(part)
    }

    /// The transpose of a matrix; anything else unchanged.
    pub(crate) fn transposed(&self) -> Self {
        let mut turned = self.clone();
        if turned.shape.len() == 2 {
            turned.shape.reverse();
            turned.strides.reverse();
        }
        turned
    }

    /// A single number as a scalar, whatever its shape; anything else unchanged.
    pub(crate) fn scalar(&self) -> Self {
        let mut scalar = self.clone();
        if scalar.shape.iter().all(|&n| n == 1) {
            scalar.shape.clear();
            scalar.strides.clear();
        }
        scalar
    }

    /// Elements from the first to the last, or `None` if that overflows.
    fn span(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(0i64, |at, (&n, &stride)| {
                at.checked_add((n - 1).checked_mul(stride)?)
            })?;
        usize::try_from(last.checked_add(1)?).ok()
    }
}

/// The strides of a tensor that is laid out row by row.
pub(crate) fn row_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i].max(1));
    }
    strides
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::weights::open_safetensors;

    #[test]
    fn a_scaled_number_is_rounded_once_whatever_it_came_in() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("numbers.safetensors");
        tch::manual_seed(2);
        let numbers = Tensor::randn([40, 30], (Kind::Float, Device::Cpu));
        for kind in [Kind::Float, Kind::Half, Kind::BFloat16] {
            let held = numbers.to_kind(kind);
            Tensor::write_safetensors(&[("numbers", &held)], &path).unwrap();
            let stored = &open_safetensors(&path).unwrap()["numbers"];
            for (asked, digits) in [(Kind::Float, 24), (Kind::BFloat16, 8)] {
                for (stored, held) in [
                    (stored.clone(), held.shallow_clone()),
                    (stored.transposed(), held.tr()),
                ] {
                    assert_eq!(
                        stored.read(Device::Cpu, asked).unwrap(),
                        held.to_kind(asked)
                    );
                    let mut got = Tensor::empty(held.size(), (asked, Device::Cpu));
                    stored.write(&mut got, Some(1.702)).unwrap();
                    let exact = held.to_kind(Kind::Double) * 1.702;
                    // In fp32 the factor is rounded, too.
                    let roundings = if asked == Kind::Float { 2.0 } else { 1.01 };
                    let bound = exact.abs() * 2f64.powi(-digits) * roundings;
                    let beyond = (got - &exact).abs().gt_tensor(&bound).any();
                    assert_eq!(beyond.int64_value(&[]), 0, "{kind:?} as {asked:?}");
                }
            }
        }
    }
}
