//! The video streams of a container.

/// A video stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoStream {
    /// Its index among all streams of the container, from 0.
    pub index: usize,
    /// FFmpeg's name of its codec.
    pub codec: String,
    /// Width in pixels as stored, 0 if unknown.
    pub width: usize,
    /// Height in pixels as stored, 0 if unknown.
    pub height: usize,
    /// Frames that the container states or, if there is a choice and it does not state them all,
    /// that were seen in its beginning.
    pub frames: Option<usize>,
    /// Whether the container marks it as the one to play.
    pub default: bool,
}

impl VideoStream {
    /// The streams in words, as in `0 (hevc 1024x768, 58 frames), 2 (mjpeg 4032x3024, 1 frame)`.
    pub(super) fn list(streams: &[Self]) -> String {
        let words = streams.iter().map(|stream| {
            let Self {
                index,
                codec,
                width,
                height,
                ..
            } = stream;
            let frames = match stream.frames {
                None => String::new(),
                Some(1) => ", 1 frame".into(),
                Some(frames) => format!(", {frames} frames"),
            };
            format!("{index} ({codec} {width}x{height}{frames})")
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// The film among streams of which none is an attached picture. That is what moves and
    /// lasts: of the streams with more than half of the frames of the longest, the default one,
    /// then the largest, then the first.
    pub(super) fn film(streams: &[Self]) -> Option<&Self> {
        let frames = |stream: &Self| stream.frames.unwrap_or(0);
        let most = streams.iter().map(frames).max()?;
        let moving = streams
            .iter()
            .filter(|stream| 2 * frames(stream) > most || most == 0);
        moving.max_by_key(|stream| {
            let pixels = stream.width as u64 * stream.height as u64;
            (stream.default, pixels, std::cmp::Reverse(stream.index))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The film among streams of these frames, widths and dispositions.
    fn film(streams: &[(usize, usize, bool)]) -> Option<usize> {
        let streams = streams.iter().enumerate().map(|(index, one)| VideoStream {
            index,
            codec: "h264".into(),
            width: one.1,
            height: 10,
            frames: Some(one.0).filter(|frames| *frames > 0),
            default: one.2,
        });
        VideoStream::film(&streams.collect::<Vec<_>>()).map(|stream| stream.index)
    }

    #[test]
    fn the_film_moves_and_lasts() {
        // A still, larger and the default; slides beside a film.
        assert_eq!(film(&[(1, 4032, true), (58, 1024, true)]), Some(1));
        assert_eq!(film(&[(1, 640, true), (2, 320, false)]), Some(1));
        assert_eq!(film(&[(60, 1920, true), (1500, 640, false)]), Some(1));
        // Two films: one a little longer, then of one length.
        assert_eq!(film(&[(1400, 640, true), (1500, 1920, false)]), Some(0));
        assert_eq!(film(&[(50, 320, false), (50, 640, false)]), Some(1));
        assert_eq!(film(&[(50, 320, false), (50, 320, false)]), Some(0));
        // Nothing is known of any.
        assert_eq!(film(&[(0, 320, false), (0, 640, false)]), Some(1));
        assert_eq!(film(&[]), None);
    }
}
