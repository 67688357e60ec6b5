//! Small videos of many containers and codecs, made by FFmpeg's encoders.

use std::path::Path;

use ffmpeg_next::codec::encoder;
use ffmpeg_next::format::{self, Pixel};
use ffmpeg_next::{ChannelLayout, Dictionary, Error, Packet, Rational, codec, frame};

/// A stream of pictures, as it is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Film {
    /// The file's name; its ending chooses the container.
    pub(crate) name: &'static str,
    /// FFmpeg's name of the encoder.
    pub(crate) encoder: &'static str,
    pub(crate) format: Pixel,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// When each frame is shown, in 25ths of a second.
    pub(crate) times: &'static [i64],
    /// Options of the encoder.
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// Options of the container.
    pub(crate) muxing: &'static [(&'static str, &'static str)],
}

/// Twelve frames.
pub(crate) const EACH: &[i64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

pub(crate) const fn film(name: &'static str, encoder: &'static str, format: Pixel) -> Film {
    Film {
        name,
        encoder,
        format,
        width: 64,
        height: 48,
        times: EACH,
        options: &[],
        muxing: &[],
    }
}

const fn with(film: Film, options: &'static [(&'static str, &'static str)]) -> Film {
    Film { options, ..film }
}

const fn muxed(film: Film, muxing: &'static [(&'static str, &'static str)]) -> Film {
    Film { muxing, ..film }
}

const YUV: Pixel = Pixel::YUV420P;
const FULL: Pixel = Pixel::YUVJ420P;
const FAST: &[(&str, &str)] = &[("preset", "ultrafast"), ("g", "5"), ("bf", "2")];
const B_FRAMES: &[(&str, &str)] = &[("g", "6"), ("bf", "2")];
const REALTIME: &[(&str, &str)] = &[("deadline", "realtime"), ("cpu-used", "8"), ("g", "6")];

/// Every trait of containers and codecs that breaks random access.
pub(crate) const FILMS: &[Film] = &[
    with(film("a.avi", "mpeg4", YUV), B_FRAMES),
    film("jpeg.avi", "mjpeg", FULL),
    film("lossless.avi", "ffv1", YUV),
    film("raw.avi", "rawvideo", Pixel::BGR24),
    film("huff.avi", "huffyuv", Pixel::YUV422P),
    film("ms.avi", "msmpeg4", YUV),
    film("cinepak.avi", "cinepak", Pixel::RGB24),
    with(film("h264.avi", "libx264", YUV), FAST),
    with(film("mpeg4.mp4", "mpeg4", YUV), B_FRAMES),
    with(film("h264.mp4", "libx264", YUV), FAST),
    with(
        film("pyramid.mp4", "libx264", YUV),
        &[("preset", "slower"), ("bf", "6"), ("g", "12")],
    ),
    with(
        muxed(
            film("fragments.mp4", "libx264", YUV),
            &[("movflags", "frag_keyframe+empty_moov")],
        ),
        FAST,
    ),
    with(film("ten_bit.mp4", "libx264", Pixel::YUV420P10LE), FAST),
    with(
        film("hevc.mp4", "libx265", YUV),
        &[
            ("preset", "ultrafast"),
            ("x265-params", "log-level=none:bframes=2:keyint=6"),
        ],
    ),
    with(
        film("av1.mp4", "libaom-av1", YUV),
        &[("cpu-used", "8"), ("usage", "realtime")],
    ),
    Film {
        width: 128,
        height: 96,
        ..film("h263.3gp", "h263", YUV)
    },
    film("prores.mov", "prores", Pixel::YUV422P10LE),
    film("svq1.mov", "svq1", Pixel::YUV410P),
    film("animation.mov", "qtrle", Pixel::RGB24),
    with(film("h264.mkv", "libx264", YUV), FAST),
    Film {
        times: &[0, 1, 2, 9, 10, 30, 31, 50, 51, 52, 80, 90],
        ..film("variable.mkv", "mpeg4", YUV)
    },
    film("mpeg2.mkv", "mpeg2video", YUV),
    with(film("vp8.webm", "libvpx", YUV), REALTIME),
    with(film("vp9.webm", "libvpx-vp9", YUV), REALTIME),
    film("flash.flv", "flv", YUV),
    with(film("mpeg1.mpg", "mpeg1video", YUV), B_FRAMES),
    with(film("mpeg2.mpg", "mpeg2video", YUV), B_FRAMES),
    with(film("mpeg2.ts", "mpeg2video", YUV), B_FRAMES),
    with(film("h264.ts", "libx264", YUV), FAST),
    film("windows.wmv", "wmv2", YUV),
    film("theora.ogv", "libtheora", YUV),
    film("a.nut", "mpeg4", YUV),
    film("a.mxf", "mpeg2video", YUV),
    film("colours.gif", "gif", Pixel::RGB8),
    film("a.apng", "apng", Pixel::RGB24),
    with(film("vp8.ivf", "libvpx", YUV), REALTIME),
    film("a.y4m", "wrapped_avframe", YUV),
    with(film("raw.h264", "libx264", YUV), FAST),
    with(
        film("raw.hevc", "libx265", YUV),
        &[
            ("preset", "ultrafast"),
            ("x265-params", "log-level=none:bframes=2:keyint=6"),
        ],
    ),
    film("raw.m4v", "mpeg4", YUV),
    film("raw.mjpeg", "mjpeg", FULL),
    Film {
        width: 176,
        height: 144,
        ..film("real.rm", "rv10", YUV)
    },
    film("tv.wtv", "mpeg2video", YUV),
];

/// Makes a video in `folder`, with `streams` streams of the same pictures; `false` where this FFmpeg has
/// no such encoder.
pub(crate) fn make(folder: &Path, film: &Film, streams: usize) -> Result<bool, Error> {
    ffmpeg_next::init()?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    let Some(codec) = encoder::find_by_name(film.encoder) else {
        return Ok(false);
    };
    let tick = Rational(1, 25);
    let mut file = format::output(&folder.join(film.name))?;
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(film.width);
    video.set_height(film.height);
    video.set_format(film.format);
    video.set_time_base(tick);
    video.set_frame_rate(Some(tick.invert()));
    let mut flags = codec::Flags::BITEXACT;
    if file.format().flags().contains(format::Flags::GLOBAL_HEADER) {
        flags |= codec::Flags::GLOBAL_HEADER;
    }
    video.set_flags(flags);
    let options = film.options.iter().copied();
    let options = options.chain([("threads", "1"), ("strict", "experimental")]);
    let mut video = video.open_with(Dictionary::from_iter(options))?;
    for _ in 0..streams {
        let mut stream = file.add_stream(codec)?;
        stream.set_parameters(&video);
        stream.set_time_base(tick);
    }
    let muxing = film.muxing.iter().copied();
    let muxing = muxing.chain([("fflags", "+bitexact")]);
    file.write_header_with(Dictionary::from_iter(muxing))?;
    let ticks = file.stream(0).map_or(tick, |stream| stream.time_base());
    let mut packet = Packet::empty();
    let mut drain = |video: &mut encoder::video::Encoder| {
        while video.receive_packet(&mut packet).is_ok() {
            packet.set_duration(1);
            packet.rescale_ts(tick, ticks);
            for stream in 0..streams {
                let mut copy = packet.clone();
                copy.set_stream(stream);
                copy.write_interleaved(&mut file)?;
            }
        }
        Ok::<_, Error>(())
    };
    for &time in film.times {
        let mut picture = picture(film, time);
        picture.set_pts(Some(time));
        video.send_frame(&picture)?;
        drain(&mut video)?;
    }
    video.send_eof()?;
    drain(&mut video)?;
    file.write_trailer()?;
    Ok(true)
}

/// A square that moves over a slow gradient, whatever the pixels' layout.
fn picture(film: &Film, time: i64) -> frame::Video {
    let mut picture = frame::Video::new(film.format, film.width, film.height);
    for plane in 0..picture.planes() {
        let stride = picture.stride(plane);
        for (y, row) in picture.data_mut(plane).chunks_mut(stride).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                let (x, y) = (x as i64, y as i64);
                let inside = (time * 2..time * 2 + 12).contains(&x) && (8..20).contains(&y);
                *value = match inside {
                    // The upper byte of a sample of ten bits is small.
                    _ if film.format == Pixel::YUV420P10LE || film.format == Pixel::YUV422P10LE => {
                        if x % 2 == 1 {
                            u8::from(inside)
                        } else {
                            (x + y + time) as u8
                        }
                    }
                    true => 200,
                    false => (40 + (x + 2 * y + time) / 2 % 120) as u8,
                };
            }
        }
    }
    picture
}

