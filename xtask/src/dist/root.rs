//! An empty root: a folder with an unpacked release, the C library and the kernel's own files, and
//! nothing else, in which programs run as the user nobody and write to one folder.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tree::{C_LIBRARY, DATA, FRONT, LIBRARIES};
use crate::places::make_folder;
use crate::setup::libtorch::VERSION;
use crate::workspace::output;
use crate::{Error, Result};

/// The place of the release in the root.
const PREFIX: &str = "/opt/seeing-in-flowing";
/// The one folder that programs may write to.
const HOME: &str = "/data";
/// Folders that are empty, or filled by the kernel.
const EMPTY: [&str; 6] = [PREFIX, HOME, "/dev", "/proc", "/run/secrets", "/tmp"];

/// Makes the first argument the root, read-only but for [`HOME`], and runs the others in it. The second
/// one has options for `unshare`.
const ENTER: &str = r#"
set -e
root=$1
user=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$root/data" "$root/data"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec unshare --root="$root" --wd=/data --mount-proc $user "$@"
"#;

/// Options of `unshare` for the namespaces, and in them: root becomes nobody there, others are root in
/// a namespace of their own.
fn user() -> (&'static [&'static str], &'static str) {
    match rustix::process::geteuid().is_root() {
        true => (&[], "--setuid=65534 --setgid=65534"),
        false => (&["--map-root-user"], ""),
    }
}

/// An empty root, removed when dropped.
#[derive(Debug)]
pub(super) struct Root {
    folder: tempfile::TempDir,
    /// The variables of its programs.
    variables: Vec<(&'static str, String)>,
}

impl Root {
    /// Whether this user may make the namespaces of a root.
    pub(super) fn is_possible() -> bool {
        let mut command = Command::new("unshare");
        command
            .args(user().0)
            .args(["--mount", "--pid", "--net", "--fork"]);
        output(command.args(["mount", "--rbind", "/dev", "/dev"])).is_ok()
    }

