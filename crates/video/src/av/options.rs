//! Options that FFmpeg takes by name. The binding's own panic where memory has run out.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use ffmpeg_next::ffi;

/// A dictionary of options.
pub(super) struct Options(*mut ffi::AVDictionary);

impl Options {
    pub(super) fn new() -> Self {
        Self(ptr::null_mut())
    }

    /// Sets the option `name`; the error is FFmpeg's code.
    pub(super) fn set(&mut self, name: &CStr, value: &str) -> Result<(), c_int> {
        let value = CString::new(value).map_err(|_| ffi::AVERROR(ffi::EINVAL))?;
        // SAFETY: two strings, which are copied, and a dictionary of ours.
        let code = unsafe { ffi::av_dict_set(&raw mut self.0, name.as_ptr(), value.as_ptr(), 0) };
        if code < 0 { Err(code) } else { Ok(()) }
    }

    /// For a function that takes the options it knows and leaves the others.
    pub(super) fn as_mut_ptr(&mut self) -> *mut *mut ffi::AVDictionary {
        &raw mut self.0
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: null or ours.
        unsafe { ffi::av_dict_free(&raw mut self.0) };
    }
}
