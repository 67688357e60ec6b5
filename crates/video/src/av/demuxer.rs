//! From a file to the packets of its video stream.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    fs::File,
    io::Read,
    path::Path,
    ptr,
    sync::Arc,
};

use ffmpeg_next::{
    ffi,
    format::context::{Input, StreamIo},
};

use super::{
    Packet,
    options::Options,
    recognise::{format_name, recognise, recognise_stream},
    words,
};
use crate::{Error, Limits, Orientation, VideoStream, file::Cursor, script::Coding};

/// Packets, and their bytes, that are read to see which stream is the film.
const LOOK_PACKETS: usize = 2000;
const LOOK_BYTES: usize = 64 << 20;
/// Packets that are counted beyond a limit, to tell the value that would do.
const COUNTED: usize = 100_000_000;
/// The longest side to which a picture grows, in pixels.
const LONGEST: usize = 65_535;
/// The largest ratio of a pixel's sides that is believed.
const WIDEST: f64 = 20.0;

/// An open container and its video stream; all other streams are skipped.
pub(crate) struct Demuxer {
    input: Input,
    codec: *const ffi::AVCodec,
    stream: c_int,
    /// The video streams, without attached pictures.
    candidates: Vec<VideoStream>,
    format: String,
    /// Whether it is a Matroska that has all the bytes it states.
    whole: bool,
    read: usize,
}

// SAFETY: the container is used by one thread at a time; `codec` is FFmpeg's own and never
// changes.
unsafe impl Send for Demuxer {}

/// The container's metadata of its video stream. None of it is verified.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// Width in pixels as stored, 0 if unknown.
    pub(crate) width: usize,
    /// Height in pixels as stored, 0 if unknown.
    pub(crate) height: usize,
    /// Number of frames.
    pub(crate) frames: Option<usize>,
    /// How the stored pixels are to be shown.
    pub(crate) orientation: Orientation,
    /// Width of a pixel by its height, if the container states it.
    pub(crate) aspect: Option<f64>,
    /// Seconds of one unit of time.
    pub(crate) time_unit: f64,
    /// Seconds from one picture to the next, 0 if unknown.
    pub(crate) frame_seconds: f64,
    /// Whether each packet states its time. AVI states only a rate; the times that FFmpeg then
    /// derives for pictures that are not in order are not in order either.
    pub(crate) timed: bool,
    /// Whether the durations of packets fill the time of the stream without gaps.
    pub(crate) gapless: bool,
    /// The end in seconds that the container states for the stream, counted from its own zero, or
    /// from the first frame.
    pub(crate) duration: Option<f64>,
}

impl Claims {
    /// Width and height in square pixels, as shown; 0 where unknown.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (width, height) = square(self.width, self.height, self.aspect);
        self.orientation.size(width, height)
    }
}

impl Demuxer {
    /// Opens `file`, whose content is detected: neither its name `path` nor its extension is
    /// considered. `stream` is the index of the video stream; without one it is the film.
    pub(crate) fn open(
        path: &Path,
        file: &Arc<File>,
        limits: &Limits,
        stream: Option<usize>,
    ) -> Result<Self, Error> {
        let of = || {
            let (format, io) = recognise(path, Cursor::new(file), limits)?;
            Self::of(path, format, io, limits, || matroska_is_whole(file))
        };
        let mut demuxer = of()?;
        let told = demuxer.candidates.iter().all(|one| one.frames.is_some());
        if stream.is_none() && demuxer.candidates.len() > 1 && !told {
            let candidates = demuxer.look();
            // FFmpeg does not always come back to the first packet.
            demuxer = of()?;
            demuxer.candidates = candidates;
        }
        demuxer.chosen(path, stream, limits)
    }

    /// As [`open`](Self::open), of bytes that can be read once.
    pub(crate) fn of_stream(
        path: &Path,
        bytes: impl Read + Send + 'static,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let (format, io) = recognise_stream(path, bytes, limits)?;
        Self::of(path, format, io, limits, || false)?.chosen(path, None, limits)
    }

