//! Frames into a short video file.
//!
//! Motion JPEG in an AVI file: the encoder is part of libavcodec itself, so every build has
//! it, and it codes each frame by itself at a fixed quantiser. Equal frames therefore stay
//! equal wherever they are in a clip, and a clip played backwards has the same frames.

use std::fs::File;
use std::path::Path;

use ffmpeg_next::codec::{self, encoder};
use ffmpeg_next::format::{self, Pixel};
use ffmpeg_next::{Dictionary, Packet, Rational, color, frame};

use crate::{Error, Frame};

/// The largest side written, in pixels.
const MAX_SIDE: usize = 4096;
/// The quantiser: 1 is the finest; 2 is visually lossless.
const QUANTISER: i32 = 2;
/// libavcodec counts quantisers in units of this (`FF_QP2LAMBDA`).
const LAMBDA: i32 = 118;

/// Writes `frames` at `rate` frames a second to `path`, whole or not at all.
///
/// The same frames give the same bytes, as long as FFmpeg is the same. Index and time of the
/// frames are ignored; only their order matters.
///
/// # Errors
/// [`Error::Frames`] for a rate that is not 1 to 1000, and where there is no frame, or one differs in
/// size from the first or is larger than 4096 pixels a side; [`Error::Write`] and
/// [`Error::Encode`] where the system or FFmpeg refuses.
pub fn write_clip(path: &Path, frames: &[Frame], rate: u32) -> Result<(), Error> {
    if !(1..=1000).contains(&rate) {
        return Err(Error::Frames {
            path: path.into(),
            expected: "a frame rate of 1 to 1000 per second".into(),
            got: rate.to_string(),
        });
    }
    let size = check(path, frames)?;
    let temporary = disk::temporary_for(path, ".avi")?;
    let file = temporary
        .reopen()
        .map_err(disk::Error::of("cannot write", path))?;
    encode(file, frames, size, rate)
        .map_err(|error| refused(path, &format!("cannot be encoded: {error}")))?;
    Ok(disk::persist(temporary, path)?)
}

/// Width and height of every frame.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Size {
    width: usize,
    height: usize,
}

fn check(path: &Path, frames: &[Frame]) -> Result<Size, Error> {
    let fail = |expected: &str, got: String| Error::Frames {
        path: path.into(),
        expected: expected.into(),
        got,
    };
    let Some(first) = frames.first() else {
        return Err(fail("at least one frame", "none".into()));
    };
    let size = Size {
        width: first.width,
        height: first.height,
    };
    if !(1..=MAX_SIDE).contains(&size.width) || !(1..=MAX_SIDE).contains(&size.height) {
        let got = format!("{} x {}", size.width, size.height);
        return Err(fail("sides of 1 to 4096 pixels", got));
    }
    let bytes = size.width * size.height * 3;
    for frame in frames {
        let other = Size {
            width: frame.width,
            height: frame.height,
        };
        if other != size || frame.rgb.len() != bytes {
            return Err(fail(
                &format!("frames of {} x {}, {bytes} bytes", size.width, size.height),
                format!(
                    "{} x {}, {} bytes",
                    frame.width,
                    frame.height,
                    frame.rgb.len()
                ),
            ));
        }
    }
    Ok(size)
}

fn refused(path: &Path, what: &str) -> Error {
    Error::Encode {
        path: path.into(),
        reason: what.into(),
    }
}

/// FFmpeg writes through our handle: a build of it may have no way to files.
fn encode(
    file: File,
    frames: &[Frame],
    size: Size,
    rate: u32,
) -> std::result::Result<(), ffmpeg_next::Error> {
    ffmpeg_next::init()?;
    let tick = Rational(1, rate as i32);
    let io = format::context::StreamIo::from_write_seek(file)?;
    let mut file = format::output_to_stream(io, None, Some("avi"))?;
    let codec = encoder::find(codec::Id::MJPEG).ok_or(ffmpeg_next::Error::EncoderNotFound)?;
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(size.width as u32);
    video.set_height(size.height as u32);
    video.set_format(Pixel::YUVJ444P);
    video.set_color_range(color::Range::JPEG);
    video.set_time_base(tick);
    video.set_frame_rate(Some(tick.invert()));
    video.set_qmin(QUANTISER);
    video.set_qmax(QUANTISER);
    video.set_global_quality(QUANTISER * LAMBDA);
    let mut video = video.open_with(Dictionary::from_iter([
        ("flags", "+qscale+bitexact"),
        ("threads", "1"),
    ]))?;
    let mut stream = file.add_stream(codec)?;
    stream.set_parameters(&video);
    stream.set_time_base(tick);
    // Without the library's version in the header.
    file.write_header_with(Dictionary::from_iter([("fflags", "+bitexact")]))?;
    let ticks = file.stream(0).map_or(tick, |stream| stream.time_base());

    let mut packet = Packet::empty();
    let mut drain = |video: &mut encoder::video::Encoder| {
        while video.receive_packet(&mut packet).is_ok() {
            packet.set_stream(0);
            packet.rescale_ts(tick, ticks);
            packet.write_interleaved(&mut file)?;
        }
        Ok::<_, ffmpeg_next::Error>(())
    };
    for (index, source) in frames.iter().enumerate() {
        let mut picture = picture(source);
        picture.set_pts(Some(index as i64));
        video.send_frame(&picture)?;
        drain(&mut video)?;
    }
    video.send_eof()?;
    drain(&mut video)?;
    file.write_trailer()
}

