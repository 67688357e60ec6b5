//! The zip archives of `torch.save` and `torch.jit.save`.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{MAX_BYTES, Pickle};
use super::stored::Mapped;
use super::torch_file::Content;
use crate::{Error, Result};

/// The most files in an archive.
const MAX_ENTRIES: usize = 1 << 17;

/// Reads the archive's object and finds its storages.
pub(super) fn read(file: &Mapped) -> Result<Content> {
    let malformed = |item: &str, reason: String| Error::Malformed {
        path: file.path().into(),
        item: item.into(),
        reason,
    };
    let bytes = file.bytes();
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| malformed("zip directory", e.to_string()))?;
    if archive.len() > MAX_ENTRIES {
        let reason = format!("{} files; at most {MAX_ENTRIES} are read", archive.len());
        return Err(malformed("zip directory", reason));
    }

    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let zip_error =
            |e: zip::result::ZipError| malformed(&format!("zip entry {index}"), e.to_string());
        let entry = archive.by_index_raw(index).map_err(zip_error)?;
        let name = entry.name().map_err(zip_error)?.into_owned();
        // torch compresses only program text, which is skipped. Everything else is stored
        // as it is, so that a small archive cannot become a large one.
        if name.contains("/code/") {
            continue;
        }
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(malformed(&name, "compressed or encrypted".into()));
        }
        let range = || {
            let start = usize::try_from(entry.data_start()?).ok()?;
            let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
            (end <= bytes.len() && entry.size() == entry.compressed_size()).then_some(start..end)
        };
        let range = range().ok_or_else(|| malformed(&name, "reaches beyond the file".into()))?;
        if entries.insert(name.clone(), range).is_some() {
            return Err(malformed(&name, "appears twice".into()));
        }
    }

    let folder = root_folder(&entries).ok_or_else(|| {
        let reason = "expected exactly one, as torch.save and torch.jit.save write it";
        malformed("data.pkl", reason.into())
    })?;
    let slice = |name: &str| {
        let range = entries.get(&format!("{folder}/{name}")).cloned()?;
        bytes.get(range)
    };
    if slice("byteorder").is_some_and(|order| order != b"little") {
        return Err(malformed("byteorder", "not little-endian".into()));
    }
    let item = format!("{folder}/data.pkl");
    // Read through the archive, which verifies the checksum of what is read.
    let mut object = Vec::new();
    archive
        .by_name(&item)
        .map_err(|e| malformed(&item, e.to_string()))?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut object)
        .map_err(|e| malformed(&item, e.to_string()))?;
    let pickle = Pickle::parse(&object).map_err(|e| malformed(&item, e.to_string()))?;
    let scripted = slice("constants.pkl").is_some();
    let prefix = format!("{folder}/data/");
    let storages = entries
        .into_iter()
        .filter_map(|(name, range)| Some((name.strip_prefix(&prefix)?.to_owned(), range)))
        .collect();
    Ok(Content {
        pickle,
        storages,
        scripted,
    })
}

/// Refuses an archive without the directory that ends it.
///
/// # Errors
/// [`Error::CutOff`].
pub(super) fn expect_whole(file: &Mapped) -> Result<()> {
    // At the end, before a comment of at most 64 KiB.
    const END: &[u8] = b"PK\x05\x06";
    let bytes = file.bytes();
    let tail = &bytes[bytes.len().saturating_sub((1 << 16) + 22)..];
    let end = tail.windows(END.len()).rposition(|window| window == END);
    if end.is_some_and(|at| at + 22 <= tail.len()) {
        return Ok(());
    }
    let rest = match claimed(bytes) {
        Some(least) if least > bytes.len() => format!("of at least {least}"),
        _ => "without the directory that ends a zip archive".into(),
    };
    Err(Error::CutOff {
        path: file.path().into(),
        got: bytes.len() as u64,
        rest,
    })
}

/// The size of all storages that the object at the start of the archive refers to.
fn claimed(bytes: &[u8]) -> Option<usize> {
    let length = |at: usize| {
        Some(usize::from(u16::from_le_bytes([
            *bytes.get(at)?,
            *bytes.get(at + 1)?,
        ])))
    };
    // A local header of 30 bytes, a name, an extra field.
    let name = bytes.get(30..)?.get(..length(26)?)?;
    if !name.ends_with(b"/data.pkl") {
        return None;
    }
    let object = bytes.get(30 + name.len() + length(28)?..)?;
    let (pickle, _) = Pickle::parse_prefix(object).ok()?;
    let storages: HashMap<&str, usize> = pickle.storages().collect();
    let mut sizes = storages.values();
    sizes.try_fold(0usize, |sum, &size| sum.checked_add(size))
}

/// What a zip archive is if it is not one of torch.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let has = |end: &str| {
        archive
            .file_names()
            .flatten()
            .any(|name| name.ends_with(end))
    };
    if has("data.pkl") {
        None
    } else if has(".weights.h5") {
        Some("a Keras archive; PyTorch's or safetensors weights are read")
    } else if has(".npy") {
        Some("an archive of NumPy arrays; PyTorch's or safetensors weights are read")
    } else {
        Some("a zip archive of something other than torch.save's; unpack it")
    }
}

/// The only folder with a `data.pkl`.
fn root_folder(entries: &HashMap<String, Range<usize>>) -> Option<String> {
    let mut roots = entries
        .keys()
        .filter_map(|name| name.strip_suffix("/data.pkl"))
        .filter(|folder| !folder.contains('/'));
    match (roots.next(), roots.next()) {
        (Some(folder), None) => Some(folder.to_owned()),
        _ => None,
    }
}
