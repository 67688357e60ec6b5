//! One side of the decoding comparison, so that other decoders can take turns
//! with it (`cargo xtask bench decode`): 8 uniform frames of every video of a list, short side
//! 224, centre crop, one worker. It runs once per line on stdin and prints the
//! seconds of processor time used by all its threads; `stream` prints the
//! elapsed seconds.
//!
//! `cargo bench -p clips --bench decode -- (unknown|known|alone|alone-to-last) LIST`
//! `cargo bench -p clips --bench decode -- stream WORKERS LIST`
//! `cargo bench -p clips --bench decode -- columns DIR [UCF-101]`
//!
//! `known` is given the number of frames, as in a checked manifest; `unknown` finds it.
//! `alone` only decodes every frame, `alone-to-last` every frame up to the last one
//! wanted, which it converts to RGB. A line of LIST is a path, a tab, and the number of frames. `columns` makes the
//! videos and lists of the comparison.
#![allow(unsafe_code, clippy::expect_used)]

#[path = "../../video/tests/decode/kept.rs"]
mod kept;
#[path = "../../video/tests/decode/made.rs"]
mod made;

use std::cell::RefCell;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clips::{Ahead, ClipStream, Recipe, VideoFiles};
use data::{ClassName, Manifest, Sampling, VideoEntry, Views};
use made::{Made, make};
use pixels::{Geometry, Resizer};
use video::{Limits, Video};

/// As in `docs/performance.md`: 7 s of MPEG-4 with one key frame, or one in 12, and 10 s of
/// H.264, all with their encoders' defaults.
const MADE: [Made; 3] = [
    Made {
        name: "one-key.avi",
        encoder: "mpeg4",
        width: 320,
        height: 240,
        frames: 175,
        options: &[("g", "600"), ("b", "800000")],
    },
    Made {
        name: "gop-12.avi",
        encoder: "mpeg4",
        width: 320,
        height: 240,
        frames: 175,
        options: &[("g", "12"), ("b", "800000")],
    },
    Made {
        name: "h264-10s.mp4",
        encoder: "libx264",
        width: 340,
        height: 256,
        frames: 250,
        options: &[],
    },
];

fn main() {
    keep_memory();
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["columns", folder, ucf @ ..] => columns(Path::new(folder), ucf.first().map(Path::new)),
        ["stream", workers, list] => stream(workers.parse().expect("a number"), &clips(list)),
        [mode, list] => one_worker(mode, &clips(list)),
        _ => eprintln!("missing arguments: see the head of this file"),
    }
}

fn recipe() -> Recipe {
    Recipe::Test {
        sampling: Sampling::Segments { frames: 8 },
        geometry: Geometry::openai(224),
        views: Views::SINGLE,
        seed: 0,
    }
}

/// The clips of a list.
fn clips(list: &str) -> Vec<(PathBuf, usize)> {
    let text = std::fs::read_to_string(list).expect("a list");
    let clip = |line: &str| {
        let (path, count) = line.split_once('\t').expect("a tab");
        (path.into(), count.parse().expect("a number"))
    };
    text.lines().map(clip).collect()
}

fn clip(path: &Path, frames: Option<usize>) -> VideoEntry {
    let below_root = path.strip_prefix("/").unwrap_or(path);
    VideoEntry {
        frames,
        ..VideoEntry::new(path.display().to_string(), below_root, vec![0])
    }
}

fn one_worker(mode: &str, clips: &[(PathBuf, usize)]) {
    let (recipe, source) = (recipe(), VideoFiles::default());
    let known = match mode {
        "known" => true,
        "unknown" => false,
        _ => {
            let all = || {
                clips
                    .iter()
                    .for_each(|(path, count)| alone(mode, path, *count))
            };
            return take_turns(processor_time, all);
        }
    };
    let resizer = RefCell::new(Resizer::new());
    take_turns(processor_time, || {
        let resizer = &mut *resizer.borrow_mut();
        for (path, count) in clips {
            let frames = Some(*count).filter(|_| known);
            let views = recipe.prepare(&source, "clip", path, frames, resizer);
            black_box(views.expect("frames"));
        }
    });
}