    /// The same, with its stream.
    fn chosen(
        mut self,
        path: &Path,
        stream: Option<usize>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        self.choose_stream(path, stream)?;
        if let Some(allowed) = limits.codecs
            && !allowed.contains(&self.codec_name().as_str())
        {
            return Err(Error::Codec {
                path: path.to_path_buf(),
                codec: self.codec_name(),
                allowed,
            });
        }
        self.check_size(path, limits)?;
        Ok(self)
    }

    /// The container, without a choice of the stream.
    fn of(
        path: &Path,
        format: *const ffi::AVInputFormat,
        io: StreamIo,
        limits: &Limits,
        is_whole: impl Fn() -> bool,
    ) -> Result<Self, Error> {
        let name = format_name(format);
        let input = open(format, io, limits).map_err(|code| {
            if code == ffi::AVERROR(ffi::ENOMEM) {
                return Error::memory(path, limits);
            }
            let (path, reason) = (path.to_path_buf(), words(code));
            Error::Header {
                path,
                format: name.clone(),
                reason,
            }
        })?;
        let whole = name.contains("matroska") && is_whole();
        let mut demuxer = Self {
            input,
            codec: ptr::null(),
            stream: -1,
            candidates: Vec::new(),
            format: name,
            whole,
            read: 0,
        };
        demuxer.check_streams(path, limits)?;
        demuxer.candidates = demuxer.streams().iter().filter_map(candidate).collect();
        Ok(demuxer)
    }

    /// The streams that may be the film, in the container's order.
    pub(crate) fn candidates(&self) -> &[VideoStream] {
        &self.candidates
    }

    /// The index of the chosen stream.
    pub(crate) fn index(&self) -> usize {
        usize::try_from(self.stream).unwrap_or(0)
    }

    /// FFmpeg's name of the container.
    pub(crate) fn format(&self) -> &str {
        &self.format
    }

    /// Reads the next packet of the video stream; `false` at the end of what is readable.
    pub(crate) fn read(
        &mut self,
        path: &Path,
        packet: &mut Packet,
        limits: &Limits,
    ) -> Result<bool, Error> {
        loop {
            packet.clear();
            let code = self.read_any(packet);
            let again = code == ffi::AVERROR(ffi::EAGAIN);
            if code < 0 && !again {
                // The end, or a place from which FFmpeg cannot go on: what decoded so far
                // is the video.
                return self.end(path);
            }
            self.read += 1;
            if self.read > limits.max_packets {
                let more = (0..COUNTED).take_while(|_| {
                    packet.clear();
                    self.read_any(packet) >= 0
                });
                let more = more.count();
                let needed = (self.read + more) as u64;
                return Err(Error::TooMany {
                    path: path.to_path_buf(),
                    what: "packets",
                    limit: "max_packets",
                    max: limits.max_packets as u64,
                    needed: Some(needed),
                });
            }
            // Nothing right now: only the limit above ends this.
            if !again && packet.stream() == self.stream {
                return Ok(true);
            }
        }
    }

    fn read_any(&mut self, packet: &mut Packet) -> c_int {
        // SAFETY: an open container and an empty packet.
        unsafe { ffi::av_read_frame(self.input.as_mut_ptr(), packet.as_mut_ptr()) }
    }

    /// The candidates with the frames that a bounded look at their packets finds, where that is
    /// more than the container states.
    fn look(&mut self) -> Vec<VideoStream> {
        let mut candidates = self.candidates.clone();
        let mut seen = vec![0; candidates.len()];
        let mut packet = Packet::new();
        let (mut packets, mut bytes) = (0, 0);
        while packets < LOOK_PACKETS && bytes < LOOK_BYTES && self.read_any(&mut packet) >= 0 {
            let stream = usize::try_from(packet.stream()).ok();
            if let Some(at) = candidates.iter().position(|one| Some(one.index) == stream) {
                seen[at] += 1;
                packets += 1;
            }
            bytes += packet.size();
            packet.clear();
        }
        for (candidate, seen) in candidates.iter_mut().zip(seen) {
            candidate.frames = candidate.frames.max(Some(seen).filter(|&seen| seen > 0));
        }
        candidates
    }

