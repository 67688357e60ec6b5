//! A video stream on standard input, answered window by window as it comes.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use clip_backbone::pixels::{Resizer, View};
use clips::ClipPixels;
use recogniser::{
    Cut, FrameFeatures, Moment, Ready, Sliding, StreamAnswer, StreamWindow, UsedFrame,
};
use video::{Limits, Video};

/// Standard input, as a video.
pub(super) const NAME: &str = "-";

/// Answers each window of standard input once its last frame has come, and passes it to `show`.
/// Frames are never left out: a program that writes them waits.
pub(super) fn answer(
    model: &Ready<'_>,
    limits: &Limits,
    cut: &Cut,
    mut show: impl FnMut(&StreamAnswer) -> io::Result<()>,
) -> Result<()> {
    let geometry = model.recogniser().preprocess().geometry;
    let mut video = Video::of_stream(Path::new(NAME), io::stdin(), limits)?;
    let bytes = (geometry.size * geometry.size * 3) as u64;
    let most = usize::try_from(limits.max_memory / bytes.max(1)).unwrap_or(usize::MAX);
    let mut windows = Sliding::new(cut.window, cut.stride, cut.frames, most);
    let mut answers = Answers {
        model,
        top: cut.top,
        features: FrameFeatures::default(),
    };
    let mut resizer = Resizer::new();
    let (mut last, mut lasts) = (0.0, 0.0);
    let mut failed = None;
    video.visit(|frame| {
        let (index, time) = (frame.index(), frame.time());
        if index > 0 {
            (last, lasts) = (time, time - last);
        }
        let view = match geometry.view(&mut resizer, frame.rows()?, View::CENTRE) {
            Ok(view) => view.into_rgb(),
            Err(error) => {
                failed = Some(error.into());
                return Ok(ControlFlow::Break(()));
            }
        };
        windows.push(index, time, Arc::new(view));
        while let Some(window) = windows.window() {
            let shown = answers
                .answer(&window)
                .and_then(|answer| Ok(show(&answer)?));
            if let Err(error) = shown {
                failed = Some(error);
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    while let Some(window) = windows.end(lasts) {
        show(&answers.answer(&window)?)?;
    }
    Ok(())
}

struct Answers<'a> {
    model: &'a Ready<'a>,
    top: usize,
    features: FrameFeatures,
}

impl Answers<'_> {
    fn answer(&mut self, window: &StreamWindow<Arc<Vec<u8>>>) -> Result<StreamAnswer> {
        let recogniser = self.model.recogniser();
        // A tower that sees whole clips takes all frames of each.
        let frozen = recogniser.is_frozen();
        let mut seen = BTreeSet::new();
        let mut is_taken = |used: &UsedFrame| {
            !frozen || (!self.features.has(used.index) && seen.insert(used.index))
        };
        let taken: Vec<_> = window
            .frames
            .iter()
            .filter(|(used, _)| is_taken(used))
            .collect();
        let clip = ClipPixels {
            frames: taken.len(),
            size: recogniser.preprocess().geometry.size,
            rgb: taken
                .iter()
                .flat_map(|(_, rgb)| rgb.iter().copied())
                .collect(),
            indices: taken.iter().map(|(used, _)| used.index).collect(),
            times: taken.iter().map(|(used, _)| used.time).collect(),
            frame_count: 0,
        };
        let frames: Vec<UsedFrame> = window.frames.iter().map(|(used, _)| *used).collect();
        let indices: Vec<usize> = frames.iter().map(|frame| frame.index).collect();
        let features = match frozen {
            true => self.features.window(recogniser, &indices, &clip)?,
            false => None,
        };
        let whole = ClipPixels {
            frames: frames.len(),
            indices,
            times: frames.iter().map(|frame| frame.time).collect(),
            ..clip
        };
        let answer = self
            .model
            .answer_with(Path::new(NAME), &whole, features, self.top)?;
        Ok(StreamAnswer {
            video: NAME.into(),
            moment: Moment::new(window.start, window.end, answer),
            left_out: window.left_out,
        })
    }
}
