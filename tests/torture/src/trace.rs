//! A program whose file operations are seen, failed, cut short or never reached, from outside.
//!
//! The kernel stops the program before each of them (seccomp and ptrace), so that nothing in it has to
//! know: what is struck is the program that users have, every thread of it and every library.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// The kind of a file operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Opens an existing file or folder to read it.
    Open,
    /// Opens a file to write it; it may be new, or emptied.
    Create,
    Read,
    /// Lists a folder.
    List,
    Map,
    /// Looks at a file or folder.
    Look,
    Write,
    Truncate,
    Sync,
    /// Syncs every file of the disk.
    SyncAll,
    Rename,
    Remove,
    Folder,
    /// Makes a symbolic link.
    Link,
    Lock,
}

/// An operation that a program is about to do.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    /// The new name of what is renamed.
    pub(crate) to: Option<PathBuf>,
    /// Of a write: where, and the bytes. Of a truncation: the length. Of a link: its target.
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// Whether the file is emptied.
    pub(crate) empties: bool,
}

/// Whether an operation changes the disk.
pub(crate) fn changes(op: &Op) -> bool {
    use Kind::{Create, Folder, Link, Remove, Rename, Sync, SyncAll, Truncate, Write};
    let kinds = [
        Create, Folder, Link, Remove, Rename, Sync, SyncAll, Truncate, Write,
    ];
    kinds.contains(&op.kind)
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Go,
    Fail(Errno),
    /// Half of the bytes alone are read or written.
    Short,
    /// The program is killed before it.
    Kill,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Traced {
    /// Its exit status, or that of a shell for a signal: 128 and the signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// It was killed at the limit of time.
    pub(crate) is_late: bool,
}

/// The system calls that name a file; `write` and its like do by their descriptor.
const CALLS: &[i64] = &[
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_creat,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_getdents64,
    libc::SYS_mmap,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_ftruncate,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_flock,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
];

/// The longest path that is read.
const LONGEST: usize = 4096;

/// Runs `command` to its end. `watch` decides on every operation on a path below `within`, in the order
/// in which they happen.
///
/// # Errors
/// It cannot be started or traced.
pub(crate) fn run(
    command: &mut Command,
    within: &Path,
    limit: Duration,
    watch: &mut dyn FnMut(&Op) -> Answer,
) -> io::Result<Traced> {
    let filter = filter()?;
    // SAFETY: between fork and exec, these are two system calls each, without locks or memory.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            ptrace::traceme()?;
            seccompiler::apply_filter(&filter).map_err(|_| io::Error::last_os_error())
        });
    }
    let captured = Captured::of(command)?;
    captured.end_with(limit, |child| follow(pid(&child), within, watch))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// A program that runs with its output in files.
pub(crate) struct Captured {
    child: Child,
    out: File,
    err: File,
}

impl Captured {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn of(command: &mut Command) -> io::Result<Self> {
        let out = tempfile::tempfile()?;
        command.stdout(out.try_clone()?);
        let mut captured = Self::stderr_of(command)?;
        captured.out = out;
        Ok(captured)
    }

    /// The same, its standard output left where it goes.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn stderr_of(command: &mut Command) -> io::Result<Self> {
        let err = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stderr(err.try_clone()?);
        Ok(Self {
            child: command.spawn()?,
            out: tempfile::tempfile()?,
            err,
        })
    }

    /// Its process.
    pub(crate) fn id(&self) -> Pid {
        pid(&self.child)
    }

    /// Waits for its end, and ends it at the limit.
    ///
    /// # Errors
    /// It was lost.
    pub(crate) fn wait(self, limit: Duration) -> io::Result<Traced> {
        self.end_with(limit, |mut child| {
            let status = child.wait()?;
            Ok(status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
        })
    }

    fn end_with(
        mut self,
        limit: Duration,
        end: impl FnOnce(Child) -> io::Result<i32>,
    ) -> io::Result<Traced> {
        let process = self.id();
        let (ended, waits) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let is_late = waits.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = kill(process, Signal::SIGKILL);
            }
            is_late
        });
        let code = end(self.child);
        drop(ended);
        let is_late = watchdog.join().unwrap_or(false);
        let text = |file: &mut File| -> io::Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Traced {
            code: code?,
            stdout: text(&mut self.out)?,
            stderr: text(&mut self.err)?,
            is_late,
        })
    }
}

