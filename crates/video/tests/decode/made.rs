//! Videos made here, by FFmpeg's encoders: moving shapes over a moving texture.

use std::path::Path;

use ffmpeg_next::codec::encoder;
use ffmpeg_next::format::{self, Pixel};
use ffmpeg_next::{Dictionary, Error, Packet, Rational, codec, frame};

use crate::kept::kept;

/// How a video is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// The file's name; its ending chooses the container.
    pub(crate) name: &'static str,
    /// FFmpeg's name of the encoder.
    pub(crate) encoder: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames: i64,
    /// Options of the encoder.
    pub(crate) options: &'static [(&'static str, &'static str)],
}

/// Makes it in `folder`; `false` where this FFmpeg has no such encoder.
pub(crate) fn make(folder: &Path, made: &Made) -> Result<bool, Error> {
    kept(&folder.join(made.name), made, || encode(folder, made))
}

fn encode(folder: &Path, made: &Made) -> Result<bool, Error> {
    ffmpeg_next::init()?;
    let Some(codec) = encoder::find_by_name(made.encoder) else {
        return Ok(false);
    };
    let tick = Rational(1, 25);
    let path = folder.join(made.name);
    let mut file = format::output(&path)?;
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(made.width);
    video.set_height(made.height);
    video.set_format(match made.encoder {
        "mjpeg" => Pixel::YUVJ420P,
        _ => Pixel::YUV420P,
    });
    video.set_time_base(tick);
    video.set_frame_rate(Some(tick.invert()));
    if file.format().flags().contains(format::Flags::GLOBAL_HEADER) {
        video.set_flags(codec::Flags::GLOBAL_HEADER);
    }
    let options = made.options.iter().copied().chain([("threads", "1")]);
    let mut video = video.open_with(Dictionary::from_iter(options))?;
    let mut stream = file.add_stream(codec)?;
    stream.set_parameters(&video);
    stream.set_time_base(tick);
    file.write_header()?;
    let ticks = file.stream(0).map_or(tick, |stream| stream.time_base());
    let mut packet = Packet::empty();
    let mut drain = |video: &mut encoder::video::Encoder| {
        while video.receive_packet(&mut packet).is_ok() {
            packet.set_stream(0);
            // Without it the last picture lies beyond an MP4's own list of what is shown.
            packet.set_duration(1);
            packet.rescale_ts(tick, ticks);
            packet.write_interleaved(&mut file)?;
        }
        Ok::<_, Error>(())
    };
    for time in 0..made.frames {
        let mut picture = picture(video.format(), made.width, made.height, time);
        picture.set_pts(Some(time));
        video.send_frame(&picture)?;
        drain(&mut video)?;
    }
    video.send_eof()?;
    drain(&mut video)?;
    file.write_trailer()?;
    Ok(true)
}

pub(crate) fn picture(format: Pixel, width: u32, height: u32, time: i64) -> frame::Video {
    let mut picture = frame::Video::new(format, width, height);
    for plane in 0..3 {
        let stride = picture.stride(plane);
        if format == Pixel::YUV420P10LE {
            let scale = if plane == 0 { 1 } else { 2 };
            for (y, row) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
                for (x, value) in row.chunks_exact_mut(2).enumerate() {
                    let shade = shade(x as i64 * scale, y as i64 * scale, time, plane);
                    value.copy_from_slice(&(u16::from(shade) * 4).to_le_bytes());
                }
            }
            continue;
        }
        // Chroma has half the width and height.
        let scale = if plane == 0 { 1 } else { 2 };
        for (y, row) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = shade(x as i64 * scale, y as i64 * scale, time, plane);
            }
        }
    }
    picture
}

fn shade(x: i64, y: i64, time: i64, plane: usize) -> u8 {
    // A square that bounces, a texture that scrolls, a slow gradient.
    let (left, top) = ((time * 5) % 400 - 100, (time * 3) % 260 - 40);
    if (left..left + 70).contains(&x) && (top..top + 50).contains(&y) {
        return [200, 90, 190][plane];
    }
    let (u, v) = (x + time * 2, y - time);
    let texture = ((((u * 7) ^ (v * 13)) >> 3) & 31) * i64::from(plane == 0);
    let gradient = (x + 2 * y + time * (1 + plane as i64)) / 4 % 200;
    (20 + (gradient - 100).abs() + texture).clamp(0, 255) as u8
}
