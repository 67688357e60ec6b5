//! Whether a file is a video: by its first bytes, not by its name.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// File extensions, lower case, of containers that hold pictures themselves. A file that has one
/// claims to be a video, whatever it holds: it is a clip, if perhaps a broken one.
const VIDEO_EXTENSIONS: &[&str] = &[
    "264", "265", "3g2", "3gp", "amv", "apng", "asf", "avi", "divx", "dv", "f4v", "flv", "gif",
    "h264", "h265", "hevc", "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mkv", "mod",
    "mov", "mp4", "mpe", "mpeg", "mpg", "mpv", "mts", "mxf", "nut", "obu", "ogm", "ogv", "qt",
    "rm", "rmvb", "tod", "ts", "vob", "webm", "wmv", "y4m",
];

/// Bytes read of a file whose name claims nothing.
const HEAD: u64 = 64 << 10;

/// Whether the name ends as that of a video does.
#[must_use]
pub fn claims_video(name: &str) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    let extension = extension.to_string_lossy().to_lowercase();
    VIDEO_EXTENSIONS.contains(&extension.as_str())
}

/// The endings of copies of another file, and what they are: GoPro's previews of its films.
const COPIES: [(&str, &str); 1] = [("lrv", "camera preview")];

/// The kind of a file that is not a video; `None` for a video. A name that claims a video is
/// believed: the decoder reports the fault in its content.
pub(super) fn not_a_video(path: &Path) -> Option<&'static str> {
    if claims_video(&path.to_string_lossy()) {
        return None;
    }
    let extension = path.extension().unwrap_or_default();
    let copy = |(ending, _): &&(&str, &str)| extension.eq_ignore_ascii_case(ending);
    if let Some((_, what)) = COPIES.iter().find(copy) {
        return Some(what);
    }
    if !path.is_file() {
        return Some("not a file");
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    match read {
        Err(_) => Some("unreadable"),
        Ok(_) if is_video(&head) => None,
        Ok(_) => Some(other(&head)),
    }
}