/// RGB to JPEG's full-range Y'CbCr, in integers so that it is the same everywhere.
fn picture(source: &Frame) -> frame::Video {
    let mut picture = frame::Video::new(Pixel::YUVJ444P, source.width as u32, source.height as u32);
    picture.set_color_range(color::Range::JPEG);
    // JFIF's coefficients times 65536.
    const ROWS: [([i32; 3], i32); 3] = [
        ([19_595, 38_470, 7_471], 0),
        ([-11_059, -21_709, 32_768], 128),
        ([32_768, -27_439, -5_329], 128),
    ];
    for (plane, (weights, offset)) in ROWS.iter().enumerate() {
        let stride = picture.stride(plane);
        let rows = picture.data_mut(plane).chunks_mut(stride);
        for (row, pixels) in rows.zip(source.rgb.chunks_exact(source.width * 3)) {
            for (value, rgb) in row.iter_mut().zip(pixels.chunks_exact(3)) {
                let sum: i32 = weights
                    .iter()
                    .zip(rgb)
                    .map(|(weight, channel)| weight * i32::from(*channel))
                    .sum();
                *value = (((sum + 32_768) >> 16) + offset).clamp(0, 255) as u8;
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use ffmpeg_next::software::scaling::{Context, Flags};

    use super::*;

    fn frame(width: usize, height: usize, shift: usize) -> Frame {
        let rgb = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width, i / width);
                [(x * 4 + shift) as u8, (y * 4) as u8, ((x + y) * 2) as u8]
            })
            .collect();
        Frame {
            index: 0,
            time: 0.0,
            width,
            height,
            rgb,
        }
    }

    /// Every frame of a file, as decoded by libavcodec, in RGB.
    fn decoded(path: &Path) -> Vec<Vec<u8>> {
        let mut file = format::input(path).unwrap();
        let parameters = file.stream(0).unwrap().parameters();
        let mut video = codec::Context::from_parameters(parameters)
            .unwrap()
            .decoder()
            .video()
            .unwrap();
        let mut frames = Vec::new();
        let mut take = |video: &mut codec::decoder::Video| {
            let mut picture = frame::Video::empty();
            while video.receive_frame(&mut picture).is_ok() {
                let (width, height) = (picture.width(), picture.height());
                let mut scaler = Context::get(
                    picture.format(),
                    width,
                    height,
                    Pixel::RGB24,
                    width,
                    height,
                    Flags::BICUBIC,
                )
                .unwrap();
                let mut rgb = frame::Video::empty();
                scaler.run(&picture, &mut rgb).unwrap();
                let bytes = rgb
                    .data(0)
                    .chunks(rgb.stride(0))
                    .flat_map(|row| row[..width as usize * 3].to_vec())
                    .collect();
                frames.push(bytes);
            }
        };
        for (_, packet) in file.packets() {
            video.send_packet(&packet).unwrap();
            take(&mut video);
        }
        video.send_eof().unwrap();
        take(&mut video);
        frames
    }

    #[test]
    fn equal_frames_stay_equal_and_close_to_their_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avi");
        let shifts = [0, 9, 33, 9, 0];
        let frames: Vec<_> = shifts.iter().map(|&s| frame(62, 50, s)).collect();
        write_clip(&path, &frames, 12).unwrap();
        let seen = decoded(&path);
        assert_eq!(seen.len(), frames.len());
        assert_eq!(seen[0], seen[4]);
        assert_eq!(seen[1], seen[3]);
        assert_ne!(seen[0], seen[1]);
        for (seen, frame) in seen.iter().zip(&frames) {
            let error: u64 = seen
                .iter()
                .zip(&frame.rgb)
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();
            let mean = error as f64 / seen.len() as f64;
            assert!(mean < 3.0, "mean error {mean} of 255");
        }
        let first = std::fs::read(&path).unwrap();
        write_clip(&path, &frames, 12).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_makes_no_clip_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avi");
        let refused = |frames: &[Frame], rate: u32| {
            let error = write_clip(&path, frames, rate).unwrap_err().to_string();
            assert!(!path.exists());
            error
        };
        assert!(refused(&[], 10).contains("at least one frame"));
        assert!(refused(&[frame(8, 8, 0), frame(8, 9, 0)], 10).contains("8 x 9"));
        assert!(refused(&[frame(8, 8, 0)], 0).contains("frame rate"));
        // A file where a folder would have to be made.
        std::fs::write(folder.path().join("taken"), "").unwrap();
        let below = folder.path().join("taken/a.avi");
        assert!(write_clip(&below, &[frame(8, 8, 0)], 10).is_err());
    }
}