fn filter() -> io::Result<BpfProgram> {
    let rules = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let (allow, stop) = (SeccompAction::Allow, SeccompAction::Trace(0));
    let filter = SeccompFilter::new(rules, allow, stop, TargetArch::x86_64);
    let program = filter.and_then(BpfProgram::try_from);
    program.map_err(io::Error::other)
}

/// Follows the process and all that it starts; its exit status.
fn follow(main: Pid, within: &Path, watch: &mut dyn FnMut(&Op) -> Answer) -> io::Result<i32> {
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let mut code = None;
    // Those that are there, and those that have stopped once.
    let (mut alive, mut known) = (HashSet::from([main]), HashSet::new());
    while !alive.is_empty() {
        // Those of this thread alone: the other worker of the campaign follows its own.
        let status = match waitpid(None, Some(flags)) {
            Ok(status) => status,
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error.into()),
        };
        match status {
            WaitStatus::Stopped(pid, signal) => {
                alive.insert(pid);
                // The first stop of the program is its exec, that of a thread its start.
                let is_first = known.insert(pid);
                if pid == main && is_first {
                    let options = Options::PTRACE_O_TRACESECCOMP
                        | Options::PTRACE_O_TRACECLONE
                        | Options::PTRACE_O_TRACEFORK
                        | Options::PTRACE_O_TRACEVFORK
                        | Options::PTRACE_O_TRACEEXEC
                        | Options::PTRACE_O_EXITKILL;
                    ptrace::setoptions(pid, options)?;
                }
                let pass = !(is_first && matches!(signal, Signal::SIGTRAP | Signal::SIGSTOP));
                go_on(pid, pass.then_some(signal));
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                match event {
                    libc::PTRACE_EVENT_SECCOMP => {
                        decide(pid, within, watch);
                    }
                    libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                        let child = ptrace::getevent(pid).unwrap_or_default();
                        alive.extend(i32::try_from(child).map(Pid::from_raw));
                    }
                    _ => {}
                }
                go_on(pid, None);
            }
            WaitStatus::Exited(pid, status) => {
                alive.remove(&pid);
                code = code.or((pid == main).then_some(status));
            }
            WaitStatus::Signaled(pid, signal, _) => {
                alive.remove(&pid);
                code = code.or((pid == main).then_some(128 + signal as i32));
            }
            _ => {}
        }
        // What the program left running does not outlive it.
        if code.is_some() {
            for other in &alive {
                let _ = kill(*other, Signal::SIGKILL);
            }
        }
    }
    code.ok_or_else(|| io::Error::other("the program was lost"))
}

/// A process that was killed meanwhile has nothing to go on with.
fn go_on(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::cont(pid, signal);
}

fn decide(pid: Pid, within: &Path, watch: &mut dyn FnMut(&Op) -> Answer) -> Option<()> {
    let mut registers = ptrace::getregs(pid).ok()?;
    let op = Stop {
        pid,
        registers: &registers,
    }
    .op(within)?;
    match watch(&op) {
        Answer::Go => return Some(()),
        Answer::Fail(error) => {
            // No call has this number: the kernel makes none and returns what stands there.
            registers.orig_rax = u64::MAX;
            registers.rax = -i64::from(error as i32) as u64;
        }
        Answer::Short => registers.rdx = registers.rdx.div_ceil(2),
        Answer::Kill => {
            let _ = kill(pid, Signal::SIGKILL);
            return Some(());
        }
    }
    ptrace::setregs(pid, registers).ok()
}

/// A thread that waits before a system call.
struct Stop<'a> {
    pid: Pid,
    registers: &'a libc::user_regs_struct,
}

