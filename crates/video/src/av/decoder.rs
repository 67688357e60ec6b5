//! From packets to pictures.

use std::{ffi::c_int, path::Path, ptr};

use ffmpeg_next::ffi;

use super::{Demuxer, Packet, Picture, block::Blocks, options::Options, words};
use crate::{Error, Limits, script::Coding};

/// Bytes to which FFmpeg aligns rows at most.
const ALIGNED: c_int = 128;
/// More than FFmpeg adds to a small picture.
const BESIDE: u64 = 1 << 20;

/// The result of sending a packet to the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Accepted.
    Taken,
    /// Undecodable.
    Refused,
}

/// The result of receiving from the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A picture.
    Picture,
    /// None until the next packet.
    Hungry,
    /// None any more.
    End,
    /// An error instead of a picture.
    Damaged,
}

/// One decoder, single-threaded: workers decode different files side by side.
pub(crate) struct Decoder {
    context: *mut ffi::AVCodecContext,
    guard: *mut Guard,
}

// SAFETY: the context is used by one thread at a time (all methods take `&mut self`), and
// FFmpeg ties it to none; `guard` is ours and read between calls only.
unsafe impl Send for Decoder {}

/// State shared with `take_buffer`.
struct Guard {
    max_pixels: u64,
    max_memory: u64,
    too_large: Option<(c_int, c_int)>,
    /// Bytes of a picture that was refused for them.
    too_much: Option<u64>,
    blocks: Blocks,
    /// Whether pictures start black: a JPEG that is damaged unnoticed is left with what its memory
    /// held before, which depends on the pictures decoded before it.
    starts_black: bool,
}

impl Decoder {
    /// A decoder for the video stream of `demuxer`.
    pub(crate) fn new(path: &Path, demuxer: &Demuxer, limits: &Limits) -> Result<Self, Error> {
        let memory = || Error::memory(path, limits);
        let codec = demuxer.codec();
        // SAFETY: `codec` is one of FFmpeg's own, which live as long as the process.
        let context = unsafe { ffi::avcodec_alloc_context3(codec) };
        if context.is_null() {
            return Err(memory());
        }
        let guard = Guard {
            max_pixels: limits.max_pixels,
            max_memory: limits.max_memory,
            too_large: None,
            too_much: None,
            blocks: Blocks::new(),
            starts_black: matches!(demuxer.coding(), Some(Coding::Jpeg)),
        };
        let guard = Box::into_raw(Box::new(guard));
        let decoder = Self { context, guard };
        let mut options = Options::new();
        let mut set = |name, value: &str| options.set(name, value).map_err(|_| memory());
        // Damage that a checksum shows counts as damage.
        set(c"err_detect", "crccheck")?;
        if let Some(codecs) = limits.codecs {
            set(c"codec_whitelist", &codecs.join(","))?;
        }
        // SAFETY: one of FFmpeg's own.
        let asks = unsafe { (*codec).capabilities } & ffi::AV_CODEC_CAP_DR1 as c_int != 0;
        if !asks {
            // It takes memory by itself, without asking `take_buffer`, which says more.
            set(c"max_pixels", &limits.max_pixels.to_string())?;
        }
        // SAFETY: a fresh context that is ours; the parameters are the stream's, copied
        // here. `guard` outlives the context, see `drop`.
        let code = unsafe {
            let mut code = ffi::avcodec_parameters_to_context(context, demuxer.parameters());
            (*context).thread_count = 1;
            (*context).pkt_timebase = demuxer.time_base();
            (*context).opaque = guard.cast();
            (*context).get_buffer2 = Some(take_buffer);
            if code >= 0 {
                code = ffi::avcodec_open2(context, codec, options.as_mut_ptr());
            }
            code
        };
        match code {
            0.. => Ok(decoder),
            code if code == ffi::AVERROR(ffi::ENOMEM) => Err(memory()),
            code => Err(Error::Decoder {
                path: path.to_path_buf(),
                codec: demuxer.codec_name(),
                reason: words(code),
            }),
        }
    }

