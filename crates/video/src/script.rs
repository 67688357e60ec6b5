//! The pictures of a stream as stated by its packets, without decoding: which are needed
//! for which, and in which order they come out.
//!
//! Supported are MPEG-4 part 2 and H.264, whose headers state it in their first bytes, and Motion JPEG.
//! Decoders of other codecs without references keep state that damage can lay bare. [`Video::verify`](super::Video::verify) checks that
//! a whole decode gives exactly these pictures.

mod h264;
mod jpeg;
mod mpeg4;

use std::collections::VecDeque;
use std::ops::Range;

/// A stream's pictures in the order of their packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) units: Vec<Unit>,
    /// The units in the order in which their pictures come out.
    pub(super) order: Vec<usize>,
    pub(super) known_by: KnownBy,
    /// The number of units, from the first on, that set up the decoder's state.
    head: usize,
}

/// One coded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The index of its packet.
    pub(super) packet: usize,
    /// Its byte range in that packet.
    pub(super) bytes: Range<usize>,
    pub(super) role: Role,
    /// Presentation time, in units of the stream.
    pub(super) time: Option<i64>,
}

/// The role of a picture in prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Needs none; pictures that follow it and are shown after it need nothing before it.
    Key,
    /// Needs earlier pictures, and is needed.
    Reference,
    /// Needed by no other.
    Disposable,
}

/// How a decoded picture is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownBy {
    /// By its unique presentation time.
    Time,
    /// By its order, and the kind of picture that the decoder reports.
    Turn,
    /// By its order alone: all are of one kind.
    TurnAlone,
}

/// How a stream is coded.
pub(super) enum Coding {
    /// MPEG-4 part 2.
    Mpeg4,
    /// H.264, with the decoder set-up stored in the container.
    H264(Vec<u8>),
    /// JPEG, whose tables outlast a picture.
    Jpeg,
}

/// A packet as it was read.
#[derive(Clone, Copy)]
pub(super) struct Coded<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) time: Option<i64>,
}

impl Script {
    /// Reads all packets of a stream; `None` if they hold anything but plain
    /// pictures with one set of parameters.
    pub(super) fn read<'a>(
        coding: &Coding,
        packets: impl Iterator<Item = Coded<'a>> + Clone,
    ) -> Option<Self> {
        let script = match coding {
            Coding::Mpeg4 => mpeg4::read(packets)?,
            Coding::H264(extra) => h264::read(extra, packets)?,
            Coding::Jpeg => jpeg::read(packets)?,
        };
        let first = script.units.first()?;
        (first.role == Role::Key).then_some(script)
    }

    /// The presentation time of the first frame, if it has one.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.units.get(*self.order.first()?)?.time
    }

    /// The units to decode so that the frames of these indices come out, in the order of
    /// packets; indices are below the number of units.
    pub(super) fn needed(&self, indices: &[usize]) -> Vec<usize> {
        let mut needed = vec![false; self.units.len()];
        for needed in needed.iter_mut().take(self.head) {
            *needed = true;
        }
        for unit in indices.iter().filter_map(|index| self.order.get(*index)) {
            let chain = self.units.iter().zip(&mut needed);
            let chain = chain.take(*unit).skip(self.start(*unit));
            for (_, needed) in chain.filter(|(unit, _)| unit.role != Role::Disposable) {
                *needed = true;
            }
            if let Some(needed) = needed.get_mut(*unit) {
                *needed = true;
            }
        }
        let numbered = needed.into_iter().enumerate();
        numbered
            .filter_map(|(unit, needed)| needed.then_some(unit))
            .collect()
    }

    /// The pictures that come out if these units, in the order of packets, are decoded.
    pub(super) fn outcome(&self, needed: &[usize]) -> Outcome {
        let numbered = self.order.iter().enumerate();
        let pictures = numbered
            .filter(|(_, unit)| needed.binary_search(unit).is_ok())
            .filter_map(|(index, unit)| Some((index, self.units.get(*unit)?)))
            .map(|(index, unit)| (index, unit.time, unit.role));
        Outcome {
            known_by: self.known_by,
            pictures: pictures.collect(),
        }
    }

    /// Whether a whole decode gave exactly the stated pictures: these roles, and these
    /// times if there are any, in order: others are put right by those before them. Also true if the
    /// number of pictures differs: then none is stated.
    pub(super) fn agrees(&self, decoded: &[(Option<i64>, Option<Role>)]) -> bool {
        let in_order =
            self.first_time().is_none() || decoded.iter().map(|(time, _)| time).is_sorted();
        let all: Vec<usize> = (0..self.units.len()).collect();
        let mut outcome = self.outcome(&all);
        let mut pictures = decoded.iter().enumerate();
        decoded.len() != self.order.len()
            || in_order
                && pictures.all(|(index, (time, role))| {
                    let unit = self.order.get(index).and_then(|unit| self.units.get(*unit));
                    let promised = unit.and_then(|unit| unit.time);
                    outcome.next(*time, *role) == Some(index)
                        && (promised.is_none() || promised == *time)
                })
    }

    /// The key picture from which references lead to `unit`.
    fn start(&self, unit: usize) -> usize {
        let last = |below: usize, wanted: fn(Role) -> bool| {
            let before = self.units.get(..below).unwrap_or_default();
            before
                .iter()
                .rposition(|unit| wanted(unit.role))
                .unwrap_or(0)
        };
        let reference = |role| role != Role::Disposable;
        let from = match self.units.get(unit).map(|unit| unit.role) {
            // One shown before it, and one shown after it.
            Some(Role::Disposable) => last(last(unit, reference), reference),
            _ => unit,
        };
        last(from + 1, |role| role == Role::Key)
    }
}