/// Makes a file of sound alone.
pub(crate) fn sound(path: &Path) -> Result<(), Error> {
    ffmpeg_next::init()?;
    let mut file = format::output(path)?;
    let codec = encoder::find_by_name("mp2").ok_or(Error::EncoderNotFound)?;
    let mut audio = codec::Context::new_with_codec(codec).encoder().audio()?;
    audio.set_rate(48_000);
    audio.set_format(format::Sample::I16(format::sample::Type::Packed));
    audio.set_channel_layout(ChannelLayout::MONO);
    audio.set_time_base(Rational(1, 48_000));
    let mut audio = audio.open()?;
    let mut stream = file.add_stream(codec)?;
    stream.set_parameters(&audio);
    file.write_header()?;
    let ticks = file.stream(0).map(|stream| stream.time_base());
    let mut packet = Packet::empty();
    for block in 0..20 {
        let kind = format::Sample::I16(format::sample::Type::Packed);
        let mut samples = frame::Audio::new(kind, 1152, ChannelLayout::MONO);
        samples.set_rate(48_000);
        samples.set_pts(Some(block * 1152));
        samples.data_mut(0).fill(block as u8);
        audio.send_frame(&samples)?;
        while audio.receive_packet(&mut packet).is_ok() {
            packet.rescale_ts(Rational(1, 48_000), ticks.unwrap_or(Rational(1, 48_000)));
            packet.write_interleaved(&mut file)?;
        }
    }
    file.write_trailer()
}
