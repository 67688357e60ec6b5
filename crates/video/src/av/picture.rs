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

    /// The planes of a picture in 8-bit YUV 4:2:0, and whether that layout implies
    /// full range; `None` for other layouts.
    pub(super) fn yuv420(&self) -> Option<(Planes<'_>, bool)> {
        let full_range = match self.format() {
            format if format == ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32 => false,
            format if format == ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P as i32 => true,
            _ => return None,
        };
        let (width, height) = (self.width(), self.height());
        if width == 0 || height == 0 {
            return None;
        }
        let half = (width.div_ceil(2), height.div_ceil(2));
        let plane = |i: usize, (columns, rows): (usize, usize)| {
            let frame = self.get();
            // Some decoders store rows from bottom to top: those are FFmpeg's to convert.
            let stride = usize::try_from(frame.linesize[i]).ok()?;
            if stride < columns || frame.data[i].is_null() {
                return None;
            }
            // SAFETY: a picture of this layout has these rows and columns in each plane, and
            // they stay as they are while `self` is borrowed.
            let bytes =
                unsafe { std::slice::from_raw_parts(frame.data[i], stride * (rows - 1) + columns) };
            Some((bytes, stride))
        };
        let planes = [plane(0, (width, height))?, plane(1, half)?, plane(2, half)?];
        Some((
            Planes {
                width,
                height,
                planes,
            },
            full_range,
        ))
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