impl Stop<'_> {
    /// The operation, if it is one below `within`.
    fn op(&self, within: &Path) -> Option<Op> {
        let of = self.registers;
        let [a, b, c, d, e] = [of.rdi, of.rsi, of.rdx, of.r10, of.r8];
        let call = of.orig_rax as i64;
        let mut op = Op {
            kind: Kind::Look,
            path: PathBuf::new(),
            to: None,
            at: 0,
            bytes: Vec::new(),
            empties: false,
        };
        let here = libc::AT_FDCWD as u64;
        (op.kind, op.path) = match call {
            libc::SYS_open => (opened(b), self.path(here, a)?),
            libc::SYS_openat => (opened(c), self.path(a, b)?),
            libc::SYS_creat => (Kind::Create, self.path(here, a)?),
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_readv => (Kind::Read, self.file(a)?),
            libc::SYS_sendfile => (Kind::Read, self.file(b)?),
            libc::SYS_copy_file_range => (Kind::Write, self.file(c)?),
            libc::SYS_getdents64 => (Kind::List, self.file(a)?),
            libc::SYS_mmap if d & libc::MAP_ANONYMOUS as u64 == 0 => (Kind::Map, self.file(e)?),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev => (Kind::Write, self.file(a)?),
            libc::SYS_fsync | libc::SYS_fdatasync => (Kind::Sync, self.file(a)?),
            libc::SYS_syncfs => (Kind::SyncAll, self.file(a)?),
            libc::SYS_rename => (Kind::Rename, self.path(here, a)?),
            libc::SYS_renameat | libc::SYS_renameat2 => (Kind::Rename, self.path(a, b)?),
            libc::SYS_unlink | libc::SYS_rmdir => (Kind::Remove, self.path(here, a)?),
            libc::SYS_unlinkat => (Kind::Remove, self.path(a, b)?),
            libc::SYS_mkdir => (Kind::Folder, self.path(here, a)?),
            libc::SYS_mkdirat => (Kind::Folder, self.path(a, b)?),
            libc::SYS_ftruncate => (Kind::Truncate, self.file(a)?),
            libc::SYS_symlink => (Kind::Link, self.path(here, b)?),
            libc::SYS_symlinkat => (Kind::Link, self.path(b, c)?),
            libc::SYS_stat | libc::SYS_lstat => (Kind::Look, self.path(here, a)?),
            libc::SYS_statx | libc::SYS_newfstatat => (Kind::Look, self.path(a, b)?),
            libc::SYS_flock => (Kind::Lock, self.file(a)?),
            _ => return None,
        };
        op.to = match call {
            libc::SYS_rename => Some(self.path(here, b)?),
            libc::SYS_renameat | libc::SYS_renameat2 => Some(self.path(c, d)?),
            _ => None,
        };
        let is_within = |path: &PathBuf| path.starts_with(within);
        if !is_within(&op.path) && !op.to.as_ref().is_some_and(is_within) {
            return None;
        }
        match call {
            libc::SYS_open => op.empties = b & libc::O_TRUNC as u64 != 0,
            libc::SYS_openat => op.empties = c & libc::O_TRUNC as u64 != 0,
            libc::SYS_creat => op.empties = true,
            libc::SYS_write => (op.at, op.bytes) = (self.position(a, &op.path), self.memory(b, c)),
            libc::SYS_pwrite64 => (op.at, op.bytes) = (d, self.memory(b, c)),
            libc::SYS_writev => {
                op.at = self.position(a, &op.path);
                for part in self.memory(b, 16 * c).chunks_exact(16) {
                    let number =
                        |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                    let (start, length) = part.split_at(8);
                    op.bytes.extend(self.memory(number(start), number(length)));
                }
            }
            libc::SYS_ftruncate => op.at = b,
            libc::SYS_symlink | libc::SYS_symlinkat => op.bytes = self.text(a)?,
            _ => {}
        }
        Some(op)
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/{name}", self.pid)).ok()
    }

    /// The file of a descriptor.
    fn file(&self, descriptor: u64) -> Option<PathBuf> {
        self.link(&format!("fd/{}", descriptor as i32))
    }

    /// The path at `address`, from the folder of a descriptor.
    fn path(&self, folder: u64, address: u64) -> Option<PathBuf> {
        let path = PathBuf::from(String::from_utf8(self.text(address)?).ok()?);
        if path.is_absolute() {
            return Some(path);
        }
        let folder = match folder as i32 {
            libc::AT_FDCWD => self.link("cwd")?,
            _ => self.file(folder)?,
        };
        match path.as_os_str().is_empty() {
            true => Some(folder),
            false => Some(folder.join(path)),
        }
    }

    /// The bytes at `address` up to the first zero.
    fn text(&self, address: u64) -> Option<Vec<u8>> {
        let mut bytes = self.memory(address, LONGEST as u64);
        bytes.truncate(bytes.iter().position(|byte| *byte == 0)?);
        Some(bytes)
    }

    /// As many bytes as can be read, at most `length`.
    fn memory(&self, address: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        let mut read = 0;
        if let Ok(file) = File::open(format!("/proc/{}/mem", self.pid)) {
            while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, address + read as u64) {
                    Ok(count @ 1..) => read += count,
                    _ => break,
                }
            }
        }
        bytes.truncate(read);
        bytes
    }

    /// Where a descriptor writes next.
    fn position(&self, descriptor: u64, path: &Path) -> u64 {
        let info = format!("/proc/{}/fdinfo/{}", self.pid, descriptor as i32);
        let info = fs::read_to_string(info).unwrap_or_default();
        let field = |name| {
            let line = info.lines().find_map(|line: &str| line.strip_prefix(name));
            line.unwrap_or_default().trim()
        };
        let flags = i32::from_str_radix(field("flags:"), 8).unwrap_or(0);
        match flags & libc::O_APPEND {
            0 => field("pos:").parse().unwrap_or(0),
            _ => fs::metadata(path).map_or(0, |metadata| metadata.len()),
        }
    }
}

