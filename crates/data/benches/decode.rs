//! Eight uniform frames of a video, one worker: beside decoding alone, which nothing that
//! is exact can beat while every frame before the last one wanted has to be decoded.
//!
//! Takes a part of UCF-101 from the reference data, and makes short videos with the
//! `ffmpeg` program; what is missing is left out.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use data::decode::{DecodeError, FrameCount, Limits, Video};

/// Made videos: name, size, seconds and how they are encoded.
const MADE: [(&str, &str, u32, &str); 3] = [
    (
        "mpeg4_one_key.avi",
        "320x240",
        7,
        "-c:v mpeg4 -q:v 5 -g 600",
    ),
    ("mpeg4_gop12.avi", "320x240", 7, "-c:v mpeg4 -q:v 5 -g 12"),
    ("h264_10s.mp4", "340x256", 10, "-c:v libx264"),
];

fn uniform(count: usize) -> Vec<usize> {
    (0..8).map(|i| (2 * i + 1) * count / 16).collect()
}

fn decode(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("decode-bench-{}", std::process::id()));
    let mut sets = Vec::new();
    if let Some(shared) = testkit::shared("decode bench") {
        sets.push(("ucf8".to_owned(), ucf(&shared)));
    }
    if std::fs::create_dir_all(&folder).is_ok() {
        for (name, size, seconds, arguments) in MADE {
            if let Some(path) = make(&folder.join(name), size, seconds, arguments) {
                sets.push((name.to_owned(), vec![path]));
            }
        }
    }
    let mut group = criterion.benchmark_group("decode");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    for (name, paths) in &sets {
        let counts: Result<Vec<_>, _> = paths.iter().map(|path| count(path)).collect();
        let Ok(counts) = counts else { continue };
        group.throughput(Throughput::Elements(paths.len() as u64));
        group.bench_function(BenchmarkId::new("eight frames", name), |bencher| {
            bencher.iter(|| paths.iter().try_for_each(|path| eight(path, None)));
        });
        group.bench_function(
            BenchmarkId::new("eight frames, count known", name),
            |bencher| {
                bencher.iter(|| {
                    let mut known = paths.iter().zip(&counts);
                    known.try_for_each(|(path, count)| eight(path, Some(*count)))
                });
            },
        );
        group.bench_function(BenchmarkId::new("decoding alone", name), |bencher| {
            bencher.iter(|| paths.iter().try_for_each(|path| count(path).map(|_| ())));
        });
    }
    group.finish();
    let _ = std::fs::remove_dir_all(folder);
}

fn count(path: &Path) -> Result<FrameCount, DecodeError> {
    Video::open(path, &Limits::default())?.count_frames()
}

fn eight(path: &Path, known: Option<FrameCount>) -> Result<(), DecodeError> {
    let mut video = Video::open(path, &Limits::default())?;
    black_box(match known {
        Some(count) => video.frames(&uniform(count.frames))?,
        None => video.sample(uniform)?.frames,
    });
    Ok(())
}

/// Every eighth of the clips.
fn ucf(shared: &Path) -> Vec<PathBuf> {
    let classes = std::fs::read_dir(shared.join("data/ucf8/UCF-101"))
        .into_iter()
        .flatten();
    let clips = classes
        .flatten()
        .filter_map(|class| std::fs::read_dir(class.path()).ok());
    let mut paths: Vec<_> = clips.flatten().flatten().map(|clip| clip.path()).collect();
    paths.sort();
    paths.into_iter().step_by(8).collect()
}

fn make(path: &Path, size: &str, seconds: u32, arguments: &str) -> Option<PathBuf> {
    let source = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let made = Command::new("ffmpeg")
        .args([
            "-v", "quiet", "-nostdin", "-y", "-f", "lavfi", "-i", &source,
        ])
        .args(arguments.split(' '))
        .arg(path)
        .stdin(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success())
        .then(|| path.to_path_buf())
}

criterion_group!(benches, decode);
criterion_main!(benches);
