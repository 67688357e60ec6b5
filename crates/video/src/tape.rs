//! The packets of a file, kept within a size limit.

use std::path::Path;

use super::{
    Error, Limits,
    av::{Demuxer, Packet},
};

/// Bytes of packets that are kept. Clips of action data sets need a hundredth of it.
const KEPT_BYTES: usize = 64 << 20;

/// An open file whose packets can be reread from the first on, until they exceed the limit.
pub(super) struct Tape {
    demuxer: Demuxer,
    packets: Vec<Packet>,
    bytes: usize,
    at: usize,
    /// Earlier packets are gone.
    cut: bool,
    ended: bool,
}

impl Tape {
    pub(super) fn new(demuxer: Demuxer) -> Self {
        Self {
            demuxer,
            packets: Vec::new(),
            bytes: 0,
            at: 0,
            cut: false,
            ended: false,
        }
    }

    pub(super) fn demuxer(&self) -> &Demuxer {
        &self.demuxer
    }

    /// Goes back to the first packet; `false` if that is gone.
    pub(super) fn rewind(&mut self) -> bool {
        self.at = 0;
        !self.cut
    }

    /// All packets, read up to the end; `None` if they exceed the limit.
    /// Afterwards the first packet is the next, as it was before.
    pub(super) fn packets(
        &mut self,
        path: &Path,
        limits: &Limits,
    ) -> Result<Option<&[Packet]>, Error> {
        while !self.ended && self.bytes <= KEPT_BYTES {
            self.read(path, limits)?;
        }
        Ok(self.ended.then_some(&self.packets))
    }

    /// The packet of this index, if it is kept.
    pub(super) fn packet(&mut self, number: usize) -> Option<&mut Packet> {
        self.packets.get_mut(number).filter(|_| !self.cut)
    }

    /// The next packet of the video stream.
    pub(super) fn next(&mut self, path: &Path, limits: &Limits) -> Result<Option<&Packet>, Error> {
        if self.at == self.packets.len() && !self.ended {
            if self.bytes > KEPT_BYTES {
                self.packets.clear();
                self.at = 0;
                self.cut = true;
            }
            self.read(path, limits)?;
        }
        let packet = self.packets.get(self.at);
        self.at += usize::from(packet.is_some());
        Ok(packet)
    }

    fn read(&mut self, path: &Path, limits: &Limits) -> Result<(), Error> {
        let mut packet = Packet::new();
        if self.demuxer.read(path, &mut packet, limits)? {
            self.bytes = self.bytes.saturating_add(packet.size());
            self.packets.push(packet);
        } else {
            self.ended = true;
        }
        Ok(())
    }
}
