//! Videos that are damaged, each in its own way.

/// A video with a part that is changed by `number`.
pub(crate) fn mutant(video: &[u8], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % end.max(1)
    };
    let mut bytes = video.to_vec();
    match number % 5 {
        0 => bytes.truncate(below(video.len()) + 1),
        1 => {
            for _ in 0..20 {
                let at = below(bytes.len());
                bytes[at] ^= 1 << below(8);
            }
        }
        2 => {
            let (from, length) = (below(bytes.len()), below(2000));
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(0);
        }
        // A length in the header.
        3 => {
            let at = below(200.min(bytes.len() - 4));
            let lengths = [0, u32::MAX, 1 << 31, 7];
            bytes[at..at + 4].copy_from_slice(&lengths[below(4)].to_le_bytes());
        }
        _ => {
            let at = below(bytes.len());
            let part = bytes[below(at + 1)..at].to_vec();
            bytes.splice(at..at, part);
        }
    }
    bytes
}
