//! Rights that a process gives up before it sees a stranger's file.

use std::io;
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, setrlimit, waitpid,
};
use rustix::time::{ClockId, clock_gettime};

use crate::wire::Kept;

/// Closes what the process has inherited beyond the three standard files: the server may have been
/// started with more.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn close_inherited() {
    // SAFETY: numbers only; called before this process has opened a file of its own.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn close_inherited() {}

/// Standard input, a socket; it is closed with it.
#[allow(unsafe_code)]
pub(crate) fn input() -> UnixStream {
    // SAFETY: called once, in a process that does not read its standard input otherwise.
    unsafe { UnixStream::from_raw_fd(0) }
}

/// Forks this process: the new one's id, or `None` in the new one.
#[allow(unsafe_code)]
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has a single thread, so that no lock is held by one that the new process lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        id => Ok(Pid::from_raw(id)),
    }
}

/// Kills a forked process; the signal that has ended it, if one did before.
pub(crate) fn end(child: Pid) -> io::Result<Option<i32>> {
    let _ = kill_process(child, Signal::KILL);
    let ended = waitpid(Some(child), WaitOptions::empty())?;
    Ok(ended.and_then(|(_, status)| status.terminating_signal()))
}

/// Lets this process be killed when the one that forked it ends.
#[cfg(target_os = "linux")]
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(())
}

/// Bounds the memory and the files of a decoding process.
pub(crate) fn bound_decoding(memory: u64) -> io::Result<()> {
    let mapped = mapped().unwrap_or(0);
    bound(Resource::As, mapped + memory)?;
    bound(Resource::Fsize, 0)?;
    bound(Resource::Core, 0)?;
    bound(Resource::Nofile, 16)?;
    bound(Resource::Nproc, 0)
}

/// Bounds the processor time from now on, in seconds. Beyond it the process ends by SIGXCPU.
pub(crate) fn bound_processor(seconds: u64) -> io::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    let limit = Rlimit {
        current: Some(u64::try_from(used).unwrap_or(0) + seconds),
        ..getrlimit(Resource::Cpu)
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

fn bound(resource: Resource, value: u64) -> io::Result<()> {
    let earlier = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(value.min(earlier));
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    Ok(setrlimit(resource, limit)?)
}

/// Bytes of address space in use.
fn mapped() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Leaves the process no path but those given, no network and no signal to others, as far as the
/// kernel can enforce it.
#[cfg(target_os = "linux")]
pub(crate) fn leave_paths(readable: &[&Path], writable: &[&Path]) -> Kept {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
    };
    let abi = ABI::V6;
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules(writable, AccessFs::from_all(abi)))?
            .restrict_self()
    };
    match restrict().map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Kept::Fully,
        Ok(RulesetStatus::PartiallyEnforced) => Kept::Partially,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Kept::Not,
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_paths(_: &[&Path], _: &[&Path]) -> Kept {
    Kept::Not
}

/// Leaves a decoding process the system calls that decoding and its socket need; others fail with
/// EPERM. `false` if the kernel has no filters.
#[cfg(target_os = "linux")]
pub(crate) fn leave_decoding_calls() -> bool {
    use libc::*;
    let allowed = [
        SYS_brk,
        SYS_clock_getres,
        SYS_clock_gettime,
        SYS_clock_nanosleep,
        SYS_close,
        SYS_exit,
        SYS_exit_group,
        SYS_fcntl,
        SYS_fstat,
        SYS_futex,
        SYS_getpid,
        SYS_getrandom,
        SYS_getrusage,
        SYS_gettid,
        SYS_gettimeofday,
        SYS_lseek,
        SYS_madvise,
        SYS_mmap,
        SYS_mprotect,
        SYS_mremap,
        SYS_munmap,
        SYS_newfstatat,
        SYS_pread64,
        SYS_read,
        SYS_readv,
        SYS_recvfrom,
        SYS_recvmsg,
        SYS_restart_syscall,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_sched_getaffinity,
        SYS_sched_yield,
        SYS_sendto,
        SYS_sigaltstack,
        SYS_statx,
        SYS_write,
        SYS_writev,
    ];
    let allowed = allowed.map(|call| (call, Vec::new()));
    // Its own limits, which the kernel lets it lower, and not those of the server.
    let own = vec![(SYS_prlimit64, vec![(Is::Equal, 0)])];
    filter(allowed.into_iter().chain(own), true)
}

