//! A sliding window over frames that arrive one by one.

use std::collections::{BTreeMap, VecDeque};

use clip_backbone::EncodedFrames;
use clips::ClipPixels;
use data::Sampling;
use tch::Tensor;

use crate::windows::{ROUNDING, frames_of, slack};
use crate::{Recogniser, Result, Span, UsedFrame};

/// The windows of a stream. Its frames arrive in order of time; each window is complete once a frame
/// arrives that is shown at its end or later. The windows and their frames are those of a timeline
/// of the same frames.
#[derive(Debug)]
pub struct Sliding<P> {
    window: f64,
    stride: f64,
    sampling: Sampling,
    /// Windows that were taken.
    done: u64,
    /// Frames that a window may still need, with their pictures.
    held: VecDeque<(UsedFrame, P)>,
    /// The largest number of frames held.
    most: usize,
    /// Frames left out since the last window that was taken, for lack of room or time.
    left_out: usize,
}

/// A complete window.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamWindow<P> {
    /// Seconds from the first frame.
    pub start: f64,
    /// Seconds from the first frame.
    pub end: f64,
    /// T frames, in order; a frame may be repeated.
    pub frames: Vec<(UsedFrame, P)>,
    /// Frames left out since the window before, because they came faster than they were answered.
    pub left_out: usize,
}

impl<P: Clone> Sliding<P> {
    /// Windows of this length, one every `stride`, of T = `frames` frames each. At most `most`
    /// frames are held: of more, every other one is left out.
    #[must_use]
    pub fn new(window: Span, stride: Span, frames: usize, most: usize) -> Self {
        Self {
            window: window.seconds(),
            stride: stride.seconds(),
            sampling: Sampling::Segments { frames },
            done: 0,
            held: VecDeque::new(),
            most: most.max(2),
            left_out: 0,
        }
    }

    /// Takes the next frame, shown at `time` seconds from the first one.
    pub fn push(&mut self, index: usize, time: f64, picture: P) {
        if self.held.len() >= self.most {
            let before = self.held.len();
            let mut keep = false;
            self.held.retain(|_| {
                keep = !keep;
                keep
            });
            self.left_out += before - self.held.len();
        }
        self.held.push_back((UsedFrame::new(index, time), picture));
    }

    /// Counts a frame that is not pushed.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// The next complete window.
    pub fn window(&mut self) -> Option<StreamWindow<P>> {
        let begin = self.done as f64 * self.stride;
        let stop = begin + self.window;
        let latest = self.held.back()?.0.time;
        (latest + ROUNDING >= stop).then(|| self.take(begin, stop, latest, true))
    }

    /// The newest complete window; those before it are left out, with the frames that only they
    /// had.
    pub fn newest_window(&mut self) -> Option<StreamWindow<P>> {
        let latest = self.held.back()?.0.time;
        let complete = ((latest + ROUNDING - self.window) / self.stride).floor();
        if complete < 0.0 {
            return None;
        }
        let newest = complete as u64;
        if newest > self.done {
            let from = self.covered().max(0.0);
            let to = newest as f64 * self.stride;
            let unseen = self
                .held
                .iter()
                .filter(|(frame, _)| (from..to).contains(&frame.time));
            self.left_out += unseen.count();
            self.done = newest;
            self.forget();
        }
        self.window()
    }

    /// The last windows, of a stream that ends `last_frame` seconds after its last frame: one that
    /// ends with it if there is a remainder, or the whole stream if that is shorter than a window.
    pub fn end(&mut self, last_frame: f64) -> Option<StreamWindow<P>> {
        let end = self.held.back()?.0.time + last_frame;
        let slack = slack(last_frame, self.window);
        let begin = self.done as f64 * self.stride;
        if begin + self.window <= end + slack + ROUNDING * self.stride {
            return Some(self.take(begin, (begin + self.window).min(end), end, false));
        }
        if self.covered() + slack + ROUNDING >= end {
            return None;
        }
        let begin = (end - self.window).max(0.0);
        let window = self.take(begin, end, end, false);
        self.held.clear();
        Some(window)
    }

    /// The end of the last window taken.
    fn covered(&self) -> f64 {
        match self.done {
            0 => f64::NEG_INFINITY,
            done => (done - 1) as f64 * self.stride + self.window,
        }
    }

    /// The window from `begin` to `stop` of the frames held, of which the last one ends at `end`,
    /// or is only the end of the one before.
    fn take(&mut self, begin: f64, stop: f64, end: f64, closed: bool) -> StreamWindow<P> {
        let shown = self.held.len() - usize::from(closed && self.held.len() > 1);
        let starts: Vec<f64> = self
            .held
            .iter()
            .take(shown)
            .map(|(frame, _)| frame.time)
            .collect();
        let frames = frames_of(&starts, end, begin, stop, self.sampling);
        let frames = frames
            .into_iter()
            .filter_map(|place| self.held.get(place).cloned());
        let window = StreamWindow {
            start: begin,
            end: stop,
            frames: frames.collect(),
            left_out: std::mem::take(&mut self.left_out),
        };
        self.done += 1;
        self.forget();
        window
    }