    #[cfg(test)]
    pub(super) fn context(&self) -> &ffi::AVCodecContext {
        // SAFETY: ours, and used by nobody else meanwhile.
        unsafe { &*self.context }
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, packet: &Packet) -> Sent {
        // SAFETY: both are valid; FFmpeg takes its own reference to the bytes.
        match unsafe { ffi::avcodec_send_packet(self.context, packet.as_ptr()) } {
            0.. => Sent::Taken,
            _ => Sent::Refused,
        }
    }

    /// Signals that no packet will follow, so that held-back pictures come out.
    pub(crate) fn send_end(&mut self) {
        // SAFETY: a null packet signals the end. The result is an error only if it
        // was signalled before.
        unsafe { ffi::avcodec_send_packet(self.context, ptr::null()) };
    }

    /// Receives the next picture, if there is one.
    pub(crate) fn receive(&mut self, picture: &mut Picture) -> Received {
        // SAFETY: both are valid; FFmpeg clears the picture first.
        match unsafe { ffi::avcodec_receive_frame(self.context, picture.as_mut_ptr()) } {
            0.. => Received::Picture,
            code if code == ffi::AVERROR(ffi::EAGAIN) => Received::Hungry,
            ffi::AVERROR_EOF => Received::End,
            _ => Received::Damaged,
        }
    }

    /// Bytes of a picture that was refused for them, if any.
    pub(crate) fn too_much(&self) -> Option<u64> {
        // SAFETY: as below.
        unsafe { (*self.guard).too_much }
    }

    /// Width and height of a picture that was refused for its size, if any.
    pub(crate) fn too_large(&self) -> Option<(usize, usize)> {
        // SAFETY: ours from `new` to `drop`; FFmpeg touches it only inside the calls above.
        let (width, height) = unsafe { (*self.guard).too_large }?;
        Some((usize::try_from(width).ok()?, usize::try_from(height).ok()?))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: both are ours and freed once, the context, which refers to the guard,
        // first.
        unsafe {
            ffi::avcodec_free_context(&raw mut self.context);
            drop(Box::from_raw(self.guard));
        }
    }
}

/// Called by a decoder for the memory of each picture: the one place that knows a
/// picture's size before any work is spent on it.
unsafe extern "C" fn take_buffer(
    context: *mut ffi::AVCodecContext,
    frame: *mut ffi::AVFrame,
    flags: c_int,
) -> c_int {
    // SAFETY: FFmpeg calls this with a context of ours, whose `opaque` is its guard, and a
    // frame whose size is set; one thread decodes, so nobody else holds the guard.
    unsafe {
        let guard = (*context).opaque.cast::<Guard>();
        let (width, height) = ((*frame).width, (*frame).height);
        let pixels = u64::from(width.unsigned_abs()) * u64::from(height.unsigned_abs());
        if pixels > (*guard).max_pixels {
            (*guard).too_large = Some((width, height));
            return ffi::AVERROR(ffi::EINVAL);
        }
        // FFmpeg would refuse it, too, but not say how much would do.
        let bytes = ffi::av_image_get_buffer_size((*context).pix_fmt, width, height, ALIGNED);
        let bytes = u64::try_from(bytes).unwrap_or(0);
        if bytes > (*guard).max_memory {
            (*guard).too_much = Some(bytes + bytes / 8 + BESIDE);
            return ffi::AVERROR(ffi::ENOMEM);
        }
        let code = match (*guard).blocks.give(context, frame) {
            Some(code) => code,
            None => ffi::avcodec_default_get_buffer2(context, frame, flags),
        };
        if code >= 0 && (*guard).starts_black {
            for buffer in (*frame).buf.iter().filter_map(|buffer| buffer.as_ref()) {
                ptr::write_bytes(buffer.data, 0, buffer.size as usize);
            }
        }
        code
    }
}