    /// The container's metadata of the stream.
    pub(crate) fn claims(&self) -> Claims {
        let stream = self.stream();
        // SAFETY: each stream has parameters.
        let (width, height) = unsafe { ((*stream.codecpar).width, (*stream.codecpar).height) };
        let seconds = |ratio: ffi::AVRational| {
            if ratio.den == 0 {
                0.0
            } else {
                f64::from(ratio.num) / f64::from(ratio.den)
            }
        };
        let rate = seconds(stream.avg_frame_rate);
        let in_seconds = |units: i64| units as f64 * seconds(stream.time_base);
        // Of a stream that begins later than the file FFmpeg does not tell the last duration.
        let moved = self.format.contains("mov") && stream.start_time > 0;
        let gapless = self.format.contains("mov") && !moved;
        Claims {
            width: usize::try_from(width).unwrap_or(0),
            height: usize::try_from(height).unwrap_or(0),
            frames: frames(stream),
            orientation: self.orientation(),
            aspect: aspect(stream.sample_aspect_ratio),
            time_unit: seconds(stream.time_base),
            frame_seconds: if rate > 0.0 { 1.0 / rate } else { 0.0 },
            timed: self.format != "avi",
            gapless,
            duration: self.duration().or_else(|| {
                moved.then(|| in_seconds(stream.start_time.saturating_add(stream.duration)))
            }),
        }
    }

    /// FFmpeg's name of the decoder.
    pub(crate) fn codec_name(&self) -> String {
        // SAFETY: `open` chose one of FFmpeg's own; the name is static.
        unsafe { CStr::from_ptr((*self.codec).name) }
            .to_string_lossy()
            .into_owned()
    }

    /// How the stream is coded, if known well enough to read its packets.
    pub(crate) fn coding(&self) -> Option<Coding> {
        // SAFETY: each stream has parameters, whose set-up is so long; the codec is FFmpeg's
        // own, its number is read as a number, and descriptors are static.
        unsafe {
            let parameters = self.parameters();
            let id = (&raw const (*self.codec).id).cast::<u32>().read();
            if id == ffi::AVCodecID::AV_CODEC_ID_MPEG4 as u32 {
                return Some(Coding::Mpeg4);
            }
            if id == ffi::AVCodecID::AV_CODEC_ID_H264 as u32 {
                let size = usize::try_from((*parameters).extradata_size).unwrap_or(0);
                let extra = match (*parameters).extradata.is_null() {
                    true => Vec::new(),
                    false => std::slice::from_raw_parts((*parameters).extradata, size).to_vec(),
                };
                return Some(Coding::H264(extra));
            }
            (id == ffi::AVCodecID::AV_CODEC_ID_MJPEG as u32).then_some(Coding::Jpeg)
        }
    }

    pub(super) fn codec(&self) -> *const ffi::AVCodec {
        self.codec
    }

    pub(super) fn parameters(&self) -> *const ffi::AVCodecParameters {
        self.stream().codecpar
    }

    pub(super) fn time_base(&self) -> ffi::AVRational {
        self.stream().time_base
    }

    /// The end of the stream, unless the reading itself failed.
    fn end(&mut self, path: &Path) -> Result<bool, Error> {
        // SAFETY: an open container of ours always has its I/O context.
        let code = unsafe { (*(*self.input.as_ptr()).pb).error };
        if code == 0 || code == ffi::AVERROR_EOF {
            return Ok(false);
        }
        let source = std::io::Error::from_raw_os_error(ffi::AVUNERROR(code));
        Err(Error::Io {
            path: path.to_path_buf(),
            source,
        })
    }

    fn check_streams(&self, path: &Path, limits: &Limits) -> Result<(), Error> {
        if self.streams().len() > limits.max_streams {
            let (path, max) = (path.to_path_buf(), limits.max_streams as u64);
            return Err(Error::TooMany {
                path,
                what: "streams",
                limit: "max_streams",
                max,
                needed: Some(self.streams().len() as u64),
            });
        }
        Ok(())
    }

