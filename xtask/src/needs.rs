//! Requirements of tests that not every machine meets. Such tests are in modules named after the
//! requirement and are ignored by `cargo test`; `cargo xtask test` runs those whose requirement is
//! met and reports the others as skipped.

use std::path::{Path, PathBuf};

use crate::archive::rar;
use crate::places::Places;
use crate::setup::tools::Tool;
use crate::setup::{browser, launcher, openapi_client};
use crate::workspace::{output_of, shared};

/// A requirement of tests.
#[derive(Debug)]
pub struct Need {
    /// The name of the test modules.
    module: &'static str,
    /// The reason to skip them.
    unmet: &'static str,
    is_met: fn(root: &Path) -> bool,
}

const NEEDS: [Need; 11] = [
    Need {
        module: "needs_shared",
        unmet: "no reference data at SIF_SHARED or ../shared",
        is_met: |root| shared(root).is_dir(),
    },
    Need {
        module: "needs_avx512_vbmi",
        unmet: "the processor lacks avx512bw, avx512vbmi or avx512vnni",
        is_met: |_| has_avx512_vbmi(),
    },
    Need {
        module: "needs_ffmpeg",
        unmet: "the program ffmpeg is not installed",
        is_met: |_| output_of("ffmpeg", &["-version"]).is_some(),
    },
    Need {
        module: "needs_curl",
        unmet: "the program curl is not installed",
        is_met: |_| output_of("curl", &["--version"]).is_some(),
    },
    Need {
        module: "needs_cargo_deny",
        unmet: "cargo-deny could not be installed",
        is_met: |_| Tool::Deny.is_present(),
    },
    Need {
        module: "needs_openapi_client",
        unmet: "openapi-python-client could not be installed",
        is_met: |_| Places::of_user().is_ok_and(|places| openapi_client::is_present(&places)),
    },
    Need {
        module: "needs_chromium",
        unmet: "chromium, chromium-driver or axe-core is not installed",
        is_met: |_| browser::is_present(),
    },
    Need {
        module: "needs_mpiexec",
        unmet: "MPICH's mpiexec is not installed",
        is_met: |_| launcher::is_present(),
    },
    Need {
        module: "needs_torchrun",
        unmet: "SIF_PYTHON names no Python with torch",
        is_met: |_| {
            let python = std::env::var_os("SIF_PYTHON");
            python.is_some_and(|python| {
                output_of(python, &["-c", "import torch.distributed.run"]).is_some()
            })
        },
    },
    Need {
        module: "needs_minutes",
        unmet: "12 minutes: `cargo xtask faults`",
        is_met: |_| false,
    },
    Need {
        module: "needs_unrar",
        unmet: "no program for .rar is installed",
        is_met: |_| !rar_programs().is_empty(),
    },
];

fn has_avx512_vbmi() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The programs on the `PATH` that unpack `.rar`, with their names.
#[must_use]
pub fn rar_programs() -> Vec<(&'static str, PathBuf)> {
    rar::programs(&std::env::var_os("PATH").unwrap_or_default()).collect()
}

/// The requirements that this machine does not meet.
#[must_use]
pub fn unmet(root: &Path) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.is_met)(root)).collect()
}

impl Need {
    /// The part of a test's path that identifies its tests.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::", self.module)
    }

    /// The number of its tests in `listed`, one per line, and the reason to skip them. `None` if
    /// there are none.
    #[must_use]
    pub fn skipped(&self, listed: &str) -> Option<String> {
        let path = self.path();
        let is_own = |line: &&str| line.starts_with(&path) || line.contains(&format!("::{path}"));
        let count = listed.lines().filter(is_own).count();
        (count > 0).then(|| format!("{count} of {}: {}", self.module, self.unmet))
    }
}

/// A filter expression of nextest for all tests except those of `unmet`.
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
    fn skipped_tests_are_counted_by_requirement() {
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
