//! `trainer` as it lies in a release: answers help, versions and errors of usage without loading
//! libtorch, and starts the engine for everything else.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// As the engine's own, for what could not be done at all.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let prefix = match prefix() {
        Ok(prefix) => prefix,
        Err(error) => {
            eprintln!("error: cannot find the place of this program in /proc: {error}");
            return ExitCode::from(FAILED);
        }
    };
    cli::parse(&arguments, || {
        let recorded = fs::read_to_string(prefix.join("share/seeing-in-flowing/version"));
        match recorded {
            Ok(version) => version.trim_end().to_owned(),
            Err(_) => {
                start(&prefix, &arguments);
                std::process::exit(FAILED.into())
            }
        }
    });
    start(&prefix, &arguments);
    ExitCode::from(FAILED)
}

/// The folder above the `bin` that this program lies in.
fn prefix() -> std::io::Result<PathBuf> {
    let program = fs::canonicalize(env::current_exe()?)?;
    let prefix = program.parent().and_then(Path::parent);
    Ok(prefix.unwrap_or(Path::new("/")).to_owned())
}

/// Replaces this process with the engine, which finds this installation's data by the XDG
/// specification. Returns only if it cannot, and says so.
fn start(prefix: &Path, arguments: &[OsString]) {
    let engine = prefix.join("libexec/seeing-in-flowing/trainer");
    let mut command = Command::new(&engine);
    command.args(arguments.iter().skip(1));
    if let Some(name) = arguments.first() {
        command.arg0(name);
    }
    let inherited = env::var_os("XDG_DATA_DIRS").filter(|folders| !folders.is_empty());
    let inherited = inherited.unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    let own = [prefix.join("share")];
    let folders = own.into_iter().chain(env::split_paths(&inherited));
    // A prefix with a colon cannot be in the list: the data are then those of the user.
    if let Ok(folders) = env::join_paths(folders) {
        command.env("XDG_DATA_DIRS", folders);
    }
    let error = command.exec();
    eprintln!(
        "error: cannot start {}: {error}; unpack the whole archive, and keep its folders together",
        engine.display()
    );
}
