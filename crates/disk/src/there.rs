//! Whether something is there, or cannot be told.

use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// Whether a file or folder is there. A link to nothing is not.
///
/// # Errors
/// The system does not tell, such as for a folder that belongs to another: that is no answer, and
/// `Path::exists` calls it "no".
pub fn is_there(path: &Path) -> Result<bool, Error> {
    match path.try_exists() {
        // Below a file there is nothing.
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        other => other.map_err(Error::of("cannot look for", path)),
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
        assert!(is_there(&file).unwrap());
        assert!(!is_there(&file.join("below")).unwrap());
        // Longer than any name may be.
        let error = is_there(&folder.path().join("n".repeat(300))).unwrap_err();
        assert!(error.to_string().starts_with("cannot look for"), "{error}");
    }
}
