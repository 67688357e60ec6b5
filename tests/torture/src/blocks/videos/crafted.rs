//! Videos made by hand, one for each way in which a file lies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ffmpeg_next::format::Pixel;

use super::films::{self, Film, film};

/// How a crafted video is made, from the folder of films.
pub(crate) enum Craft {
    /// Its bytes.
    Bytes(fn(&Path) -> Result<Vec<u8>>),
    /// Its path, in the folder of the case.
    Path(fn(&Path, &Path) -> Result<PathBuf>),
    /// Its bytes, which change while it is decoded.
    Changing(fn(&Path) -> Result<Vec<u8>>),
}

/// The end that is right.
pub(crate) enum Expect {
    Frames(usize),
    Refused,
    /// Exact frames or an error.
    Either,
}

use Craft::{Bytes, Changing, Path as Place};
use Expect::{Either, Frames, Refused};

/// A film of another size and layout than the others.
pub(crate) const BESIDE: Film = Film {
    width: 96,
    height: 80,
    options: &[("preset", "ultrafast"), ("g", "5")],
    ..film("beside.h264", "libx264", Pixel::YUV444P)
};

/// All of them.
pub(crate) const CRAFTED: &[(&str, Craft, Expect)] = &[
    // Frame counts that lie.
    ("avi claims 0", Bytes(|from| claims(from, 0)), Frames(12)),
    ("avi claims 7", Bytes(|from| claims(from, 7)), Frames(12)),
    (
        "avi claims 48,000",
        Bytes(|from| claims(from, 48_000)),
        Frames(12),
    ),
    (
        "avi claims 2^32 - 1",
        Bytes(|from| claims(from, u32::MAX)),
        Frames(12),
    ),
    (
        "mp4 claims 0",
        Bytes(|from| set(from, "mpeg4.mp4", b"stsz", 12, 0)),
        Either,
    ),
    (
        "mp4 claims 5",
        Bytes(|from| set(from, "mpeg4.mp4", b"stsz", 12, 5)),
        Either,
    ),
    (
        "mp4 claims 2^31",
        Bytes(|from| set(from, "mpeg4.mp4", b"stsz", 12, 1 << 31)),
        Either,
    ),
    (
        "mp4 claims 2^32 - 1",
        Bytes(|from| set(from, "mpeg4.mp4", b"stsz", 12, u32::MAX)),
        Either,
    ),
    (
        "mp4 of runs of 2^32 - 1",
        Bytes(|from| set(from, "mpeg4.mp4", b"stts", 12, u32::MAX)),
        Either,
    ),
    (
        "mp4 of frames of 2^31 ticks",
        Bytes(|from| set(from, "mpeg4.mp4", b"stts", 16, 1 << 31)),
        Either,
    ),
    (
        "mp4 of samples of 2^31 bytes",
        Bytes(|from| set(from, "mpeg4.mp4", b"stsz", 8, 1 << 31)),
        Either,
    ),
    (
        "mp4 of a time scale of 0",
        Bytes(|from| set(from, "mpeg4.mp4", b"mdhd", 16, 0)),
        Either,
    ),
    // No timestamps.
    (
        "h264 without times",
        Bytes(|from| read(from, "raw.h264")),
        Frames(12),
    ),
    (
        "hevc without times",
        Bytes(|from| read(from, "raw.hevc")),
        Frames(12),
    ),
    (
        "mpeg4 without times",
        Bytes(|from| read(from, "raw.m4v")),
        Frames(12),
    ),
    (
        "mjpeg without times",
        Bytes(|from| read(from, "raw.mjpeg")),
        Frames(12),
    ),
    // No frames.
    (
        "avi without packets",
        Bytes(|from| until(from, "a.avi", b"movi", 4)),
        Refused,
    ),
    (
        "mp4 without an index",
        Bytes(|from| until(from, "mpeg4.mp4", b"moov", 0)),
        Refused,
    ),
    (
        "mkv without a cluster",
        Bytes(|from| until(from, "h264.mkv", b"\x1f\x43\xb6\x75", 0)),
        Refused,
    ),
    (
        "ts without pictures",
        Bytes(|from| Ok(read(from, "mpeg2.ts")?[..564].to_vec())),
        Refused,
    ),
    (
        "flv header alone",
        Bytes(|from| Ok(read(from, "flash.flv")?[..13].to_vec())),
        Refused,
    ),
    ("an empty file", Bytes(|_| Ok(Vec::new())), Refused),
    // Sound alone.
    ("sound in ts", Bytes(|from| read(from, "sound.ts")), Refused),
    (
        "sound in mkv",
        Bytes(|from| read(from, "sound.mkv")),
        Refused,
    ),
    (
        "sound in avi",
        Bytes(|from| read(from, "sound.avi")),
        Refused,
    ),
    // A thousand streams.
    (
        "1,000 streams in nut",
        Bytes(|from| streams(from, "many.nut", 1000)),
        Refused,
    ),
    (
        "1,000 streams in mkv",
        Bytes(|from| streams(from, "many.mkv", 1000)),
        Refused,
    ),
    (
        "1,000 streams in mp4",
        Bytes(|from| streams(from, "many.mp4", 1000)),
        Refused,
    ),
    (
        "60 streams in mkv",
        Bytes(|from| streams(from, "some.mkv", 60)),
        Frames(12),
    ),
    // Edit lists.
    (
        "an edit list that starts late",
        Bytes(|from| edit(from, 16, 3 * 512)),
        Either,
    ),
    (
        "an edit list that starts at 2^31",
        Bytes(|from| edit(from, 16, 1 << 31)),
        Either,
    ),
    (
        "an edit list that starts at -1",
        Bytes(|from| edit(from, 16, u32::MAX)),
        Either,
    ),
    (
        "an edit list of no time",
        Bytes(|from| edit(from, 12, 0)),
        Either,
    ),
    (
        "an edit list of 2^32 - 1",
        Bytes(|from| edit(from, 12, u32::MAX)),
        Either,
    ),
    (
        "an edit list of 2^31 edits",
        Bytes(|from| edit(from, 8, 1 << 31)),
        Either,
    ),
    (
        "an edit list at no speed",
        Bytes(|from| edit(from, 20, 0)),
        Either,
    ),
    // Size and layout of pixels change.
    (
        "another size in h264",
        Bytes(|from| joined(from, "raw.h264", "beside.h264")),
        Frames(24),
    ),
    (
        "another size before h264",
        Bytes(|from| joined(from, "beside.h264", "raw.h264")),
        Frames(24),
    ),
    (
        "another codec in ts",
        Bytes(|from| joined(from, "mpeg2.ts", "h264.ts")),
        Either,
    ),
    (
        "mpeg-1 before mpeg-2",
        Bytes(|from| joined(from, "mpeg1.mpg", "mpeg2.mpg")),
        Either,
    ),
    (
        "the same mkv twice",
        Bytes(|from| joined(from, "h264.mkv", "h264.mkv")),
        Either,
    ),
    (
        "the same mp4 twice",
        Bytes(|from| joined(from, "h264.mp4", "h264.mp4")),
        Frames(12),
    ),
    // Rotation.
    (
        "turned by 90",
        Bytes(|from| turn(from, [0, 1 << 16, -1 << 16, 0])),
        Frames(12),
    ),
    (
        "turned by 180",
        Bytes(|from| turn(from, [-1 << 16, 0, 0, -1 << 16])),
        Frames(12),
    ),
    (
        "turned by 270",
        Bytes(|from| turn(from, [0, -1 << 16, 1 << 16, 0])),
        Frames(12),
    ),
    (
        "mirrored",
        Bytes(|from| turn(from, [-1 << 16, 0, 0, 1 << 16])),
        Frames(12),
    ),
    (
        "a matrix of zeros",
        Bytes(|from| turn(from, [0; 4])),
        Frames(12),
    ),
    (
        "a matrix of 2^31",
        Bytes(|from| turn(from, [i32::MIN; 4])),
        Frames(12),
    ),
    // Variable rates.
    (
        "variable rate in mkv",
        Bytes(|from| read(from, "variable.mkv")),
        Frames(12),
    ),
    (
        "variable rate in mp4",
        Bytes(|from| uneven(from, "uneven.mp4")),
        Frames(12),
    ),
    (
        "variable rate in nut",
        Bytes(|from| uneven(from, "uneven.nut")),
        Frames(12),
    ),
    // Bombs.
    (
        "8192 x 8192 in h264",
        Bytes(|from| bomb(from, "bomb.mp4", "libx264", Pixel::YUV420P)),
        Refused,
    ),
    (
        "8192 x 8192 in ts",
        Bytes(|from| bomb(from, "bomb.ts", "libx264", Pixel::YUV420P)),
        Refused,
    ),
    (
        "8192 x 8192 in png",
        Bytes(|from| bomb(from, "bomb.apng", "apng", Pixel::GRAY8)),
        Refused,
    ),
    (
        "y4m of 100,000 x 100,000",
        Bytes(|_| Ok(b"YUV4MPEG2 W100000 H100000 F25:1\nFRAME\n".to_vec())),
        Refused,
    ),
    ("gif of 65,535 x 65,535", Bytes(gif), Refused),
    (
        "avi of 2^31 x 2^31",
        Bytes(|from| avi_size(from, 1 << 31)),
        Either,
    ),
    (
        "avi of 65,535 x 65,535",
        Bytes(|from| avi_size(from, 65_535)),
        Either,
    ),
    // Other files renamed.
    ("HLS", Bytes(|from| Ok(hls(from))), Refused),
    (
        "HLS in AVI",
        Bytes(|from| Ok([&read(from, "a.avi")?[..64], &hls(from)].concat())),
        Refused,
    ),
    (
        "ffconcat",
        Bytes(|from| text(&format!("ffconcat version 1.0\nfile '{}'\n", secret(from)))),
        Refused,
    ),
    (
        "SDP",
        Bytes(|_| {
            text(
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
            )
        }),
        Refused,
    ),
    (
        "SVG",
        Bytes(|from| {
            text(&format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"{}\"/></svg>",
                secret(from)
            ))
        }),
        Refused,
    ),
    (
        "DASH",
        Bytes(|_| {
            text(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"></MPD>",
            )
        }),
        Refused,
    ),
    (
        "ZIP",
        Bytes(|_| {
            Ok(
                b"PK\x03\x04\x14\0\0\0\0\0\0\0!\0\0\0\0\0\x05\0\0\0\x05\0\0\0\x05\0\0\0a.txthello"
                    .to_vec(),
            )
        }),
        Refused,
    ),
    (
        "HTML",
        Bytes(|_| text("<!DOCTYPE html><html><body>404</body></html>")),
        Refused,
    ),
    (
        "subtitles",
        Bytes(|_| text(&"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n".repeat(9))),
        Refused,
    ),
    (
        "ELF",
        Bytes(|_| Ok(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0".to_vec())),
        Refused,
    ),
    (
        "PNG",
        Bytes(|_| {
            Ok(
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde"
                    .to_vec(),
            )
        }),
        Refused,
    ),
    ("zeros", Bytes(|_| Ok(vec![0; 100_000])), Refused),
    ("ones", Bytes(|_| Ok(vec![0xff; 100_000])), Refused),
    // Pictures in another file.
    (
        "a data reference outside",
        Bytes(|from| set(from, "prores.mov", b"dref", 20, 0)),
        Either,
    ),
    ("a data reference by alias", Bytes(reference), Either),
    // Names.
    (
        "a name in UTF-8",
        Place(|from, to| named(from, to, "\u{fc}n\u{ef} \u{89c6}\u{9891}.avi".as_bytes())),
        Frames(12),
    ),
    (
        "a name of two lines",
        Place(|from, to| named(from, to, b"two\nlines.avi")),
        Frames(12),
    ),
    (
        "a name that is not UTF-8",
        Place(|from, to| named(from, to, b"not\xff\xfeutf8.avi")),
        Frames(12),
    ),
    (
        "a name like an option",
        Place(|from, to| named(from, to, b"-i")),
        Frames(12),
    ),
    (
        "a name like a pattern",
        Place(|from, to| named(from, to, b"%03d*.jpg")),
        Frames(12),
    ),
    (
        "a name like a protocol",
        Place(|from, to| named(from, to, b"concat:a|b")),
        Frames(12),
    ),
    (
        "a name of an escape",
        Place(|from, to| named(from, to, b"\x1b[2J.avi")),
        Frames(12),
    ),
    (
        "a name of 255 bytes",
        Place(|from, to| named(from, to, &[b'x'; 255])),
        Frames(12),
    ),
    (
        "an escape in the name of nothing",
        Place(|_, to| Ok(to.join("\u{1b}[2J\n.avi"))),
        Refused,
    ),
    // Not files.
    ("a FIFO", Place(|_, to| fifo(to)), Refused),
    ("/dev/zero", Place(|_, _| Ok("/dev/zero".into())), Refused),
    ("/dev/null", Place(|_, _| Ok("/dev/null".into())), Refused),
    (
        "/proc/self/mem",
        Place(|_, _| Ok("/proc/self/mem".into())),
        Refused,
    ),
    ("a folder", Place(|_, to| Ok(to.into())), Refused),
    ("nothing", Place(|_, to| Ok(to.join("none.avi"))), Refused),
    (
        "a link to a video",
        Place(|from, to| linked(&from.join("a.avi"), to)),
        Frames(12),
    ),
    (
        "a link to /dev/zero",
        Place(|_, to| linked(Path::new("/dev/zero"), to)),
        Refused,
    ),
    (
        "a link to nothing",
        Place(|_, to| linked(Path::new("nowhere"), to)),
        Refused,
    ),
    (
        "a link to itself",
        Place(|_, to| linked(Path::new("link.avi"), to)),
        Refused,
    ),
    // Files that change while they are read.
    (
        "a growing ts",
        Changing(|from| Ok(read(from, "mpeg2.ts")?.repeat(40))),
        Either,
    ),
    (
        "a growing avi",
        Changing(|from| read(from, "jpeg.avi")),
        Either,
    ),
    (
        "a growing mkv",
        Changing(|from| read(from, "h264.mkv")),
        Either,
    ),
];

/// Appends to a file, then cuts it, then replaces it.
pub(crate) fn change(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let open = || fs::OpenOptions::new().append(true).open(path);
    for part in bytes.chunks(bytes.len() / 8 + 1) {
        std::thread::sleep(Duration::from_millis(2));
        let _ = open().and_then(|mut file| file.write_all(part));
    }
    let _ = open().and_then(|file| file.set_len(bytes.len() as u64 / 2));
    std::thread::sleep(Duration::from_millis(2));
    let _ = fs::write(path, bytes);
}

fn read(from: &Path, name: &str) -> Result<Vec<u8>> {
    fs::read(from.join(name)).with_context(|| name.to_owned())
}

fn text(text: &str) -> Result<Vec<u8>> {
    Ok(text.into())
}

fn find(bytes: &[u8], pattern: &[u8]) -> Result<usize> {
    let mut windows = bytes.windows(pattern.len());
    let found = windows.position(|window| window == pattern);
    found.with_context(|| format!("no {}", pattern.escape_ascii()))
}

/// The film with a big-endian number at `offset` after the name of a box.
fn set(from: &Path, name: &str, field: &[u8], offset: usize, value: u32) -> Result<Vec<u8>> {
    let mut bytes = read(from, name)?;
    let at = find(&bytes, field)? + offset;
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    Ok(bytes)
}

/// The AVI with this number of frames in both of its headers.
fn claims(from: &Path, count: u32) -> Result<Vec<u8>> {
    let mut bytes = read(from, "a.avi")?;
    for at in [
        find(&bytes, b"avih")? + 8 + 16,
        find(&bytes, b"strh")? + 8 + 32,
    ] {
        bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
    }
    Ok(bytes)
}

/// The AVI with pictures of this width and height.
fn avi_size(from: &Path, side: u32) -> Result<Vec<u8>> {
    let mut bytes = read(from, "raw.avi")?;
    let main = find(&bytes, b"avih")? + 8 + 32;
    let stream = find(&bytes, b"strf")? + 8 + 4;
    for at in [main, main + 4, stream, stream + 4] {
        bytes[at..at + 4].copy_from_slice(&side.to_le_bytes());
    }
    Ok(bytes)
}

/// The film as far as `after` bytes behind `pattern`.
fn until(from: &Path, name: &str, pattern: &[u8], after: usize) -> Result<Vec<u8>> {
    let mut bytes = read(from, name)?;
    bytes.truncate(find(&bytes, pattern)? + after);
    Ok(bytes)
}

fn joined(from: &Path, first: &str, second: &str) -> Result<Vec<u8>> {
    Ok([read(from, first)?, read(from, second)?].concat())
}

/// The MP4, whose list of edits has one entry, with another number in it.
fn edit(from: &Path, offset: usize, value: u32) -> Result<Vec<u8>> {
    set(from, "h264.mp4", b"elst", offset, value)
}

/// The MP4 with another matrix.
fn turn(from: &Path, matrix: [i32; 4]) -> Result<Vec<u8>> {
    let mut bytes = read(from, "h264.mp4")?;
    let at = find(&bytes, b"tkhd")? + 4 + 40;
    for (place, value) in [0, 1, 3, 4].into_iter().zip(matrix) {
        bytes[at + 4 * place..][..4].copy_from_slice(&value.to_be_bytes());
    }
    Ok(bytes)
}

/// The film with its data reference turned into one to another file.
fn reference(from: &Path) -> Result<Vec<u8>> {
    let mut bytes = set(from, "prores.mov", b"dref", 20, 0)?;
    let at = find(&bytes, b"dref")? + 16;
    bytes[at..at + 4].copy_from_slice(b"alis");
    Ok(bytes)
}

/// Makes a film in a folder of its own.
fn made(from: &Path, film: &Film, streams: usize) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir_in(from)?;
    if !films::make(folder.path(), film, streams)? {
        bail!("no encoder {}", film.encoder);
    }
    read(folder.path(), film.name)
}

