//! `trainer serve`: recognise over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::device::DeviceChoice;

/// Serve recognisers: a page, and a REST interface that /openapi.json describes.
///
/// Videos are decoded in processes of their own that can reach nothing else. Uploads are held in
/// memory until they are answered. Ctrl-C stops after the requests under way.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A trained run's folder, or a CLIP checkpoint: a folder, a file, or a hub id. Repeatable; by
    /// default the built-in demo's backbone.
    #[arg(long = "checkpoint", value_name = "RUN_OR_CLIP")]
    pub checkpoints: Vec<String>,

    /// The address. One that other machines can reach needs --token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// A file with a line that requests have to bring as `Authorization: Bearer LINE`.
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,

    /// The folder of the runs that are taught [default: seeing-in-flowing/runs in the user's data].
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,

    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}
