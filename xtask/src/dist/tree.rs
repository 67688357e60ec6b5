//! The folder of a release:
//!
//! ```text
//! bin/trainer                              answers help and errors of usage, starts the engine
//! libexec/seeing-in-flowing/trainer        the engine
//! lib/seeing-in-flowing/*.so*              libtorch, FFmpeg, the run-time libraries of GCC
//! share/seeing-in-flowing/                 vocabulary, demo, templates, class names, configurations
//! share/{man,bash-completion,zsh,fish}/    made of the tree of commands
//! share/doc/seeing-in-flowing/             read-me, licences, bill of materials
//! SHA256SUMS
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_complete::Shell;
use hub::sha256_of;

use super::elf::{Glibc, Requirements};
use super::ffmpeg::Ffmpeg;
use super::pack::files;
use crate::places::{Places, empty_folder, make_executable, make_folder, write_whole};
use crate::setup::vocabulary;
use crate::workspace::output;
use crate::{Error, Result};

/// The folder of the libraries.
pub(super) const LIBRARIES: &str = "lib/seeing-in-flowing";
/// The program that computes.
pub(super) const ENGINE: &str = "libexec/seeing-in-flowing/trainer";
/// The program that is called.
pub(super) const FRONT: &str = "bin/trainer";
/// The data.
pub(super) const DATA: &str = "share/seeing-in-flowing";
/// The documentation.
pub(super) const DOCS: &str = "share/doc/seeing-in-flowing";

/// The libraries of glibc, which every Linux with it has.
pub(super) const C_LIBRARY: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];

/// The folder of a release under construction.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) folder: PathBuf,
}

impl Tree {
    /// An empty one.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        empty_folder(&folder)?;
        Ok(Self { folder })
    }

    fn place(&self, to: &str) -> Result<PathBuf> {
        let to = self.folder.join(to);
        make_folder(to.parent().unwrap_or(&to))?;
        Ok(to)
    }

    /// Copies a file.
    pub(super) fn copy(&self, from: &Path, to: &str) -> Result<PathBuf> {
        let to = self.place(to)?;
        fs::copy(from, &to).map_err(Error::io("cannot copy", from))?;
        Ok(to)
    }

    /// Writes a file.
    pub(super) fn write(&self, to: &str, content: impl AsRef<[u8]>) -> Result<()> {
        write_whole(&self.place(to)?, content.as_ref()).map(drop)
    }

    /// Adds the two programs.
    pub(super) fn add_programs(&self, front: &Path, engine: &Path) -> Result<()> {
        for (from, to) in [(front, FRONT), (engine, ENGINE)] {
            make_executable(&self.copy(from, to)?)?;
        }
        Ok(())
    }

    /// Adds every library that the engine needs, directly or not, and that is not of the C library:
    /// from `folders`, the first of which that has it, or else from the system's, without symbols.
    /// Returns the newest version of the C library that anything here needs.
    pub(super) fn add_libraries(&self, folders: &[PathBuf]) -> Result<Glibc> {
        self.add_libraries_beside(folders, &[])
    }

    /// As [`add_libraries`](Self::add_libraries), without those that the folders `installed` have.
    pub(super) fn add_libraries_beside(
        &self,
        folders: &[PathBuf],
        installed: &[PathBuf],
    ) -> Result<Glibc> {
        let mut glibc = Glibc::default();
        let mut seen: BTreeSet<String> = C_LIBRARY.map(str::to_owned).into();
        for folder in installed {
            let names = files(folder)?;
            seen.extend(names.iter().map(|name| name.display().to_string()));
        }
        let mut waiting = vec![self.folder.join(FRONT), self.folder.join(ENGINE)];
        while let Some(path) = waiting.pop() {
            let Some(needs) = Requirements::of(&path)? else {
                return Err(Error::invalid(path.display(), "not an ELF file"));
            };
            if needs.glibc > Glibc::LIMIT {
                let reason = format!(
                    "needs glibc {}; releases are for {} and newer: build on Debian 12",
                    needs.glibc,
                    Glibc::LIMIT
                );
                return Err(Error::invalid(path.display(), reason));
            }
            glibc = glibc.max(needs.glibc);
            for library in needs.libraries {
                if seen.insert(library.clone()) {
                    let from = find(&library, folders).ok_or_else(|| {
                        Error::invalid(path.display(), format!("needs {library}, which is nowhere"))
                    })?;
                    let to = self.copy(&from, &format!("{LIBRARIES}/{library}"))?;
                    output(Command::new("strip").arg("--strip-unneeded").arg(&to))?;
                    waiting.push(to);
                }
            }
        }
        Ok(glibc)
    }

    /// Adds the data, and `ffmpeg`'s configure line.
    pub(super) fn add_data(&self, root: &Path, ffmpeg: &Ffmpeg) -> Result<()> {
        let words = vocabulary::path(&Places::of_user()?);
        let name = words.file_name().unwrap_or_default().to_string_lossy();
        self.copy(&words, &format!("{DATA}/{name}"))?;
        let datasets = root.join("datasets");
        for file in files(&datasets)? {
            self.copy(&datasets.join(&file), &format!("{DATA}/{}", file.display()))?;
        }
        self.copy(
            &ffmpeg.folder.join("configure"),
            &format!("{DATA}/ffmpeg-configure"),
        )?;
        for file in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            self.copy(&root.join(file), &format!("{DOCS}/{file}"))?;
        }
        Ok(())
    }

    /// Adds man pages and completions.
    pub(super) fn add_command_line(&self) -> Result<()> {
        let pages = self.folder.join("share/man/man1");
        make_folder(&pages)?;
        clap_mangen::generate_to(cli::command(), &pages)
            .map_err(Error::io("cannot write", &pages))?;
        for (shell, place) in [
            (Shell::Bash, "share/bash-completion/completions/trainer"),
            (Shell::Zsh, "share/zsh/site-functions/_trainer"),
            (Shell::Fish, "share/fish/vendor_completions.d/trainer.fish"),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "trainer", &mut script);
            self.write(place, script)?;
        }
        Ok(())
    }

    /// Adds what the engine says of itself: its versions, and a configuration of each preset.
    /// `search`: where else its libraries are looked for.
    pub(super) fn add_answers(&self, search: Option<&Path>) -> Result<()> {
        let ask = |words: &[&str]| {
            let mut command = Command::new(self.folder.join(ENGINE));
            if let Some(folder) = search {
                command.env("LD_LIBRARY_PATH", folder);
            }
            output(command.args(words))
        };
        self.write(&format!("{DATA}/version"), ask(&["--version"])?)?;
        for preset in ["paper", "best"] {
            let text = ask(&["config", "--set", &format!("model.preset={preset}")])?;
            self.write(&format!("{DATA}/configs/{preset}.toml"), text)?;
        }
        Ok(())
    }

    /// Adds the hashes of all files, as `sha256sum --check` reads them.
    pub(super) fn add_sums(&self) -> Result<()> {
        let mut sums = String::new();
        for file in files(&self.folder)? {
            let hash = sha256_of(&self.folder.join(&file))?;
            // Writing to a string cannot fail.
            let _ = writeln!(sums, "{hash}  {}", file.display());
        }
        self.write("SHA256SUMS", sums)
    }
}

/// The file of a library: in one of `folders`, or where the system's linker finds it.
fn find(library: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let system = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"].map(PathBuf::from);
    let mut all = folders
        .iter()
        .chain(&system)
        .map(|folder| folder.join(library));
    all.find(|path| path.is_file())
}
