//! A piece of a stream, still compressed.

use std::ptr;

use ffmpeg_next::ffi;

/// An `AVPacket`; owns its reference to the bytes.
pub(in super::super) struct Packet(*mut ffi::AVPacket);

// SAFETY: the packet and the bytes it counts references to are tied to no thread, and
// those counts are atomic.
unsafe impl Send for Packet {}

impl Packet {
    /// An empty packet; `None` without memory.
    pub(in super::super) fn new() -> Option<Self> {
        // SAFETY: allocates; null is handled.
        let packet = unsafe { ffi::av_packet_alloc() };
        (!packet.is_null()).then_some(Self(packet))
    }

    /// Which stream it belongs to.
    pub(super) fn stream(&self) -> i32 {
        self.get().stream_index
    }

    /// Bytes it takes, with what FFmpeg keeps beside them.
    pub(in super::super) fn size(&self) -> usize {
        usize::try_from(self.get().size).unwrap_or(0) + 256
    }

    /// For foreign calls that read or fill the packet.
    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVPacket {
        self.0
    }

    pub(super) fn as_ptr(&self) -> *const ffi::AVPacket {
        self.0
    }

    /// Lets go of the bytes.
    pub(super) fn clear(&mut self) {
        // SAFETY: a valid packet of ours.
        unsafe { ffi::av_packet_unref(self.0) };
    }

    fn get(&self) -> &ffi::AVPacket {
        // SAFETY: valid from `new` to `drop`, and changed only through `&mut self`.
        unsafe { &*self.0 }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: ours, and freed once.
        unsafe { ffi::av_packet_free(ptr::from_mut(&mut self.0)) };
    }
}
