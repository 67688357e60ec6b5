//! `cargo xtask setup`: from a bare machine to a workspace that builds.

pub mod libtorch;
pub mod linking;
pub mod system;
pub mod vocabulary;
pub mod wheels;

use std::path::{Path, PathBuf};

use crate::places::Places;
use crate::registry::Registry;
use crate::workspace;
use crate::{Error, Result};
use libtorch::{Found, From, Kind, Managed};
use linking::Linking;

/// What the user may ask of the set-up.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Use a libtorch with CUDA, fetched from the registry (2.5 GB, 3.6 GB on disk)
    #[arg(long, conflicts_with = "cpu")]
    pub cuda: bool,
    /// Use the CPU libtorch, where another one was set up before
    #[arg(long)]
    pub cpu: bool,
    /// Fetch libtorch from here
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<From>,
}

impl Options {
    /// The libtorch asked for, where one is.
    fn asked(&self) -> Option<Managed> {
        (self.cuda || self.cpu || self.from.is_some()).then(|| Managed {
            kind: if self.cuda { Kind::Cuda } else { Kind::Cpu },
            from: self.from.unwrap_or(From::Registry),
        })
    }
}

/// The whole set-up, saying what it did.
///
/// # Errors
/// The first step that fails, each with its cure.
pub fn run(options: &Options) -> Result<()> {
    let places = Places::of_user()?;
    let root = workspace::root();
    let registry = Registry::of_user();
    let set_up = system_and_libtorch(&root, &places, &registry, options)?;
    let placed = vocabulary::ensure(&places, &registry)?;
    workspace::print(&format!(
        "system packages  present\n\
         libtorch         {} ({}){}\n\
         link flags       {}\n\
         vocabulary       {}{}\n\
         Ready: cargo build, cargo run -p trainer, cargo test, cargo bench.",
        places.short(&set_up.found.libtorch),
        set_up.found.describe(),
        if set_up.fetched { ", fetched" } else { "" },
        if set_up.rewritten {
            ".cargo/libtorch.toml, written"
        } else {
            "unchanged"
        },
        places.short(&vocabulary::path(&places)),
        if placed { ", fetched" } else { "" },
    ));
    Ok(())
}

/// The set-up for a command that needs it: silent when all is in place. The vocabulary is
/// wanted by few, so that its absence is said and no more.
///
/// # Errors
/// The first step that fails, each with its cure.
pub fn ensure() -> Result<()> {
    let places = Places::of_user()?;
    let registry = Registry::of_user();
    system_and_libtorch(&workspace::root(), &places, &registry, &Options::default())?;
    if let Err(e) = vocabulary::ensure(&places, &registry) {
        eprintln!("warning: no vocabulary: {e}; `cargo xtask setup` tries again");
    }
    Ok(())
}

struct SetUp {
    found: Found,
    fetched: bool,
    rewritten: bool,
}

fn system_and_libtorch(
    root: &Path,
    places: &Places,
    registry: &Registry,
    options: &Options,
) -> Result<SetUp> {
    system::ensure()?;
    let variables = Variables {
        libtorch: std::env::var_os("LIBTORCH")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from),
        use_pytorch: std::env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
    };
    let written = linking::read(root);
    let choice = choose(options, &variables, written.as_ref(), places)?;
    let (found, fetched) = match choice.libtorch {
        Choice::Python => (libtorch::of_python()?, false),
        Choice::Own(found) => (found, false),
        Choice::Managed(managed) => match libtorch::installed(managed, places) {
            Some(found) => (found, false),
            None => (libtorch::install(managed, places, registry)?, true),
        },
    };
    let linker = if found.cuda {
        Some(linking::write_linker(places)?)
    } else {
        None
    };
    let linking = Linking {
        libtorch: found.libtorch.clone(),
        linker,
        forced: choice.forced,
    };
    let rewritten = linking::write(root, &linking)?;
    Ok(SetUp {
        found,
        fetched,
        rewritten,
    })
}

/// What the environment says of libtorch.
#[derive(Debug, Default)]
struct Variables {
    libtorch: Option<PathBuf>,
    use_pytorch: bool,
}

#[derive(Debug, PartialEq)]
struct Chosen {
    libtorch: Choice,
    forced: bool,
}

#[derive(Debug, PartialEq)]
enum Choice {
    Python,
    Own(Found),
    Managed(Managed),
}