fn alone(mode: &str, path: &Path, count: usize) {
    let mut video = Video::open(path, &Limits::default()).expect("a video");
    if mode == "alone" {
        black_box(video.count_frames().expect("frames"));
        return;
    }
    let wanted = Sampling::Segments { frames: 8 }.centre(count);
    let last = wanted.last().copied().into_iter().collect::<Vec<_>>();
    black_box(video.frames(&last).expect("frames"));
}

fn stream(workers: usize, list: &[(PathBuf, usize)]) {
    let clips = list.iter().map(|(path, count)| clip(path, Some(*count)));
    let manifest = Manifest::new("bench", "/", vec![ClassName::new("all")], clips.collect());
    let jobs = 2 * workers + 2;
    let manifest = Arc::new(manifest.expect("a manifest"));
    let source = Arc::new(VideoFiles::default());
    let stream = ClipStream::new(manifest, source, Ahead { workers, jobs }).expect("threads");
    let stream = RefCell::new(stream);
    let positions: Vec<usize> = (0..list.len()).collect();
    let start = Instant::now();
    take_turns(
        || start.elapsed().as_secs_f64(),
        || {
            let stream = &mut *stream.borrow_mut();
            stream.push(&positions, &recipe()).expect("a recipe");
            for sample in stream {
                black_box(sample.views.expect("frames"));
            }
        },
    );
}

/// Runs once at start, reports it, then once for every line.
fn take_turns(clock: impl Fn() -> f64, work: impl Fn()) {
    work();
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        writeln!(out, "{text}").expect("a reader");
        out.flush().expect("a reader");
    };
    say("ready".into());
    for line in std::io::stdin().lines() {
        line.expect("a line");
        let start = clock();
        work();
        say((clock() - start).to_string());
    }
}

/// Processor time of all threads of this process in seconds.
fn processor_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the place it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Keeps glibc from returning large blocks to the system after every use, as the product
/// does.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes two integers, and is called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// Makes the videos, and writes a list for each column; clips of UCF-101 are separated by
/// whether they have B-frames.
fn columns(folder: &Path, ucf: Option<&Path>) {
    let verified = |path: &Path| {
        let mut video = Video::open(path, &Limits::default()).expect("a video");
        video.verify().expect("frames").count.frames
    };
    let mut lists: Vec<(&str, Vec<PathBuf>)> = Vec::new();
    if let Some(ucf) = ucf {
        let (mut plain, mut both) = (Vec::new(), Vec::new());
        for path in videos(ucf) {
            match has_b_frames(&path) {
                true => both.push(path),
                false => plain.push(path),
            }
        }
        lists.push(("ucf-original", every(plain, 24)));
        lists.push(("ucf-b-frames", every(both, 24)));
    }
    for made in MADE {
        if make(folder, &made).expect("a video") {
            let name = made.name.split('.').next().unwrap_or_default();
            lists.push((name, vec![folder.join(made.name)]));
        }
    }
    for (name, paths) in lists {
        let line = |path: &PathBuf| format!("{}\t{}\n", path.display(), verified(path));
        let text: String = paths.iter().map(line).collect();
        std::fs::write(folder.join(name).with_extension("list"), text).expect("a list");
    }
}

/// At most `count` of the paths, evenly taken.
fn every(paths: Vec<PathBuf>, count: usize) -> Vec<PathBuf> {
    let step = paths.len().div_ceil(count).max(1);
    paths.into_iter().step_by(step).collect()
}

/// The videos in the folders of a folder.
fn videos(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut videos: Vec<PathBuf> = entries(folder).iter().flat_map(|c| entries(c)).collect();
    videos.sort();
    videos
}

fn has_b_frames(path: &Path) -> bool {
    use ffmpeg_next::{codec, format, frame, picture};
    ffmpeg_next::init().expect("FFmpeg");
    let mut file = format::input(path).expect("a video");
    let stream = file.streams().best(ffmpeg_next::media::Type::Video);
    let stream = stream.expect("a stream");
    let (number, parameters) = (stream.index(), stream.parameters());
    let context = codec::Context::from_parameters(parameters).expect("parameters");
    let mut decoder = context.decoder().video().expect("a decoder");
    let mut picture = frame::Video::empty();
    for (stream, packet) in file.packets() {
        if stream.index() != number || decoder.send_packet(&packet).is_err() {
            continue;
        }
        while decoder.receive_frame(&mut picture).is_ok() {
            if picture.kind() == picture::Type::B {
                return true;
            }
        }
    }
    false
}
