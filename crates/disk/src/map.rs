//! Files mapped into memory.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Advice, Mmap};

use crate::Error;

/// A file's bytes, mapped and read by the system on access.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the regular file at `path`.
    ///
    /// # Errors
    /// It is not a regular file, or cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Checked before opening: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(Error::of("cannot look at", path))?;
        if !metadata.is_file() {
            let kind = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::of("cannot map", path)(kind));
        }
        let file = File::open(path).map_err(Error::of("cannot open", path))?;
        // SAFETY: the map is read only. A file that another process truncates meanwhile ends this
        // one with SIGBUS; files here are replaced by renaming, never changed in place.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(Error::of("cannot map", path))?;
        Ok(Self(map))
    }

    /// Advises the system that all bytes will be needed, so that it reads ahead.
    pub fn prefetch(&self) {
        // Advice that is ignored only costs time.
        let _ = self.0.advise(Advice::WillNeed);
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
