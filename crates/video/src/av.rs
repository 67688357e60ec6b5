//! FFmpeg behind safe types: every foreign call of this crate is in this module.
//!
//! Enumerations that FFmpeg fills from a file's content are read as plain numbers, never
//! as Rust enumerations, since a file can hold any number.

mod block;
mod converter;
mod decoder;
mod demuxer;
mod options;
mod packet;
mod picture;
mod recognise;

use std::{
    ffi::{CStr, c_int},
    sync::Once,
};

use ffmpeg_next::ffi;

use crate::Limits;

pub(super) use self::{
    converter::{Converter, Shown},
    decoder::{Decoder, Received, Sent},
    demuxer::{Claims, Demuxer},
    packet::Packet,
    picture::Picture,
};

/// Bytes that FFmpeg may allocate at once for itself, however low the limit on pictures is.
const OWN_MEMORY: u64 = 64 << 20;

/// FFmpeg's process-wide settings.
fn initialise(limits: &Limits) {
    let largest = limits.max_memory.max(OWN_MEMORY);
    let largest = usize::try_from(largest).unwrap_or(usize::MAX);
    // SAFETY: sets one number.
    unsafe { ffi::av_max_alloc(largest) };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // What FFmpeg has to say arrives as errors; its log would repeat a broken file's
        // content on the terminal.
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    });
}

/// The version of FFmpeg's libraries, such as `5.1.9-0+deb12u1`; a build from a repository has
/// another form.
pub fn ffmpeg_version() -> String {
    // SAFETY: a static text.
    unsafe { CStr::from_ptr(ffi::av_version_info()) }
        .to_string_lossy()
        .into_owned()
}

/// FFmpeg's message for an error number, or the system's.
fn words(code: c_int) -> String {
    let mut text = [0; ffi::AV_ERROR_MAX_STRING_SIZE as usize];
    // SAFETY: a buffer of this length, which FFmpeg ends with a zero.
    unsafe {
        ffi::av_strerror(code, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr())
    }
    .to_string_lossy()
    .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_words_before_any_other_use_of_ffmpeg() {
        assert!(words(ffi::AVERROR_INVALIDDATA).starts_with("Invalid data"));
        assert!(words(ffi::AVERROR(ffi::EACCES)).contains("denied"));
    }
}
