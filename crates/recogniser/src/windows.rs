//! Splits a long video into windows in time, and decodes their frames once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clip_backbone::pixels::{Geometry, Resizer, View};
use clips::{Ahead, ClipPixels, Emit, ReadAhead, VideoFiles};
use data::{Sampling, Span};
use video::{Timing, Video};

use crate::{Result, UsedFrame};

/// Seconds by which equal times may differ.
pub(crate) const ROUNDING: f64 = 1e-6;

/// The largest number of windows of one video: of a second each, eleven days.
const MOST: f64 = 1e6;
/// Seconds at the end of a video that are not worth a window of their own.
const NO_REMAINDER: f64 = 0.05;

/// A window of a video and its frames.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    start: f64,
    end: f64,
    /// T indices, ascending.
    frames: Vec<usize>,
}

/// The windows of a video: one begins every `stride`, and a last one ends with the video if these
/// leave a remainder. A video shorter than a window is one window. Each takes `sampling`'s
/// centres of its frames: those that are shown in it for at least half of the time that they or
/// it last. So each frame is in a window, unless windows are apart, and each window has a frame.
///
/// # Errors
/// More than [`MOST`] windows, as of a file whose times are damaged.
fn plan(
    timing: &Timing,
    window: Span,
    stride: Span,
    sampling: Sampling,
) -> clips::Result<Vec<Window>> {
    let (window, stride) = (window.seconds(), stride.seconds());
    let (starts, end) = (&timing.starts, timing.end);
    let Some(last) = starts.last() else {
        return Ok(Vec::new());
    };
    let slack = slack(end - last, window);
    let whole = ((end + slack - window) / stride + ROUNDING).floor();
    if whole > MOST {
        return Err(clips::Error::Option {
            name: "windows",
            expected: format!("at most {MOST}"),
            got: format!("{whole:.0}, of a video of {end:.0} s"),
        });
    }
    let mut begins: Vec<f64> = match whole >= 0.0 {
        true => (0..=whole as u64).map(|k| k as f64 * stride).collect(),
        false => vec![0.0],
    };
    if begins
        .last()
        .is_some_and(|begin| begin + window + slack + ROUNDING < end)
    {
        begins.push(end - window);
    }
    let windows = begins.into_iter().map(|begin| {
        let stop = (begin + window).min(end);
        Window {
            start: begin,
            end: stop,
            frames: frames_of(starts, end, begin, stop, sampling),
        }
    });
    Ok(windows.collect())
}

/// Seconds that may be missing at the end of the last window. Half of a frame of the usual length is
/// not a remainder: a window that ends before it still has that frame.
pub(crate) fn slack(last_frame: f64, window: f64) -> f64 {
    (last_frame.min(window) / 2.0).min(NO_REMAINDER)
}

/// The frames of the window from `begin` to `stop`: `sampling`'s centres of those shown in it for at
/// least half of the time that they or it last. `starts` are those of the frames, at least one, and
/// `end` is the end of the last of them.
pub(crate) fn frames_of(
    starts: &[f64],
    end: f64,
    begin: f64,
    stop: f64,
    sampling: Sampling,
) -> Vec<usize> {
    let until = |frame: usize| starts.get(frame + 1).copied().unwrap_or(end);
    let is_in = |frame: &usize| {
        let (from, to) = (starts[*frame], until(*frame));
        let shown = to.min(stop) - from.max(begin);
        2.0 * shown + ROUNDING >= (to - from).min(stop - begin)
    };
    // The frames that touch the window, of which the first and the last may do so too little.
    let first = starts.partition_point(|start| *start <= begin).max(1) - 1;
    let after = starts.partition_point(|start| *start < stop).max(first + 1);
    let first = (first..after).find(is_in).unwrap_or(first);
    let last = (first..after).rfind(is_in).unwrap_or(first);
    let frames = sampling.centre(last + 1 - first);
    frames.into_iter().map(|place| first + place).collect()
}

/// The frames of one window, preprocessed for the backbone.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Seconds from the start of the video.
    pub start: f64,
    /// Seconds from the start of the video.
    pub end: f64,
    /// Its frames.
    pub clip: ClipPixels,
    /// Number of windows of the video.
    pub of: usize,
}

/// A step in decoding the windows of a video.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowEvent {
    /// Which stream is decoded, if there was a choice.
    Choice(String),
    /// The next window.
    Part(Part),
    /// The end, with the number of decodable frames.
    End(usize),
}

