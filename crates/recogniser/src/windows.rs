//! Splits a long video into windows in time, and decodes their frames once.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clip_backbone::pixels::{Geometry, Picture, Resizer, View};
use clips::{Ahead, ClipPixels, Emit, ReadAhead};
use data::Sampling;
use video::{Limits, Video};

use crate::{Error, Result, UsedFrame};

/// A positive duration.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Span(f64);

impl Span {
    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::NoSpan(text.to_owned());
        // The longer unit first: it ends with the shorter one.
        let (number, unit) = [("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
            .into_iter()
            .find_map(|(name, seconds)| Some((text.strip_suffix(name)?, seconds)))
            .ok_or_else(refused)?;
        let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let seconds = number.parse::<f64>().map_err(|_| refused())? * unit;
        if !plain || !seconds.is_finite() || seconds < 1e-3 {
            return Err(refused());
        }
        Ok(Self(seconds))
    }
}

/// A window of a video, and its frames as indices into the plan's times.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    start: f64,
    end: f64,
    /// T indices into [`Plan::times`].
    frames: Vec<usize>,
}

/// The frames to decode.
#[derive(Debug, Clone, PartialEq)]
struct Plan {
    windows: Vec<Window>,
    /// The presentation times of the frames of all windows, ascending, each once.
    times: Vec<f64>,
}

