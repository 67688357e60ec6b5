//! From a decoder's layout to RGB.

use std::{ffi::c_int, ops::Range, ptr};

use ffmpeg_next::ffi;

use super::{Picture, demuxer::square, words};
use pixels::{Filter, Resizer, Rows, Stripe, whole};

use crate::{Orientation, yuv420};

const LIMITED: i32 = ffi::AVColorRange::AVCOL_RANGE_MPEG as i32;
const FULL: i32 = ffi::AVColorRange::AVCOL_RANGE_JPEG as i32;

/// Converts pictures to 8-bit RGB at their own size, with the matrix and range that each
/// states (BT.601 if it states none, as FFmpeg does).
#[derive(Default)]
pub(crate) struct Converter {
    scaler: Option<Scaler>,
    usual: yuv420::Converter,
    /// Planes of more than 8 bits, reduced to 8.
    reduced: Vec<u8>,
    resizer: Resizer,
    /// Rows with padding at their ends: FFmpeg writes in whole vectors.
    rows: Vec<u8>,
}

impl Converter {
    /// `picture` as it is shown, with pixels of this width by height.
    pub(crate) fn shown<'a>(
        &'a mut self,
        picture: &'a Picture,
        orientation: Orientation,
        aspect: Option<f64>,
    ) -> Result<Shown<'a>, String> {
        let (width, height) = (picture.width(), picture.height());
        let (wide, high) = square(width, height, aspect);
        if (wide, high) == (width, height) {
            return self.converted(picture, orientation);
        }
        let mut resizer = std::mem::take(&mut self.resizer);
        let mut stored = self.converted(picture, Orientation::default())?;
        let squared = resizer.resize(&mut stored, [wide, high], Filter::Bicubic);
        drop(stored);
        self.resizer = resizer;
        let squared = squared.map_err(|error| error.to_string())?;
        Ok(Shown::Turned {
            rgb: orientation.apply(squared.rgb(), wide * 3, wide, high),
            size: orientation.size(wide, high),
        })
    }

    /// `picture` in its own pixels.
    fn converted<'a>(
        &'a mut self,
        picture: &'a Picture,
        orientation: Orientation,
    ) -> Result<Shown<'a>, String> {
        let (width, height) = (picture.width(), picture.height());
        let turned = |rows: &[u8], stride| Shown::Turned {
            rgb: orientation.apply(rows, stride, width, height),
            size: orientation.size(width, height),
        };
        let (matrix, range) = picture.colour();
        if let Some((planes, full_range)) = picture.yuv420(&mut self.reduced) {
            let full_range = match range {
                LIMITED => false,
                FULL => true,
                _ => full_range,
            };
            let matrix = yuv420::Matrix::new(coefficients(matrix), full_range);
            let mut picture = self.usual.picture(planes, matrix);
            return Ok(if orientation == Orientation::default() {
                Shown::Upright(picture)
            } else {
                turned(&whole(&mut picture), width * 3)
            });
        }
        let stride = (width * 3).next_multiple_of(64) + 64;
        self.rows.resize(stride * (height + 1), 0);
        let source = Source {
            width,
            height,
            format: picture.format(),
            matrix,
            range,
        };
        let scaler = match self.scaler.take() {
            Some(scaler) if scaler.source == source => scaler,
            _ => Scaler::new(source)?,
        };
        scaler.run(picture, &mut self.rows, stride)?;
        self.scaler = Some(scaler);
        Ok(turned(&self.rows, stride))
    }
}

/// A picture as it is shown.
pub(crate) enum Shown<'a> {
    /// In the usual layout: converted row by row, on demand.
    Upright(yuv420::Picture<'a>),
    /// Any other layout; `size` is width and height.
    Turned { rgb: Vec<u8>, size: (usize, usize) },
}

impl Rows for Shown<'_> {
    fn width(&self) -> usize {
        match self {
            Self::Upright(picture) => picture.width(),
            Self::Turned { size, .. } => size.0,
        }
    }

    fn height(&self) -> usize {
        match self {
            Self::Upright(picture) => picture.height(),
            Self::Turned { size, .. } => size.1,
        }
    }

    fn rows(&mut self, rows: Range<usize>, columns: Range<usize>) -> Stripe<'_> {
        match self {
            Self::Upright(picture) => picture.rows(rows, columns),
            Self::Turned { rgb, size } => Stripe::of(rgb, size.0, rows, columns),
        }
    }
}

/// All parameters of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    width: usize,
    height: usize,
    format: i32,
    matrix: i32,
    range: i32,
}