    /// Chooses the video stream: the one wanted, or the film.
    fn choose_stream(&mut self, path: &Path, wanted: Option<usize>) -> Result<(), Error> {
        let chosen = match wanted {
            Some(wanted) => {
                // Here an attached picture is as good as any.
                let mut all = self.streams().iter().filter_map(video);
                let chosen = all.find(|one| one.index == wanted);
                Some(chosen.ok_or_else(|| Error::NoSuchStream {
                    path: path.to_path_buf(),
                    stream: wanted,
                    streams: VideoStream::list(
                        &self.streams().iter().filter_map(video).collect::<Vec<_>>(),
                    ),
                })?)
            }
            None => VideoStream::film(&self.candidates).cloned(),
        };
        let Some(chosen) = chosen else {
            let path = path.to_path_buf();
            let streams = self.streams();
            let mut kinds = streams.iter().map(kind);
            return Err(
                if kinds.any(|kind| kind == ffi::AVMediaType::AVMEDIA_TYPE_AUDIO as i32) {
                    Error::AudioOnly { path }
                } else {
                    Error::NoVideo {
                        path,
                        streams: streams.len(),
                    }
                },
            );
        };
        self.stream = c_int::try_from(chosen.index).unwrap_or(-1);
        // SAFETY: an open container, one of its own streams, and a place for the decoder.
        let found = unsafe {
            ffi::av_find_best_stream(
                self.input.as_mut_ptr(),
                ffi::AVMediaType::AVMEDIA_TYPE_VIDEO,
                self.stream,
                -1,
                &raw mut self.codec,
                0,
            )
        };
        if found < 0 || self.codec.is_null() {
            // SAFETY: each stream has parameters.
            let tag = unsafe { (*self.parameters()).codec_tag };
            let tag = tag.to_le_bytes().escape_ascii().to_string();
            return Err(Error::NoDecoder {
                path: path.to_path_buf(),
                tag,
            });
        }
        for &stream in self.streams() {
            // SAFETY: the list holds valid streams, and we are the only user of them.
            unsafe {
                if (*stream).index != self.stream {
                    (*stream).discard = ffi::AVDiscard::AVDISCARD_ALL;
                }
            }
        }
        Ok(())
    }

    fn check_size(&self, path: &Path, limits: &Limits) -> Result<(), Error> {
        let Claims { width, height, .. } = self.claims();
        if width as u64 * height as u64 > limits.max_pixels {
            let (path, max) = (path.to_path_buf(), limits.max_pixels);
            return Err(Error::TooManyPixels {
                path,
                width,
                height,
                max,
            });
        }
        Ok(())
    }

    /// What Matroska states in a tag of the stream, `H:M:S`, but no more than the container lasts;
    /// nothing where the file is cut off.
    fn duration(&self) -> Option<f64> {
        if !self.whole {
            return None;
        }
        // The binding takes a file's tags for UTF-8, which they need not be.
        // SAFETY: the stream is valid and its tags are not changed while they are read.
        let tag = unsafe {
            let (tags, name) = (self.stream().metadata, c"DURATION".as_ptr());
            let entry = ffi::av_dict_get(tags, name, ptr::null(), 0);
            CStr::from_ptr(entry.as_ref()?.value)
        };
        let mut parts = tag.to_str().ok()?.trim().rsplit(':');
        let mut part = || {
            parts
                .next()
                .map_or(Some(0.0), |part| part.parse::<f64>().ok())
        };
        let tagged = part()? + 60.0 * part()? + 3600.0 * part()?;
        let whole = self.input.duration() as f64 / f64::from(ffi::AV_TIME_BASE);
        Some(if whole > 0.0 {
            tagged.min(whole)
        } else {
            tagged
        })
    }

    fn orientation(&self) -> Orientation {
        let matrix = usize::try_from(self.stream)
            .ok()
            .and_then(|stream| self.input.stream(stream))
            .and_then(|stream| {
                use ffmpeg_next::packet::side_data::Type;
                let mut side_data = stream.side_data();
                let matrix = side_data.find(|data| data.kind() == Type::DisplayMatrix)?;
                orientation(matrix.data())
            });
        matrix.unwrap_or_default()
    }

