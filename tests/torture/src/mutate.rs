//! Seeded changes of bytes: the same key gives the same change.

use crate::Random;

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Text at which readers of lists, JSON and TOML go wrong.
const WORDS: [&str; 30] = [
    "\0",
    "\n",
    "\r",
    "\r\n",
    "\u{feff}",
    "\u{2028}",
    "\u{202e}",
    "\u{301}",
    "\"",
    "'",
    ",",
    ";",
    "\t",
    " ",
    "[",
    "]",
    "{",
    "}",
    "#",
    "=",
    "\\",
    "/",
    "../",
    "-1",
    "1e999",
    "18446744073709551616",
    "NaN",
    "null",
    "\\ud800",
    "%s",
];

/// Changes `bytes` in one to four ways; `others` are inputs of the same kind to take parts from.
pub(crate) fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], text: bool, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        change(bytes, others, text, random);
    }
}

/// Half of the places are within 600 bytes of an end, where headers and indices are.
fn place(length: usize, random: &mut Random) -> usize {
    let near = length.min(600);
    match random.below(4) {
        0 => random.below(near),
        1 => length.saturating_sub(1 + random.below(near)),
        _ => random.below(length),
    }
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], text: bool, random: &mut Random) {
    let length = bytes.len();
    let at = place(length, random);
    let span = |random: &mut Random| {
        let most = 1 << random.below(11);
        at..(at + 1 + random.below(most)).min(length)
    };
    match random.below(if text { 13 } else { 10 }) {
        _ if length == 0 => bytes.extend((0..random.below(64)).map(|_| random.next_u64() as u8)),
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next_u64() as u8,
        2 => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let width = [1, 2, 4, 8][random.below(4)].min(length - at);
            let big = number.to_be_bytes();
            match random.below(2) {
                0 => bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]),
                _ => bytes[at..at + width].copy_from_slice(&big[8 - width..]),
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let value = [0, 0xff, b' '][random.below(3)];
            bytes[span(random)].fill(value);
        }
        5 => drop(bytes.drain(span(random))),
        6 => {
            let copy = bytes[span(random)].to_vec();
            let to = place(length, random);
            bytes.splice(to..to, copy);
        }
        7 => {
            let copy = bytes[span(random)].to_vec();
            let to = place(length, random);
            let end = (to + copy.len()).min(length);
            bytes.splice(to..end, copy);
        }
        8 => {
            let noise: Vec<u8> = (0..1 + random.below(32))
                .map(|_| random.next_u64() as u8)
                .collect();
            bytes.splice(at..at, noise);
        }
        // The start of one input before the rest of another.
        9 => {
            if let Some(other) = others.get(random.below(others.len())) {
                let from = place(other.len(), random).min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
        10 | 11 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at..at, word.bytes());
        }
        _ => {
            let (open, close) = [("[", "]"), ("{\"a\":", "}"), ("(", ")")][random.below(3)];
            let depth = 1 << random.below(13);
            let nested = [open.repeat(depth), close.repeat(depth)].concat();
            bytes.splice(at..at, nested.bytes());
        }
    }
    // Repeated copies stay small.
    bytes.truncate(1 << 20);
}
