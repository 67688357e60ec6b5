//! Scarce resources and rude surroundings: few handles, little memory, a full or read-only disk, a clock
//! that jumps, storms of signals, terminals that go away, no home folder, other locales.
//!
//! A command ends right or with one sentence, and run again in peace it ends as if nothing had happened.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};

use crate::scenario::{self, Inputs, Scenario, judge};
use crate::trace::{Answer, Captured, Traced};
use crate::{Block, Cases, Context, Random, Verdict, material};

pub(super) const BLOCK: Block = Block {
    number: 8,
    name: "resources",
    cases: 480,
    share: 16,
    seconds: 240,
    prepare,
};

struct Resources {
    scenarios: Vec<Scenario>,
    is_root: bool,
}

/// What surrounds the command.
#[derive(Debug, Clone, Copy)]
enum Surroundings {
    Handles64,
    FewHandles,
    AddressSpace,
    Data,
    FileSize,
    FullDisk,
    Clock,
    Terminations,
    Interrupts,
    Hangups,
    ClosedOutput,
    FullOutput,
    BrokenPipe,
    BrokenMessages,
    LostTerminal,
    NoHome,
    ReadOnly,
    Locale,
}

const ALL: [Surroundings; 18] = {
    use Surroundings::*;
    [
        Handles64,
        FewHandles,
        AddressSpace,
        Data,
        FileSize,
        FullDisk,
        Clock,
        Terminations,
        Interrupts,
        Hangups,
        ClosedOutput,
        FullOutput,
        BrokenPipe,
        BrokenMessages,
        LostTerminal,
        NoHome,
        ReadOnly,
        Locale,
    ]
};

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let inputs = Inputs::new(context)?;
    let mut scenarios = scenario::writers(context, &inputs)?;
    scenarios.retain(|scenario| ["train", "extract", "fit"].contains(&scenario.name));
    let mut readers = scenario::readers(context, &inputs)?;
    readers.retain(|scenario| scenario.name == "predict");
    scenarios.extend(readers);
    Ok(Box::new(Resources {
        scenarios,
        is_root: getuid().is_root(),
    }))
}

impl Cases for Resources {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let index = index as usize;
        let surroundings = ALL[index % ALL.len()];
        let scenario = &self.scenarios[index / ALL.len() % self.scenarios.len()];
        let told = |words: String| format!("{} with {surroundings:?}: {words}", scenario.name);
        self.case(surroundings, scenario, random, folder)
            .map_err(|error| format!("{error:#}"))
            .and_then(|outcome| outcome)
            .map_err(told)
    }
}

