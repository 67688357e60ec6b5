//! H.264: one picture per packet, identified by its presentation time.

use super::{Coded, KnownBy, Parameters, Role, Script, Unit};

const SLICE: u8 = 1;
const KEY_SLICE: u8 = 5;

/// `extra` is the container's set-up of the decoder: if it begins with 1, lengths
/// precede the parts of a packet, otherwise start codes.
pub(super) fn read<'a>(extra: &[u8], packets: impl Iterator<Item = Coded<'a>>) -> Option<Script> {
    let length_bytes = match extra {
        [1, _, _, _, lengths, ..] => Some(usize::from(lengths & 3) + 1),
        _ => None,
    };
    let mut parameters = Parameters::default();
    let mut units = Vec::new();
    for (packet, coded) in packets.enumerate() {
        let mut found = Found::default();
        let parts = match length_bytes {
            Some(count) => by_length(coded.bytes, count)?,
            None => by_start_code(coded.bytes),
        };
        for part in parts {
            found.see(part)?;
        }
        let role = found.role()?;
        if !found.parameters.is_empty() && role != Role::Key {
            return None;
        }
        if !parameters.agree(packet == 0, found.parameters) {
            return None;
        }
        units.push(Unit {
            packet,
            bytes: 0..coded.bytes.len(),
            role,
            time: Some(coded.time?),
        });
    }
    let time = |unit: usize| units.get(unit).and_then(|unit: &Unit| unit.time);
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|unit| time(*unit));
    let twice = order
        .iter()
        .zip(order.iter().skip(1))
        .any(|(a, b)| time(*a) == time(*b));
    (!twice).then_some(Script {
        order,
        units,
        known_by: KnownBy::Time,
        head: 1,
    })
}

/// The content of a packet.
#[derive(Default)]
struct Found {
    slices: usize,
    key_slices: usize,
    /// Slices that others may need.
    needed: usize,
    parameters: Vec<u8>,
}

impl Found {
    /// Takes a part; `None` if it is an unusual one.
    fn see(&mut self, part: &[u8]) -> Option<()> {
        let header = *part.first()?;
        match header & 31 {
            kind @ (SLICE | KEY_SLICE) => {
                self.slices += 1;
                self.key_slices += usize::from(kind == KEY_SLICE);
                self.needed += usize::from(header >> 5 & 3 != 0);
            }
            // Of the sequence, of the picture.
            7 | 8 => self.parameters.extend_from_slice(part),
            // Supplemental information: an orientation holds for what follows, too.
            6 if turns(part) => return None,
            // Delimiters, filler.
            6 | 9 | 12 => {}
            _ => return None,
        }
        Some(())
    }

    fn role(&self) -> Option<Role> {
        match (self.slices, self.key_slices, self.needed) {
            (0, ..) => None,
            (slices, key_slices, _) if slices == key_slices => Some(Role::Key),
            (_, 0, 0) => Some(Role::Disposable),
            (_, 0, _) => Some(Role::Reference),
            _ => None,
        }
    }
}

/// Whether one of the messages in a unit of supplemental information is a display orientation.
fn turns(unit: &[u8]) -> bool {
    const DISPLAY_ORIENTATION: usize = 47;
    let mut zeros = 0;
    let bytes = unit.iter().skip(1).copied().filter(|&byte| {
        // Keeps a start code from appearing inside the unit.
        let escape = zeros >= 2 && byte == 3;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !escape
    });
    let bytes: Vec<u8> = bytes.collect();
    let mut rest = bytes.as_slice();
    while let (Some(kind), Some(size)) = (number(&mut rest), number(&mut rest)) {
        if kind == DISPLAY_ORIENTATION {
            return true;
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    false
}

/// A number as a sum of bytes, of which only the last is below 255.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let full = bytes.iter().position(|byte| *byte != 255)?;
    let (number, rest) = bytes.split_at(full + 1);
    *bytes = rest;
    Some(number.iter().copied().map(usize::from).sum())
}

fn by_length(mut bytes: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at_checked(count)?;
        let length = length
            .iter()
            .fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

fn by_start_code(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, &[0, 0, 1]).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| Some(without_zeros(bytes.get(start + 3..end)?)))
        .collect()
}

/// Zeros before the next start code are not part of any unit.
fn without_zeros(part: &[u8]) -> &[u8] {
    let end = part.iter().rposition(|byte| *byte != 0);
    part.get(..end.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const SPS: &[u8] = &[0x67, 1, 2];
    const KEY: &[u8] = &[0x65, 9];
    const P: &[u8] = &[0x41, 9];
    const B: &[u8] = &[0x01, 9];

    /// Packets of parts, with lengths or start codes, at these times.
    fn script(lengths: bool, packets: &[(&[&[u8]], i64)]) -> Option<Script> {
        let packets: Vec<(Vec<u8>, i64)> = packets
            .iter()
            .map(|(parts, time)| {
                let part = |part: &&[u8]| match lengths {
                    true => [&(part.len() as u32).to_be_bytes(), *part].concat(),
                    false => [&[0, 0, 0, 1], *part].concat(),
                };
                (parts.iter().flat_map(part).collect(), *time)
            })
            .collect();
        let extra: &[u8] = if lengths { &[1, 100, 0, 13, 0xff] } else { &[] };
        read(
            extra,
            packets.iter().map(|(bytes, time)| Coded {
                bytes,
                time: Some(*time),
            }),
        )
    }

    #[test]
    fn slices_tell_the_role_and_times_the_order() {
        for lengths in [true, false] {
            let packets: [(&[&[u8]], i64); 4] =
                [(&[SPS, KEY, KEY], 0), (&[P], 30), (&[B, B], 10), (&[B], 20)];
            let script = script(lengths, &packets).unwrap();
            let roles: Vec<_> = script.units.iter().map(|unit| unit.role).collect();
            let expected = [
                Role::Key,
                Role::Reference,
                Role::Disposable,
                Role::Disposable,
            ];
            assert_eq!(roles, expected);
            assert_eq!(script.order, [0, 2, 3, 1]);
        }
    }

    #[test]
    fn what_is_unusual_is_not_read() {
        let first: (&[&[u8]], i64) = (&[SPS, KEY], 0);
        assert!(script(true, &[first, (&[P], 1)]).is_some());
        let unusual: [(&[&[u8]], i64); 7] = [
            (&[P], 0),
            (&[KEY, P], 1),
            (&[SPS, P], 1),
            (&[&[0x67, 1, 3], KEY], 1),
            (&[&[0x06, 1]], 1),
            (&[&[0x42, 1]], 1),
            (&[], 1),
        ];
        for packet in unusual {
            assert!(script(true, &[first, packet]).is_none(), "{packet:?}");
        }
        let cut = [Coded {
            bytes: &[0, 0, 0, 9, 0x65],
            time: Some(0),
        }];
        assert!(read(&[1, 100, 0, 13, 0xff], cut.into_iter()).is_none());
        let no_time = [Coded {
            bytes: &[0, 0, 1, 0x65, 1],
            time: None,
        }];
        assert!(read(&[], no_time.into_iter()).is_none());
    }
}
