//! Whether something is there, or cannot be told.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// Whether a file or folder is there. A link to nothing is not.
///
/// # Errors
/// The system does not tell, such as for a folder that belongs to another: that is no answer, and
/// `Path::exists` calls it "no".
pub fn is_there(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some())
}

/// Whether a file is there, and no folder.
///
/// # Errors
/// As [`is_there`].
pub fn is_file(path: &Path) -> Result<bool, Error> {
    Ok(metadata(path)?.is_some_and(|there| there.is_file()))
}

fn metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::metadata(path) {
        Ok(there) => Ok(Some(there)),
        // Below a file there is nothing.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(Error::of("cannot look for", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_system_does_not_tell_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(!is_there(&file).unwrap());
        std::fs::write(&file, "").unwrap();
        assert!(is_there(&file).unwrap() && is_file(&file).unwrap());
        assert!(is_there(folder.path()).unwrap() && !is_file(folder.path()).unwrap());
        assert!(!is_there(&file.join("below")).unwrap());
        // Longer than any name may be.
        let error = is_there(&folder.path().join("n".repeat(300))).unwrap_err();
        assert!(error.to_string().starts_with("cannot look for"), "{error}");
    }
}
