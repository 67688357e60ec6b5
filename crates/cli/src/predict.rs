//! `trainer predict`: name the action in a video.

use std::path::PathBuf;

use clap::Args;
use data::{DEFAULT_TEMPLATE, Span};

use crate::device::DeviceChoice;
use crate::limits::VideoLimits;

/// The backbone used in the paper.
pub const DEFAULT_CHECKPOINT: &str = "openai/clip-vit-base-patch16";

/// Recognise the action in each video, among given labels.
///
/// Prints a table on a terminal, tab-separated lines (video, rank, score, label) into a pipe, or
/// one JSON object per video with --json. With --window each window of a video is answered; the
/// lines are then video, start, end, rank, score, label. Exit codes: 0 every video answered,
/// 1 some not, 2 wrong arguments, 3 none answered.
///
/// Formats: what FFmpeg reads and holds its pictures itself, such as MP4, MOV, 3GP, MKV, WebM, AVI,
/// MPEG (.mpg, .vob, .ts, .mts, .m2ts), OGV, FLV, WMV, MXF, GIF, APNG, Y4M, IVF, and bare H.264,
/// HEVC or AV1. The content decides, not the ending of the name; so it does in the folders of fit and
/// check-videos. Playlists, scripts, image sequences and addresses are refused.
///
/// Stream: of several videos in a file the film, which moves and lasts, not a still or slides; a
/// note says which, and --stream chooses another.
///
/// Pictures are shown as a player shows them: upright, mirrored if need be, and in their shape
/// where pixels are not square. HDR is not tone-mapped.
///
/// Times are seconds from the first picture shown, whatever the file's header says. A picture lasts
/// until the next one, the last one as long as the file says, or as the one before. A window is a
/// stretch of time; its pictures are those shown in it for at least half of its length or of
/// theirs. No window reaches beyond the end of the last picture.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Video files; - is a video stream on standard input, answered window by window as it comes, of
    /// 2s each unless --window says otherwise.
    #[arg(required = true, value_name = "VIDEO")]
    pub videos: Vec<PathBuf>,

    /// The classes, separated by commas; one with a comma in double quotes: '"walk, slowly",run'.
    #[arg(long, value_name = "A,B,C")]
    pub labels: Option<String>,

    /// A file with one class per line, or a table of numbers and names: CSV or JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    pub labels_file: Option<PathBuf>,

    /// A trained run's folder, with its own labels and number of frames; or a CLIP checkpoint: a
    /// folder, a file, or a hub id.
    #[arg(long, value_name = "PATH_OR_ID", default_value = DEFAULT_CHECKPOINT)]
    pub checkpoint: String,

    /// The architecture of weights without a configuration: ViT-B-32, ViT-B-16, ViT-L-14,
    /// ViT-L-14-336, each also with -gelu, or the path of the model's config.json.
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<String>,

    /// A trained run's backbone, if it was moved after training.
    #[arg(long, value_name = "PATH_OR_ID")]
    pub backbone: Option<PathBuf>,

    /// A hand-crafted prompt with {} for the class, or a file with one per line; several are
    /// averaged.
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_TEMPLATE)]
    pub templates: Vec<String>,

    /// Answer for each window of this length, such as 2s, 500ms or 1.5m: a timeline. The first
    /// begins with the first picture, the last ends with the last one; a shorter video is one
    /// window.
    #[arg(long, value_name = "TIME")]
    pub window: Option<Span>,

    /// Time from the start of a window to that of the next; by default the window's length.
    #[arg(long, value_name = "TIME", requires = "window")]
    pub stride: Option<Span>,

    /// Frames per video or window, evenly spaced by their number; by default 8, or the number a run was trained
    /// on.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub frames: Option<u16>,

    /// Number of classes to print; by default 5 per video, 1 per window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub top: Option<u16>,

    /// One JSON object per video, one per line.
    #[arg(long)]
    pub json: bool,

    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,

    /// The backbone's precision: fp32, bf16, fp16, or auto, that of the run, or else the fastest one
    /// whose features are close to those in fp32.
    #[arg(long, default_value = "auto", value_parser = ["auto", "fp32", "bf16", "fp16"], hide_possible_values = true)]
    pub precision: String,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Index of the video stream among all streams of the files, from 0.
    #[arg(long, value_name = "N")]
    pub stream: Option<usize>,

    /// The most that a video may cost.
    #[command(flatten, next_help_heading = "Limits on each video")]
    pub limits: VideoLimits,
}
