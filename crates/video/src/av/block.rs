//! Memory of decoded pictures.

use std::{ffi::c_int, ptr};

use ffmpeg_next::ffi;

/// Bytes that decoders may read and write after a plane, and the alignment of its start.
const BESIDE: usize = 128;

/// Gives each picture of the usual layout one block of memory, taken from those that earlier ones
/// gave back.
///
/// FFmpeg by itself takes a block for each of the three planes. Decoders refer to a picture from
/// several places at once, and each reference to each block is a small allocation.
pub(super) struct Blocks {
    pool: *mut ffi::AVBufferPool,
    /// Bytes of a block.
    size: usize,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            pool: ptr::null_mut(),
            size: 0,
        }
    }

    /// Gives `frame`, whose size is set, a block, and returns the code a decoder expects; `None`
    /// if FFmpeg's default allocation is to be used.
    ///
    /// # Safety
    /// FFmpeg asks for memory of this frame on behalf of this decoder.
    pub(super) unsafe fn give(
        &mut self,
        context: *mut ffi::AVCodecContext,
        frame: *mut ffi::AVFrame,
    ) -> Option<c_int> {
        // SAFETY: both are valid and ours for the call; a decoder that asks has its codec. The pool
        // is null or ours; blocks of it that are in use outlive it. The planes lie inside the
        // block, one behind the other.
        unsafe {
            let any_memory = (*(*context).codec).capabilities & ffi::AV_CODEC_CAP_DR1 as c_int != 0;
            if !any_memory || (*frame).format != ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int {
                return None;
            }
            let (mut width, mut height) = ((*frame).width, (*frame).height);
            let mut aligned = [0; ffi::AV_NUM_DATA_POINTERS as usize];
            ffi::avcodec_align_dimensions2(
                context,
                &raw mut width,
                &raw mut height,
                aligned.as_mut_ptr(),
            );
            let aligned = usize::try_from(aligned.into_iter().max()?).ok()?.max(1);
            let layout = Layout::new(
                usize::try_from(width).ok()?,
                usize::try_from(height).ok()?,
                aligned,
            )?;
            if self.size != layout.size {
                ffi::av_buffer_pool_uninit(&raw mut self.pool);
                self.size = layout.size;
                self.pool = ffi::av_buffer_pool_init(layout.size, Some(ffi::av_buffer_allocz));
            }
            if self.pool.is_null() {
                self.size = 0;
                return Some(ffi::AVERROR(ffi::ENOMEM));
            }
            let block = ffi::av_buffer_pool_get(self.pool);
            if block.is_null() {
                return Some(ffi::AVERROR(ffi::ENOMEM));
            }
            (*frame).buf[0] = block;
            for (plane, (start, stride)) in layout.planes.into_iter().enumerate() {
                (*frame).data[plane] = (*block).data.add(start);
                (*frame).linesize[plane] = stride;
            }
            (*frame).extended_data = (&raw mut (*frame).data).cast();
            Some(0)
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: null or ours; FFmpeg keeps it until the last block has come back.
        unsafe { ffi::av_buffer_pool_uninit(&raw mut self.pool) };
    }
}

/// Positions of the planes of a picture in its block.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// First byte and row stride, of luma and of either chroma plane.
    planes: [(usize, c_int); 3],
    size: usize,
}

impl Layout {
    /// Of a size in pixels, each row beginning at a multiple of `aligned`; `None` where numbers
    /// are too large.
    fn new(width: usize, height: usize, aligned: usize) -> Option<Self> {
        let stride = width.checked_next_multiple_of(aligned.checked_mul(2)?)?;
        let plane = |stride: usize, rows: usize| {
            let bytes = stride.checked_mul(rows)?.checked_add(BESIDE)?;
            bytes.checked_next_multiple_of(BESIDE)
        };
        let luma = plane(stride, height)?;
        let difference = plane(stride / 2, height.div_ceil(2))?;
        let size = difference.checked_mul(2)?.checked_add(luma)?;
        let half = c_int::try_from(stride / 2).ok()?;
        let stride = c_int::try_from(stride).ok()?;
        Some(Self {
            planes: [(0, stride), (luma, half), (luma + difference, half)],
            size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_lie_apart_and_rows_begin_where_decoders_want_them() {
        for (width, height) in [(1, 1), (16, 16), (33, 18), (320, 240), (1921, 1087)] {
            for aligned in [1, 8, 32, 64] {
                let layout = Layout::new(width, height, aligned);
                let Some(Layout { planes, size }) = layout else {
                    unreachable!("{width} x {height} is not too large");
                };
                let halves = (width.div_ceil(2), height.div_ceil(2));
                let sizes = [(width, height), halves, halves];
                let ends = planes.iter().skip(1).map(|plane| plane.0).chain([size]);
                for (((start, stride), (width, height)), end) in planes.iter().zip(sizes).zip(ends)
                {
                    let stride = usize::try_from(*stride).unwrap_or(0);
                    assert!(stride >= width && stride % aligned == 0 && start % BESIDE == 0);
                    assert!(start + stride * height + BESIDE <= end);
                }
            }
        }
    }

    #[test]
    fn sizes_beyond_all_memory_are_left_to_ffmpeg() {
        for (width, height) in [(usize::MAX, 1), (1 << 20, usize::MAX >> 8), (1 << 32, 1)] {
            assert_eq!(Layout::new(width, height, 64), None);
        }
    }
}
