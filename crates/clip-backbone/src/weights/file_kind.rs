//! The kind of a file, told by its first bytes; its name may be anything.

use std::path::Path;

use super::stored::Mapped;
use super::{torch_archive, torch_legacy};
use crate::{Error, Result};

/// A file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Safetensors,
    Torch,
}

/// The first bytes of files that are often taken for weights, and their description.
const FOREIGN: [(&[u8], &str); 9] = [
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras saves weights; PyTorch's or safetensors weights are read",
    ),
    (b"GGUF", "a GGUF file, as llama.cpp reads it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
];

/// The kind of a weight file.
///
/// # Errors
/// [`Error::WrongFile`] if it is something else.
pub(super) fn recognise(file: &Mapped) -> Result<FileKind> {
    let bytes = file.bytes();
    let wrong = |found: String| Error::WrongFile {
        path: file.path().into(),
        found,
    };
    if bytes.starts_with(b"PK") {
        torch_archive::expect_whole(file)?;
        return match torch_archive::foreign(bytes) {
            Some(found) => Err(wrong(found.into())),
            None => Ok(FileKind::Torch),
        };
    }
    if torch_legacy::is_legacy(bytes) {
        return Ok(FileKind::Torch);
    }
    // Eight bytes of length and a JSON object.
    if bytes.get(8) == Some(&b'{') {
        return Ok(FileKind::Safetensors);
    }
    if let Some(found) = foreign(bytes) {
        return Err(wrong(found));
    }
    if bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|version| *version <= 5) {
        let found = "a plain pickle, not a file of torch.save; save the weights with torch.save";
        return Err(wrong(found.into()));
    }
    if is_onnx(bytes) {
        let found = "an ONNX model; PyTorch's or safetensors weights are read";
        return Err(wrong(found.into()));
    }
    let start = &bytes[..bytes.len().min(40)];
    let start = match std::str::from_utf8(start) {
        _ if start.iter().all(|&byte| byte == 0) => "; it begins with zeros only".into(),
        Ok(text) if !text.contains(char::is_control) => format!("; it begins with {text:?}"),
        _ => String::new(),
    };
    Err(wrong(format!(
        "{} bytes, neither a safetensors file nor one of torch.save{start}",
        bytes.len()
    )))
}

/// Refuses a text file, such as a configuration, that is something else.
///
/// # Errors
/// [`Error::WrongFile`].
pub(crate) fn expect_text(path: &Path, bytes: &[u8]) -> Result<()> {
    match foreign(bytes) {
        Some(found) if !found.starts_with(JSON) => Err(Error::WrongFile {
            path: path.into(),
            found,
        }),
        _ => Ok(()),
    }
}

const JSON: &str = "JSON";

/// A description of the content, if it is well known and not weights.
fn foreign(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("empty (0 bytes)".into());
    }
    if let Some(pointer) = lfs_pointer(bytes) {
        return Some(pointer);
    }
    if let Some((_, found)) = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some((*found).into());
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("a tar archive; unpack it".into());
    }
    let start = &bytes[..bytes.len().min(512)];
    let start = String::from_utf8_lossy(start);
    let start = start.trim_start_matches('\u{feff}').trim_start();
    let lower = start.to_ascii_lowercase();
    if ["<!doctype", "<html", "<?xml", "<head", "<body", "<!--"]
        .iter()
        .any(|tag| lower.starts_with(tag))
    {
        return Some("a web page, saved in place of the file".into());
    }
    if start.starts_with(['{', '[']) {
        return Some(format!(
            "{JSON}, such as a configuration or a server's message"
        ));
    }
    None
}

/// The file that git-lfs leaves in place of a large one.
fn lfs_pointer(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(&bytes[..bytes.len().min(1024)]).ok()?;
    if !text.starts_with("version https://git-lfs.github.com/spec/") {
        return None;
    }
    let size = text.lines().find_map(|line| line.strip_prefix("size "));
    let size = size.map_or_else(String::new, |size| format!(" of {} bytes", size.trim()));
    Some(format!(
        "a git-lfs pointer, not the file{size} itself; `git lfs pull` fetches it"
    ))
}

/// A protocol buffer that begins with ONNX's version and a text, or another field of its model.
fn is_onnx(bytes: &[u8]) -> bool {
    let &[0x08, 1..=32, field, length, ..] = bytes else {
        return false;
    };
    let text = bytes.get(4..4 + usize::from(length)).unwrap_or_default();
    match field {
        // Producer's name or version, domain, documentation.
        0x12 | 0x1a | 0x22 | 0x32 => text.is_ascii(),
        // Model's version, graph, opset.
        0x28 | 0x3a | 0x42 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_is_called_by_its_name() {
        for (bytes, name) in [
            (&b""[..], "empty"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 605247071\n",
                "605247071 bytes",
            ),
            (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", "web page"),
            (b"<HTML><body>404", "web page"),
            (b"{\"error\": \"not found\"}", "JSON"),
            (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
            (b"GGUF\x03\0\0\0", "GGUF"),
        ] {
            let found = foreign(bytes).unwrap_or_default();
            assert!(found.contains(name), "{name}: {found}");
        }
        assert_eq!(foreign(b"\x9b\0\0\0\0\0\0\0{}"), None);
        assert!(is_onnx(b"\x08\x07\x12\x07pytorch\x1a\x051.9.0"));
        assert!(!is_onnx(b"\x08\x00\x00\x00\x00\x00\x00\x00{}"));
    }
}
