//! The server: it listens, serves connections, and stops in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tch::Device;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::api::{App, router};
use crate::decoders::Decoders;
use crate::engine::{Engine, Origin};
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::runs::Runs;
use crate::upload::Budget;
use crate::{Error, Result, ffmpeg, limits};

/// Time for the last answers when the server is stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(20);
/// Open files: connections, uploads, a request's clips.
const FILES: u64 = 8192;

/// What is served, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders of trained runs, CLIP checkpoints, or hub ids. The first answers requests that name
    /// none.
    pub checkpoints: Vec<String>,
    /// The address.
    pub listen: SocketAddr,
    /// A file with the token that requests have to bring; needed beyond this machine.
    pub token: Option<PathBuf>,
    /// The folder of the runs that clients teach.
    pub runs: PathBuf,
    /// The device of the models.
    pub device: Device,
}

/// Serves until SIGINT or SIGTERM. `say` is told when it is ready, and what a user should know.
///
/// # Errors
/// An address that cannot be listened on, or that needs a token; a model that cannot be loaded.
pub fn serve(options: &Options, say: fn(&str)) -> Result<()> {
    ffmpeg::check(&video::ffmpeg_version())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(system("cannot start the runtime"))?;
    let guard = Guard::new(options.listen, options.token.as_deref())?;
    let listener = runtime.block_on(TcpListener::bind(options.listen));
    let listener = listener.map_err(|source| Error::Listen {
        address: options.listen.to_string(),
        source,
    })?;
    allow_files();
    let metrics = Arc::new(Metrics::default());
    // Decoding processes start while the models are loaded.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = processors.clamp(1, 16);
    let decoders =
        Decoders::start(workers, 4 * workers, &metrics).map_err(system("cannot start a thread"))?;
    let engine = Engine::start(origins(&options.checkpoints), options.device, &metrics)?;
    let (stop, stopping) = watch::channel(false);
    let app = App {
        runs: Runs::open(&options.runs, engine.clone(), stopping.clone())?,
        engine,
        decoders,
        metrics,
        budget: Budget::new(),
        places: Arc::new(Semaphore::new(workers + 1)),
        streams: Arc::new(Semaphore::new(limits::STREAMS)),
        stopping,
    };
    let served = runtime.block_on(accept(listener, app, guard, &stop, say));
    // Work on the disk under way is cut off; it leaves whole files.
    runtime.shutdown_background();
    served
}

/// Ids that say what a model is, each once.
fn origins(checkpoints: &[String]) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for place in checkpoints {
        let name = place
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or(place);
        let same = origins.iter().filter(|origin| origin.name == name).count();
        let id = match same {
            0 => name.to_owned(),
            _ => format!("{name}-{}", same + 1),
        };
        origins.push(Origin {
            id,
            name: name.to_owned(),
            place: place.clone(),
        });
    }
    origins
}

/// Serves connections until a signal comes.
async fn accept(
    listener: TcpListener,
    app: App,
    guard: Guard,
    stop: &watch::Sender<bool>,
    say: fn(&str),
) -> Result<()> {
    let of = |kind| signal(kind).map_err(system("cannot handle signals"));
    let (mut interrupt, mut terminate) =
        (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
    let address = listener
        .local_addr()
        .map_err(system("cannot read the address"))?;
    say(&format!("serving at http://{address}/"));
    let metrics = app.metrics.clone();
    tokio::spawn(async move {
        let missing = loop {
            match metrics.unconfined() {
                Some(missing) => break missing,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        if !missing.is_empty() {
            let missing = missing.join(", and ");
            say(&format!(
                "warning: decoding is not fully confined: {missing} on this system"
            ));
        }
    });
    let runs = app.runs.clone();
    tokio::spawn(runs.clone().load());
    tokio::spawn(runs.clone().sweep());
    let streams = app.streams.clone();
    let stopping = app.stopping.clone();
    let service = TowerToHyperService::new(router(app, guard));
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER)
        .max_buf_size(limits::HEADER_BYTES);
    let connections = Arc::new(Semaphore::new(limits::CONNECTIONS));
    loop {
        // One beyond the limit waits in the system's queue.
        let place = connections.clone().acquire_owned();
        let (stream, place) = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => match accepted {
                (Ok(place), Ok((stream, _))) => (stream, place),
                // Such as too many open files, or a client that is gone.
                _ => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        // Answers are written whole; later parts should not wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits::IDLE));
        let connection = builder
            .serve_connection(TokioIo::new(Box::pin(stream)), service.clone())
            .with_upgrades();
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // A client's failure is its own.
            tokio::select! {
                _ = connection.as_mut() => {}
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    say("stopping: requests under way are answered; again to stop at once");
    let ended = async {
        let _ = connections.acquire_many(limits::CONNECTIONS as u32).await;
        let _ = streams.acquire_many(limits::STREAMS as u32).await;
        runs.ended().await;
    };
    tokio::select! {
        () = ended => {}
        () = tokio::time::sleep(LAST_ANSWERS) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Lets the process have as many files open as it may: each connection and each upload is one.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum.map(|most| most.min(FILES)).or(Some(FILES)),
        ..limit
    };
    if limit.current < raised.current {
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { what, source }
}
