//! Which frames of a clip are looked at.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use random::Stream;

/// How T frames are chosen from a clip of any length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampling {
    /// The clip is cut into T equal segments, one frame from each (TSN, ECCV 2016).
    Segments {
        /// T.
        frames: usize,
    },
    /// T frames, `stride` apart, from one window of the clip.
    Dense {
        /// T.
        frames: usize,
        /// Distance of neighbouring frames, 1 or more.
        stride: usize,
    },
}

impl Sampling {
    /// T, the number of frames chosen.
    #[must_use]
    pub fn frames(self) -> usize {
        match self {
            Self::Segments { frames } | Self::Dense { frames, .. } => frames,
        }
    }

    /// Refuses T = 0 and a stride of 0.
    ///
    /// # Errors
    /// One of them is 0.
    pub fn check(self) -> Result<Self> {
        let fail = |name| Error::Option {
            name,
            expected: "at least 1".into(),
            got: "0".into(),
        };
        match self {
            Self::Segments { frames: 0 } | Self::Dense { frames: 0, .. } => Err(fail("frames")),
            Self::Dense { stride: 0, .. } => Err(fail("stride")),
            _ => Ok(self),
        }
    }

    /// A training draw from a clip of `count` frames: a random frame of each segment, or a
    /// window at a random place. T indices in rising order; none for an empty clip.
    ///
    /// The stream is keyed by (seed, epoch, clip): see [`train_stream`].
    pub fn random(self, count: usize, stream: &mut Stream) -> Vec<usize> {
        if count == 0 {
            return Vec::new();
        }
        match self {
            Self::Segments { frames } => (0..frames)
                .map(|segment| {
                    let start = segment * count / frames;
                    let end = (segment + 1) * count / frames;
                    // One number a segment, whether it is needed or not.
                    let step = stream.below((end - start).max(1));
                    if end > start {
                        start + step
                    } else {
                        middle(segment, count, frames)
                    }
                })
                .collect(),
            Self::Dense { frames, stride } => {
                let room = (count - 1).saturating_sub(span(frames, stride));
                window(count, frames, stride, stream.below(room + 1))
            }
        }
    }

    /// The one choice of a 1x1 test: segment centres, or the window in the middle.
    #[must_use]
    pub fn centre(self, count: usize) -> Vec<usize> {
        if count == 0 {
            return Vec::new();
        }
        match self {
            Self::Segments { frames } => (0..frames)
                .map(|segment| middle(segment, count, frames))
                .collect(),
            Self::Dense { frames, stride } => {
                let room = (count - 1).saturating_sub(span(frames, stride));
                window(count, frames, stride, room / 2)
            }
        }
    }

    /// The choices of a test with `clips` temporal views. One: [`centre`](Self::centre).
    /// More: segments with a random frame in each, keyed by (seed, view, clip); windows at
    /// equal distances from the first to the last place.
    #[must_use]
    pub fn test(self, count: usize, clips: usize, seed: u64, id: &str) -> Vec<Vec<usize>> {
        if clips <= 1 {
            return vec![self.centre(count)];
        }
        (0..clips)
            .map(|view| match self {
                Self::Segments { .. } => {
                    let mut stream = Stream::new(seed, &["test view", &view.to_string(), id]);
                    self.random(count, &mut stream)
                }
                Self::Dense { .. } if count == 0 => Vec::new(),
                Self::Dense { frames, stride } => {
                    let room = (count - 1).saturating_sub(span(frames, stride));
                    window(count, frames, stride, view * room / (clips - 1))
                }
            })
            .collect()
    }
}

/// The stream of a clip in an epoch: frames, crops and colours are drawn from it.
#[must_use]
pub fn train_stream(seed: u64, epoch: u64, id: &str) -> Stream {
    Stream::new(seed, &["train", &epoch.to_string(), id])
}

/// Distance from the first to the last frame of a window.
fn span(frames: usize, stride: usize) -> usize {
    frames.saturating_sub(1).saturating_mul(stride)
}

/// The frame in the middle of a segment; a clip shorter than T repeats frames.
fn middle(segment: usize, count: usize, frames: usize) -> usize {
    (2 * segment + 1) * count / (2 * frames)
}

/// A clip shorter than the window repeats its last frame.
fn window(count: usize, frames: usize, stride: usize, start: usize) -> Vec<usize> {
    (0..frames)
        .map(|place| (start + place.saturating_mul(stride)).min(count - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn centres_are_the_middles_of_segments() {
        let eight = Sampling::Segments { frames: 8 };
        assert_eq!(eight.centre(80), [5, 15, 25, 35, 45, 55, 65, 75]);
        assert_eq!(eight.centre(8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(eight.centre(4), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(eight.centre(1), [0; 8]);
        assert!(eight.centre(0).is_empty());
    }

    #[test]
    fn windows_keep_their_stride() {
        let dense = Sampling::Dense {
            frames: 4,
            stride: 3,
        };
        assert_eq!(dense.centre(20), [5, 8, 11, 14]);
        assert_eq!(dense.centre(10), [0, 3, 6, 9]);
        assert_eq!(dense.centre(5), [0, 3, 4, 4]);
        let views = dense.test(20, 3, 0, "clip");
        assert_eq!(
            views,
            [vec![0, 3, 6, 9], vec![5, 8, 11, 14], vec![10, 13, 16, 19]]
        );
    }

    #[test]
    fn nothing_is_sampled_from_nothing() {
        assert!(Sampling::Segments { frames: 0 }.check().is_err());
        assert!(
            Sampling::Dense {
                frames: 8,
                stride: 0
            }
            .check()
            .is_err()
        );
        assert!(
            Sampling::Dense {
                frames: 8,
                stride: 1
            }
            .check()
            .is_ok()
        );
    }

    proptest! {
        #[test]
        fn every_choice_is_sorted_and_inside(
            count in 1_usize..500, frames in 1_usize..40, stride in 1_usize..20,
            seed: u64, epoch in 0_u64..100, clips in 1_usize..12,
        ) {
            for sampling in [Sampling::Segments { frames }, Sampling::Dense { frames, stride }] {
                let mut choices = sampling.test(count, clips, seed, "a/b.avi");
                prop_assert_eq!(choices.len(), clips);
                choices.push(sampling.random(count, &mut train_stream(seed, epoch, "a/b.avi")));
                choices.push(sampling.centre(count));
                for choice in choices {
                    prop_assert_eq!(choice.len(), frames);
                    prop_assert!(choice.iter().all(|index| *index < count));
                    prop_assert!(choice.windows(2).all(|pair| pair[0] <= pair[1]));
                }
            }
        }

        #[test]
        fn a_random_frame_lies_in_its_segment(
            count in 1_usize..500, frames in 1_usize..40, seed: u64,
        ) {
            let choice = Sampling::Segments { frames }.random(count, &mut Stream::new(seed, &[]));
            for (segment, index) in choice.into_iter().enumerate() {
                let (start, end) = (segment * count / frames, (segment + 1) * count / frames);
                prop_assert!(start <= index && (index < end || start == end));
            }
        }

        #[test]
        fn a_draw_depends_on_its_key_only(seed: u64, epoch in 0_u64..1000) {
            let sampling = Sampling::Segments { frames: 8 };
            let draw = |epoch, id| sampling.random(300, &mut train_stream(seed, epoch, id));
            prop_assert_eq!(draw(epoch, "a"), draw(epoch, "a"));
            let others = [draw(epoch + 1, "a"), draw(epoch, "b")];
            prop_assert!(others.iter().any(|other| *other != draw(epoch, "a")));
        }
    }
}