/// Pictures expected from a decoder.
pub(super) struct Outcome {
    known_by: KnownBy,
    /// Index, time and role.
    pictures: VecDeque<(usize, Option<i64>, Role)>,
}

impl Outcome {
    /// The index of a picture that came out; `None` if it is not one of those expected.
    pub(super) fn next(&mut self, time: Option<i64>, role: Option<Role>) -> Option<usize> {
        match self.known_by {
            KnownBy::Time => {
                let mut pictures = self.pictures.iter();
                let place = pictures.position(|(_, known, _)| *known == time)?;
                self.pictures.remove(place).map(|(index, ..)| index)
            }
            KnownBy::Turn => {
                let (index, _, known) = self.pictures.pop_front()?;
                (Some(known) == role).then_some(index)
            }
            KnownBy::TurnAlone => self.pictures.pop_front().map(|(index, ..)| index),
        }
    }
}

/// Parameters of a stream; repeated ones must equal the first ones.
#[derive(Default)]
struct Parameters(Option<Vec<u8>>);

impl Parameters {
    /// Takes the parameters in a packet; `false` if they differ from earlier ones, or
    /// first appear in the middle.
    fn agree(&mut self, first_packet: bool, found: Vec<u8>) -> bool {
        if first_packet {
            self.0 = Some(found);
            return true;
        }
        found.is_empty() || self.0.as_ref() == Some(&found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I, P and B as K, R and d; the order is that of MPEG-4.
    fn script(roles: &str) -> Script {
        let units: Vec<Unit> = roles
            .chars()
            .enumerate()
            .map(|(packet, role)| Unit {
                packet,
                bytes: 0..1,
                role: match role {
                    'K' => Role::Key,
                    'R' => Role::Reference,
                    _ => Role::Disposable,
                },
                time: None,
            })
            .collect();
        Script {
            order: mpeg4::order(&units),
            units,
            known_by: KnownBy::Turn,
            head: 1,
        }
    }

    #[test]
    fn references_come_out_after_what_is_shown_before_them() {
        assert_eq!(script("KRddRdd").order, [0, 2, 3, 1, 5, 6, 4]);
        assert_eq!(script("KRR").order, [0, 1, 2]);
    }

    #[test]
    fn only_what_leads_to_a_frame_is_needed() {
        let one_key = script("KRRRRR");
        assert_eq!(one_key.needed(&[3]), [0, 1, 2, 3]);
        let closed = script("KRRKRRKRR");
        assert_eq!(closed.needed(&[4]), [0, 3, 4]);
        assert_eq!(closed.needed(&[6, 1]), [0, 1, 6]);
        // Frames 0..9 are units 0 2 3 1 5 6 4 8 9 7.
        let both_sides = script("KRddRddKdd");
        assert_eq!(both_sides.needed(&[1]), [0, 1, 2]);
        assert_eq!(both_sides.needed(&[5]), [0, 1, 4, 6]);
        assert_eq!(
            both_sides.needed(&[8]),
            [0, 1, 4, 7, 9],
            "shown before its key"
        );
        assert_eq!(both_sides.needed(&[9]), [0, 7]);
    }

    #[test]
    fn parameters_may_come_again_and_not_change() {
        let mut parameters = Parameters::default();
        assert!(parameters.agree(true, vec![1]));
        assert!(parameters.agree(false, vec![]) && parameters.agree(false, vec![1]));
        assert!(!parameters.agree(false, vec![2]));
    }
}