impl Resources {
    fn case(
        &self,
        surroundings: Surroundings,
        scenario: &Scenario,
        random: &mut Random,
        folder: &Path,
    ) -> Result<Result<Verdict, String>> {
        let place = folder.join("place");
        fs::create_dir(&place)?;
        let limit = |script: String| shell(&scenario.command(&place), &script);
        let command = match surroundings {
            Surroundings::Handles64 => limit("ulimit -n 64".into()),
            Surroundings::FewHandles => limit(format!("ulimit -n {}", 16 + random.below(32))),
            Surroundings::AddressSpace => {
                limit(format!("ulimit -v {}", 1024 * (1500 + random.below(1500))))
            }
            Surroundings::Data => limit(format!("ulimit -d {}", 1024 * (150 + random.below(600)))),
            // Ignored, the signal becomes an error of the call.
            Surroundings::FileSize => {
                limit(format!("trap '' XFSZ; ulimit -f {}", 1 + random.below(400)))
            }
            Surroundings::FullDisk if self.is_root => {
                return on_full_disk(scenario, random, &place);
            }
            Surroundings::FullDisk => limit("trap '' XFSZ; ulimit -f 16".into()),
            Surroundings::ReadOnly => return read_only(scenario, &place, self.is_root),
            Surroundings::Clock => return clock(scenario, random, &place),
            Surroundings::ClosedOutput => limit("exec >&- 2>&-".into()),
            Surroundings::FullOutput => limit("exec >/dev/full".into()),
            Surroundings::BrokenPipe => {
                let (reader, writer) = std::io::pipe()?;
                drop(reader);
                let mut command = scenario.command(&place);
                command.stdout(writer);
                command
            }
            Surroundings::BrokenMessages => limit("exec 2>/dev/full".into()),
            Surroundings::NoHome => {
                limit("unset HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_CONFIG_HOME USER".into())
            }
            Surroundings::Locale => {
                let locale = ["C", "POSIX", "de_DE.ISO-8859-1", "ja_JP.eucJP"][random.below(4)];
                let mut command = scenario.command(&place);
                command.env("LC_ALL", locale).env("LANG", locale);
                command
            }
            Surroundings::Terminations => return storm(scenario, random, &place, Signal::SIGTERM),
            Surroundings::Interrupts => return storm(scenario, random, &place, Signal::SIGINT),
            Surroundings::Hangups => return storm(scenario, random, &place, Signal::SIGHUP),
            Surroundings::LostTerminal => return lost_terminal(scenario, random, &place),
        };
        scenario.start(&place)?;
        let mut command = command;
        let keeps_stdout = matches!(surroundings, Surroundings::BrokenPipe);
        let mut ended = match keeps_stdout {
            true => Captured::stderr_of(&mut command)?.wait(LIMIT)?,
            false => Captured::of(&mut command)?.wait(LIMIT)?,
        };
        // The loader of programs says so itself, and so do allocators that cannot go on.
        let says = |words: &str| ended.stderr.contains(words);
        let is_loader = ended.code == 127 && says("loading shared libraries");
        let is_aborted = ended.code == 134 && (says("memory allocation of") || says("bad_alloc"));
        if is_loader || is_aborted {
            return Ok(scenario.goes_on(&place).map(|()| Verdict::Refused));
        }
        // Nobody has read what it printed.
        let is_deaf = matches!(
            surroundings,
            Surroundings::ClosedOutput
                | Surroundings::FullOutput
                | Surroundings::BrokenPipe
                | Surroundings::BrokenMessages
        );
        if is_deaf {
            if ended.code == 0 || ended.stderr.is_empty() {
                ended.stdout.clone_from(scenario.printed());
            }
            // With stderr closed there is no sentence to see; whoever reads a pipe may stop reading.
            let is_silent = matches!(
                surroundings,
                Surroundings::ClosedOutput | Surroundings::BrokenMessages
            );
            if is_silent && ended.code != 0 && ended.code < 128 && ended.code != 101 {
                return Ok(scenario.goes_on(&place).map(|()| Verdict::Refused));
            }
        }
        Ok(judged(scenario, &ended, &place))
    }
}

/// The longest that a command may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn judged(scenario: &Scenario, ended: &Traced, place: &Path) -> Result<Verdict, String> {
    let verdict = judge(scenario, ended, place)?;
    scenario.goes_on(place)?;
    Ok(verdict)
}

/// `command` after `script` in a shell.
fn shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// A mount that goes at the end, however that comes.
struct Mount(PathBuf);