fn opened(flags: u64) -> Kind {
    let writes = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) as u64;
    match flags & writes {
        0 => Kind::Open,
        _ => Kind::Create,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path, watch: &mut dyn FnMut(&Op) -> Answer) -> Traced {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder);
        run(&mut command, folder, Duration::from_secs(20), watch).unwrap()
    }

    #[test]
    fn operations_are_seen_in_order_failed_cut_and_never_reached() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let mut seen = Vec::new();
        let script = "echo hello > a && mv a b && rm b && echo end";
        let ended = shell(script, &folder, &mut |op| {
            if !matches!(op.kind, Kind::Look | Kind::Open) {
                seen.push((op.kind, op.bytes.clone()));
            }
            Answer::Go
        });
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "end\n"));
        let kinds: Vec<Kind> = seen.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [Kind::Create, Kind::Write, Kind::Rename, Kind::Remove]
        );
        assert_eq!(seen[1].1, b"hello\n");

        let on = |kind: Kind, answer: Answer| {
            move |op: &Op| match op.kind == kind {
                true => answer,
                false => Answer::Go,
            }
        };
        let full = shell(
            script,
            &folder,
            &mut on(Kind::Write, Answer::Fail(Errno::ENOSPC)),
        );
        assert!(full.code != 0, "{full:?}");
        assert_eq!(fs::metadata(folder.join("a")).unwrap().len(), 0);
        let killed = shell(script, &folder, &mut on(Kind::Remove, Answer::Kill));
        assert!(
            killed.stdout.is_empty() && folder.join("b").exists(),
            "{killed:?}"
        );
        let mut first = true;
        shell(
            "echo hello > c",
            &folder,
            &mut |op| match op.kind == Kind::Write && std::mem::take(&mut first) {
                true => Answer::Short,
                false => Answer::Go,
            },
        );
        assert!(fs::read(folder.join("c")).unwrap().starts_with(b"hel"));
        let mut command = Command::new("sleep");
        let slow = run(
            command.arg("20"),
            &folder,
            Duration::from_millis(100),
            &mut |_| Answer::Go,
        );
        let slow = slow.unwrap();
        assert!(slow.is_late && slow.code == 128 + 9, "{slow:?}");
    }
}
