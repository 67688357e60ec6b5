//! `trainer serve`: recognise over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use trainer::runtime::DeviceChoice;
use trainer::threads::{threads, use_threads};

use super::{demo, exit};

/// Serve recognisers: a page, and a REST interface that /openapi.json describes.
///
/// Videos are decoded in processes of their own that can reach nothing else. Uploads are held in
/// memory until they are answered. Ctrl-C stops after the requests under way.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A trained run's folder, or a CLIP checkpoint: a folder, a file, or a hub id. Repeatable; by
    /// default the built-in demo's backbone.
    #[arg(long = "checkpoint", value_name = "RUN_OR_CLIP")]
    checkpoints: Vec<String>,

    /// The address. One that other machines can reach needs --token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// A file with a line that requests have to bring as `Authorization: Bearer LINE`.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// The folder of the runs that are taught [default: seeing-in-flowing/runs in the user's data].
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,

    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(crate) fn run(arguments: Arguments) -> Result<u8> {
    use_threads(threads(arguments.threads.map(usize::from)))?;
    let mut checkpoints = arguments.checkpoints;
    if checkpoints.is_empty() {
        let backbone = demo::committed();
        eprintln!("note: no --checkpoint is given: the built-in demo's backbone is served");
        checkpoints.push(backbone.display().to_string());
    }
    let options = ::serve::Options {
        checkpoints,
        listen: arguments.listen,
        token: arguments.token,
        runs: arguments.runs.unwrap_or_else(|| {
            let data = dirs::data_local_dir().unwrap_or_else(std::env::temp_dir);
            data.join("seeing-in-flowing/runs")
        }),
        device: arguments.device.resolve()?,
    };
    ::serve::serve(&options, |line| eprintln!("{line}"))?;
    Ok(exit::DONE)
}
