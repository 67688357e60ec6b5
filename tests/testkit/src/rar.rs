//! Real `.rar` archives without the program that makes them: format 4, nothing compressed,
//! as the archive's public technical note describes it. Every reader of `.rar` takes them.

const MARKER: &[u8] = b"Rar!\x1a\x07\x00";
const ARCHIVE: u8 = 0x73;
const FILE: u8 = 0x74;
const END: u8 = 0x7b;
/// The header is followed by as many bytes as it says.
const WITH_DATA: u16 = 0x8000;
/// A reader that does not know the block may pass over it.
const MAY_SKIP: u16 = 0x4000;
const WINDOWS: u8 = 2;
const STORED: u8 = 0x30;
const PLAIN_FILE: u32 = 0x20;

/// An archive of `entries`, each a name with `/` between its parts, and its content.
///
/// # Panics
/// A name or content is longer than the format has room for.
#[must_use]
#[allow(clippy::expect_used)] // only tests are here to see it
pub fn rar<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = MARKER.to_vec();
    block(&mut archive, ARCHIVE, 0, &[0; 6]);
    for (name, content) in entries {
        let length = u32::try_from(content.len()).expect("below 4 GiB");
        // Folders are parted as Windows does it, whatever wrote the archive.
        let name = name.replace('/', "\\");
        let mut fields = Vec::new();
        fields.extend(length.to_le_bytes());
        fields.extend(length.to_le_bytes());
        fields.push(WINDOWS);
        fields.extend(crc32(content).to_le_bytes());
        // 1 January 2020 as DOS counts.
        fields.extend(0x5021_0000_u32.to_le_bytes());
        fields.extend([20, STORED]);
        fields.extend(
            u16::try_from(name.len())
                .expect("below 64 KiB")
                .to_le_bytes(),
        );
        fields.extend(PLAIN_FILE.to_le_bytes());
        fields.extend(name.as_bytes());
        block(&mut archive, FILE, WITH_DATA, &fields);
        archive.extend(content);
    }
    block(&mut archive, END, MAY_SKIP, &[]);
    archive
}

#[allow(clippy::expect_used)]
fn block(archive: &mut Vec<u8>, kind: u8, flags: u16, fields: &[u8]) {
    let mut header = vec![kind];
    header.extend(flags.to_le_bytes());
    let size = u16::try_from(fields.len() + 7).expect("a short header");
    header.extend(size.to_le_bytes());
    header.extend(fields);
    let [low, high, ..] = crc32(&header).to_le_bytes();
    archive.extend([low, high]);
    archive.extend(header);
}

/// The CRC of zip and PNG, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = 0_u32.wrapping_sub(crc & 1);
            crc = (crc >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        // The end block of every archive of this format.
        let archive = rar([]);
        assert!(archive.ends_with(b"\xc4\x3d\x7b\x00\x40\x07\x00"));
    }
}
