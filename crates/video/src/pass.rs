//! One sequential decode of a video, from its first packet on: the reference for every other
//! way to the frames.

use std::{collections::VecDeque, path::Path};

use super::{
    Error, FrameCount, Limits,
    av::{Converter, Decoder, Packet, Picture, Received, Sent, Shown},
    script::{Role, Unit},
    tape::Tape,
    timing::Clock,
};
use crate::{Frame, Orientation};
use pixels::{Rows as _, whole};

/// Consecutive errors after which a decoder is no longer drained.
const ERRORS_IN_A_ROW: usize = 100;

/// A decoder reading a file.
pub(super) struct Pass<'a> {
    path: &'a Path,
    limits: &'a Limits,
    tape: &'a mut Tape,
    clock: Clock,
    /// When the current picture is shown, see [`seconds`](Self::seconds).
    seconds: f64,
    /// What the stream itself stated last: it holds until it states another.
    orientation: Option<Orientation>,
    decoder: Decoder,
    units: Option<VecDeque<Unit>>,
    state: State,
    errors: usize,
    picture: Picture,
    converter: Converter,
    count: FrameCount,
    pixels: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next packet is to be read.
    Reading,
    /// All packets have been sent.
    Draining,
    /// Nothing is left.
    Ended,
}

impl<'a> Pass<'a> {
    /// Starts at the first packet.
    pub(super) fn new(
        path: &'a Path,
        limits: &'a Limits,
        tape: &'a mut Tape,
    ) -> Result<Self, Error> {
        let demuxer = tape.demuxer();
        Ok(Self {
            path,
            limits,
            clock: Clock::new(demuxer.claims()),
            seconds: 0.0,
            orientation: None,
            decoder: Decoder::new(path, demuxer, limits)?,
            tape,
            units: None,
            state: State::Reading,
            errors: 0,
            picture: Picture::new().ok_or_else(|| Error::memory(path, limits))?,
            converter: Converter::default(),
            count: FrameCount::default(),
            pixels: 0,
        })
    }

    /// The same for only these units: no other unit on the tape is decoded. The first frame of
    /// the video is shown at `zero`.
    pub(super) fn of(
        path: &'a Path,
        limits: &'a Limits,
        tape: &'a mut Tape,
        units: VecDeque<Unit>,
        zero: Option<i64>,
    ) -> Result<Self, Error> {
        let mut clock = Clock::new(tape.demuxer().claims()).starting_at(zero);
        for packet in tape.packets(path, limits)?.unwrap_or_default() {
            clock.see(packet);
        }
        let mut pass = Self::new(path, limits, tape)?;
        pass.clock = clock;
        pass.units = Some(units);
        Ok(pass)
    }

    /// Decodes the next picture; its index among those of this pass, or `None` after the
    /// last.
    ///
    /// # Errors
    /// A limit; a failing disk; and, at the end of the stream, that too much of it was
    /// damaged, or that no frame decoded.
    pub(super) fn next(&mut self) -> Result<Option<usize>, Error> {
        loop {
            if self.state == State::Ended {
                return Ok(None);
            }
            let received = self.decoder.receive(&mut self.picture);
            self.check_size()?;
            if received == Received::Picture {
                self.orientation = self.picture.orientation().or(self.orientation);
            }
            match received {
                Received::Picture if self.picture.is_discarded() => self.errors = 0,
                Received::Picture => {
                    self.errors = 0;
                    return self.take().map(Some);
                }
                // Retrying lets FFmpeg get past the place.
                Received::Damaged if self.errors < ERRORS_IN_A_ROW => {
                    self.errors += 1;
                    self.count.corrupt_packets += 1;
                }
                Received::End => return self.end(),
                _ if self.state == State::Draining => return self.end(),
                Received::Damaged | Received::Hungry => {
                    self.errors = 0;
                    self.feed()?;
                }
            }
        }
    }

    /// The current picture as the frame of this index, shown at `time`.
    pub(super) fn frame(&mut self, index: usize, time: f64) -> Result<Frame, Error> {
        let mut shown = self.shown(index)?;
        Ok(Frame {
            index,
            time,
            width: shown.width(),
            height: shown.height(),
            rgb: whole(&mut shown),
        })
    }