    fn stream(&self) -> &ffi::AVStream {
        // SAFETY: `choose_stream` took the number from the list itself, which only grows.
        unsafe { &**(*self.input.as_ptr()).streams.offset(self.stream as isize) }
    }

    fn streams(&self) -> &[*mut ffi::AVStream] {
        // SAFETY: an open container holds this many streams.
        unsafe {
            let context = self.input.as_ptr();
            if (*context).nb_streams == 0 {
                return &[];
            }
            std::slice::from_raw_parts((*context).streams, (*context).nb_streams as usize)
        }
    }
}

/// A stream that may be the film.
fn candidate(stream: &*mut ffi::AVStream) -> Option<VideoStream> {
    let covers = ffi::AV_DISPOSITION_ATTACHED_PIC | ffi::AV_DISPOSITION_TIMED_THUMBNAILS;
    // SAFETY: the list of streams holds valid ones.
    let disposition = unsafe { (**stream).disposition };
    (disposition & covers as c_int == 0).then(|| video(stream))?
}

/// A video stream of any kind.
fn video(stream: &*mut ffi::AVStream) -> Option<VideoStream> {
    if kind(stream) != ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as i32 {
        return None;
    }
    // SAFETY: as above; each stream has parameters. The codec's number is passed on as it came
    // from FFmpeg, which answers any, with a static name.
    unsafe {
        let stream = &**stream;
        let parameters = &*stream.codecpar;
        let codec = CStr::from_ptr(ffi::avcodec_get_name(parameters.codec_id));
        Some(VideoStream {
            index: usize::try_from(stream.index).ok()?,
            codec: codec.to_string_lossy().into_owned(),
            width: usize::try_from(parameters.width).unwrap_or(0),
            height: usize::try_from(parameters.height).unwrap_or(0),
            frames: frames(stream),
            default: stream.disposition & ffi::AV_DISPOSITION_DEFAULT as c_int != 0,
        })
    }
}

/// The kind of a stream, as FFmpeg numbers them.
fn kind(stream: &*mut ffi::AVStream) -> i32 {
    // SAFETY: the list of streams holds valid ones, and each has parameters; the kind is read as
    // a number.
    unsafe {
        (&raw const (*(**stream).codecpar).codec_type)
            .cast::<i32>()
            .read()
    }
}

/// The number of frames that the container states.
fn frames(stream: &ffi::AVStream) -> Option<usize> {
    let frames = usize::try_from(stream.nb_frames).ok();
    frames.filter(|&frames| frames > 0)
}

/// Width by height of a pixel; `None` if it is not stated, or not believable.
pub(super) fn aspect(ratio: ffi::AVRational) -> Option<f64> {
    let aspect = f64::from(ratio.num) / f64::from(ratio.den);
    (ratio.num > 0 && (1.0 / WIDEST..=WIDEST).contains(&aspect)).then_some(aspect)
}

/// The size in square pixels of a picture whose pixels are not square: as a player shows it, and
/// without losing any, so that the side grows that is too short; but no picture becomes larger
/// than the largest that is decoded by default.
pub(super) fn square(width: usize, height: usize, aspect: Option<f64>) -> (usize, usize) {
    let aspect = aspect.unwrap_or(1.0);
    let scale = |side: usize, by: f64| ((side as f64 * by).round() as usize).max(1);
    if aspect == 1.0 || width == 0 || height == 0 {
        return (width, height);
    }
    let (wider, higher) = (scale(width, aspect), scale(height, 1.0 / aspect));
    let (grown, shrunk) = match aspect > 1.0 {
        true => ((wider, height), (width, higher)),
        false => ((width, higher), (wider, height)),
    };
    let (wide, high) = grown;
    let fits = wide.max(high) <= LONGEST && (wide * high) as u64 <= Limits::default().max_pixels;
    if fits { grown } else { shrunk }
}