fn streams(from: &Path, name: &'static str, count: usize) -> Result<Vec<u8>> {
    made(from, &film(name, "mpeg4", Pixel::YUV420P), count)
}

fn uneven(from: &Path, name: &'static str) -> Result<Vec<u8>> {
    const TIMES: &[i64] = &[0, 1, 5, 6, 7, 40, 41, 42, 43, 90, 91, 95];
    let film = film(name, "mpeg4", Pixel::YUV420P);
    made(
        from,
        &Film {
            times: TIMES,
            ..film
        },
        1,
    )
}

/// One picture of 67 million pixels in a few kilobytes.
fn bomb(from: &Path, name: &'static str, encoder: &'static str, format: Pixel) -> Result<Vec<u8>> {
    let options: &[(&str, &str)] = match encoder {
        "libx264" => &[("preset", "ultrafast")],
        _ => &[],
    };
    let film = Film {
        width: 8192,
        height: 8192,
        times: &[0],
        options,
        ..film(name, encoder, format)
    };
    made(from, &film, 1)
}

fn gif(from: &Path) -> Result<Vec<u8>> {
    let mut bytes = read(from, "colours.gif")?;
    bytes[6..10].fill(0xff);
    Ok(bytes)
}

/// A file with a line that must not be read.
fn secret(from: &Path) -> String {
    from.join("raw.h264").display().to_string()
}

fn hls(from: &Path) -> Vec<u8> {
    let secret = secret(from);
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n")
        .into()
}

fn named(from: &Path, to: &Path, name: &[u8]) -> Result<PathBuf> {
    let path = to.join(OsStr::from_bytes(name));
    fs::copy(from.join("a.avi"), &path)?;
    Ok(path)
}

fn linked(target: &Path, to: &Path) -> Result<PathBuf> {
    let path = to.join("link.avi");
    symlink(target, &path)?;
    Ok(path)
}

fn fifo(to: &Path) -> Result<PathBuf> {
    let path = to.join("pipe.avi");
    match Command::new("mkfifo").arg(&path).status()?.success() {
        true => Ok(path),
        false => bail!("no mkfifo"),
    }
}
