//! `cargo xtask setup`: makes the workspace build on a bare machine.

pub(crate) mod browser;
mod install;
pub(crate) mod launcher;
pub(crate) mod libtorch;
pub(crate) mod linking;
pub(crate) mod openapi_client;
pub(crate) mod system;
pub(crate) mod tools;
pub(crate) mod vocabulary;
pub(crate) mod wheels;

use std::path::{Path, PathBuf};

use crate::places::Places;
use crate::registry::Registry;
use crate::workspace;
use crate::{Error, Result};
use libtorch::{Kind, Libtorch, Managed, Source};
use linking::Linking;

/// Options of the set-up.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Use a libtorch with CUDA (2.5 GB to download, 3.6 GB on disk)
    #[arg(long, conflicts_with = "cpu")]
    pub cuda: bool,
    /// Use the CPU libtorch again after another one
    #[arg(long)]
    pub cpu: bool,
    /// Source of the libtorch download
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<Source>,
}

impl Options {
    /// The requested libtorch.
    fn requested(&self) -> Option<Managed> {
        (self.cuda || self.cpu || self.from.is_some()).then(|| Managed {
            kind: if self.cuda { Kind::Cuda } else { Kind::Cpu },
            source: self.from.unwrap_or(Source::Registry),
        })
    }
}

/// Runs the set-up and prints a summary.
///
/// # Errors
/// A step fails; the error states the fix.
pub fn run(options: &Options) -> Result<()> {
    let places = Places::of_user()?;
    let root = workspace::root();
    let registry = Registry::of_user();
    let build = prepare_build(&root, &places, &registry, options)?;
    let fetched = |fetched| if fetched { ", fetched" } else { "" };
    let vocabulary_fetched = vocabulary::ensure(&places, &registry)?;
    workspace::print(&format!(
        "system packages  installed\n\
         libtorch         {} ({}){}\n\
         link flags       {}\n\
         vocabulary       {}{}\n\
         Ready: cargo build, cargo run -p trainer, cargo test, cargo bench.",
        places.short(&build.libtorch.folder),
        build.libtorch.describe(),
        fetched(build.fetched),
        match build.rewritten {
            true => "written to .cargo/libtorch.toml",
            false => "unchanged",
        },
        places.short(&vocabulary::path(&places)),
        fetched(vocabulary_fetched),
    ));
    Ok(())
}

/// Runs the missing steps of the set-up, for a command that builds. The vocabulary is rarely
/// needed, so a failure to fetch it is only a warning.
///
/// # Errors
/// A step fails; the error states the fix.
pub fn ensure() -> Result<()> {
    let places = Places::of_user()?;
    let registry = Registry::of_user();
    prepare_build(&workspace::root(), &places, &registry, &Options::default())?;
    if let Err(e) = vocabulary::ensure(&places, &registry) {
        eprintln!("warning: cannot fetch the vocabulary: {e}; run `cargo xtask setup` to retry");
    }
    Ok(())
}

/// The same with what tests need beyond that; without it they are skipped, so that a failure to
/// install it is only a warning.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_for_tests() -> Result<()> {
    ensure()?;
    let places = Places::of_user()?;
    if let Err(e) = browser::ensure(&places) {
        eprintln!("warning: the page's tests are skipped: {e}");
    }
    if let Err(e) = openapi_client::ensure(&places) {
        eprintln!("warning: the test with a generated client is skipped: {e}");
    }
    if let Err(e) = launcher::ensure(&places, &Registry::of_user()) {
        eprintln!("warning: the test with mpiexec is skipped: {e}");
    }
    Ok(())
}

struct Build {
    libtorch: Libtorch,
    fetched: bool,
    rewritten: bool,
}

fn prepare_build(
    root: &Path,
    places: &Places,
    registry: &Registry,
    options: &Options,
) -> Result<Build> {
    system::ensure()?;
    let variables = Variables {
        libtorch: libtorch_variable(),
        use_pytorch: std::env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
    };
    let written = linking::read(root);
    let (choice, forced) = choose(options, &variables, written.as_ref(), places)?;
    let (libtorch, fetched) = match choice {
        Choice::Python => (libtorch::of_python()?, false),
        Choice::User(libtorch) => (libtorch, false),
        Choice::Managed(managed) => match install::installed(managed, places) {
            Some(libtorch) => (libtorch, false),
            None => (install::install(managed, places, registry)?, true),
        },
    };
    let linking = Linking {
        libtorch: libtorch.folder.clone(),
        linker: libtorch
            .cuda
            .then(|| linking::write_linker(places))
            .transpose()?,
        forced,
    };
    let rewritten = linking::write(root, &linking)?;
    Ok(Build {
        libtorch,
        fetched,
        rewritten,
    })
}

