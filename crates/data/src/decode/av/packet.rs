//! A piece of a stream, still compressed.

use std::{ops::Range, ptr};

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

    /// The compressed bytes.
    pub(in super::super) fn bytes(&self) -> &[u8] {
        let packet = self.get();
        match usize::try_from(packet.size) {
            // SAFETY: a packet holds this many bytes for as long as it is not cleared, which
            // takes `&mut self`.
            Ok(size) if !packet.data.is_null() => unsafe {
                std::slice::from_raw_parts(packet.data, size)
            },
            _ => &[],
        }
    }

    /// Presentation time, in units of the stream.
    pub(in super::super) fn time(&self) -> Option<i64> {
        Some(self.get().pts).filter(|&time| time != i64::MIN)
    }

    /// Whether its picture is shown: an edit list hides none of it.
    pub(in super::super) fn is_shown(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_DISCARD as i32 == 0
    }

    /// Whether it is whole, shown, and changes nothing of how the stream is decoded.
    pub(in super::super) fn is_plain(&self) -> bool {
        let packet = self.get();
        let bad = ffi::AV_PKT_FLAG_CORRUPT as i32 | ffi::AV_PKT_FLAG_DISCARD as i32;
        let changes = [
            ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA,
            ffi::AVPacketSideDataType::AV_PKT_DATA_PARAM_CHANGE,
        ];
        packet.flags & bad == 0
            && changes.into_iter().all(|kind| {
                // SAFETY: a valid packet; no size is asked for.
                unsafe { ffi::av_packet_get_side_data(self.0, kind, ptr::null_mut()).is_null() }
            })
    }

    /// A packet of a part of the bytes, which are shared; `None` without memory, or where
    /// there is no such part.
    pub(in super::super) fn part(&self, bytes: Range<usize>, time: Option<i64>) -> Option<Self> {
        if self.bytes().get(bytes.clone())?.is_empty() {
            return None;
        }
        let size = i32::try_from(bytes.len()).ok()?;
        let part = Self::new()?;
        // SAFETY: both are valid. The part lies inside the bytes that it counts a reference
        // to; behind it lie more of them or the padding that FFmpeg wants there.
        unsafe {
            if ffi::av_packet_ref(part.0, self.0) < 0 {
                return None;
            }
            (*part.0).data = (*part.0).data.add(bytes.start);
            (*part.0).size = size;
            (*part.0).pts = time.unwrap_or(i64::MIN);
        }
        Some(part)
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