    /// Lets go of the frames that end before the last window taken, which may be the beginning of
    /// one that ends with the stream.
    fn forget(&mut self) {
        let needed = self.done.saturating_sub(1) as f64 * self.stride;
        while self
            .held
            .get(1)
            .is_some_and(|(next, _)| next.time <= needed)
        {
            self.held.pop_front();
        }
    }
}

/// Features of a stream's frames: each goes through the image tower once.
#[derive(Debug, Default)]
pub struct FrameFeatures {
    /// By index.
    frames: BTreeMap<usize, EncodedFrames>,
}

impl FrameFeatures {
    /// Whether the frame of this index was encoded, and is still kept.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.frames.contains_key(&index)
    }

    /// The features `[1, T, F]` of a window's frames. `fresh` are those of them that were not
    /// encoded before; frames before the window are forgotten. `None` if the model cannot encode
    /// frames one by one.
    ///
    /// # Errors
    /// The frames do not fit the model, or one of them is missing.
    pub fn window(
        &mut self,
        model: &Recogniser,
        indices: &[usize],
        fresh: &ClipPixels,
    ) -> Result<Option<Tensor>> {
        if !fresh.indices.is_empty() {
            let Some(encoded) = model.encode(fresh)? else {
                return Ok(None);
            };
            let each = encoded.each()?;
            self.frames.extend(fresh.indices.iter().copied().zip(each));
        }
        if let Some(first) = indices.first() {
            self.frames = self.frames.split_off(first);
        }
        let frames = indices.iter().filter_map(|index| self.frames.get(index));
        let frames: Vec<&EncodedFrames> = frames.collect();
        if frames.len() != indices.len() {
            return Err(crate::Error::mismatch(
                "encoded frames",
                indices.len(),
                frames.len(),
            ));
        }
        let window = EncodedFrames::of(&frames)?;
        let features = window.map(|window| window.clips(indices.len() as i64));
        Ok(features.transpose()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::windows::planned;
    use proptest::prelude::*;

    /// Windows as start, end and indices.
    type Windows = Vec<(f64, f64, Vec<usize>)>;

    fn seen(window: StreamWindow<()>) -> (f64, f64, Vec<usize>) {
        let indices = window.frames.iter().map(|(frame, ())| frame.index);
        (window.start, window.end, indices.collect())
    }

    fn streamed(starts: &[f64], last: f64, window: &str, stride: &str) -> Windows {
        let (window, stride) = (window.parse().unwrap(), stride.parse().unwrap());
        let mut sliding = Sliding::new(window, stride, 3, usize::MAX);
        let mut all = Vec::new();
        for (index, time) in starts.iter().enumerate() {
            sliding.push(index, *time, ());
            all.extend(std::iter::from_fn(|| sliding.window()).map(seen));
        }
        all.extend(std::iter::from_fn(|| sliding.end(last)).map(seen));
        all
    }

    proptest! {
        #[test]
        fn a_stream_has_the_windows_of_a_timeline(
            lasting in prop::collection::vec(1u32..500, 1..60),
            window in 1u32..40, stride in 1u32..40
        ) {
            let mut end = 0.0;
            let starts: Vec<f64> = lasting.iter().map(|lasts| {
                let start = end;
                end += f64::from(*lasts) / 100.0;
                (start * 1e6_f64).round() / 1e6
            }).collect();
            let last = end - starts.last().unwrap();
            let (window, stride) = (format!("{window}00ms"), format!("{stride}00ms"));
            let expected: Windows = planned(&starts, last, &window, &stride, 3);
            let found = streamed(&starts, last, &window, &stride);
            prop_assert_eq!(found.len(), expected.len());
            for (one, other) in found.iter().zip(&expected) {
                prop_assert!((one.0 - other.0).abs() < 1e-6 && (one.1 - other.1).abs() < 1e-6);
                prop_assert_eq!(&one.2, &other.2);
            }
        }
    }

    #[test]
    fn frames_that_come_too_fast_are_left_out_and_counted() {
        let (window, stride) = ("1s".parse().unwrap(), "1s".parse().unwrap());
        let mut sliding = Sliding::new(window, stride, 3, 1000);
        (0..41).for_each(|index| sliding.push(index, index as f64 / 10.0, ()));
        // Three of four windows were not answered in time.
        let newest = sliding.newest_window().unwrap();
        assert_eq!((newest.start, newest.end, newest.left_out), (3.0, 4.0, 30));
        assert!(sliding.newest_window().is_none());
        // Of more frames than fit, every other one is dropped.
        let mut sliding = Sliding::new(window, stride, 3, 4);
        (0..6).for_each(|index| sliding.push(index, index as f64 / 10.0, ()));
        sliding.push(6, 1.0, ());
        assert!(sliding.window().unwrap().left_out > 0);
    }
}
