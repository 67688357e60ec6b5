//! FFmpeg behind safe types: every foreign call of this crate is in this module.
//!
//! Enumerations that FFmpeg fills from a file's content are read as plain numbers, never
//! as Rust enumerations, since a file can hold any number.

mod block;
mod converter;
mod decoder;
mod demuxer;
mod packet;
mod picture;
mod recognise;

use std::{ffi::c_int, sync::Once};

use ffmpeg_next::ffi;

pub(super) use self::{
    converter::{Converter, Shown},
    decoder::{Decoder, Received, Sent},
    demuxer::{Claims, Demuxer},
    packet::Packet,
    picture::Picture,
};

/// The largest single allocation of FFmpeg, in bytes. The largest legitimate one is an
/// index of hours or a picture of some 100 megapixels.
const LARGEST_ALLOCATION: usize = 1 << 30;

/// FFmpeg's process-wide settings.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // What FFmpeg has to say arrives as errors; its log would repeat a broken file's
        // content on the terminal.
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
        // SAFETY: sets one number.
        unsafe { ffi::av_max_alloc(LARGEST_ALLOCATION) };
    });
}

/// FFmpeg's message for an error number.
fn words(code: c_int) -> String {
    match ffmpeg_next::Error::from(code) {
        // A system error number, for which ffmpeg-next has no message.
        ffmpeg_next::Error::Other { errno } => std::io::Error::from_raw_os_error(errno).to_string(),
        known => known.to_string(),
    }
}
