//! What the decoding tests have in common.

use std::{
    cell::RefCell,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pixels::{Geometry, Picture, Resizer, Rows, View};
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use video::{Error, Frame, FrameCount, FrameSink, Limits, Video};

use crate::kept::place;

/// A frame, short enough to keep: where, how large, which pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Print {
    index: usize,
    time: f64,
    width: usize,
    height: usize,
    hash: u64,
}

pub(crate) fn print(frame: &Frame) -> Print {
    assert_eq!(frame.rgb.len(), frame.width * frame.height * 3);
    let mut hasher = DefaultHasher::new();
    frame.rgb.hash(&mut hasher);
    let Frame {
        index,
        time,
        width,
        height,
        ..
    } = *frame;
    Print {
        index,
        time,
        width,
        height,
        hash: hasher.finish(),
    }
}

pub(crate) fn open(path: &Path) -> Result<Video, Error> {
    Video::open(path, &Limits::default())
}

/// Checks that an earlier run has decoded the same frames of `path`, or keeps them.
fn check_kept(path: &Path, prints: &[Print]) {
    let Some(place) = place(&std::fs::read(path).unwrap(), "frames") else {
        return;
    };
    let text = format!("{prints:?}");
    match std::fs::read_to_string(&place) {
        Ok(earlier) => assert!(earlier == text, "{path:?}: other frames than in {place:?}"),
        Err(_) => std::fs::write(&place, text).unwrap(),
    }
}

/// The plain sequential decode.
pub(crate) fn sequential(path: &Path) -> Result<Vec<Print>, Error> {
    let mut prints = Vec::new();
    open(path)?.for_each_frame(|frame| {
        assert_eq!(frame.index, prints.len());
        prints.push(print(&frame));
        ControlFlow::Continue(())
    })?;
    Ok(prints)
}

/// Checks that every way to the frames of `path` gives those of the sequential decode, with
/// `cases` sets of random indices. What is counted.
pub(crate) fn check(path: &Path, cases: u32) -> FrameCount {
    let expected = sequential(path).unwrap_or_else(|error| panic!("{error}"));
    check_kept(path, &expected);
    let all = expected.len();
    let mut video = open(path).unwrap();
    let count = video.count_frames().unwrap();
    assert_eq!(count.frames, all, "{path:?}");
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let video = RefCell::new(video);
    TestRunner::new_with_rng(config.clone(), rng.clone())
        .run(&vec(0..all, 1..10), |indices| {
            let frames = video.borrow_mut().frames(&indices).unwrap();
            let got: Vec<_> = frames.iter().map(print).collect();
            let wanted: Vec<_> = indices.iter().map(|&index| expected[index]).collect();
            assert_eq!(got, wanted, "{path:?} {indices:?}");
            Ok(())
        })
        .unwrap();
    let verified = open(path).unwrap().verify().unwrap();
    assert_eq!(verified.count, count, "{path:?}");
    if let Some(known) = verified.known {
        assert_eq!(known, all);
        // Each file opened anew, as the loader does.
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(config, rng)
            .run(&vec(0..all, 1..10), |indices| {
                let frames = open(path).unwrap().frames_of(known, &indices).unwrap();
                let got: Vec<_> = frames.iter().map(print).collect();
                let wanted: Vec<_> = indices.iter().map(|&index| expected[index]).collect();
                assert_eq!(got, wanted, "{path:?} {indices:?}");
                Ok(())
            })
            .unwrap();
    }
    let uniform = |count: usize| (0..8).map(|i| (2 * i + 1) * count / 16).collect::<Vec<_>>();
    let mut video = video.borrow_mut();
    let sample = video.sample(uniform).unwrap();
    assert_eq!(sample.count, count, "{path:?}");
    let got: Vec<_> = sample.frames.iter().map(print).collect();
    let wanted: Vec<_> = uniform(all)
        .into_iter()
        .map(|index| expected[index])
        .collect();
    assert_eq!(got, wanted, "{path:?}");
    check_times(&mut video, &expected);
    check_views(path, None);
    check_views(path, verified.known);
    // Numbers that are not the stream's own, as lists may have them.
    for wrong in [1, all + 1, all * 2 + 9] {
        check_views(path, Some(wrong));
    }
    match video.frames(&[0, all]) {
        Err(Error::NoSuchFrame { index, count, .. }) => {
            assert_eq!((index, count), (all, all));
        }
        other => panic!("{path:?}: {:?}", other.map(|frames| frames.len())),
    }
    count
}