fn is_video(head: &[u8]) -> bool {
    let starts = |signature: &[u8]| head.starts_with(signature);
    iso_media(head)
        || starts(b"\x1a\x45\xdf\xa3") // Matroska, WebM
        || (starts(b"RIFF") && [b"AVI ", b"AVIX", b"AMV "].contains(&word(head, 8)))
        || starts(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11") // ASF
        || starts(b"FLV\x01")
        || starts(b"GIF87a")
        || starts(b"GIF89a")
        || starts(b"DKIF") // IVF
        || starts(b"YUV4MPEG2 ")
        || starts(b"nut/multimedia container\0")
        || starts(b".RMF")
        || starts(b"\x12\x00\x0a") // AV1: a temporal delimiter and a sequence header
        || starts(b"\x1f\x07\x00\x3f") // DV
        || starts(b"\x1f\x07\x00\xbf")
        || animated_png(head)
        || ogg_with_pictures(head)
        || holds(head, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02") // MXF
        || start_code(head)
        || transport_stream(head)
}

/// MP4, QuickTime and their kin, but for pictures and sound in the same container.
fn iso_media(head: &[u8]) -> bool {
    let brand = word(head, 8);
    match word(head, 4) {
        b"ftyp" => ![
            b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis",
            b"crx ", b"M4A ", b"M4B ", b"M4P ", b"F4A ",
        ]
        .contains(&brand),
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" | b"styp" | b"moof" => true,
        _ => false,
    }
}

/// A PNG whose animation control comes before its pixels.
fn animated_png(head: &[u8]) -> bool {
    let Some(mut chunks) = head.strip_prefix(b"\x89PNG\r\n\x1a\n") else {
        return false;
    };
    while let Some((length, rest)) = chunks.split_first_chunk::<4>() {
        match word(rest, 0) {
            b"acTL" => return true,
            b"IDAT" => return false,
            _ => {}
        }
        let length = u32::from_be_bytes(*length) as usize;
        // Kind and checksum are eight bytes more.
        chunks = rest.get(length.saturating_add(8)..).unwrap_or_default();
    }
    false
}

fn ogg_with_pictures(head: &[u8]) -> bool {
    let codecs: [&[u8]; 4] = [b"\x80theora", b"BBCD\0", b"\x01video\0", b"OVP80"];
    head.starts_with(b"OggS") && codecs.iter().any(|codec| holds(head, codec))
}

/// MPEG-1 and -2, alone or in a program stream, MPEG-4, H.264 and H.265: a start code, and a unit
/// that a stream begins with.
fn start_code(head: &[u8]) -> bool {
    let unit = head
        .strip_prefix(b"\0\0\0\x01")
        .or_else(|| head.strip_prefix(b"\0\0\x01"));
    match unit.and_then(<[u8]>::first) {
        // Pack, sequence, MPEG-4's visual object sequence.
        Some(0xba | 0xb3 | 0xb0) => true,
        // H.264's parameters, delimiter and information; H.265's.
        Some(&unit) => {
            unit & 0x80 == 0
                && (matches!(unit & 0x1f, 6 | 7 | 9) || matches!(unit >> 1, 32 | 33 | 35 | 39))
        }
        None => false,
    }
}

/// Packets of 188 bytes, with the time before each (camcorders) or parity after it.
fn transport_stream(head: &[u8]) -> bool {
    [188, 192, 204].iter().any(|&size| {
        (0..size).any(|offset| {
            let mut packets = head.iter().skip(offset).step_by(size).take(5);
            packets.len() >= 3 && packets.all(|&byte| byte == 0x47)
        })
    })
}

/// The kind of content that is not a video.
fn other(head: &[u8]) -> &'static str {
    let starts = |signature: &[u8]| head.starts_with(signature);
    let pictures: [&[u8]; 6] = [
        b"\xff\xd8\xff",
        b"\x89PNG",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"\0\0\x01\0",
    ];
    let sounds: [&[u8]; 5] = [b"ID3", b"\xff\xfb", b"fLaC", b"OggS", b"#!AMR"];
    match head {
        [] => "empty",
        _ if pictures.iter().any(|signature| starts(signature)) => "picture",
        _ if starts(b"RIFF") && word(head, 8) == b"WEBP" => "WebP picture",
        _ if starts(b"RIFF") || sounds.iter().any(|signature| starts(signature)) => "sound",
        _ if word(head, 4) == b"ftyp" && word(head, 8).starts_with(b"M4") => "sound",
        _ if word(head, 4) == b"ftyp" => "picture",
        _ if starts(b"#EXTM3U") || starts(b"ffconcat") => "playlist",
        _ if !head.contains(&0) && std::str::from_utf8(head.get(..512).unwrap_or(head)).is_ok() => {
            "text"
        }
        _ => "unknown format",
    }
}

/// Four bytes; none where the file is shorter.
fn word(head: &[u8], at: usize) -> &[u8; 4] {
    let word = head.get(at..).and_then(<[u8]>::first_chunk);
    word.unwrap_or(b"\0\0\0\0")
}

fn holds(head: &[u8], signature: &[u8]) -> bool {
    head.windows(signature.len()).any(|part| part == signature)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// Packets of a transport stream, `before` bytes before each and `after` after it.
    fn packets(before: usize, after: usize) -> Vec<u8> {
        let packet = [vec![1; before], vec![0x47], vec![2; 187], vec![3; after]].concat();
        packet.repeat(4)
    }

    #[test]
    fn containers_of_pictures_are_videos() {
        let png = |kind: &[u8]| [b"\x89PNG\r\n\x1a\n\0\0\0\x02IHDR##sums\0\0\0\0", kind].concat();
        let heads: [&[u8]; 20] = [
            b"\0\0\0\x18ftypmp42",
            b"\0\0\0\x14ftypqt  ",
            b"\0\0\x10\0moov",
            b"\0\0\0\x08wide",
            b"\x1a\x45\xdf\xa3\x01",
            b"RIFF\0\0\0\0AVI LIST",
            b"GIF89a",
            b"DKIF\0\0",
            b"\0\0\x01\xba\x44",
            b"\0\0\x01\xb3",
            b"\0\0\0\x01\x67\x42",
            b"\0\0\0\x01\x09\xf0",
            b"\0\0\0\x01\x40\x01",
            b"OggS\0\x02....\x01...\x80theora",
            b"FLV\x01",
            &png(b"acTL"),
            &packets(0, 0),
            &packets(4, 0),
            &packets(0, 16),
            &[&[0; 9][..], &packets(0, 0)].concat(),
        ];
        for head in heads {
            assert!(is_video(head), "{:?}", head.get(..12));
        }
        let others: [(&[u8], &str); 12] = [
            (b"", "empty"),
            (&png(b"IDAT"), "picture"),
            (b"\xff\xd8\xff\xe1", "picture"),
            (b"\0\0\0\x18ftypheic", "picture"),
            (b"\0\0\0\x18ftypM4A ", "sound"),
            (b"OggS\0\x02....\x01vorbis", "sound"),
            (b"RIFF\0\0\0\0WAVE", "sound"),
            (b"RIFF\0\0\0\0WEBPVP8X", "WebP picture"),
            (b"#EXTM3U\nfilm.mp4", "playlist"),
            (b"<!DOCTYPE html>", "text"),
            (b"GGGG", "text"),
            (b"\x05\x16\x07\0", "unknown format"),
        ];
        for (head, name) in others {
            assert!(!is_video(head), "{head:?}");
            assert_eq!(other(head), name);
        }
    }

    #[test]
    fn a_name_that_claims_a_video_is_believed_whatever_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, reason) in [
            ("page.mp4", "<html>", None),
            ("A.MTS", "", None),
            ("film", "GIF89a", None),
            ("film.bin", "GIF89a", None),
            ("GL01.LRV", "\0\0\0\x18ftypmp42", Some("camera preview")),
            ("notes.txt", "GIF", Some("text")),
            ("empty", "", Some("empty")),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(not_a_video(&path), reason, "{name}");
        }
        assert_eq!(not_a_video(folder.path()), Some("not a file"));
    }
}