impl Plan {
    /// Windows of a video whose frames are shown at `times`: one begins every `stride`, and
    /// a last one ends with the video if these leave a remainder. A video shorter than a window
    /// is one window. Each takes `sampling`'s centres of the frames shown in it.
    fn new(times: &[f64], window: Span, stride: Span, sampling: Sampling) -> Self {
        let (window, stride) = (window.seconds(), stride.seconds());
        let [first, .., last] = times else {
            let windows = times.iter().map(|_| Window {
                start: 0.0,
                end: 0.0,
                frames: vec![0; sampling.frames()],
            });
            return Self {
                windows: windows.collect(),
                times: times.to_vec(),
            };
        };
        let each = (last - first) / (times.len() - 1) as f64;
        let end = last + each;
        // Times are rounded to the stream's unit: half a frame is not a remainder.
        let slack = each / 2.0;
        let whole = ((end + slack - window) / stride).floor();
        let mut starts: Vec<f64> = match whole >= 0.0 {
            true => (0..=whole as u64).map(|k| k as f64 * stride).collect(),
            false => vec![0.0],
        };
        if starts
            .last()
            .is_some_and(|start| start + window + slack < end)
        {
            starts.push(end - window);
        }
        let mut wanted = Vec::new();
        let chosen: Vec<Vec<usize>> = starts
            .iter()
            .map(|start| {
                let at = |time: f64| times.partition_point(|shown| *shown + slack < time);
                let (from, to) = (at(*start), at(start + window));
                // If nothing new is shown, the last frame is still visible.
                let from = from.min(to.saturating_sub(1)).min(times.len() - 1);
                let count = to.saturating_sub(from).max(1);
                let frames = sampling.centre(count).into_iter().map(|place| from + place);
                frames.inspect(|frame| wanted.push(*frame)).collect()
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let place = |frame: &usize| wanted.partition_point(|other| other < frame);
        let windows = starts.iter().zip(&chosen).map(|(start, frames)| Window {
            start: *start,
            end: (start + window).min(end),
            frames: frames.iter().map(place).collect(),
        });
        Self {
            windows: windows.collect(),
            times: wanted
                .iter()
                .filter_map(|frame| times.get(*frame).copied())
                .collect(),
        }
    }
}

/// The frames of one window, preprocessed for the backbone.
pub(crate) struct Part {
    /// Seconds from the start of the video.
    pub(crate) start: f64,
    /// Seconds from the start of the video.
    pub(crate) end: f64,
    pub(crate) clip: ClipPixels,
    /// Number of windows of the video.
    pub(crate) of: usize,
}

/// The windows of a video as they are decoded, and at the end the number of decodable frames.
pub(crate) enum Event {
    Part(Part),
    End(usize),
}

/// Decodes the video at `path` once, ahead of use, into windows of T = `frames` frames each, in
/// order. Only the frames of incomplete windows are held.
///
/// # Errors
/// A thread cannot be started; a video that cannot be decoded is the last result.
pub(crate) fn windows(
    path: &Path,
    frames: usize,
    window: Span,
    stride: Span,
    geometry: Geometry,
) -> Result<impl Iterator<Item = Result<Event>>> {
    let ahead = Ahead {
        workers: 1,
        jobs: 1,
    };
    let mut stream = ReadAhead::new(ahead, || {
        move |path: PathBuf, emit: &mut Emit<'_, Event>| {
            let mut video = Video::open(&path, &Limits::default())?;
            let times = video.promised_times()?;
            let plan = Plan::new(&times, window, stride, Sampling::Segments { frames });
            decode(&mut video, &plan, geometry, emit)
        }
    })?;
    stream.push(path.into());
    Ok(stream.map(|(_, event)| Ok(event?)))
}

/// Emits each window of `plan` once its last frame is decoded.
fn decode(
    video: &mut Video,
    plan: &Plan,
    geometry: Geometry,
    emit: &mut Emit<'_, Event>,
) -> clips::Result<()> {
    let mut resizer = Resizer::new();
    let mut windows = plan.windows.iter().peekable();
    // The frames from index `dropped` on.
    let mut held: VecDeque<(UsedFrame, Vec<u8>)> = VecDeque::new();
    let mut dropped = 0;
    let mut refused = None;
    let count = video.frames_at(&plan.times, |frame| {
        let used = UsedFrame {
            index: frame.index,
            time: frame.time,
        };
        let view = Picture::new(frame.width, frame.height, frame.rgb)
            .and_then(|picture| geometry.view(&mut resizer, &picture, View::CENTRE));
        match view {
            Ok(view) => held.push_back((used, view.into_rgb())),
            Err(error) => {
                refused = Some(error);
                return ControlFlow::Break(());
            }
        }
        let come = dropped + held.len();
        while let Some(window) = windows.next_if(|window| window.frames.iter().all(|f| *f < come)) {
            let frames = window.frames.iter().filter_map(|f| held.get(f - dropped));
            let bytes = |(_, rgb): &(UsedFrame, Vec<u8>)| rgb.clone();
            let part = Part {
                start: window.start,
                end: window.end,
                clip: ClipPixels {
                    frames: window.frames.len(),
                    size: geometry.size,
                    rgb: frames.clone().flat_map(bytes).collect(),
                    indices: frames.clone().map(|(used, _)| used.index).collect(),
                    times: frames.map(|(used, _)| used.time).collect(),
                    frame_count: 0,
                },
                of: plan.windows.len(),
            };
            if emit(Event::Part(part)).is_break() {
                return ControlFlow::Break(());
            }
        }
        let next = windows.peek().and_then(|window| window.frames.iter().min());
        while next.is_some_and(|next| dropped < *next) && held.pop_front().is_some() {
            dropped += 1;
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = refused {
        return Err(error.into());
    }
    let _ = emit(Event::End(count.frames));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn span(text: &str) -> Span {
        text.parse().unwrap()
    }

    /// Windows as (start, end, indices of frames) of `count` frames at `rate` per second.
    fn plan(count: usize, rate: f64, window: &str, stride: &str) -> Vec<(f64, f64, Vec<usize>)> {
        let times: Vec<f64> = (0..count).map(|frame| frame as f64 / rate).collect();
        let sampling = Sampling::Segments { frames: 2 };
        let plan = Plan::new(&times, span(window), span(stride), sampling);
        let index = |place: &usize| (plan.times[*place] * rate).round() as usize;
        let windows = plan.windows.iter();
        windows
            .map(|w| (w.start, w.end, w.frames.iter().map(index).collect()))
            .collect()
    }

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, seconds) in [("2s", 2.0), ("500ms", 0.5), ("1.5m", 90.0), ("0.25s", 0.25)] {
            assert_eq!(span(text).seconds(), seconds, "{text}");
        }
        for text in [
            "", "2", "s", "ms", "-1s", "0s", "nans", "infs", "1e3s", "2 s", "2h", "+2s", "0.1ms",
            "1.2.3s",
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("2s, 500ms"), "{text}: {error}");
        }
    }

    #[test]
    fn windows_begin_every_stride_and_the_last_ends_with_the_video() {
        assert_eq!(
            plan(40, 10.0, "2s", "1s"),
            [
                (0.0, 2.0, vec![5, 15]),
                (1.0, 3.0, vec![15, 25]),
                (2.0, 4.0, vec![25, 35]),
            ]
        );
        let with_rest = plan(45, 10.0, "2s", "1s");
        assert_eq!(with_rest.len(), 4);
        assert_eq!(with_rest[3], (2.5, 4.5, vec![30, 40]));
        let apart = plan(40, 10.0, "1s", "2s");
        let starts: Vec<f64> = apart.iter().map(|window| window.0).collect();
        assert_eq!(starts, [0.0, 2.0, 3.0]);
    }

    #[test]
    fn a_video_shorter_than_a_window_is_one_window_sampled_as_a_whole() {
        let whole = Sampling::Segments { frames: 2 }.centre(15);
        assert_eq!(plan(15, 10.0, "2s", "1s"), [(0.0, 1.5, whole)]);
        assert_eq!(plan(1, 10.0, "2s", "1s"), [(0.0, 0.0, vec![0, 0])]);
        assert!(plan(0, 10.0, "2s", "1s").is_empty());
    }

    #[test]
    fn where_the_picture_stands_still_its_last_frame_is_seen() {
        let times = [0.0, 0.1, 0.2, 7.0, 7.1];
        let sampling = Sampling::Segments { frames: 2 };
        let plan = Plan::new(&times, span("1s"), span("1s"), sampling);
        let seen = |window: &Window| window.frames.iter().map(|f| plan.times[*f]).collect();
        let third: Vec<f64> = seen(&plan.windows[3]);
        assert_eq!(third, [0.2, 0.2]);
    }

    proptest! {
        #[test]
        fn windows_cover_the_video_and_stay_inside(
            count in 1usize..300, rate in 1.0f64..60.0, window in 1u32..200, stride in 1u32..100
        ) {
            // A stride above the window leaves gaps, as requested.
            let stride = stride.min(window);
            let end = count as f64 / rate;
            let (window, stride) = (f64::from(window) / 10.0, f64::from(stride) / 10.0);
            let windows = plan(count, rate, &format!("{window}s"), &format!("{stride}s"));
            prop_assert_eq!(windows[0].0, 0.0);
            let last = windows.last().unwrap();
            prop_assert!((last.1 - end).abs() <= 0.51 / rate || count == 1);
            for pair in windows.windows(2) {
                prop_assert!(pair[1].0 <= pair[0].1 + 1e-9 && pair[0].0 < pair[1].0);
            }
            for (start, end, frames) in &windows {
                prop_assert_eq!(frames.len(), 2);
                prop_assert!(frames.is_sorted() && frames.iter().all(|frame| *frame < count));
                for frame in frames {
                    let time = *frame as f64 / rate;
                    let slack = 0.51 / rate + 1.0 / rate;
                    prop_assert!(time >= start - slack && time <= end + slack);
                }
            }
        }
    }
}
