//! Files of `torch.save` before PyTorch 1.6: five pickles, then the storages one after another.

use std::collections::HashMap;

use super::pickle::{Form, Pickle};
use super::stored::Mapped;
use super::torch_file::Content;
use crate::{Error, Result};

/// The first pickle's number, little-endian, and in decimals by the oldest protocols.
const MAGIC: [&[u8]; 2] = [
    &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19],
    b"119547037146038801333356",
];

/// Whether `bytes` begin as such a file.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    // After a protocol, perhaps a frame, and the instruction.
    let start = &bytes[..bytes.len().min(48)];
    let has = |magic: &[u8]| start.windows(magic.len()).any(|window| window == magic);
    MAGIC.into_iter().any(has)
}

/// Reads the file's object and finds its storages.
pub(super) fn read(file: &Mapped) -> Result<Content> {
    let malformed = |item: &str, reason: String| Error::Malformed {
        path: file.path().into(),
        item: item.into(),
        reason,
    };
    let bytes = file.bytes();
    let mut next = 0;
    let mut read = |item: &str| {
        let rest = bytes.get(next..).unwrap_or_default();
        let (pickle, length) = Pickle::parse_prefix(rest).map_err(|e| match e.ends_early() {
            true => Error::CutOff {
                path: file.path().into(),
                got: bytes.len() as u64,
                rest: format!("that end within {item}"),
            },
            false => malformed(item, e.to_string()),
        })?;
        next += length;
        Ok::<_, Error>(pickle)
    };
    // The magic number and the version of the format, 1001 in all files.
    read("the first pickle")?;
    read("the second pickle")?;
    let system = read("the third pickle")?;
    if matches!(
        system.root().get("little_endian").map(|value| value.form()),
        Some(Form::Bool(false))
    ) {
        return Err(malformed("the third pickle", "not little-endian".into()));
    }
    let pickle = read("the object")?;
    let keys = read("the list of storages")?;

    let sizes: HashMap<&str, usize> = pickle.storages().collect();
    let mut storages = HashMap::new();
    for key in keys.root().items() {
        let Form::Text(key) = key.form() else {
            let reason = "a storage without a name".into();
            return Err(malformed("the list of storages", reason));
        };
        let Some(size) = sizes.get(key) else {
            let reason = "a storage of unknown element type".into();
            return Err(malformed(key, reason));
        };
        // Eight bytes of length, which the object states too.
        let start = next.saturating_add(8);
        let end = start.saturating_add(*size);
        storages.insert(key.to_owned(), start..end);
        next = end;
    }
    if next > bytes.len() {
        return Err(Error::CutOff {
            path: file.path().into(),
            got: bytes.len() as u64,
            rest: format!("of {next}"),
        });
    }
    Ok(Content {
        pickle,
        storages,
        scripted: false,
    })
}
