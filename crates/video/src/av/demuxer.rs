//! From a file to the packets of its video stream.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    fs::File,
    path::Path,
    ptr,
};

use ffmpeg_next::{
    ffi,
    format::context::{Input, StreamIo},
};

use super::{
    Packet, initialise,
    recognise::{format_name, recognise},
    words,
};
use crate::{Error, FORMATS, Limits, Orientation, script::Coding};

/// An open container and its video stream; all other streams are skipped.
pub(crate) struct Demuxer {
    input: Input,
    codec: *const ffi::AVCodec,
    stream: c_int,
    format: String,
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
    /// Seconds of one unit of time.
    pub(crate) time_unit: f64,
    /// Time of the first picture, in units.
    pub(crate) start: i64,
    /// Seconds from one picture to the next, 0 if unknown.
    pub(crate) frame_seconds: f64,
    /// Whether each packet states its time. AVI states only a rate; the times that FFmpeg then
    /// derives for pictures that are not in order are not in order either.
    pub(crate) timed: bool,
}

impl Claims {
    /// Seconds from the start of the video to the frame of this index, whose presentation time
    /// is `time` in units of the stream.
    pub(crate) fn seconds(&self, time: Option<i64>, index: usize) -> f64 {
        match time {
            Some(time) if self.timed || self.frame_seconds == 0.0 => {
                time.saturating_sub(self.start) as f64 * self.time_unit
            }
            _ => index as f64 * self.frame_seconds,
        }
    }
}

impl Demuxer {
    /// Detects the content of `file`. `path` is for errors only: neither the name nor its
    /// extension is considered.
    pub(crate) fn open(path: &Path, file: File, limits: &Limits) -> Result<Self, Error> {
        initialise();
        let memory = || Error::Memory {
            path: path.to_path_buf(),
        };
        let (format, io) = recognise(path, file, limits)?;
        let name = format_name(format);
        let input = open(format, io, limits).map_err(|code| {
            if code == ffi::AVERROR(ffi::ENOMEM) {
                return memory();
            }
            let (path, reason) = (path.to_path_buf(), words(code));
            Error::Header {
                path,
                format: name.clone(),
                reason,
            }
        })?;
        let mut demuxer = Self {
            input,
            codec: ptr::null(),
            stream: -1,
            format: name,
            read: 0,
        };
        demuxer.check_streams(path, limits)?;
        demuxer.choose_stream(path)?;
        demuxer.check_size(path, limits)?;
        Ok(demuxer)
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
            if self.read >= limits.max_packets {
                let (path, max) = (path.to_path_buf(), limits.max_packets as u64);
                return Err(Error::TooMany {
                    path,
                    what: "packets",
                    max,
                });
            }
            self.read += 1;
            // SAFETY: an open container and an empty packet.
            let code = unsafe { ffi::av_read_frame(self.input.as_mut_ptr(), packet.as_mut_ptr()) };
            match code {
                0.. if packet.stream() == self.stream => return Ok(true),
                0.. => {}
                // Nothing right now: only the limit above ends this.
                code if code == ffi::AVERROR(ffi::EAGAIN) => {}
                // The end, or a place from which FFmpeg cannot go on: what decoded so far
                // is the video.
                _ => return self.end(path),
            }
        }
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
        Claims {
            width: usize::try_from(width).unwrap_or(0),
            height: usize::try_from(height).unwrap_or(0),
            frames: usize::try_from(stream.nb_frames)
                .ok()
                .filter(|&frames| frames > 0),
            orientation: self.orientation(),
            time_unit: seconds(stream.time_base),
            start: if stream.start_time == i64::MIN {
                0
            } else {
                stream.start_time
            },
            frame_seconds: if rate > 0.0 { 1.0 / rate } else { 0.0 },
            timed: self.format != "avi",
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
            let descriptor = ffi::avcodec_descriptor_get((*self.codec).id);
            (!descriptor.is_null()
                && (*descriptor).props & ffi::AV_CODEC_PROP_INTRA_ONLY as c_int != 0)
                .then_some(Coding::Pictures)
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
                max,
            });
        }
        Ok(())
    }

    /// Chooses the video stream that a player would show: the default one, then the largest,
    /// then the first. Cover pictures of audio files do not count.
    fn choose_stream(&mut self, path: &Path) -> Result<(), Error> {
        let streams = self.streams();
        let kind = |stream: &ffi::AVStream| {
            // SAFETY: each stream has parameters; the kind is read as a number.
            unsafe {
                (&raw const (*stream.codecpar).codec_type)
                    .cast::<i32>()
                    .read()
            }
        };
        let best = streams
            .iter()
            // SAFETY: the list holds valid streams.
            .map(|&stream| unsafe { &*stream })
            .filter(|stream| kind(stream) == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as i32)
            .filter(|stream| stream.disposition & ffi::AV_DISPOSITION_ATTACHED_PIC as i32 == 0)
            .max_by_key(|stream| {
                // SAFETY: as above.
                let (w, h) = unsafe { ((*stream.codecpar).width, (*stream.codecpar).height) };
                let default = stream.disposition & ffi::AV_DISPOSITION_DEFAULT as i32 != 0;
                (default, i64::from(w) * i64::from(h), -stream.index)
            });
        let Some(best) = best else {
            let path = path.to_path_buf();
            // SAFETY: the list holds valid streams.
            let mut kinds = streams.iter().map(|&stream| kind(unsafe { &*stream }));
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
        self.stream = best.index;
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
    let mut options = ffmpeg_next::Dictionary::new();
    options.set("probesize", &limits.probe_size.max(32).to_string());
    options.set("format_whitelist", &FORMATS.join(","));
    // The file is read through `io`. Nothing else is opened: no other file, no address.
    options.set("protocol_whitelist", "none");
    options.set("enable_drefs", "0");
    options.set("use_absolute_path", "0");
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
        let mut dictionary = options.disown();
        let code = ffi::avformat_open_input(
            &raw mut context,
            c"".as_ptr(),
            format.cast_mut(),
            &raw mut dictionary,
        );
        drop(ffmpeg_next::Dictionary::own(dictionary));
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
    // SAFETY: one dictionary a stream, as FFmpeg expects, freed after the call.
    let code = unsafe {
        let streams = (*input.as_ptr()).nb_streams as usize;
        let mut options = vec![ptr::null_mut::<ffi::AVDictionary>(); streams];
        for option in &mut options {
            ffi::av_dict_set(option, c"max_pixels".as_ptr(), max_pixels.as_ptr(), 0);
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
