//! A piece of a stream, still compressed.

use std::{ops::Range, ptr};

use ffmpeg_next::{
    ffi,
    packet::{Mut as _, Ref as _},
};

/// An `AVPacket`; owns its reference to the bytes.
pub(crate) struct Packet(ffmpeg_next::Packet);

impl Packet {
    /// An empty packet.
    pub(crate) fn new() -> Self {
        Self(ffmpeg_next::Packet::empty())
    }

    /// The index of its stream.
    pub(super) fn stream(&self) -> i32 {
        self.get().stream_index
    }

    /// The compressed bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
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
    pub(crate) fn time(&self) -> Option<i64> {
        self.0.pts()
    }

    /// The time at which it is decoded, in units of the stream.
    pub(crate) fn decoding_time(&self) -> Option<i64> {
        self.0.dts()
    }

    /// When its picture is shown, or decoded if the packets are not `timed`, and for how long, in
    /// units of the stream; a duration of 0 is unknown.
    pub(crate) fn span(&self, timed: bool) -> Option<(i64, i64)> {
        let time = if timed {
            self.time()
        } else {
            self.decoding_time()
        };
        Some((time?, self.0.duration()))
    }

    /// Whether its picture is shown, that is, not hidden by an edit list.
    pub(crate) fn is_shown(&self) -> bool {
        self.get().flags & ffi::AV_PKT_FLAG_DISCARD as i32 == 0
    }

    /// Whether it is complete, shown, and does not change how the stream is decoded.
    pub(crate) fn is_plain(&self) -> bool {
        let bad = ffi::AV_PKT_FLAG_CORRUPT as i32 | ffi::AV_PKT_FLAG_DISCARD as i32;
        let changes = [
            ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA,
            ffi::AVPacketSideDataType::AV_PKT_DATA_PARAM_CHANGE,
        ];
        self.get().flags & bad == 0
            && changes.into_iter().all(|kind| {
                // SAFETY: a valid packet; no size is asked for.
                unsafe {
                    ffi::av_packet_get_side_data(self.as_ptr(), kind, ptr::null_mut()).is_null()
                }
            })
    }

    /// Passes the packet to `each` as if it held only a part of its bytes, with this time;
    /// `None` if there is no such part.
    pub(crate) fn part<T>(
        &mut self,
        bytes: Range<usize>,
        time: Option<i64>,
        each: impl FnOnce(&Self) -> T,
    ) -> Option<T> {
        let part = self.bytes().get(bytes).filter(|part| !part.is_empty())?;
        let (data, size) = (part.as_ptr().cast_mut(), i32::try_from(part.len()).ok()?);
        let packet = self.get_mut();
        let whole = (packet.data, packet.size, packet.pts);
        // The part is inside the bytes that the packet owns, followed by more of them or by the
        // padding that FFmpeg requires.
        (packet.data, packet.size, packet.pts) = (data, size, time.unwrap_or(i64::MIN));
        let answer = each(self);
        let packet = self.get_mut();
        (packet.data, packet.size, packet.pts) = whole;
        Some(answer)
    }

    /// Bytes it occupies, including FFmpeg's overhead.
    pub(crate) fn size(&self) -> usize {
        self.bytes().len() + 256
    }

    /// For foreign calls that read or fill the packet.
    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVPacket {
        self.0.as_mut_ptr()
    }

    pub(super) fn as_ptr(&self) -> *const ffi::AVPacket {
        self.0.as_ptr()
    }

    /// Releases the bytes.
    pub(super) fn clear(&mut self) {
        // SAFETY: a valid packet of ours.
        unsafe { ffi::av_packet_unref(self.as_mut_ptr()) };
    }

    fn get(&self) -> &ffi::AVPacket {
        // SAFETY: valid as long as `self`.
        unsafe { &*self.as_ptr() }
    }

    fn get_mut(&mut self) -> &mut ffi::AVPacket {
        // SAFETY: valid as long as `self`, and ours alone.
        unsafe { &mut *self.as_mut_ptr() }
    }
}
