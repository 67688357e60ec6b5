//! The requirements of a program or library: other libraries, and versions of the C library.

use std::fs;
use std::path::Path;

use object::read::elf::{FileHeader as _, VerneedIterator};
use object::{Endianness, elf};

use crate::{Error, Result};

/// The requirements of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirements {
    /// The libraries that it is linked with.
    pub(super) libraries: Vec<String>,
    /// The newest version of a symbol of the C library.
    pub(super) glibc: Glibc,
}

/// A version of the GNU C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Glibc(u32, u32);

impl Glibc {
    /// That of Debian 12, which releases are made for.
    pub(super) const LIMIT: Self = Self(2, 36);

    /// The version in the name of a set of symbols, such as `GLIBC_2.34`.
    fn named(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl std::fmt::Display for Glibc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Requirements {
    /// Those of the file at `path`; `None` if it is not an ELF file.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
        match bytes.starts_with(&elf::ELFMAG) {
            true => Self::read(&bytes)
                .map(Some)
                .map_err(|e| Error::invalid(path.display(), e)),
            false => Ok(None),
        }
    }

    fn read(bytes: &[u8]) -> object::read::Result<Self> {
        let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, bytes)?;
        let mut libraries = Vec::new();
        if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
            let strings = sections.strings(endian, bytes, strings)?;
            for entry in entries {
                if entry.d_tag.get(endian) == elf::DT_NEEDED {
                    let at = u32::try_from(entry.d_val.get(endian)).unwrap_or(u32::MAX);
                    let name = strings.get(at).unwrap_or_default();
                    libraries.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        let mut glibc = Glibc::default();
        if let Some((needs, strings)) = sections.gnu_verneed(endian, bytes)? {
            let strings = sections.strings(endian, bytes, strings)?;
            let mut needs: VerneedIterator<'_, _> = needs;
            while let Some((_, mut versions)) = needs.next()? {
                while let Some(version) = versions.next()? {
                    let name = String::from_utf8_lossy(version.name(endian, strings)?);
                    glibc = glibc.max(Glibc::named(&name).unwrap_or_default());
                }
            }
        }
        Ok(Self { libraries, glibc })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let version = |text| Glibc::named(text).unwrap();
        assert!(version("GLIBC_2.4") < version("GLIBC_2.34"));
        assert!(version("GLIBC_2.2.5") < Glibc::LIMIT && Glibc::LIMIT < version("GLIBC_2.38"));
        assert_eq!(Glibc::named("GLIBC_PRIVATE"), None);
        assert_eq!(Glibc::named("GLIBCXX_3.4.30"), None);
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn this_program_needs_the_c_library() {
        let own = Requirements::of(&std::env::current_exe().unwrap());
        let own = own.unwrap().unwrap();
        assert!(
            own.libraries.iter().any(|name| name == "libc.so.6"),
            "{own:?}"
        );
        assert!(own.glibc > Glibc::default());
        let manifest = testkit::workspace_root().join("Cargo.toml");
        assert_eq!(Requirements::of(&manifest).unwrap(), None);
    }
}