impl Mount {
    fn new(place: &Path, arguments: &[&str]) -> Result<Self> {
        system("mount", arguments, place)?;
        Ok(Self(place.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn system(program: &str, arguments: &[&str], place: &Path) -> Result<()> {
    let done = Command::new(program).args(arguments).arg(place).output()?;
    anyhow::ensure!(
        done.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

fn on_full_disk(
    scenario: &Scenario,
    random: &mut Random,
    place: &Path,
) -> Result<Result<Verdict, String>> {
    // Room for what is there, and some of what is written.
    let size = format!("size={}k", 8 + random.below(400));
    let disk = Mount::new(place, &["-t", "tmpfs", "-o", &size, "tmpfs"])?;
    if scenario.start(place).is_err() {
        system("mount", &["-o", "remount,size=100m"], place)?;
        scenario.start(place)?;
    }
    let ended = Captured::of(&mut scenario.command(place))?.wait(LIMIT)?;
    system("mount", &["-o", "remount,size=100m"], place)?;
    let verdict = judged(scenario, &ended, place);
    drop(disk);
    Ok(verdict)
}

fn read_only(scenario: &Scenario, place: &Path, is_root: bool) -> Result<Result<Verdict, String>> {
    scenario.start(place)?;
    let ended = match is_root {
        true => {
            let bound = place.display().to_string();
            let _disk = Mount::new(place, &["--bind", &bound])?;
            system("mount", &["-o", "remount,bind,ro"], place)?;
            Captured::of(&mut scenario.command(place))?.wait(LIMIT)?
        }
        false => {
            system("chmod", &["-R", "a-w"], place)?;
            let ended = Captured::of(&mut scenario.command(place))?.wait(LIMIT)?;
            system("chmod", &["-R", "u+w"], place)?;
            ended
        }
    };
    Ok(judged(scenario, &ended, place))
}

/// Killed half way; then the clock was wrong by decades when the files were written.
fn clock(
    scenario: &Scenario,
    random: &mut Random,
    place: &Path,
) -> Result<Result<Verdict, String>> {
    scenario.start(place)?;
    let stop = random.below(scenario.ops.len());
    let mut next = 0;
    scenario.run(place, place, &mut |_| {
        next += 1;
        match next > stop {
            true => Answer::Kill,
            false => Answer::Go,
        }
    })?;
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    let wrong = match random.chance(0.5) {
        true => SystemTime::now() + century,
        false => SystemTime::UNIX_EPOCH + Duration::from_secs(1),
    };
    for file in material::files(place)? {
        File::options()
            .append(true)
            .open(place.join(file))?
            .set_modified(wrong)?;
    }
    Ok(scenario.goes_on(place).map(|()| Verdict::Done))
}

/// One to twenty signals at random moments. The command ends by itself, asked, or by the signal.
fn storm(
    scenario: &Scenario,
    random: &mut Random,
    place: &Path,
    signal: Signal,
) -> Result<Result<Verdict, String>> {
    scenario.start(place)?;
    let captured = Captured::of(&mut scenario.command(place))?;
    let process = captured.id();
    std::thread::sleep(scenario.time.mul_f64(random.unit()));
    for _ in 0..=random.below(20) {
        // It may be gone.
        let _ = kill(process, signal);
        std::thread::sleep(Duration::from_millis(random.below(30) as u64));
    }
    let ended = captured.wait(LIMIT)?;
    Ok(stopped(scenario, &ended, place, signal))
}

fn stopped(
    scenario: &Scenario,
    ended: &Traced,
    place: &Path,
    signal: Signal,
) -> Result<Verdict, String> {
    let (code, said) = (ended.code, ended.stderr.trim());
    if ended.is_late || said.contains("panicked") || ![0, 130, 128 + signal as i32].contains(&code)
    {
        return Err(format!("it ended with {code}: {said}"));
    }
    scenario.goes_on(place)?;
    Ok(match code {
        0 => Verdict::Done,
        _ => Verdict::Refused,
    })
}

/// Its terminal is closed while it runs.
fn lost_terminal(
    scenario: &Scenario,
    random: &mut Random,
    place: &Path,
) -> Result<Result<Verdict, String>> {
    scenario.start(place)?;
    let terminal = openpty(None, None)?;
    let inner = scenario.command(place);
    let mut command = Command::new("setsid");
    command
        .args(["--wait", "--ctty"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(place);
    command.stdin(terminal.slave.try_clone()?);
    command
        .stdout(terminal.slave.try_clone()?)
        .stderr(terminal.slave);
    let mut child = command.spawn()?;
    // The command's own copies.
    drop(command);
    let moment = scenario.time.mul_f64(random.unit());
    let mut master = File::from(terminal.master);
    let began = std::time::Instant::now();
    while began.elapsed() < moment {
        std::thread::sleep(Duration::from_millis(5));
        // A terminal shows what is written to it.
        let _ = drain(&mut master);
    }
    drop(master);
    let process = Pid::from_raw(i32::try_from(child.id())?);
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > LIMIT {
            let _ = kill(process, Signal::SIGKILL);
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let Some(status) = status else {
        return Ok(Err("it hangs without its terminal".into()));
    };
    let code = status.code().unwrap_or(129);
    Ok(match code {
        0 | 3 | 129 | 130 => scenario.goes_on(place).map(|()| Verdict::Done),
        code => Err(format!("it ended with {code}")),
    })
}

fn drain(master: &mut File) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    let mut bytes = [0; 4096];
    loop {
        let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        if master.read(&mut bytes)? == 0 {
            return Ok(());
        }
    }
}
