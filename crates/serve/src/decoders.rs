//! The decoding processes, seen from the server: started, given one file at a time, killed at the
//! deadline, replaced.
//!
//! Each is forked from a process of the attendant's own, the parent. After some files another is forked;
//! after a failure the parent is replaced, too, since what it forks has its layout of the memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clips::ClipPixels;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use recogniser::{DecodedVideo, Part, WindowEvent};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::metrics::Metrics;
use crate::wire::{Job, Kept, Refusal, RefusalKind, Reply, Seen};
use crate::{limits, wire};

/// The name of the command that is the decoding process.
pub const DECODE_WORKER: &str = "decode-worker";
/// Time for a process to start.
const START: Duration = Duration::from_secs(60);
/// Time until another attempt, if no process can be started.
const AGAIN: Duration = Duration::from_secs(1);

/// A result of decoding a file, in order.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// A whole video or a picture.
    Clip(DecodedVideo),
    /// Windows.
    Window(WindowEvent),
}

/// The results of one file; closed after the last.
pub(crate) type Results = mpsc::Receiver<Result<Decoded, Refusal>>;

/// The right to work on one of the few videos in work; it ends with its last copy.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

/// A file to decode.
struct Order {
    file: Arc<File>,
    job: Job,
    /// Held until it is decoded, also for a client that is gone.
    _place: Option<Place>,
    results: mpsc::Sender<Result<Decoded, Refusal>>,
}

/// All decoding processes. They end with the last copy.
#[derive(Clone)]
pub(crate) struct Decoders {
    orders: Sender<Order>,
    ready: Arc<AtomicUsize>,
}

/// More files wait than are allowed.
#[derive(Debug)]
pub(crate) struct Full;

impl Decoders {
    /// Starts `workers` threads, each with a process, and lets `queue` files wait.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn start(workers: usize, queue: usize, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let (orders, waiting) = bounded(queue);
        let ready = Arc::new(AtomicUsize::new(0));
        for number in 0..workers {
            let attendant = Attendant {
                waiting: waiting.clone(),
                ready: ready.clone(),
                metrics: metrics.clone(),
            };
            let name = format!("decoder {number}");
            thread::Builder::new()
                .name(name)
                .spawn(move || attendant.work())?;
        }
        Ok(Self { orders, ready })
    }

    /// Queues a file.
    pub(crate) fn decode(
        &self,
        file: Arc<File>,
        job: Job,
        place: Option<Place>,
    ) -> Result<Results, Full> {
        // Two, so that the next window is decoded while one is answered.
        let (results, receiver) = mpsc::channel(2);
        let order = Order {
            file,
            job,
            _place: place,
            results,
        };
        match self.orders.try_send(order) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }

    /// Processes that have started.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Relaxed)
    }
}

/// A thread that looks after one process.
struct Attendant {
    waiting: Receiver<Order>,
    ready: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Attendant {
    fn work(self) {
        loop {
            // Started before it is needed.
            let process = match Process::start(&self.metrics) {
                Ok(process) => process,
                Err(error) => {
                    tracing::error!("cannot start a decoding process: {error}");
                    thread::sleep(AGAIN);
                    continue;
                }
            };
            self.ready.fetch_add(1, Relaxed);
            let more = self.feed(process);
            self.ready.fetch_sub(1, Relaxed);
            if !more {
                return;
            }
        }
    }

    /// Gives files to the process until it has failed; `false` if no more will come.
    fn feed(&self, mut process: Process) -> bool {
        for file in 1_usize.. {
            if file.is_multiple_of(limits::FILES) && process.fork(&self.metrics).is_err() {
                return true;
            }
            let Ok(order) = self.waiting.recv() else {
                return false;
            };
            if order.results.is_closed() {
                continue;
            }
            let began = Instant::now();
            let ended = process.decode(&order);
            self.metrics.decoding.observe(began.elapsed());
            match ended {
                Ok(()) => {}
                // Nobody waits for the rest.
                Err(Failed::Unwanted) => {
                    if process.fork(&self.metrics).is_err() {
                        return true;
                    }
                }
                Err(Failed::Late) => {
                    self.metrics.killed.fetch_add(1, Relaxed);
                    let seconds = limits::DECODING.as_secs();
                    let reason = format!("decoding it takes more than {seconds} s");
                    let _ = order
                        .results
                        .blocking_send(Err(refused(reason, Some("time"))));
                    return true;
                }
                Err(Failed::Broken) => {
                    self.metrics.crashed.fetch_add(1, Relaxed);
                    let reason = match process.fork(&self.metrics).ok().flatten() {
                        Some(libc::SIGXCPU) => format!(
                            "decoding it takes more than {} s of processor time",
                            limits::PROCESSOR
                        ),
                        Some(signal) => format!("it made the decoder fail (signal {signal})"),
                        None => "it made the decoder fail".into(),
                    };
                    let _ = order.results.blocking_send(Err(refused(reason, None)));
                    return true;
                }
            }
        }
        true
    }
}

fn refused(reason: String, limit: Option<&str>) -> Refusal {
    Refusal {
        kind: RefusalKind::Crash,
        reason,
        limit: limit.map(str::to_owned),
        switch: None,
    }
}

/// Why a process is not used again.
enum Failed {
    Unwanted,
    Late,
    Broken,
}

/// A decoding process and its parent; killed when dropped.
struct Process {
    parent: Child,
    /// To the parent.
    control: UnixStream,
    socket: UnixStream,
}

impl Process {
    /// Starts one, and waits until it is confined.
    fn start(metrics: &Metrics) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new(myself()?);
        command
            .arg(DECODE_WORKER)
            .env_clear()
            .env("OMP_NUM_THREADS", "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the server, which lets it finish.
            .process_group(0);
        if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", path);
        }
        let parent = command.spawn()?;
        // The sockets' other ends would keep them open.
        drop(command);
        let mut process = Self {
            parent,
            socket: control.try_clone()?,
            control,
        };
        process.fork(metrics)?;
        Ok(process)
    }