/// The value of `LIBTORCH`.
pub(crate) fn libtorch_variable() -> Option<PathBuf> {
    let value = std::env::var_os("LIBTORCH").filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The environment variables that select a libtorch.
#[derive(Debug, Default)]
struct Variables {
    libtorch: Option<PathBuf>,
    use_pytorch: bool,
}

#[derive(Debug, PartialEq)]
enum Choice {
    Python,
    User(Libtorch),
    Managed(Managed),
}

/// Chooses the libtorch, and whether it overrides `LIBTORCH`.
///
/// Cargo sets `LIBTORCH` to the `written` value in our environment too: an equal value is the
/// choice of the last set-up, any other is the user's.
fn choose(
    options: &Options,
    variables: &Variables,
    written: Option<&Linking>,
    places: &Places,
) -> Result<(Choice, bool)> {
    let requested = options.requested();
    if variables.use_pytorch {
        return match requested {
            // `torch-sys` follows the variable in any case.
            Some(_) => Err(Error::machine(
                "LIBTORCH_USE_PYTORCH",
                "is set and takes precedence; unset it, or omit the option",
            )),
            None => Ok((Choice::Python, false)),
        };
    }
    let named = variables
        .libtorch
        .as_deref()
        .or(written.map(|written| written.libtorch.as_path()));
    let last = written.filter(|written| Some(written.libtorch.as_path()) == named);
    let forced = last.is_some_and(|last| last.forced);
    // The user's variable takes precedence over the written value, unless that is forced.
    let foreign = variables.libtorch.is_some() && last.is_none();
    if let Some(managed) = requested {
        if foreign {
            eprintln!("warning: this workspace now overrides the variable LIBTORCH");
        }
        return Ok((Choice::Managed(managed), forced || foreign));
    }
    let Some(named) = named else {
        return Ok((Choice::Managed(Managed::CPU), false));
    };
    if let Some(managed) = Managed::at(named, places) {
        return Ok((Choice::Managed(managed), forced));
    }
    let fault = match Libtorch::at(named) {
        Ok(found) if found.is_compatible() => return Ok((Choice::User(found), forced)),
        Ok(found) => format!(
            "{} has {}, but tch requires {}",
            named.display(),
            found.describe(),
            libtorch::VERSION
        ),
        Err(e) => e.to_string(),
    };
    if foreign {
        eprintln!("warning: LIBTORCH: {fault}; this workspace overrides it");
    }
    Ok((Choice::Managed(Managed::CPU), forced || foreign))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use libtorch::tests::create_libtorch;

    struct Home {
        folder: tempfile::TempDir,
        places: Places,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let places = Places::inside(folder.path());
            Self { folder, places }
        }

        fn user_libtorch(&self, version: &str) -> PathBuf {
            let libtorch = self.folder.path().join(format!("user-{version}"));
            create_libtorch(&libtorch, version);
            libtorch
        }

        fn choose(
            &self,
            options: &Options,
            libtorch: Option<&Path>,
            written: Option<&Linking>,
        ) -> (Choice, bool) {
            let variables = Variables {
                libtorch: libtorch.map(Path::to_path_buf),
                use_pytorch: false,
            };
            choose(options, &variables, written, &self.places).unwrap()
        }
    }

    const CUDA: Managed = Managed {
        kind: Kind::Cuda,
        ..Managed::CPU
    };

    fn written(libtorch: &Path, forced: bool) -> Linking {
        Linking {
            libtorch: libtorch.into(),
            linker: None,
            forced,
        }
    }

    fn cuda() -> Options {
        Options {
            cuda: true,
            ..Options::default()
        }
    }

    #[test]
    fn the_default_is_the_managed_cpu_libtorch() {
        let chosen = Home::new().choose(&Options::default(), None, None);
        assert_eq!(chosen, (Choice::Managed(Managed::CPU), false));
    }

    #[test]
    fn a_compatible_libtorch_of_the_user_is_used() {
        let home = Home::new();
        let folder = home.user_libtorch("2.13.0+cpu");
        let expected = (Choice::User(Libtorch::at(&folder).unwrap()), false);
        let chosen = home.choose(&Options::default(), Some(&folder), None);
        assert_eq!(chosen, expected);
        // It is still used when the variable is gone.
        let chosen = home.choose(&Options::default(), None, Some(&written(&folder, false)));
        assert_eq!(chosen, expected);
    }

    #[test]
    fn an_incompatible_libtorch_is_overridden_for_good() {
        let home = Home::new();
        for unfit in [
            home.user_libtorch("2.11.0"),
            home.folder.path().join("none"),
        ] {
            let chosen = home.choose(&Options::default(), Some(&unfit), None);
            assert_eq!(chosen, (Choice::Managed(Managed::CPU), true));
            // Cargo now sets the variable to the forced value.
            let managed = Managed::CPU.libtorch(&home.places);
            let file = written(&managed, true);
            let again = home.choose(&Options::default(), Some(&managed), Some(&file));
            assert_eq!(again, chosen);
        }
    }

    #[test]
    fn an_explicit_request_persists() {
        let home = Home::new();
        let (chosen, _) = home.choose(&cuda(), None, None);
        assert_eq!(chosen, Choice::Managed(CUDA));
        let folder = CUDA.libtorch(&home.places);
        let file = written(&folder, false);
        let (again, _) = home.choose(&Options::default(), Some(&folder), Some(&file));
        assert_eq!(again, Choice::Managed(CUDA));
        let cpu = Options {
            cpu: true,
            ..Options::default()
        };
        let (chosen, _) = home.choose(&cpu, Some(&folder), Some(&file));
        assert_eq!(chosen, Choice::Managed(Managed::CPU));
    }

    #[test]
    fn the_python_variable_takes_precedence() {
        let home = Home::new();
        let variables = Variables {
            libtorch: Some(home.user_libtorch("2.13.0")),
            use_pytorch: true,
        };
        let (chosen, _) = choose(&Options::default(), &variables, None, &home.places).unwrap();
        assert_eq!(chosen, Choice::Python);
        let error = choose(&cuda(), &variables, None, &home.places).unwrap_err();
        assert!(error.to_string().contains("LIBTORCH_USE_PYTORCH"));
    }
}
