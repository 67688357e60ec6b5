//! The two hashes that identify files: SHA-256, and git's SHA-1.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::Digest;

use crate::{Error, Result};

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hash = Hashing(sha2::Sha256::new());
    io::copy(&mut file, &mut hash).map_err(Error::io("read", path))?;
    Ok(disk::hex(hash.0.finalize()))
}

/// The SHA-1 that identifies a file's content in git, in hexadecimal digits.
pub(crate) fn git_blob(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let mut hash = Hashing(sha1::Sha1::new());
    hash.0.update(format!("blob {length}\0"));
    io::copy(&mut file, &mut hash).map_err(Error::io("read", path))?;
    Ok(disk::hex(hash.0.finalize()))
}

/// A hash as a writer.
pub(crate) struct Hashing<D>(pub(crate) D);

impl<D: Digest> Write for Hashing<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `text` is `length` lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_git_gives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "hello\n").unwrap();
        // `printf 'hello\n' | git hash-object --stdin`
        assert_eq!(
            git_blob(&path).unwrap(),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }
}