/// Three crops of some frames, made while they are decoded.
struct Crops {
    geometry: Geometry,
    resizer: Resizer,
    made: Vec<(usize, f64, Vec<u8>)>,
}

impl FrameSink for Crops {
    fn choose(&mut self, count: usize) -> Vec<usize> {
        self.made.clear();
        let mut chosen: Vec<usize> = (0..4).map(|i| (2 * i + 1) * count / 8).collect();
        chosen.dedup();
        chosen
    }

    fn take(&mut self, index: usize, time: f64, picture: &mut dyn Rows) {
        let mut rgb = Vec::new();
        for view in View::all(3) {
            let picture = &mut *picture;
            let made = self
                .geometry
                .append_view(&mut self.resizer, picture, view, &mut rgb);
            made.unwrap();
        }
        self.made.push((index, time, rgb));
    }
}

/// Checks that rows converted for a view alone have the pixels of the whole frame.
/// `known`: the number of frames, where it is given.
fn check_views(path: &Path, known: Option<usize>) {
    let geometry = Geometry::openai(24);
    let mut crops = Crops {
        geometry,
        resizer: Resizer::new(),
        made: Vec::new(),
    };
    let mut video = open(path).unwrap();
    match known.map(|count| video.show_of(count, &mut crops)) {
        Some(Ok(())) => {}
        None | Some(Err(Error::NoSuchFrame { .. })) => drop(video.show(&mut crops).unwrap()),
        Some(Err(error)) => panic!("{path:?}: {error}"),
    }
    let indices: Vec<usize> = crops.made.iter().map(|made| made.0).collect();
    let frames = open(path).unwrap().frames(&indices).unwrap();
    for (frame, (index, time, rgb)) in frames.into_iter().zip(crops.made) {
        assert_eq!((frame.index, frame.time), (index, time), "{path:?}");
        let picture = Picture::new(frame.width, frame.height, frame.rgb).unwrap();
        let view = |view| geometry.view(&mut crops.resizer, &picture, view);
        let expected = View::all(3).map(view).map(|view| view.unwrap().into_rgb());
        assert!(rgb.into_iter().eq(expected.flatten()), "{path:?}, {index}");
    }
}

/// Checks that the times are those of the decode, and that every frame can be visited. What packets
/// promise is in order; more only a decode knows, as in MPEG, where few of them state a time.
fn check_times(video: &mut Video, expected: &[Print]) {
    let times: Vec<f64> = expected.iter().map(|frame| frame.time).collect();
    assert!(times.is_sorted() && times[0] == 0.0);
    let timing = video.timing().unwrap();
    assert_eq!(timing.starts, times);
    assert!(timing.end >= *times.last().unwrap());
    let promised = video.promised_timing().unwrap();
    assert!(promised.starts.is_sorted());
    let mut seen = Vec::new();
    let visited = video.visit(|frame| {
        if frame.index() % 3 == 0 {
            seen.push(print(&frame.frame()?));
        }
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(visited.unwrap().frames, expected.len());
    assert!(seen.iter().eq(expected.iter().step_by(3)));
}

/// FFmpeg's own program, quiet, reading nothing.
fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    // The libraries under test may not be the ones that the program needs.
    command.env_remove("LD_LIBRARY_PATH");
    command
        .args(["-v", "error", "-nostdin", "-y", "-threads", "1"])
        .stdin(Stdio::null());
    command
}

/// Runs FFmpeg's program; whether it did what it was asked.
pub(crate) fn run_ffmpeg(folder: &Path, arguments: &str) -> bool {
    let output = ffmpeg()
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!(
            "ffmpeg {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

/// How FFmpeg's program converts to RGB: with chroma brought to the size of luma first, and
/// at once. Its conversion of 4:2:0 at once takes chroma of every other row for the mean of
/// two.
pub(crate) const CONVERSIONS: [&str; 2] = [
    "scale=flags=bilinear+accurate_rnd,format=yuv444p12le,\
     scale=flags=accurate_rnd+full_chroma_int,format=rgb24",
    "scale=flags=bilinear+accurate_rnd+full_chroma_int+bitexact,format=rgb24",
];

/// What FFmpeg's program itself decodes of a file: each frame's RGB pixels, in one piece.
pub(crate) fn reference_pixels(path: &Path, conversion: &str) -> Vec<u8> {
    let output = ffmpeg()
        .arg("-i")
        .arg(format!("file:{}", path.display()))
        .args(["-map", "0:v:0", "-vsync", "passthrough", "-vf", conversion])
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout
}

/// Writes `bytes` to a file of this name in `folder`.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Where `pattern` is first found.
pub(crate) fn find(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
        .unwrap()
}