/// Decodes the video at `path` once, ahead of use, into windows of T = `frames` frames each, in
/// order. Only the frames of incomplete windows are held.
///
/// # Errors
/// A thread cannot be started; a video that cannot be decoded is the last result.
pub(crate) fn windows(
    path: &Path,
    files: &VideoFiles,
    frames: usize,
    window: Span,
    stride: Span,
    geometry: Geometry,
) -> Result<impl Iterator<Item = Result<WindowEvent>> + use<>> {
    let ahead = Ahead {
        workers: 1,
        jobs: 1,
    };
    let mut stream = ReadAhead::new(ahead, || {
        let files = files.clone();
        move |path: PathBuf, emit: &mut Emit<'_, WindowEvent>| {
            decode_windows(
                &mut files.open(&path)?,
                frames,
                window,
                stride,
                geometry,
                emit,
            )
        }
    })?;
    stream.push(path.into());
    Ok(stream.map(|(_, event)| Ok(event?)))
}

/// Decodes `video` once into windows of T = `frames` frames each, in order, until `emit` breaks.
///
/// # Errors
/// The video cannot be decoded, or has too many windows.
pub fn decode_windows(
    video: &mut Video,
    frames: usize,
    window: Span,
    stride: Span,
    geometry: Geometry,
    emit: &mut Emit<'_, WindowEvent>,
) -> clips::Result<()> {
    let sampling = Sampling::Segments { frames };
    if let Some(choice) = video.header().choice()
        && emit(WindowEvent::Choice(choice)).is_break()
    {
        return Ok(());
    }
    let plan = |timing: &Timing| plan(timing, window, stride, sampling);
    let promised = video.promised_timing()?;
    let mut done = 0;
    let as_promised = match plan(&promised) {
        Ok(windows) => decode(video, &promised, &windows, &mut done, geometry, emit)?,
        Err(_) => false,
    };
    if !as_promised {
        // So far times were those promised, and so were the windows.
        let timing = video.timing()?;
        let windows = plan(&timing)?;
        decode(video, &timing, &windows, &mut done, geometry, emit)?;
    }
    Ok(())
}

