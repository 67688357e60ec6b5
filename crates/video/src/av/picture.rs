//! A decoded picture, in whatever layout the decoder chose.

use std::{mem::ManuallyDrop, ptr};

use ffmpeg_next::ffi;

use crate::{Orientation, script::Role, yuv420::Planes};

/// An `AVFrame` of video; owns its reference to the pixels.
pub(crate) struct Picture(*mut ffi::AVFrame);

// SAFETY: the frame and the buffers it counts references to are tied to no thread, and
// those counts are atomic.
unsafe impl Send for Picture {}

impl Picture {
    /// An empty picture; `None` if out of memory.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: allocates; null is handled.
        let frame = unsafe { ffi::av_frame_alloc() };
        (!frame.is_null()).then_some(Self(frame))
    }

    /// Width in pixels as stored.
    pub(crate) fn width(&self) -> usize {
        usize::try_from(self.get().width).unwrap_or(0)
    }

    /// Height in pixels as stored.
    pub(crate) fn height(&self) -> usize {
        usize::try_from(self.get().height).unwrap_or(0)
    }

    /// The presentation time that came with its packet, in units of the stream's time base;
    /// if none came, FFmpeg's best guess.
    pub(crate) fn time(&self) -> Option<i64> {
        let frame = self.get();
        [frame.pts, frame.best_effort_timestamp]
            .into_iter()
            .find(|&time| time != i64::MIN)
    }

    /// How it was coded; `None` for pictures made of fields, of which decoders keep more
    /// state than the pictures themselves.
    pub(crate) fn role(&self) -> Option<Role> {
        // SAFETY: a valid frame, looked at and left to its owner.
        let frame = ManuallyDrop::new(unsafe { ffmpeg_next::frame::Video::wrap(self.0) });
        if frame.is_interlaced() {
            return None;
        }
        // SAFETY: a valid frame. Read as a number: it comes from the file.
        match unsafe { (&raw const (*self.0).pict_type).cast::<i32>().read() } {
            kind if kind == ffi::AVPictureType::AV_PICTURE_TYPE_I as i32 => Some(Role::Key),
            kind if kind == ffi::AVPictureType::AV_PICTURE_TYPE_B as i32 => Some(Role::Disposable),
            kind if kind == ffi::AVPictureType::AV_PICTURE_TYPE_NONE as i32 => None,
            _ => Some(Role::Reference),
        }
    }

    /// Whether an edit list hides the picture.
    pub(crate) fn is_discarded(&self) -> bool {
        self.get().flags & ffi::AV_FRAME_FLAG_DISCARD as i32 != 0
    }

    /// Whether the decoder had to conceal errors in it.
    pub(crate) fn is_damaged(&self) -> bool {
        let frame = self.get();
        frame.decode_error_flags != 0 || frame.flags & ffi::AV_FRAME_FLAG_CORRUPT as i32 != 0
    }

    /// The orientation that the stream itself states for this picture.
    pub(crate) fn orientation(&self) -> Option<Orientation> {
        // SAFETY: a valid frame; the answer is null or points into the frame.
        let bytes = unsafe {
            let data = ffi::av_frame_get_side_data(
                self.0,
                ffi::AVFrameSideDataType::AV_FRAME_DATA_DISPLAYMATRIX,
            );
            if data.is_null() || (*data).data.is_null() {
                return None;
            }
            std::slice::from_raw_parts((*data).data, (*data).size as usize)
        };
        super::demuxer::orientation(bytes)
    }

    /// Width by height of a pixel, if the stream itself states it.
    pub(crate) fn aspect(&self) -> Option<f64> {
        super::demuxer::aspect(self.get().sample_aspect_ratio)
    }

    /// Layout of the pixels, as FFmpeg numbers them.
    pub(super) fn format(&self) -> i32 {
        self.get().format
    }

    /// Colour matrix and range, as FFmpeg numbers them.
    pub(super) fn colour(&self) -> (i32, i32) {
        // SAFETY: a valid frame. Read as numbers: both may come from the file.
        unsafe {
            (
                (&raw const (*self.0).colorspace).cast::<i32>().read(),
                (&raw const (*self.0).color_range).cast::<i32>().read(),
            )
        }
    }

    /// The planes: where each begins, and bytes from one row to the next.
    pub(super) fn planes(&self) -> (*const *const u8, *const i32) {
        let frame = self.get();
        (frame.data.as_ptr().cast(), frame.linesize.as_ptr())
    }

    /// The planes of a picture in YUV 4:2:0, and whether that layout implies full range; `None`
    /// for other layouts. Samples of more than 8 bits are rounded to 8 into `reduced`.
    pub(super) fn yuv420<'a>(&'a self, reduced: &'a mut Vec<u8>) -> Option<(Planes<'a>, bool)> {
        use ffi::AVPixelFormat as Format;
        let format = self.format();
        let is = |known: Format| format == known as i32;
        let deeper = [
            (Format::AV_PIX_FMT_YUV420P9LE, 9),
            (Format::AV_PIX_FMT_YUV420P10LE, 10),
            (Format::AV_PIX_FMT_YUV420P12LE, 12),
            (Format::AV_PIX_FMT_YUV420P14LE, 14),
            (Format::AV_PIX_FMT_YUV420P16LE, 16),
        ];
        let deeper = deeper.into_iter().find(|(known, _)| is(*known));
        let full_range = is(Format::AV_PIX_FMT_YUVJ420P);
        if !full_range && !is(Format::AV_PIX_FMT_YUV420P) && deeper.is_none() {
            return None;
        }
        let (width, height) = (self.width(), self.height());
        if width == 0 || height == 0 {
            return None;
        }
        let half = (width.div_ceil(2), height.div_ceil(2));
        let sizes = [(width, height), half, half];
        let sample = if deeper.is_some() { 2 } else { 1 };
        let plane = |i: usize| {
            let (columns, rows) = sizes[i];
            let frame = self.get();
            // Some decoders store rows from bottom to top: those are FFmpeg's to convert.
            let stride = usize::try_from(frame.linesize[i]).ok()?;
            if stride < columns * sample || frame.data[i].is_null() {
                return None;
            }
            let length = stride * (rows - 1) + columns * sample;
            // SAFETY: a picture of this layout has these rows and columns in each plane, and
            // they stay as they are while `self` is borrowed.
            let bytes = unsafe { std::slice::from_raw_parts(frame.data[i], length) };
            Some((bytes, stride))
        };
        let planes = [plane(0)?, plane(1)?, plane(2)?];
        let planes = match deeper {
            None => planes,
            Some((_, bits)) => {
                reduced.clear();
                for ((bytes, stride), (columns, _)) in planes.into_iter().zip(sizes) {
                    for row in bytes.chunks(stride) {
                        let samples = row[..columns * 2].chunks_exact(2);
                        reduced.extend(samples.map(|two| to_8_bits([two[0], two[1]], bits)));
                    }
                }
                let (luma, rest) = reduced.split_at(width * height);
                let (blue, red) = rest.split_at(half.0 * half.1);
                [(luma, width), (blue, half.0), (red, half.0)]
            }
        };
        let planes = Planes {
            width,
            height,
            planes,
        };
        Some((planes, full_range))
    }

    /// For foreign calls that fill the frame.
    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0
    }

    fn get(&self) -> &ffi::AVFrame {
        // SAFETY: valid from `new` to `drop`, and changed only through `&mut self`.
        unsafe { &*self.0 }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once.
        unsafe { ffi::av_frame_free(ptr::from_mut(&mut self.0)) };
    }
}

/// A sample of so many bits, rounded to the nearest of 8 bits.
fn to_8_bits(sample: [u8; 2], bits: u32) -> u8 {
    let rounded = (u32::from(u16::from_le_bytes(sample)) + (1 << (bits - 9))) >> (bits - 8);
    u8::try_from(rounded).unwrap_or(u8::MAX)
}
