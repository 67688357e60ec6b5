//! Files of several films, with times and pixels of their own.

use std::path::{Path, PathBuf};

use ffmpeg_next::codec::encoder;
use ffmpeg_next::format::{self, Pixel};
use ffmpeg_next::{Dictionary, Error, Packet, Rational, codec};

use crate::kept::kept;
use crate::made::picture;

/// One of the streams of a file.
#[derive(Clone, Debug)]
pub(crate) struct Film {
    pub(crate) encoder: codec::Id,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// When each frame is shown, in 25ths of a second.
    pub(crate) times: Vec<i64>,
    /// How long the last one is shown.
    pub(crate) lasts: i64,
    /// Width by height of a pixel.
    pub(crate) aspect: Rational,
    /// Whether the container marks it as the one to play.
    pub(crate) default: bool,
    /// The layout of its pixels.
    pub(crate) format: Pixel,
}

/// Writes several films into one file.
pub(crate) fn mux(folder: &Path, name: &str, films: &[Film]) -> PathBuf {
    let path = folder.join(name);
    kept(&path, films, || write(&path, films).map(|()| true)).unwrap();
    path
}

fn write(path: &Path, films: &[Film]) -> Result<(), Error> {
    ffmpeg_next::init()?;
    let tick = Rational(1, 25);
    let mut file = format::output(path)?;
    let global = file.format().flags().contains(format::Flags::GLOBAL_HEADER);
    let mut packets = Vec::new();
    for (number, film) in films.iter().enumerate() {
        let codec = encoder::find(film.encoder).ok_or(Error::EncoderNotFound)?;
        let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
        video.set_width(film.width);
        video.set_height(film.height);
        video.set_format(film.format);
        video.set_time_base(tick);
        video.set_aspect_ratio(film.aspect);
        if global {
            video.set_flags(codec::Flags::GLOBAL_HEADER);
        }
        let mut video = video.open_with(Dictionary::from_iter([("threads", "1")]))?;
        let mut stream = file.add_stream(codec)?;
        stream.set_parameters(&video);
        stream.set_time_base(tick);
        // SAFETY: a stream of ours, before the header is written.
        #[allow(unsafe_code)]
        unsafe {
            let stream = stream.as_mut_ptr();
            (*stream).sample_aspect_ratio = film.aspect.into();
            (*stream).disposition = i32::from(film.default);
        }
        let ends = film.times.iter().skip(1).copied();
        let last = film.times.last().map(|last| last + film.lasts);
        for (&time, end) in film.times.iter().zip(ends.chain(last)) {
            let mut picture = picture(video.format(), film.width, film.height, time);
            picture.set_pts(Some(time));
            video.send_frame(&picture)?;
            let mut packet = Packet::empty();
            while video.receive_packet(&mut packet).is_ok() {
                packet.set_stream(number);
                packet.set_duration(end - time);
                packets.push(packet.clone());
            }
        }
    }
    file.write_header()?;
    packets.sort_by_key(Packet::dts);
    for mut packet in packets {
        let ticks = file
            .stream(packet.stream())
            .map(|stream| stream.time_base());
        packet.rescale_ts(tick, ticks.unwrap_or(tick));
        packet.write_interleaved(&mut file)?;
    }
    file.write_trailer()
}