/// Whether a Matroska file is as long as its one large element, the segment, says.
fn matroska_is_whole(file: &Arc<File>) -> bool {
    const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut head = Vec::new();
    if Cursor::new(file).take(256).read_to_end(&mut head).is_err() {
        return false;
    }
    let stated = memchr::memmem::find(&head, &SEGMENT).and_then(|at| {
        let start = at + SEGMENT.len();
        // The zeros before the first one say how many bytes follow; all ones stand for no number.
        let bytes = head.get(start)?.leading_zeros() as usize + 1;
        let number = head.get(start..start + bytes)?;
        let number = number
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let mask = (1_u64 << (7 * bytes)) - 1;
        let size = number & mask;
        (size != mask).then_some((start + bytes) as u64 + size)
    });
    stated.is_some_and(|end| end <= length)
}

/// The orientation in the bytes of a display matrix.
pub(super) fn orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut matrix = [0; 9];
    let mut numbers = bytes.chunks_exact(4);
    for number in &mut matrix {
        *number = i32::from_ne_bytes(numbers.next()?.try_into().ok()?);
    }
    Some(Orientation::from_matrix(matrix))
}

/// Opens a container of a known format on `io`, and reads as much of it as FFmpeg needs to
/// know its streams.
fn open(
    format: *const ffi::AVInputFormat,
    mut io: StreamIo,
    limits: &Limits,
) -> Result<Input, c_int> {
    let mut options = Options::new();
    options.set(c"probesize", &limits.probe_size.max(32).to_string())?;
    options.set(c"max_probe_packets", &limits.probe_packets.to_string())?;
    let microseconds = limits.probe_seconds.saturating_mul(1_000_000);
    options.set(c"analyzeduration", &microseconds.to_string())?;
    options.set(c"format_whitelist", &limits.formats.join(","))?;
    if let Some(codecs) = limits.codecs {
        options.set(c"codec_whitelist", &codecs.join(","))?;
    }
    // The file is read through `io`. Nothing else is opened: no other file, no address.
    options.set(c"protocol_whitelist", "none")?;
    options.set(c"enable_drefs", "0")?;
    options.set(c"use_absolute_path", "0")?;
    // SAFETY: allocates; null is handled.
    let mut context = unsafe { ffi::avformat_alloc_context() };
    if context.is_null() {
        return Err(ffi::AVERROR(ffi::ENOMEM));
    }
    // SAFETY: a fresh context, on an I/O context that outlives it: `Input` below owns both.
    // On failure FFmpeg frees the context and leaves the I/O context alone.
    let input = unsafe {
        (*context).pb = io.as_mut_ptr();
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO as c_int;
        (*context).io_open = Some(open_nothing);
        let code = ffi::avformat_open_input(
            &raw mut context,
            c"".as_ptr(),
            format.cast_mut(),
            options.as_mut_ptr(),
        );
        if code < 0 {
            return Err(code);
        }
        Input::wrap_with_custom_io(context, io)
    };
    find_streams(input, limits)
}

fn find_streams(mut input: Input, limits: &Limits) -> Result<Input, c_int> {
    if is_mpeg4_in_avi(&input) {
        // FFmpeg would parse the header of every picture to make up the presentation times that
        // AVI has none of, see `Claims::timed`, and to mark keys, which are not used. It advises
        // to have it infer nothing then (NOFILLIN); but the rate is inferred, too.
        // SAFETY: an open container of ours.
        unsafe { (*input.as_mut_ptr()).flags |= ffi::AVFMT_FLAG_NOPARSE as c_int };
    }
    // A size that is refused later need not be probed now.
    let max_pixels = limits.max_pixels.min(i32::MAX as u64).to_string();
    let max_pixels = CString::new(max_pixels).unwrap_or_default();
    let codecs = limits.codecs.map(|codecs| codecs.join(","));
    let codecs = codecs.and_then(|codecs| CString::new(codecs).ok());
    // SAFETY: one dictionary a stream, as FFmpeg expects, freed after the call.
    let code = unsafe {
        let streams = (*input.as_ptr()).nb_streams as usize;
        let mut options = vec![ptr::null_mut::<ffi::AVDictionary>(); streams];
        for option in &mut options {
            ffi::av_dict_set(option, c"max_pixels".as_ptr(), max_pixels.as_ptr(), 0);
            if let Some(codecs) = &codecs {
                ffi::av_dict_set(option, c"codec_whitelist".as_ptr(), codecs.as_ptr(), 0);
            }
        }
        let list = if streams == 0 {
            ptr::null_mut()
        } else {
            options.as_mut_ptr()
        };
        let code = ffi::avformat_find_stream_info(input.as_mut_ptr(), list);
        for option in &mut options {
            ffi::av_dict_free(option);
        }
        code
    };
    if code < 0 { Err(code) } else { Ok(input) }
}