/// An `SwsContext`.
struct Scaler {
    context: *mut ffi::SwsContext,
    source: Source,
}

// SAFETY: tied to no thread, and used by one at a time.
unsafe impl Send for Scaler {}

impl Scaler {
    fn new(source: Source) -> Result<Self, String> {
        let too_large = |_| format!("{}x{} pixels", source.width, source.height);
        let width = i64::from(i32::try_from(source.width).map_err(too_large)?);
        let height = i64::from(i32::try_from(source.height).map_err(too_large)?);
        // The same pixels on every machine, and chroma interpolated, not repeated.
        let flags = ffi::SWS_BILINEAR as i64
            | ffi::SWS_ACCURATE_RND as i64
            | ffi::SWS_FULL_CHR_H_INT as i64
            | ffi::SWS_BITEXACT as i64;
        // SAFETY: allocates; null is handled.
        let context = unsafe { ffi::sws_alloc_context() };
        if context.is_null() {
            return Err(words(ffi::AVERROR(ffi::ENOMEM)));
        }
        let scaler = Self { context, source };
        let rgb = ffi::AVPixelFormat::AV_PIX_FMT_RGB24 as i64;
        for (name, value) in [
            (c"srcw", width),
            (c"srch", height),
            (c"src_format", i64::from(source.format)),
            (c"dstw", width),
            (c"dsth", height),
            (c"dst_format", rgb),
            (c"sws_flags", flags),
        ] {
            // SAFETY: a context of ours with an option table; the name ends in a zero.
            check(unsafe { ffi::av_opt_set_int(context.cast(), name.as_ptr(), value, 0) })?;
        }
        // SAFETY: all sizes and formats are set; no filters.
        check(unsafe { ffi::sws_init_context(context, ptr::null_mut(), ptr::null_mut()) })?;
        scaler.set_colour();
        Ok(scaler)
    }

    /// Sets the matrix and, if the picture states one, the range.
    fn set_colour(&self) {
        let mut tables = [ptr::null_mut::<c_int>(); 2];
        let [
            mut from_range,
            mut to_range,
            mut brightness,
            mut contrast,
            mut saturation,
        ] = [0; 5];
        // SAFETY: an initialised context, and seven places to write to. The matrix is any
        // number: FFmpeg answers unknown ones with its default. The tables are static.
        unsafe {
            let [from, to] = &mut tables;
            let known = ffi::sws_getColorspaceDetails(
                self.context,
                from,
                &raw mut from_range,
                to,
                &raw mut to_range,
                &raw mut brightness,
                &raw mut contrast,
                &raw mut saturation,
            );
            if known < 0 {
                return;
            }
            // Some layouts imply full range (gray, the JPEG kinds): that
            // applies if the picture states nothing.
            if self.source.range == LIMITED {
                from_range = 0;
            } else if self.source.range == FULL {
                from_range = 1;
            }
            // RGB sources have no matrix to set: FFmpeg reports that, and continues without.
            ffi::sws_setColorspaceDetails(
                self.context,
                ffi::sws_getCoefficients(self.source.matrix),
                from_range,
                *to,
                to_range,
                brightness,
                contrast,
                saturation,
            );
        }
    }

    fn run(&self, picture: &Picture, rows: &mut [u8], stride: usize) -> Result<(), String> {
        let height = c_int::try_from(self.source.height).map_err(|e| e.to_string())?;
        let stride = c_int::try_from(stride).map_err(|e| e.to_string())?;
        let (planes, strides) = picture.planes();
        let (targets, target_strides) = (
            [
                rows.as_mut_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            ],
            [stride, 0, 0, 0],
        );
        // SAFETY: the picture has the size and layout the context was made for; `rows` has
        // `height + 1` rows of `stride` bytes, each with 64 to spare.
        let done = unsafe {
            ffi::sws_scale(
                self.context,
                planes,
                strides,
                0,
                height,
                targets.as_ptr(),
                target_strides.as_ptr(),
            )
        };
        if done == height {
            Ok(())
        } else {
            Err(format!("{done} of {height} rows"))
        }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once.
        unsafe { ffi::sws_freeContext(self.context) };
    }
}

/// FFmpeg's four numbers of a colour matrix.
fn coefficients(matrix: i32) -> [i32; 4] {
    // SAFETY: any number is answered, unknown ones with the default, by a static table of
    // four.
    unsafe { ffi::sws_getCoefficients(matrix).cast::<[i32; 4]>().read() }
}

fn check(code: c_int) -> Result<(), String> {
    if code < 0 { Err(words(code)) } else { Ok(()) }
}
