//! Tests that need what not every machine has. They live in modules named for the need and
//! are ignored, so that a plain `cargo test` says so; the check runs those whose need is met
//! and counts the others as skipped.

use std::path::{Path, PathBuf};

use crate::workspace::output_of;

/// What the tests of some modules need.
#[derive(Debug)]
pub struct Need {
    /// The name of their modules.
    module: &'static str,
    /// Why they are skipped where it is not met.
    lacking: &'static str,
    met: fn(root: &Path) -> bool,
}

const NEEDS: [Need; 4] = [
    Need {
        module: "needs_shared",
        lacking: "no reference data at SIF_SHARED or ../shared",
        met: |root| {
            std::env::var_os("SIF_SHARED")
                .map_or_else(|| root.join("../shared"), PathBuf::from)
                .is_dir()
        },
    },
    Need {
        module: "needs_avx512_vbmi",
        lacking: "the processor lacks avx512bw, avx512vbmi or avx512vnni",
        met: |_| processor::has_vbmi(),
    },
    Need {
        module: "needs_ffmpeg",
        lacking: "the program ffmpeg is not installed",
        met: |_| output_of("ffmpeg", &["-version"]).is_some(),
    },
    Need {
        module: "needs_unrar",
        lacking: "no program that unpacks .rar is installed",
        met: |_| !rar_programs().is_empty(),
    },
];

#[cfg(target_arch = "x86_64")]
mod processor {
    pub(super) fn has_vbmi() -> bool {
        is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni")
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod processor {
    pub(super) fn has_vbmi() -> bool {
        false
    }
}

/// The programs on the search path that unpack `.rar`, by name.
#[must_use]
pub fn rar_programs() -> Vec<(&'static str, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &'static str| {
        let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
        Some((name, places.find(|program| program.is_file())?))
    };
    // Debian's 7-Zip comes without.
    let reads_rar = |(name, _): &(&'static str, PathBuf)| {
        !name.starts_with("7z")
            || output_of(name, &["i"]).is_some_and(|says| says.contains(" Rar "))
    };
    let programs = ["unrar", "bsdtar", "7z", "7zz", "unar"].into_iter();
    programs.filter_map(find).filter(reads_rar).collect()
}

/// The needs that this machine does not meet.
#[must_use]
pub fn unmet(root: &Path) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.met)(root)).collect()
}

impl Need {
    /// What the paths of its tests, and of no others, contain.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::", self.module)
    }

    /// How many of the tests `listed`, one a line, it leaves out, and why; `None` for none.
    #[must_use]
    pub fn skipped(&self, listed: &str) -> Option<String> {
        let path = self.path();
        let is_own = |line: &&str| line.starts_with(&path) || line.contains(&format!("::{path}"));
        let count = listed.lines().filter(is_own).count();
        (count > 0).then(|| format!("{count} of {}: {}", self.module, self.lacking))
    }
}

/// nextest's expression for all tests but those of `unmet`.
#[must_use]
pub fn filter(unmet: &[&Need]) -> String {
    let modules: Vec<&str> = unmet.iter().map(|need| need.module).collect();
    match modules.as_slice() {
        [] => "all()".into(),
        some => format!("not test(/(^|::)({})::/)", some.join("|")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tests_left_out_are_counted_by_their_need() {
        let [shared, vbmi, ffmpeg, ..] = &NEEDS;
        let listed = "needs_shared::clips: test\ntests::needs_avx512_vbmi::rows: test\n\
                      wide::needs_shared::lists: test\nother: test\n";
        let said = |need: &Need| need.skipped(listed);
        let expected = "2 of needs_shared: no reference data at SIF_SHARED or ../shared";
        assert_eq!(said(shared).unwrap(), expected);
        assert!(said(vbmi).unwrap().starts_with("1 of needs_avx512_vbmi: "));
        assert_eq!(said(ffmpeg), None);
        assert_eq!(filter(&[]), "all()");
        assert_eq!(
            filter(&[shared, ffmpeg]),
            "not test(/(^|::)(needs_shared|needs_ffmpeg)::/)"
        );
    }
}