/// Whether it is an AVI whose video is all MPEG-4.
fn is_mpeg4_in_avi(input: &Input) -> bool {
    input.format().name() == "avi"
        && input.streams().all(|stream| {
            // SAFETY: each stream has parameters; kind and codec are read as numbers.
            let (kind, codec) = unsafe {
                let parameters = (*stream.as_ptr()).codecpar;
                (
                    (&raw const (*parameters).codec_type).cast::<i32>().read(),
                    (&raw const (*parameters).codec_id).cast::<u32>().read(),
                )
            };
            kind != ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as i32
                || codec == ffi::AVCodecID::AV_CODEC_ID_MPEG4 as u32
        })
}

/// Called by containers that try to open another file: always refused.
unsafe extern "C" fn open_nothing(
    _: *mut ffi::AVFormatContext,
    _: *mut *mut ffi::AVIOContext,
    _: *const c_char,
    _: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    ffi::AVERROR(ffi::EACCES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::av::Decoder;

    /// A text that FFmpeg holds.
    fn text(of: *const c_char) -> String {
        // SAFETY: set by the options, and not changed since.
        unsafe { CStr::from_ptr(of) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn limits_reach_the_container_and_the_decoder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avi");
        let frame = crate::Frame {
            index: 0,
            time: 0.0,
            width: 32,
            height: 32,
            rgb: vec![90; 32 * 32 * 3],
        };
        crate::write_clip(&path, &[frame.clone(), frame], 25).unwrap();
        let limits = Limits {
            probe_size: 1_000_000,
            probe_packets: 500,
            probe_seconds: 2,
            formats: &["avi", "webm"],
            codecs: Some(&["mjpeg", "vp9"]),
            ..Limits::default()
        };
        let file = Arc::new(File::open(&path).unwrap());
        let demuxer = Demuxer::open(&path, &file, &limits, None).unwrap();
        // SAFETY: an open container.
        let context = unsafe { &*demuxer.input.as_ptr() };
        let probing = (
            context.probesize,
            context.max_probe_packets,
            context.max_analyze_duration,
        );
        assert_eq!(probing, (1_000_000, 500, 2_000_000));
        assert_eq!(text(context.format_whitelist), "avi,webm");
        assert_eq!(text(context.codec_whitelist), "mjpeg,vp9");
        assert_eq!(text(context.protocol_whitelist), "none");
        let decoder = Decoder::new(&path, &demuxer, &limits).unwrap();
        let context = decoder.context();
        assert_eq!(text(context.codec_whitelist), "mjpeg,vp9");
        assert_eq!(context.thread_count, 1);
        let checked = ffi::AV_EF_CRCCHECK as c_int;
        assert_eq!(context.err_recognition & checked, checked);
    }

    #[test]
    fn the_shorter_side_grows_unless_that_is_too_large() {
        assert_eq!(square(720, 576, Some(64.0 / 45.0)), (1024, 576));
        assert_eq!(square(720, 480, Some(8.0 / 9.0)), (720, 540));
        assert_eq!(square(720, 480, None), (720, 480));
        assert_eq!(square(0, 0, Some(2.0)), (0, 0));
        assert_eq!(square(7680, 4320, Some(2.0)), (7680, 2160));
        assert_eq!(square(2, 40_000, Some(0.5)), (1, 40_000));
    }
}
