//! The soak: one server answers, teaches and refuses for as long as asked, beside commands that come and
//! go. Its memory, handles, processes and temporary files do not grow.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clips::Interrupt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scenario::{self, Inputs, Scenario};
use crate::trace::Answer;
use crate::{Block, Cases, Context, Random, Verdict, material};

pub(super) const BLOCK: Block = Block {
    number: 9,
    name: "soak",
    cases: 1,
    share: 0,
    seconds: 0,
    prepare,
};

/// Requests to the server between two commands.
const REQUESTS: usize = 20;
/// The growth of memory that counts as none: allocators keep what they were given.
const SHARE: f64 = 0.05;
const KIB: u64 = 8 << 10;

struct Soak {
    minutes: u64,
    stop: Interrupt,
    trainer: PathBuf,
    backbone: PathBuf,
    video: Vec<u8>,
    commands: Vec<Scenario>,
}

fn prepare(context: &Context) -> Result<Box<dyn Cases>> {
    let inputs = Inputs::new(context)?;
    let mut commands = scenario::writers(context, &inputs)?;
    commands.retain(|command| command.name == "fit" || command.name == "train");
    let mut readers = scenario::readers(context, &inputs)?;
    readers.retain(|command| command.name == "predict");
    commands.extend(readers);
    Ok(Box::new(Soak {
        minutes: context.soak.unwrap_or(1),
        stop: context.stop.clone(),
        trainer: context.trainer.clone(),
        backbone: material::backbone(context),
        video: fs::read(context.folder.join("videos/val/YoYo/03.avi"))?,
        commands,
    }))
}

/// What a process tree holds at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Resident memory in KiB.
    memory: u64,
    handles: usize,
    processes: usize,
    /// Temporary files.
    files: usize,
}

impl Cases for Soak {
    fn run(&self, _: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let outcome = self.soak(random, folder);
        outcome.map_err(|error| format!("{error:#}"))
    }
}

impl Soak {
    fn soak(&self, random: &mut Random, folder: &Path) -> Result<Verdict> {
        let temporary = folder.join("tmp");
        fs::create_dir(&temporary)?;
        let mut server = Server::start(self, folder, &temporary)?;
        let began = Instant::now();
        let length = Duration::from_secs(60 * self.minutes);
        let mut held = Vec::new();
        let mut round = 0;
        // At least as many rounds as make quarters.
        while (began.elapsed() < length || round < 8) && !self.stop.asked() {
            for _ in 0..REQUESTS {
                self.ask(&server, random)?;
            }
            let command = &self.commands[round % self.commands.len()];
            let place = folder.join(format!("round-{round}"));
            command.start(&place)?;
            let ended = command.run(&place, &place, &mut |_| Answer::Go)?;
            ensure!(ended.code == 0, "{}: {}", command.name, ended.stderr);
            fs::remove_dir_all(&place)?;
            held.push(server.held(&temporary)?);
            round += 1;
        }
        let left = server.stop()?;
        ensure!(left.is_none(), "the server did not stop: {left:?}");
        // The first quarter is the warm-up.
        let quarter = held.len() / 4;
        ensure!(quarter > 0, "too short for {} rounds", held.len());
        let most = |part: &[Held]| {
            part.iter().fold(Held::default(), |most, one| Held {
                memory: most.memory.max(one.memory),
                handles: most.handles.max(one.handles),
                processes: most.processes.max(one.processes),
                files: most.files.max(one.files),
            })
        };
        let (early, late) = (
            most(&held[quarter..2 * quarter]),
            most(&held[3 * quarter..]),
        );
        eprintln!("soak: {round} rounds; after a quarter {early:?}, at the end {late:?}");
        let limit = (early.memory as f64 * (1.0 + SHARE)) as u64 + KIB;
        ensure!(
            late.memory <= limit
                && late.handles <= early.handles
                && late.processes <= early.processes
                && late.files <= early.files,
            "it grew: {early:?} after a quarter, {late:?} at the end"
        );
        Ok(Verdict::Done)
    }

    /// A good video, a damaged one, or a question that makes no sense.
    fn ask(&self, server: &Server, random: &mut Random) -> Result<()> {
        let mut video = self.video.clone();
        let (labels, expected): (&str, &[u16]) = match random.below(4) {
            0 => {
                for _ in 0..20 {
                    let at = random.below(video.len());
                    video[at] ^= 1 << random.below(8);
                }
                ("walk,run", &[200, 415, 422])
            }
            1 => ("", &[400, 422]),
            _ => ("walk,run", &[200]),
        };
        let url = format!("http://{}/v1/predict?labels={labels}", server.address);
        let status = ureq::post(&url)
            .config()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .header("Content-Type", "video/x-msvideo")
            .send(&video[..])?
            .status()
            .as_u16();
        ensure!(
            expected.contains(&status) || status == 503,
            "{url}: status {status}"
        );
        Ok(())
    }
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(soak: &Soak, folder: &Path, temporary: &Path) -> Result<Self> {
        let mut command = material::trainer(
            &soak.trainer,
            ["serve", "--listen", "127.0.0.1:0", "--checkpoint"],
        );
        command
            .arg(&soak.backbone)
            .arg("--runs")
            .arg(folder.join("runs"));
        command.env("TMPDIR", temporary).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let address = loop {
            let line = lines.next().context("the server ended")??;
            if let Some((_, url)) = line.split_once("serving at http://") {
                break url.trim_end_matches('/').to_owned();
            }
        };
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let server = Self { child, address };
        let began = Instant::now();
        while ureq::get(format!("http://{}/readyz", server.address))
            .call()
            .is_err()
        {
            ensure!(began.elapsed() < Duration::from_secs(60), "never ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// What the server and its children hold.
    fn held(&self, temporary: &Path) -> Result<Held> {
        let mut held = Held {
            files: material::files(temporary)?.len(),
            ..Held::default()
        };
        let mut waiting = vec![self.child.id()];
        while let Some(process) = waiting.pop() {
            let place = PathBuf::from(format!("/proc/{process}"));
            // A child may end meanwhile.
            let Ok(status) = fs::read_to_string(place.join("status")) else {
                continue;
            };
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let memory = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
            held.memory += memory.unwrap_or(0);
            held.handles += fs::read_dir(place.join("fd")).map_or(0, Iterator::count);
            held.processes += 1;
            for task in fs::read_dir(place.join("task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let children = fs::read_to_string(task.path().join("children"));
                let children = children.unwrap_or_default();
                waiting.extend(
                    children
                        .split_whitespace()
                        .filter_map(|id| id.parse::<u32>().ok()),
                );
            }
        }
        Ok(held)
    }

    /// Asks it to stop; its status if that is not 0 or an interruption's.
    fn stop(&mut self) -> Result<Option<i32>> {
        kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGTERM,
        )?;
        let code = self.child.wait()?.code();
        Ok(code.filter(|code| ![0, 130].contains(code)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