/// Which libtorch it is to be.
///
/// Cargo puts what is `written` into our environment too: a `LIBTORCH` equal to it is the
/// last set-up's choice, any other is the user's own.
fn choose(
    options: &Options,
    variables: &Variables,
    written: Option<&Linking>,
    places: &Places,
) -> Result<Chosen> {
    let asked = options.asked();
    if variables.use_pytorch {
        return match asked {
            // `torch-sys` obeys the variable whatever we write.
            Some(_) => Err(Error::Libtorch {
                place: "LIBTORCH_USE_PYTORCH".into(),
                reason: "is set and decides alone; unset it, or leave the option out".into(),
            }),
            None => Ok(Chosen {
                libtorch: Choice::Python,
                forced: false,
            }),
        };
    }
    let named = variables
        .libtorch
        .as_deref()
        .or(written.map(|written| written.libtorch.as_path()));
    let last = written.filter(|written| Some(written.libtorch.as_path()) == named);
    let forced = last.is_some_and(|last| last.forced);
    // A variable of the user's own beats what we write, unless that is written with force.
    let foreign = variables.libtorch.is_some() && last.is_none();
    if let Some(managed) = asked {
        if foreign {
            eprintln!("warning: LIBTORCH is set; this workspace overrides it from now on");
        }
        return Ok(Chosen {
            libtorch: Choice::Managed(managed),
            forced: forced || foreign,
        });
    }
    let cpu = Managed {
        kind: Kind::Cpu,
        from: From::Registry,
    };
    let Some(named) = named else {
        return Ok(Chosen {
            libtorch: Choice::Managed(cpu),
            forced: false,
        });
    };
    if let Some(managed) = Managed::of(named, places) {
        return Ok(Chosen {
            libtorch: Choice::Managed(managed),
            forced,
        });
    }
    let unfit = match Found::at(named) {
        Ok(found) if found.fits() => {
            return Ok(Chosen {
                libtorch: Choice::Own(found),
                forced,
            });
        }
        Ok(found) => format!(
            "{} holds {}, and tch wants {}",
            named.display(),
            found.version.as_deref().unwrap_or("an unknown version"),
            libtorch::VERSION
        ),
        Err(e) => e.to_string(),
    };
    if foreign {
        eprintln!("warning: LIBTORCH: {unfit}; this workspace overrides it");
    }
    Ok(Chosen {
        libtorch: Choice::Managed(cpu),
        forced: forced || foreign,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::fs;

    struct Home {
        folder: tempfile::TempDir,
        places: Places,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let places = Places {
                cache: folder.path().join("cache"),
                data: folder.path().join("data"),
                home: folder.path().into(),
            };
            Self { folder, places }
        }

        fn own(&self, version: &str) -> PathBuf {
            let libtorch = self.folder.path().join(format!("own-{version}"));
            let include = libtorch.join("include/torch/csrc/api/include/torch");
            fs::create_dir_all(&include).unwrap();
            fs::create_dir_all(libtorch.join("lib")).unwrap();
            fs::write(include.join("torch.h"), "").unwrap();
            for library in ["libtorch", "libtorch_cpu", "libc10"] {
                let suffix = if cfg!(target_os = "macos") {
                    "dylib"
                } else {
                    "so"
                };
                fs::write(libtorch.join(format!("lib/{library}.{suffix}")), "").unwrap();
            }
            fs::write(libtorch.join("build-version"), version).unwrap();
            libtorch
        }

        fn choose(
            &self,
            options: &Options,
            libtorch: Option<&Path>,
            written: Option<&Linking>,
        ) -> Chosen {
            let variables = Variables {
                libtorch: libtorch.map(Path::to_path_buf),
                use_pytorch: false,
            };
            choose(options, &variables, written, &self.places).unwrap()
        }
    }

    const CPU: Managed = Managed {
        kind: Kind::Cpu,
        from: From::Registry,
    };
    const CUDA: Managed = Managed {
        kind: Kind::Cuda,
        from: From::Registry,
    };

    fn written(libtorch: &Path, forced: bool) -> Linking {
        Linking {
            libtorch: libtorch.into(),
            linker: None,
            forced,
        }
    }

    #[test]
    fn a_bare_machine_gets_the_cpu_libraries() {
        let home = Home::new();
        let chosen = home.choose(&Options::default(), None, None);
        assert_eq!(
            chosen,
            Chosen {
                libtorch: Choice::Managed(CPU),
                forced: false
            }
        );
    }

    #[test]
    fn a_libtorch_of_the_right_version_is_honoured() {
        let home = Home::new();
        let own = home.own("2.13.0+cpu");
        let chosen = home.choose(&Options::default(), Some(&own), None);
        assert!(matches!(chosen.libtorch, Choice::Own(found) if found.libtorch == own));
        assert!(!chosen.forced);
        // And remembered when the variable is gone.
        let chosen = home.choose(&Options::default(), None, Some(&written(&own, false)));
        assert!(matches!(chosen.libtorch, Choice::Own(found) if found.libtorch == own));
    }

    #[test]
    fn a_libtorch_of_another_version_is_overridden_and_stays_so() {
        let home = Home::new();
        for unfit in [home.own("2.11.0"), home.folder.path().join("nothing")] {
            let chosen = home.choose(&Options::default(), Some(&unfit), None);
            assert_eq!(
                chosen,
                Chosen {
                    libtorch: Choice::Managed(CPU),
                    forced: true
                }
            );
            // From now on cargo puts the forced value into our environment.
            let managed = CPU.libtorch(&home.places);
            let file = written(&managed, true);
            let again = home.choose(&Options::default(), Some(&managed), Some(&file));
            assert_eq!(again, chosen);
        }
    }

    #[test]
    fn what_was_asked_for_lasts() {
        let home = Home::new();
        let cuda = Options {
            cuda: true,
            ..Options::default()
        };
        let chosen = home.choose(&cuda, None, None);
        assert_eq!(chosen.libtorch, Choice::Managed(CUDA));
        let folder = CUDA.libtorch(&home.places);
        let file = written(&folder, false);
        let again = home.choose(&Options::default(), Some(&folder), Some(&file));
        assert_eq!(again.libtorch, Choice::Managed(CUDA));
        let cpu = Options {
            cpu: true,
            ..Options::default()
        };
        assert_eq!(
            home.choose(&cpu, Some(&folder), Some(&file)).libtorch,
            Choice::Managed(CPU)
        );
    }

    #[test]
    fn the_python_variable_decides_alone() {
        let home = Home::new();
        let variables = Variables {
            libtorch: Some(home.own("2.13.0")),
            use_pytorch: true,
        };
        let chosen = choose(&Options::default(), &variables, None, &home.places).unwrap();
        assert_eq!(chosen.libtorch, Choice::Python);
        let asked = Options {
            cuda: true,
            ..Options::default()
        };
        let error = choose(&asked, &variables, None, &home.places).unwrap_err();
        assert!(error.to_string().contains("LIBTORCH_USE_PYTORCH"));
    }
}