    /// Ends the decoding process and waits until another is confined; the signal that had ended it, if
    /// one had.
    fn fork(&mut self, metrics: &Metrics) -> io::Result<Option<i32>> {
        let failed = || io::Error::other("it ended before it was ready");
        let deadline = Some(Instant::now() + START);
        let (socket, theirs) = UnixStream::pair()?;
        wire::send_file(&self.control, &(), &theirs)?;
        drop(theirs);
        let ended = wire::receive::<Option<i32>>(&self.control, 0, deadline)?;
        let (ended, ..) = ended.ok_or_else(failed)?;
        match wire::receive::<Reply>(&socket, 0, deadline)? {
            Some((Reply::Ready { landlock, seccomp }, ..)) => {
                metrics.confined(landlock, seccomp);
                if landlock != Kept::Fully || !seccomp {
                    tracing::debug!(?landlock, seccomp, "confined in part");
                }
                self.socket = socket;
                Ok(ended)
            }
            _ => Err(failed()),
        }
    }

    /// Decodes a file, and passes the results on as they come.
    fn decode(&mut self, order: &Order) -> Result<(), Failed> {
        let mut deadline = Instant::now() + limits::DECODING;
        wire::send_file(&self.socket, &order.job, &*order.file).map_err(|_| Failed::Broken)?;
        loop {
            let expected = order.job.bytes();
            let reply = wire::receive::<Reply>(&self.socket, expected, Some(deadline));
            let (reply, pixels) = match reply {
                Ok(Some((reply, pixels, _))) => (reply, pixels),
                Ok(None) => return Err(Failed::Broken),
                Err(error) => {
                    return Err(match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failed::Late,
                        _ => Failed::Broken,
                    });
                }
            };
            let (result, last) = read(&order.job, reply, pixels).ok_or(Failed::Broken)?;
            // Time spent on waiting for the model is not the decoder's.
            let handed_over = Instant::now();
            let sent = order.results.blocking_send(result);
            deadline += handed_over.elapsed();
            if last {
                return Ok(());
            }
            sent.map_err(|_| Failed::Unwanted)?;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// This program, even if its file was replaced since it started.
pub(crate) fn myself() -> io::Result<std::path::PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    }
}

/// A reply's result, and whether it is the last; `None` for one that does not fit the job.
fn read(job: &Job, reply: Reply, pixels: Vec<u8>) -> Option<(Result<Decoded, Refusal>, bool)> {
    let clip = |seen: Seen, rgb: Vec<u8>| {
        let frames = job.frames();
        let fits = rgb.len() == job.bytes()
            && seen.indices.len() == frames
            && seen.times.len() == frames
            && seen.times.iter().all(|time| time.is_finite());
        fits.then_some(ClipPixels {
            frames,
            size: job.size,
            rgb,
            indices: seen.indices,
            times: seen.times,
            frame_count: seen.frame_count,
        })
    };
    Some(match reply {
        Reply::Ready { .. } => return None,
        Reply::Clip { seen, note } => {
            let clip = clip(seen, pixels)?;
            (Ok(Decoded::Clip(DecodedVideo { clip, note })), true)
        }
        Reply::Choice(choice) => (Ok(Decoded::Window(WindowEvent::Choice(choice))), false),
        Reply::Window {
            seen,
            start,
            end,
            of,
        } => {
            let part = Part {
                start,
                end,
                clip: clip(seen, pixels)?,
                of,
            };
            (Ok(Decoded::Window(WindowEvent::Part(part))), false)
        }
        Reply::End { frames } => (Ok(Decoded::Window(WindowEvent::End(frames))), true),
        Reply::Refused(refusal) => (Err(refusal), true),
    })
}
