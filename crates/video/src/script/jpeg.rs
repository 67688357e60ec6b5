//! Motion JPEG: pictures by themselves, as long as each brings the tables that it is decoded with. A
//! decoder keeps those of an earlier picture for one that lacks them.

use super::{Coded, KnownBy, Role, Script, Unit};

/// Bytes of a picture in which its metadata begin, if it has any.
const EXIF_WITHIN: usize = 64;

/// One picture per packet, shown in order; `None` if they differ in which tables and application segments
/// they bring.
pub(super) fn read<'a>(packets: impl Iterator<Item = Coded<'a>> + Clone) -> Option<Script> {
    let mut all = packets.clone().map(|packet| segments(packet.bytes));
    let first = all.next()??;
    all.all(|other| other.as_ref() == Some(&first))
        .then(|| pictures(packets))?
}

/// All pictures; `None` if one may state an orientation, which holds
/// for those after it.
fn pictures<'a>(packets: impl Iterator<Item = Coded<'a>>) -> Option<Script> {
    let unit = |(packet, coded): (usize, Coded<'a>)| {
        let head = &coded.bytes[..coded.bytes.len().min(EXIF_WITHIN)];
        let unit = Unit {
            packet,
            bytes: 0..coded.bytes.len(),
            role: Role::Key,
            time: coded.time,
        };
        let states_none = memchr::memmem::find(head, b"Exif\0").is_none();
        states_none.then_some(unit)
    };
    let units: Vec<Unit> = packets.enumerate().map(unit).collect::<Option<_>>()?;
    Some(Script {
        order: (0..units.len()).collect(),
        units,
        known_by: KnownBy::TurnAlone,
        head: 1,
    })
}

/// The kind of each segment of a picture, with the names of its tables; `None` if one is malformed.
fn segments(picture: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut rest = picture;
    while let Some(at) = memchr::memchr(0xff, rest) {
        let (&marker, after) = rest.get(at + 1..)?.split_first()?;
        rest = after;
        match marker {
            // Fill, an escaped byte of a scan, a restart.
            0xff => rest = picture.get(picture.len() - after.len() - 1..)?,
            0 | 1 | 0xd0..=0xd7 => {}
            // Start and end.
            0xd8 | 0xd9 => found.push((marker, Vec::new())),
            _ => {
                let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
                let content = after.get(2..length)?;
                rest = after.get(length..)?;
                let names = match marker {
                    0xdb => names(content, |table| 64 * usize::from(1 + (table[0] >> 4)))?,
                    0xc4 => names(content, |table| {
                        let counts = table.get(1..17).unwrap_or_default();
                        16 + counts
                            .iter()
                            .map(|count| usize::from(*count))
                            .sum::<usize>()
                    })?,
                    // What an application's segment says is in its first bytes.
                    0xe0..=0xfe => content.iter().take(6).copied().collect(),
                    _ => Vec::new(),
                };
                found.push((marker, names));
            }
        }
    }
    Some(found)
}

/// The first byte of each table, which is followed by as many bytes as `length` says.
fn names(mut tables: &[u8], length: impl Fn(&[u8]) -> usize) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    while let Some(name) = tables.first() {
        names.push(*name);
        tables = tables.get(1 + length(tables)..)?;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, a table of quantisers, an empty one of codes, a scan with an escaped byte and a restart, end.
    fn picture(table: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, table];
        bytes.extend([9; 64]);
        bytes.extend([0xff, 0xc4, 0, 19, 0x10]);
        bytes.extend([0; 16]);
        bytes.extend([
            0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd0, 7, 0xff, 0xff, 0xd9,
        ]);
        bytes
    }

    #[test]
    fn a_picture_that_needs_the_tables_of_another_is_noticed() {
        let script = |pictures: &[Vec<u8>]| {
            let coded = |bytes| Coded { bytes, time: None };
            read(pictures.iter().map(|bytes| coded(bytes))).map(|script| script.order.len())
        };
        assert_eq!(script(&[picture(0), picture(0)]), Some(2));
        assert_eq!(script(&[picture(0), picture(1)]), None);
        let mut other = picture(0);
        other[69] = 3;
        assert_eq!(
            script(&[picture(0), other.clone()]),
            Some(2),
            "other numbers"
        );
        let without = [&other[..2], &other[71..]].concat();
        assert_eq!(script(&[other.clone(), without]), None);
        let cut = other[..80].to_vec();
        assert_eq!(script(&[other, cut]), None);
    }
}
