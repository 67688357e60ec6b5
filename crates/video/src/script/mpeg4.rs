//! MPEG-4 part 2: one picture (VOP) per packet; or, in "packed" streams, two, and later one that
//! is not coded. The decoder takes one picture a packet, and keeps the other for the next.

use super::{Coded, KnownBy, Parameters, Role, Script, Unit};

/// While a picture is kept, a packet no longer than this holds none, and the kept one
/// is output.
const NOT_CODED: usize = 19;
const PICTURE: u8 = 0xb6;
/// The time code of a group: not a parameter, it differs from group to group.
const GROUP: u8 = 0xb3;

pub(super) fn read<'a>(packets: impl Iterator<Item = Coded<'a>>) -> Option<Script> {
    let mut units: Vec<Unit> = Vec::new();
    let mut parameters = Parameters::default();
    let mut times = Vec::new();
    // A picture is kept for the packet that follows.
    let mut kept = false;
    for (packet, coded) in packets.enumerate() {
        times.push(coded.time);
        let Sections { pictures, set_up } = sections(coded.bytes);
        if !parameters.agree(packet == 0, set_up) {
            return None;
        }
        let end = coded.bytes.len();
        let unit = |start: usize, bytes| {
            Some(Unit {
                packet,
                bytes,
                role: match coded.bytes.get(start + 4)? >> 6 {
                    0 => Role::Key,
                    2 => Role::Disposable,
                    _ => Role::Reference,
                },
                time: None,
            })
        };
        match (pictures.as_slice(), kept) {
            ([_], true) if end <= NOT_CODED => kept = false,
            // It outputs nothing. Counting packets as frames, as headers do, would give
            // other frames than a whole decode.
            ([_], false) if end <= NOT_CODED => return None,
            ([start], false) => units.push(unit(*start, 0..end)?),
            ([start], true) => {
                let next = unit(*start, 0..end)?;
                // Others would not be kept.
                if next.role != Role::Disposable {
                    return None;
                }
                units.push(next);
            }
            ([first, second], false) => {
                units.push(unit(*first, 0..*second)?);
                let packed = unit(*second, *second..end)?;
                if packed.role != Role::Disposable {
                    return None;
                }
                units.push(packed);
                kept = true;
            }
            _ => return None,
        }
    }
    // What is kept after the last packet is never decoded.
    units.truncate(times.len());
    for (unit, time) in units.iter_mut().zip(times) {
        unit.time = time;
    }
    let disposable = units.iter().position(|unit| unit.role == Role::Disposable);
    Some(Script {
        order: order(&units),
        units,
        known_by: KnownBy::Turn,
        // The first picture names the encoder, whose mistakes the decoder then follows; the
        // first that is predicted from both sides tells the distance of fields.
        head: disposable.unwrap_or(0) + 1,
    })
}

/// References come out when the next one arrives, the others at once.
pub(super) fn order(units: &[Unit]) -> Vec<usize> {
    let mut order = Vec::with_capacity(units.len());
    let mut held = None;
    for (number, unit) in units.iter().enumerate() {
        match unit.role {
            Role::Disposable => order.push(number),
            Role::Key | Role::Reference => order.extend(held.replace(number)),
        }
    }
    order.extend(held);
    order
}

struct Sections {
    /// Positions where pictures begin.
    pictures: Vec<usize>,
    /// All sections before the first picture but time codes.
    set_up: Vec<u8>,
}

fn sections(bytes: &[u8]) -> Sections {
    let mut found = Sections {
        pictures: Vec::new(),
        set_up: Vec::new(),
    };
    let mut open: Option<usize> = None;
    let mut close = |open: &mut Option<usize>, at: usize| {
        let section = open.take().and_then(|start| bytes.get(start..at));
        found.set_up.extend_from_slice(section.unwrap_or_default());
    };
    for at in memchr::memmem::find_iter(bytes, &[0, 0, 1]) {
        close(&mut open, at);
        match bytes.get(at + 3) {
            Some(&PICTURE) => found.pictures.push(at),
            Some(&GROUP) => {}
            _ if found.pictures.is_empty() => open = Some(at),
            _ => {}
        }
    }
    close(&mut open, bytes.len());
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const SET_UP: &[u8] = &[0, 0, 1, 0x20, 7, 0, 0, 1, 0xb2, b'x'];

    fn vop(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, PICTURE, kind << 6 | 0x3f];
        bytes.resize(length.max(5), 0xaa);
        bytes
    }

    fn script(packets: &[Vec<u8>]) -> Option<Script> {
        let coded = packets.iter().zip(0..).map(|(bytes, time)| Coded {
            bytes,
            time: Some(time),
        });
        read(coded)
    }

    #[test]
    fn packed_pictures_are_taken_apart() {
        let first = [SET_UP, &vop(0, 40)].concat();
        let both = [vop(1, 30), vop(2, 50)].concat();
        let script = script(&[first, both, vop(1, 7), vop(1, 60)]).unwrap();
        let units: Vec<_> = script
            .units
            .iter()
            .map(|unit| (unit.packet, unit.bytes.clone(), unit.role, unit.time))
            .collect();
        assert_eq!(
            units,
            [
                (0, 0..50, Role::Key, Some(0)),
                (1, 0..30, Role::Reference, Some(1)),
                (1, 30..80, Role::Disposable, Some(2)),
                (3, 0..60, Role::Reference, Some(3)),
            ]
        );
        assert_eq!(script.order, [0, 2, 1, 3]);
        assert_eq!(script.head, 3);
    }

    #[test]
    fn a_picture_that_comes_while_one_is_kept_waits_too() {
        let first = [SET_UP, &vop(0, 40)].concat();
        let both = [vop(1, 30), vop(2, 50)].concat();
        let packets = [first, both.clone(), vop(2, 45), vop(1, 7), both];
        let script = script(&packets).unwrap();
        let units: Vec<_> = script
            .units
            .iter()
            .map(|unit| (unit.packet, unit.bytes.clone(), unit.time))
            .collect();
        let expected = [
            (0, 0..50, Some(0)),
            (1, 0..30, Some(1)),
            (1, 30..80, Some(2)),
            (2, 0..45, Some(3)),
            // Its second picture is kept for a packet that never comes.
            (4, 0..30, Some(4)),
        ];
        assert_eq!(units, expected);
        assert_eq!(script.order, [0, 2, 3, 1, 4]);
    }

    #[test]
    fn what_is_unusual_is_not_read() {
        let key = [SET_UP, &vop(0, 40)].concat();
        assert!(script(&[key.clone(), vop(1, 30)]).is_some());
        // Other parameters, no picture, three of them, two where one is owed.
        let other = [&[0, 0, 1, 0x20, 8], vop(0, 40).as_slice()].concat();
        assert!(script(&[key.clone(), other]).is_none());
        assert!(script(&[key.clone(), vec![1, 2, 3]]).is_none());
        let three = [vop(1, 30), vop(2, 30), vop(2, 30)].concat();
        assert!(script(&[key.clone(), three]).is_none());
        let two = [vop(1, 30), vop(2, 30)].concat();
        assert!(script(&[key.clone(), two.clone(), two]).is_none());
        // A packet that holds no picture.
        assert!(script(&[key.clone(), vop(1, 7), vop(1, 30)]).is_none());
        // A time code before a picture is no parameter.
        let group = [&[0, 0, 1, GROUP, 9, 9, 9], vop(0, 40).as_slice()].concat();
        assert!(script(&[key, group]).is_some());
    }
}