/// Emits each of the windows from `done` on once its frames are decoded, and counts it there.
/// `false` if the frames turn out to be shown at other times than those of `timing`.
fn decode(
    video: &mut Video,
    timing: &Timing,
    windows: &[Window],
    done: &mut usize,
    geometry: Geometry,
    emit: &mut Emit<'_, WindowEvent>,
) -> clips::Result<bool> {
    let mut resizer = Resizer::new();
    let left = &windows[(*done).min(windows.len())..];
    let wanted: BTreeSet<usize> = left.iter().flat_map(|w| &w.frames).copied().collect();
    let mut open = Open {
        windows,
        done,
        size: geometry.size,
        held: BTreeMap::new(),
    };
    let (mut as_timed, mut stopped, mut refused) = (true, false, None);
    let count = video.visit(|frame| {
        let (index, time) = (frame.index(), frame.time());
        let expected = timing.starts.get(index);
        as_timed = expected.is_some_and(|expected| (expected - time).abs() < ROUNDING);
        if !as_timed {
            return Ok(ControlFlow::Break(()));
        }
        // The frames before this one are now known to last as long as planned.
        if open.emit(index, emit).is_break() {
            stopped = true;
            return Ok(ControlFlow::Break(()));
        }
        if wanted.contains(&index) {
            match geometry.view(&mut resizer, frame.rows()?, View::CENTRE) {
                Ok(view) => open.hold(UsedFrame::new(index, time), view.into_rgb()),
                Err(error) => {
                    refused = Some(error);
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(error) = refused {
        return Err(error.into());
    }
    if stopped {
        return Ok(true);
    }
    if !as_timed || count.frames != timing.starts.len() {
        return Ok(false);
    }
    if open.emit(usize::MAX, emit).is_continue() {
        let _ = emit(WindowEvent::End(count.frames));
    }
    Ok(true)
}

/// The windows that are not emitted yet.
struct Open<'a> {
    windows: &'a [Window],
    done: &'a mut usize,
    /// S, the side of a frame.
    size: usize,
    /// Decoded frames that these windows need, by index.
    held: BTreeMap<usize, (UsedFrame, Vec<u8>)>,
}

impl Open<'_> {
    fn hold(&mut self, frame: UsedFrame, rgb: Vec<u8>) {
        self.held.insert(frame.index, (frame, rgb));
    }

    /// Emits the windows of which all frames are below this index.
    fn emit(&mut self, below: usize, emit: &mut Emit<'_, WindowEvent>) -> ControlFlow<()> {
        while let Some(window) = self.windows.get(*self.done)
            && window.frames.last().is_some_and(|last| *last < below)
        {
            let frames = window
                .frames
                .iter()
                .filter_map(|index| self.held.get(index));
            let part = Part {
                start: window.start,
                end: window.end,
                clip: ClipPixels {
                    frames: window.frames.len(),
                    size: self.size,
                    rgb: frames.clone().flat_map(|(_, rgb)| rgb).copied().collect(),
                    indices: frames.clone().map(|(used, _)| used.index).collect(),
                    times: frames.map(|(used, _)| used.time).collect(),
                    frame_count: 0,
                },
                of: self.windows.len(),
            };
            *self.done += 1;
            let next = self.windows.get(*self.done);
            let next = next.and_then(|window| window.frames.first());
            self.held = self.held.split_off(next.unwrap_or(&usize::MAX));
            emit(WindowEvent::Part(part))?;
        }
        ControlFlow::Continue(())
    }
}

/// The windows of frames that begin at these times, the last one lasting so long, as start, end and
/// indices.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn planned(
    starts: &[f64],
    last: f64,
    window: &str,
    stride: &str,
    frames: usize,
) -> Vec<(f64, f64, Vec<usize>)> {
    let timing = Timing {
        starts: starts.to_vec(),
        end: starts.last().map_or(0.0, |start| start + last),
    };
    let sampling = Sampling::Segments { frames };
    let span = |text: &str| text.parse().unwrap();
    let windows = plan(&timing, span(window), span(stride), sampling).unwrap();
    windows
        .into_iter()
        .map(|w| (w.start, w.end, w.frames))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    /// Frames that begin at these times, the last one lasting so long.
    fn shown(starts: &[f64], last: f64) -> Timing {
        Timing {
            starts: starts.to_vec(),
            end: starts.last().map_or(0.0, |start| start + last),
        }
    }

    /// Windows as (start, end, indices of frames) of `count` frames at `rate` per second.
    fn even(count: usize, rate: f64, window: &str, stride: &str) -> Vec<(f64, f64, Vec<usize>)> {
        let starts: Vec<f64> = (0..count).map(|frame| frame as f64 / rate).collect();
        let sampling = Sampling::Segments { frames: 2 };
        let timing = shown(&starts, 1.0 / rate);
        let windows = plan(&timing, span(window), span(stride), sampling);
        let windows = windows.unwrap().into_iter();
        windows.map(|w| (w.start, w.end, w.frames)).collect()
    }

    #[test]
    fn windows_begin_every_stride_and_the_last_ends_with_the_video() {
        assert_eq!(
            even(40, 10.0, "2s", "1s"),
            [
                (0.0, 2.0, vec![5, 15]),
                (1.0, 3.0, vec![15, 25]),
                (2.0, 4.0, vec![25, 35]),
            ]
        );
        let with_rest = even(45, 10.0, "2s", "1s");
        assert_eq!(with_rest.len(), 4);
        assert_eq!(with_rest[3], (2.5, 4.5, vec![30, 40]));
        let apart = even(40, 10.0, "1s", "2s");
        let starts: Vec<f64> = apart.iter().map(|window| window.0).collect();
        assert_eq!(starts, [0.0, 2.0, 3.0]);
        // Three tenths of a second are not three times a tenth, to a computer.
        assert_eq!(even(12, 30.0, "100ms", "100ms").len(), 4);
    }

    #[test]
    fn a_video_shorter_than_a_window_is_one_window_sampled_as_a_whole() {
        let whole = Sampling::Segments { frames: 2 }.centre(15);
        assert_eq!(even(15, 10.0, "2s", "1s"), [(0.0, 1.5, whole)]);
        assert_eq!(even(1, 10.0, "2s", "1s"), [(0.0, 0.1, vec![0, 0])]);
        assert!(even(0, 10.0, "2s", "1s").is_empty());
    }

    #[test]
    fn a_still_is_seen_as_long_as_it_is_shown() {
        // Three stills of two seconds, then a second of movement.
        let moving = (0..25).map(|frame| 6.0 + f64::from(frame) / 25.0);
        let starts: Vec<f64> = [0.0, 2.0, 4.0].into_iter().chain(moving).collect();
        let sampling = Sampling::Segments { frames: 2 };
        let of = |window: &str, stride: &str| {
            plan(&shown(&starts, 0.04), span(window), span(stride), sampling).unwrap()
        };
        let half = of("500ms", "500ms");
        assert_eq!(half.len(), 14);
        for (number, window) in half.iter().enumerate().take(12) {
            assert_eq!(window.frames, [number / 4; 2]);
        }
        assert!(half[12].frames[0] >= 3);
        // The last still fills half of this window, and is the first of its 26 frames.
        let two = of("2s", "2s");
        assert_eq!((two.len(), two[3].start, two[3].end), (4, 5.0, 7.0));
        assert_eq!(two[3].frames, [2 + 6, 2 + 19]);
        let last = of("10s", "10s");
        assert_eq!((last.len(), last[0].end), (1, 7.0));
    }

    #[test]
    fn damaged_times_do_not_make_windows_without_end() {
        let sampling = Sampling::Segments { frames: 2 };
        for last in [1e9, 1e300, f64::INFINITY] {
            let timing = shown(&[0.0, 0.04, last], 0.04);
            let error = plan(&timing, span("1s"), span("1s"), sampling).unwrap_err();
            assert!(error.to_string().contains("at most 1000000"), "{error}");
        }
    }

    #[test]
    fn frames_that_do_not_decode_move_no_window() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avi");
        let grey = |index: usize| video::Frame {
            index,
            time: 0.0,
            width: 48,
            height: 32,
            rgb: vec![(index * 10) as u8; 48 * 32 * 3],
        };
        video::write_clip(&path, &(0..20).map(grey).collect::<Vec<_>>(), 10).unwrap();
        // The eighth picture is gone: the one before it lasts twice as long.
        let mut bytes = std::fs::read(&path).unwrap();
        let chunks = bytes.windows(10).enumerate();
        let is_jpeg = |chunk: &[u8]| chunk.starts_with(b"00dc") && chunk.ends_with(b"\xff\xd8");
        let mut jpegs = chunks.filter(|(_, chunk)| is_jpeg(chunk));
        let eighth = jpegs.nth(7).unwrap().0;
        let size = u32::from_le_bytes(bytes[eighth + 4..eighth + 8].try_into().unwrap());
        bytes[eighth + 8..][..size as usize].fill(0xff);
        std::fs::write(&path, bytes).unwrap();

        let files = VideoFiles::default();
        let geometry = Geometry::openai(32);
        let events = windows(&path, &files, 4, span("400ms"), span("400ms"), geometry);
        let mut seen = Vec::new();
        for event in events.unwrap() {
            match event.unwrap() {
                WindowEvent::Part(part) => {
                    let shades = part.clip.rgb.chunks(32 * 32 * 3).map(|frame| frame[0] / 10);
                    seen.push((
                        part.start,
                        part.clip.times.clone(),
                        shades.collect::<Vec<_>>(),
                    ));
                }
                WindowEvent::End(frames) => assert_eq!(frames, 19),
                WindowEvent::Choice(choice) => panic!("{choice}"),
            }
        }
        assert_eq!(seen.len(), 5);
        for (number, (start, times, shades)) in seen.iter().enumerate() {
            assert!((start - 0.4 * number as f64).abs() < 1e-9);
            let expected: &[u8] = match number {
                1 => &[4, 5, 5, 6],
                _ => &[0, 1, 2, 3].map(|shade| shade + 4 * number as u8),
            };
            // JPEG may round a shade down.
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1;
            assert!(
                shades.iter().zip(expected).all(near),
                "{number}: {shades:?}"
            );
            let real = |(time, shade): (&f64, &u8)| (time - f64::from(*shade) / 10.0).abs() < 1e-6;
            assert!(times.iter().zip(expected).all(real), "{number}: {times:?}");
        }
    }

    proptest! {
        #[test]
        fn windows_cover_the_video_and_stay_inside(
            lasting in prop::collection::vec(prop_oneof![1u32..5, 20u32..80, 400u32..3000], 1..80),
            window in 1u32..200, stride in 1u32..100
        ) {
            // A stride above the window leaves gaps, as requested.
            let stride = stride.min(window);
            let mut end = 0.0;
            let starts: Vec<f64> = lasting.iter().map(|lasts| {
                let start = end;
                end += f64::from(*lasts) / 1e3;
                start
            }).collect();
            let until = |frame: usize| starts.get(frame + 1).copied().unwrap_or(end);
            let timing = shown(&starts, end - starts.last().unwrap());
            // As many as there are, so that all frames of a window are seen.
            let sampling = Sampling::Segments { frames: 80 };
            let span = |tenths: u32| span(&format!("{}ms", 100 * tenths));
            let windows = plan(&timing, span(window), span(stride), sampling).unwrap();
            prop_assert_eq!(windows[0].start, 0.0);
            let last = windows.last().unwrap();
            prop_assert!(last.end <= end && end - last.end <= (end - starts.last().unwrap()) / 2.0 + 1e-5);
            for pair in windows.windows(2) {
                prop_assert!(pair[1].start <= pair[0].end + 1e-9 && pair[0].start < pair[1].start);
            }
            let mut seen = vec![false; starts.len()];
            for Window { start, end, frames } in &windows {
                prop_assert!(frames.is_sorted());
                for frame in frames {
                    seen[*frame] = true;
                    prop_assert!(starts[*frame] < *end && until(*frame) > *start);
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
