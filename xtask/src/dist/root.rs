//! An empty root: a folder with an unpacked release and the C library, and nothing else, in which
//! programs run without a network, as the user nobody.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tree::{C_LIBRARY, DATA, FRONT};
use crate::places::make_folder;
use crate::workspace::output;
use crate::{Error, Result};

/// The place of the release in the root.
const PREFIX: &str = "/opt/seeing-in-flowing";
/// The one folder that programs may write to.
const HOME: &str = "/home";

/// Makes the first argument the root, read-only but for `/data`, and runs the others in it.
const MOUNTS: &str = r#"
set -e
root=$1
shift
mount --bind "$root" "$root"
mount -t tmpfs -o mode=0777 data "$root/data"
mount --bind /dev "$root/dev"
mount -o remount,bind,ro "$root"
cd "$root"
exec unshare --root="$root" --wd=/data --mount-proc --setuid=65534 --setgid=65534 "$@"
"#;

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

/// What its programs see alone.
const NAMESPACES: [&str; 6] = [
    "--mount",
    "--pid",
    "--net",
    "--ipc",
    "--fork",
    "--mount-proc",
];

/// Root makes namespaces and becomes nobody in them; others are root in one of their own.
fn user_options() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["--setuid=65534", "--setgid=65534"],
        false => &["--map-root-user"],
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
        command.args(user_options());
        output(command.args(NAMESPACES).arg("true")).is_ok()
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
        let libraries = format!("{PREFIX}/{}", super::tree::LIBRARIES);
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
        for place in [PREFIX, HOME, "/proc", "/lib64", "/lib/x86_64-linux-gnu"] {
            make_folder(&root.inside(place))?;
        }
        // A temporary folder is its owner's; nobody enters this one, and writes in one place.
        for (place, mode) in [("/", 0o755), (HOME, 0o777)] {
            let path = root.inside(place);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(Error::io("cannot open to all", &path))?;
        }
        for library in C_LIBRARY {
            let folder = match library.starts_with("ld-") {
                true => "/lib64",
                false => "/lib/x86_64-linux-gnu",
            };
            let from = Path::new(folder).join(library);
            let to = root.inside(folder).join(library);
            fs::copy(&from, &to).map_err(Error::io("cannot copy", &from))?;
        }
        Ok(root)
    }

    /// The path outside of one inside.
    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// `trainer` with the words of `line`, in which `DATA` is the folder of the release's data.
    fn command(&self, line: &str) -> Command {
        let data = format!("{PREFIX}/{DATA}");
        let words = line.split(' ').map(|word| word.replace("DATA", &data));
        let mut command = Command::new("unshare");
        command.env_clear().envs(self.variables.iter().cloned());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(user_options()).args(NAMESPACES);
        command.arg(format!("--root={}", self.folder.path().display()));
        command.arg(format!("--wd={HOME}"));
        command.arg(format!("{PREFIX}/{FRONT}")).args(words);
        command
    }

    /// Runs a line and returns its stdout.
    ///
    /// # Errors
    /// It fails, or namespaces are not allowed here.
    fn run(&self, line: &str) -> Result<String> {
        eprintln!("in an empty root: trainer {line}");
        output(&mut self.command(line))
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
        for (line, expected) in [
            ("--version", "libtorch 2.13.0"),
            ("predict --help", "Usage: trainer predict"),
            (
                "demo --shots 2 --test-clips 1 --steps 2 --seeds 1 --videos videos --out demo",
                "report: demo/report.html",
            ),
            (
                "predict videos/test/growing/000.avi --labels-file DATA/demo/labels.txt --checkpoint DATA/demo/backbone --device cpu --json",
                "\"predictions\"",
            ),
            (
                "fit videos/train --weights DATA/demo/backbone --out run --set train.min_steps=2 --quiet",
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

    /// Runs what `packaging/Containerfile` runs, in a file system that is read-only but for `/data`,
    /// and asks it for its health. Needs root: mounts are made.
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
        let command = [words("ENTRYPOINT ")?, words("CMD ")?]
            .concat()
            .into_iter()
            .map(address);
        for place in ["/data", "/dev", "/run/secrets", "/tmp"] {
            make_folder(&self.inside(place))?;
        }
        let token = self.inside("/run/secrets/token");
        fs::write(&token, "a-token-of-the-release-check\n")
            .map_err(Error::io("cannot write", &token))?;
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--mount",
            "--pid",
            "--ipc",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            MOUNTS,
            "sh",
        ]);
        unshare.arg(self.folder.path()).args(command);
        unshare
            .env_clear()
            .env("HOME", "/data")
            .env("OMP_NUM_THREADS", "1");
        unshare.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        eprintln!("in a read-only root, the container's command");
        let failed = |reason: String| Error::invalid("the container's command", reason);
        let mut child = unshare
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Error::program(&unshare, e))?;
        let stderr = child.stderr.take().map(BufReader::new);
        let mut lines = stderr
            .into_iter()
            .flat_map(|stderr| stderr.lines().map_while(|line| line.ok()));
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