/// Forbids the system calls that reach beyond the process: sockets, other programs, signals to other
/// processes and their limits. `false` if the kernel has no filters.
#[cfg(target_os = "linux")]
pub(crate) fn leave_training_calls() -> bool {
    use libc::*;
    let forbidden = [
        SYS_accept4,
        SYS_bpf,
        SYS_connect,
        SYS_execve,
        SYS_execveat,
        SYS_io_uring_setup,
        SYS_kexec_load,
        SYS_mount,
        SYS_perf_event_open,
        SYS_pidfd_getfd,
        SYS_pidfd_send_signal,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_ptrace,
        SYS_setns,
        SYS_socket,
        SYS_unshare,
        SYS_userfaultfd,
    ];
    let own = u64::from(std::process::id());
    let others = [(Is::Other, 0), (Is::Other, own)];
    let targeted = [
        SYS_kill,
        SYS_prlimit64,
        SYS_rt_sigqueueinfo,
        SYS_rt_tgsigqueueinfo,
        SYS_tgkill,
    ];
    let forbidden = forbidden.map(|call| (call, Vec::new()));
    let targeted = targeted.map(|call| (call, others.to_vec()));
    filter(forbidden.into_iter().chain(targeted), false)
}

/// A condition on the first argument of a system call, a process.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
enum Is {
    Equal,
    Other,
}

/// Installs a filter in which the listed calls, where all of their conditions hold, and no others, are
/// allowed or fail.
#[cfg(target_os = "linux")]
fn filter(calls: impl Iterator<Item = (libc::c_long, Vec<(Is, u64)>)>, allowed: bool) -> bool {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };
    let fail = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let (listed, others) = match allowed {
        true => (SeccompAction::Allow, fail),
        false => (fail, SeccompAction::Allow),
    };
    let condition = |(is, value)| {
        let operator = match is {
            Is::Equal => SeccompCmpOp::Eq,
            Is::Other => SeccompCmpOp::Ne,
        };
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
    };
    let rules = |conditions: Vec<_>| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        if conditions.is_empty() {
            return Ok(Vec::new());
        }
        let conditions = conditions.into_iter().map(condition);
        Ok(vec![SeccompRule::new(
            conditions.collect::<Result<_, _>>()?,
        )?])
    };
    let install = || {
        let rules = calls.map(|(call, conditions)| Ok((call, rules(conditions)?)));
        let rules: Result<_, seccompiler::BackendError> = rules.collect();
        let architecture = std::env::consts::ARCH.try_into().ok()?;
        let filter = SeccompFilter::new(rules.ok()?, others, listed, architecture).ok()?;
        let program: BpfProgram = filter.try_into().ok()?;
        apply_filter(&program).ok()
    };
    install().is_some()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_decoding_calls() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_training_calls() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, File};
    use std::io::{Read as _, Seek as _, Write as _};
    use std::net::{TcpListener, UdpSocket};
    use std::process::Command;

    use rustix::process::{getpid, getppid, test_kill_process};

    use super::*;

    /// Both kinds of confinement hold for the thread that asks for them.
    #[test]
    fn a_decoder_reaches_nothing_but_what_it_was_given() {
        let mut given = tempfile::tempfile().unwrap();
        given.write_all(b"a video").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let server = getppid();
        std::thread::spawn(move || {
            assert_eq!(leave_paths(&[], &[]), Kept::Fully);
            assert!(File::open("/etc/passwd").is_err() && fs::read_dir("/").is_err());
            assert!(leave_decoding_calls());
            assert!(File::open("/etc/passwd").is_err());
            assert!(File::open("/proc/self/environ").is_err());
            assert!(File::create(path.join("new")).is_err());
            assert!(std::net::TcpStream::connect(address).is_err());
            assert!(UdpSocket::bind("127.0.0.1:0").is_err() && UnixStream::pair().is_err());
            assert!(Command::new("/bin/true").status().is_err());
            assert!(std::thread::Builder::new().spawn(|| ()).is_err());
            assert!(bound_of(server).is_err() && bound_of(None).is_ok());
            let mut text = String::new();
            given.rewind().unwrap();
            given.read_to_string(&mut text).unwrap();
            assert_eq!(text, "a video");
        })
        .join()
        .unwrap();
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_training_reads_and_writes_where_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        fs::create_dir(&own).unwrap();
        fs::write(&other, "another's").unwrap();
        std::thread::spawn(move || {
            assert_eq!(leave_paths(&[Path::new("/usr")], &[&own]), Kept::Fully);
            assert!(leave_training_calls());
            fs::write(own.join("result"), "mine").unwrap();
            assert_eq!(fs::read(own.join("result")).unwrap(), b"mine");
            assert!(fs::read(&other).is_err() && fs::write(&other, "mine").is_err());
            assert!(fs::read_dir("/usr").is_ok() && fs::write("/usr/mine", "").is_err());
            assert!(TcpListener::bind("127.0.0.1:0").is_err());
            assert!(Command::new("/bin/true").status().is_err());
            let server = getppid();
            assert!(test_kill_process(server.unwrap()).is_err() && bound_of(server).is_err());
            assert!(bound_of(None).is_ok() && bound_of(Some(getpid())).is_ok());
            test_kill_process(getpid()).unwrap();
        })
        .join()
        .unwrap();
    }

    /// Changes nothing of a process's limits.
    fn bound_of(process: Option<Pid>) -> rustix::io::Result<Rlimit> {
        rustix::process::prlimit(process, Resource::Core, getrlimit(Resource::Core))
    }
}