    /// The current picture, the frame of this index.
    pub(super) fn shown(&mut self, index: usize) -> Result<Shown<'_>, Error> {
        let claims = self.clock.claims();
        let orientation = self.orientation.unwrap_or(claims.orientation);
        let aspect = claims.aspect.or_else(|| self.picture.aspect());
        let shown = self.converter.shown(&self.picture, orientation, aspect);
        shown.map_err(|reason| Error::Convert {
            path: self.path.to_path_buf(),
            index,
            reason,
        })
    }

    /// The time of the current picture, the frame of this index, in seconds from the first one.
    /// Where units are decoded, frames are asked for in order, each once.
    pub(super) fn seconds(&mut self, index: usize) -> f64 {
        match self.units {
            None => self.seconds,
            Some(_) => self.clock.seconds(self.picture.time(), index),
        }
    }

    /// Presentation time of the current picture, in units of the stream, and how it was coded.
    pub(super) fn picture(&self) -> (Option<i64>, Option<Role>) {
        (self.picture.time(), self.picture.role())
    }

    /// Whether no error has occurred so far, and each picture can be shown without those before.
    pub(super) fn is_whole(&self) -> bool {
        self.count.corrupt_packets + self.count.damaged_frames == 0 && self.orientation.is_none()
    }

    /// The counts so far.
    pub(super) fn count(&self) -> FrameCount {
        self.count
    }

    /// Sends the decoder a packet, or the end.
    fn feed(&mut self) -> Result<(), Error> {
        let sent = match &mut self.units {
            None => match self.tape.next(self.path, self.limits)? {
                Some(packet) => {
                    self.clock.see(packet);
                    Some(self.decoder.send(packet))
                }
                None => None,
            },
            Some(units) => units.pop_front().map(|unit| {
                let packet = self.tape.packet(unit.packet);
                let send = |part: &Packet| self.decoder.send(part);
                let sent = packet.and_then(|packet| packet.part(unit.bytes, unit.time, send));
                sent.unwrap_or(Sent::Refused)
            }),
        };
        let Some(sent) = sent else {
            self.decoder.send_end();
            self.state = State::Draining;
            return Ok(());
        };
        self.count.packets += 1;
        // All pictures were received before, so the decoder has room for a packet: one that
        // it does not take is one that it cannot decode.
        if sent == Sent::Refused {
            if self.units.is_none() {
                self.clock.forget();
            }
            self.count.corrupt_packets += 1;
        }
        self.check_size()
    }

    /// Counts the picture just received.
    fn take(&mut self) -> Result<usize, Error> {
        let (width, height) = (self.picture.width(), self.picture.height());
        self.refuse_above(width, height)?;
        self.pixels = self.pixels.saturating_add(width as u64 * height as u64);
        let max = self.limits.max_total_pixels;
        if self.pixels > max {
            return Err(Error::TooMany {
                path: self.path.to_path_buf(),
                what: "decoded pixels",
                limit: "max_total_pixels",
                max,
                needed: None,
            });
        }
        let index = self.count.frames;
        if self.units.is_none() {
            self.seconds = self.clock.seconds(self.picture.time(), index);
        }
        self.count.damaged_frames += usize::from(self.picture.is_damaged());
        self.count.frames += 1;
        Ok(index)
    }

    /// Checks the whole stream.
    fn end(&mut self) -> Result<Option<usize>, Error> {
        self.state = State::Ended;
        let FrameCount {
            frames,
            packets,
            corrupt_packets,
            damaged_frames,
        } = self.count;
        let path = || self.path.to_path_buf();
        if frames == 0 {
            let corrupt = corrupt_packets;
            return Err(Error::NothingDecodes {
                path: path(),
                packets,
                corrupt,
            });
        }
        let damaged = (corrupt_packets + damaged_frames).min(packets);
        let max = self.limits.max_damaged;
        if damaged as f64 > max * packets as f64 {
            return Err(Error::Damaged {
                path: path(),
                packets,
                damaged,
                max,
            });
        }
        Ok(None)
    }

    fn check_size(&self) -> Result<(), Error> {
        if let Some(needed) = self.decoder.too_much() {
            return Err(Error::Memory {
                path: self.path.to_path_buf(),
                max: self.limits.max_memory,
                needed: Some(needed),
            });
        }
        match self.decoder.too_large() {
            Some((width, height)) => self.refuse_above(width, height),
            None => Ok(()),
        }
    }

    fn refuse_above(&self, width: usize, height: usize) -> Result<(), Error> {
        let max = self.limits.max_pixels;
        if width as u64 * height as u64 <= max {
            return Ok(());
        }
        Err(Error::TooManyPixels {
            path: self.path.to_path_buf(),
            width,
            height,
            max,
        })
    }
}