    /// The root of `archive`.
    ///
    /// # Errors
    /// tar cannot unpack it, or the C library is not where Debian has it.
    pub(super) fn of_archive(archive: &Path) -> Result<Self> {
        let root = Self::new()?;
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "--strip-components=1", "-xf"])
            .arg(archive);
        output(tar.arg("-C").arg(root.inside(PREFIX)))?;
        Ok(root)
    }

    /// The root of an unpacked release, whose engine looks for its libraries by a variable.
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let mut root = Self::new()?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "-T"]).arg(folder);
        output(copy.arg(root.inside(PREFIX)))?;
        let libraries = format!("{PREFIX}/{LIBRARIES}");
        root.variables.push(("LD_LIBRARY_PATH", libraries));
        Ok(root)
    }

    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(Error::io(
            "cannot create a folder in",
            &std::env::temp_dir(),
        ))?;
        let root = Self {
            folder,
            variables: vec![("HOME", HOME.into()), ("OMP_NUM_THREADS", "1".into())],
        };
        for library in C_LIBRARY {
            let folder = match library.starts_with("ld-") {
                true => "/lib64",
                false => "/lib/x86_64-linux-gnu",
            };
            let from = Path::new(folder).join(library);
            let to = root.inside(folder).join(library);
            make_folder(&root.inside(folder))?;
            fs::copy(&from, &to).map_err(Error::io("cannot copy", &from))?;
        }
        for place in EMPTY {
            make_folder(&root.inside(place))?;
        }
        // A temporary folder is its owner's; nobody enters this one, and writes in one place.
        for (place, mode) in [("/", 0o755), (HOME, 0o777)] {
            let path = root.inside(place);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(Error::io("cannot open to all", &path))?;
        }
        Ok(root)
    }

    /// The path outside of one inside.
    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// A program of the root with its words, with this machine's network or with none.
    fn command(&self, network: bool, words: impl IntoIterator<Item = String>) -> Command {
        let (outer, inner) = user();
        let mut command = Command::new("unshare");
        command.env_clear().envs(self.variables.iter().cloned());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .args(outer)
            .args(["--mount", "--pid", "--ipc", "--fork", "--kill-child"]);
        if !network {
            command.arg("--net");
        }
        command
            .args(["sh", "-c", ENTER, "sh"])
            .arg(self.folder.path())
            .arg(inner);
        command.args(words);
        command
    }

    /// Runs `trainer` with the words of a line, in which `DATA` is the folder of the release's data, and
    /// returns its stdout.
    ///
    /// # Errors
    /// It fails, or namespaces are not allowed here.
    fn run(&self, line: &str) -> Result<String> {
        eprintln!("in an empty root: trainer {line}");
        let data = format!("{PREFIX}/{DATA}");
        let words = line.split(' ').map(|word| word.replace("DATA", &data));
        let program = format!("{PREFIX}/{FRONT}");
        output(&mut self.command(false, std::iter::once(program).chain(words)))
    }

    /// Checks the files against their sums.
    ///
    /// # Errors
    /// One is missing or has changed.
    pub(super) fn check_sums(&self) -> Result<()> {
        let mut sums = Command::new("sha256sum");
        sums.args(["--check", "--quiet", "SHA256SUMS"]);
        output(sums.current_dir(self.inside(PREFIX))).map(drop)
    }

    /// Runs the built-in experiment on few clips, then names an action in one of its videos, and trains
    /// on them.
    ///
    /// # Errors
    /// One of them fails, or does not print what it should.
    pub(super) fn try_commands(&self) -> Result<()> {
        let version = format!("libtorch {VERSION}");
        for (line, expected) in [
            ("--version", &*version),
            ("predict --help", "Usage: trainer predict"),
            (
                "demo --shots 2 --test-clips 1 --steps 2 --seeds 1 --videos videos --out demo",
                "report: demo/report.html",
            ),
            (
                "predict videos/test/growing/000.avi --labels-file DATA/demo/labels.txt \
                 --checkpoint DATA/demo/backbone --device cpu --json",
                "\"predictions\"",
            ),
            (
                "fit videos/train --weights DATA/demo/backbone --out run \
                 --set train.min_steps=2 --quiet",
                "checkpoint: run/seed-0",
            ),
            (
                "predict videos/test/growing/000.avi --checkpoint run --device cpu --json",
                "\"predictions\"",
            ),
        ] {
            let said = self.run(line)?;
            if !said.contains(expected) {
                let reason = format!("expected {expected:?}, got {said:?}");
                return Err(Error::invalid(format!("trainer {line}"), reason));
            }
        }
        Ok(())
    }

    /// Runs what `packaging/Containerfile` runs, and asks it for its health.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub(super) fn try_container(&self, workspace: &Path) -> Result<()> {
        let file = workspace.join("packaging/Containerfile");
        let text = fs::read_to_string(&file).map_err(Error::io("cannot read", &file))?;
        let words = |instruction: &str| -> Result<Vec<String>> {
            let line = text.lines().find_map(|line| line.strip_prefix(instruction));
            serde_json::from_str(line.unwrap_or_default())
                .map_err(|e| Error::invalid(format!("{instruction}in {}", file.display()), e))
        };
        // A free port of this machine, whose network it shares here.
        let address = |word: String| word.replace("0.0.0.0:8080", "127.0.0.1:0");
        let words = [words("ENTRYPOINT ")?, words("CMD ")?].concat().into_iter();
        let token = self.inside("/run/secrets/token");
        fs::write(&token, "a-token-of-the-release-check\n")
            .map_err(Error::io("cannot write", &token))?;
        let mut server = self.command(true, words.map(address));
        eprintln!("in an empty root: the container's command");
        let failed = |reason: String| Error::invalid("the container's command", reason);
        let mut child = server
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::program(&server, e))?;
        let stderr = child.stderr.take().map(BufReader::new).into_iter();
        let mut lines = stderr.flat_map(|stderr| stderr.lines().map_while(io::Result::ok));
        let mut said = String::new();
        let address = lines.find_map(|line| {
            let address = line.strip_prefix("serving at http://");
            let address = address.map(|address| address.trim_end_matches('/').to_owned());
            said += &(line + "\n");
            address
        });
        let answer = match address {
            Some(address) => health(&address).map_err(|error| failed(error.to_string())),
            None => Err(failed(said)),
        };
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        match answer? {
            healthy if healthy.starts_with("HTTP/1.1 200") => Ok(()),
            other => Err(failed(other)),
        }
    }
}

/// The answer of a server about its health.
fn health(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
