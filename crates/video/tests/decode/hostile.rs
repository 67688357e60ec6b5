//! Files that mean harm, or have come to some: each gives a clear error or its exact
//! frames, soon.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use rayon::prelude::*;
use video::{
    Error::{self, *},
    FrameCount, Limits, Video,
};

use crate::made::{Made, make};
use crate::support::{file, find, print, run_ffmpeg, sequential};

/// No file may take longer; on a busy machine a sound one takes a hundredth.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the frames, and checks some of them against the sequential decode.
fn outcome_within(path: &Path, limits: &Limits) -> Result<FrameCount, Error> {
    let (sender, receiver) = mpsc::channel();
    let (owned, limits) = (path.to_path_buf(), limits.clone());
    thread::spawn(move || {
        let outcome = (|| {
            let mut video = Video::open(&owned, &limits)?;
            let count = video.count_frames()?;
            let expected = sequential(&owned)?;
            assert_eq!(expected.len(), count.frames, "{owned:?}");
            let indices = [count.frames - 1, 0, count.frames / 2];
            for (frame, index) in video.frames(&indices)?.iter().zip(indices) {
                assert_eq!(print(frame), expected[index], "{owned:?}");
            }
            Ok(count)
        })();
        sender.send(outcome).unwrap();
    });
    receiver
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn outcome(path: &Path) -> Result<FrameCount, Error> {
    outcome_within(path, &Limits::default())
}

macro_rules! assert_error {
    ($outcome:expr, $error:pat) => {
        match $outcome {
            Err(error) => {
                assert!(matches!(&error, $error), "{error:?}");
                assert!(!error.to_string().contains(['\n', '\0']), "{error}");
            }
            Ok(_) => panic!("no error, but expected {}", stringify!($error)),
        }
    };
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_error!(outcome(&folder.join("none.avi")), Missing { .. });
    assert_error!(outcome(&folder.join("none/none.avi")), Missing { .. });
    assert_error!(outcome(folder), Folder { .. });
    let empty = file(folder, "empty.mp4", b"");
    assert_error!(outcome(&empty), Empty { .. });
    assert_error!(outcome(&empty.join("inside.mp4")), Missing { .. });
    symlink("nowhere.avi", folder.join("dangling.avi")).unwrap();
    assert_error!(outcome(&folder.join("dangling.avi")), Missing { .. });
    symlink("loop.avi", folder.join("loop.avi")).unwrap();
    assert_error!(outcome(&folder.join("loop.avi")), Io { .. });
    for device in ["/dev/zero", "/dev/null"] {
        assert_error!(outcome(Path::new(device)), NotAFile { .. });
    }
    symlink("/dev/zero", folder.join("zero.avi")).unwrap();
    assert_error!(outcome(&folder.join("zero.avi")), NotAFile { .. });
    let pipe = folder.join("pipe.avi");
    if Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .is_ok_and(|status| status.success())
    {
        assert_error!(outcome(&pipe), NotAFile { .. });
    }
    assert_error!(outcome(&folder.join("x".repeat(5000))), Io { .. });
    // Addresses are names of files that are not there.
    for name in [
        "http://127.0.0.1:9/a.mp4",
        "concat:/dev/zero|/dev/zero",
        "pipe:0",
        "-",
        "data:,",
    ] {
        assert_error!(outcome(Path::new(name)), Missing { .. });
    }
    assert_error!(outcome(Path::new("")), Missing { .. });
    assert_error!(outcome(Path::new("nul\0byte")), Io { .. });
    let closed = file(folder, "closed.avi", b"RIFF");
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if fs::File::open(&closed).is_err() {
        assert_error!(outcome(&closed), Forbidden { .. });
    }
}

#[test]
fn disguises_are_seen_through() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let secret = file(folder, "secret.txt", b"secret");
    let secret = secret.to_str().unwrap();
    let playlist =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n");
    let script = format!("ffconcat version 1.0\nfile '{secret}'\n");
    let svg = format!(
        "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" \
         height=\"9\"><image href=\"{secret}\"/></svg>\n"
    );
    let session = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let subtitles = "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n".repeat(9);
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde";
    let manifest = "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
                    profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"></MPD>";
    let refused: [(&str, &[u8]); 6] = [
        ("playlist.mp4", playlist.as_bytes()),
        ("script.avi", script.as_bytes()),
        ("session.mp4", session.as_bytes()),
        ("picture.avi", png),
        ("subtitles.mkv", subtitles.as_bytes()),
        ("svg.mp4", svg.as_bytes()),
    ];
    for (name, bytes) in refused {
        // A small FFmpeg does not know their formats.
        assert_error!(
            outcome(&file(folder, name, bytes)),
            Refused { .. } | NotAVideo { .. }
        );
    }
    let zip = b"PK\x03\x04\x14\0\0\0\0\0\0\0!\0\0\0\0\0\x05\0\0\0\x05\0\0\0\x05\0\0\0a.txthello";
    let mut random = Random(1);
    let noise: Vec<_> = (0..100_000).map(|_| random.next() as u8).collect();
    let neither: [(&str, &[u8]); 9] = [
        ("manifest.mp4", manifest.as_bytes()),
        ("zip.mp4", zip),
        (
            "text.mp4",
            b"Not a video at all, just some words in a file.\n",
        ),
        (
            "page.mp4",
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        ),
        (
            "program.avi",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0",
        ),
        ("zeros.mkv", &[0; 100_000]),
        ("ones.mkv", &[255; 100_000]),
        ("noise.avi", &noise),
        ("byte.avi", b"R"),
    ];
    for (name, bytes) in neither {
        match outcome(&file(folder, name, bytes)) {
            Err(Error::NotAVideo { .. } | Error::Refused { .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    // The first bytes of a container, and nothing else.
    let header = b"RIFF\x10\0\0\0AVI LIST\x04\0\0\0hdrl";
    assert_error!(
        outcome(&file(folder, "bare.avi", header)),
        Header { .. } | NoVideo { .. }
    );
    let header = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2";
    assert_error!(outcome(&file(folder, "bare.mp4", header)), Header { .. });
    let header = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska";
    assert_error!(
        outcome(&file(folder, "bare.mkv", header)),
        Header { .. } | NotAVideo { .. }
    );
}

/// Small sound files of three containers.
fn sound(folder: &Path) -> Vec<PathBuf> {
    let file = |name, encoder, options| {
        let (width, height, frames) = (64, 48, 25);
        let made = Made {
            name,
            encoder,
            width,
            height,
            frames,
            options,
        };
        make(folder, &made).unwrap().then(|| folder.join(name))
    };
    let h264 = |name| {
        let found = file(name, "libx264", &[("preset", "veryfast"), ("g", "10")]);
        found.or_else(|| file(name, "mpeg4", &[("g", "10")]))
    };
    let avi = file("sound.avi", "mpeg4", &[("bf", "2")]);
    let files = [avi, h264("sound.mp4"), h264("sound.mkv")];
    files.map(Option::unwrap).into()
}

#[test]
fn tags_need_not_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let mkv = sound(folder.path()).pop().unwrap();
    let mut bytes = fs::read(mkv).unwrap();
    let tag = find(&bytes, b"DURATION");
    let value = tag + find(&bytes[tag..], b"00:00:");
    bytes[value..value + 18].fill(0xff);
    let path = file(folder.path(), "tag.mkv", &bytes);
    assert_eq!(outcome(&path).unwrap().frames, 25);
}

#[test]
fn odd_names_are_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let files = sound(folder);
    let bytes = fs::read(&files[0]).unwrap();
    let names: [&[u8]; 14] = [
        b"-i.avi",
        b"-",
        b"a #1 & (b)! + c;$d.avi",
        b"two\nlines.avi",
        b"%d.avi",
        b"%03d*.avi?",
        b"not\xff\xfeutf8.avi",
        "\u{fc}n\u{ef} \u{89c6}\u{9891}.avi".as_bytes(),
        b"file:x.avi",
        b"pipe:0",
        b"concat:a|b",
        b"subfile,,start,0,end,9,,:x.avi",
        b"'\"`\\.m3u8",
        b"no ending",
    ];
    for name in names {
        let path = folder.join(OsStr::from_bytes(name));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(outcome(&path).unwrap().frames, 25, "{path:?}");
    }
    symlink("sound.avi", folder.join("link.mp4")).unwrap();
    assert_eq!(outcome(&folder.join("link.mp4")).unwrap().frames, 25);
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let files = sound(folder);
    let default = Limits::default;
    for path in &files {
        let low = Limits {
            max_pixels: 64 * 48 - 1,
            ..default()
        };
        let refused = outcome_within(path, &low);
        assert_error!(
            refused,
            TooManyPixels {
                width: 64,
                height: 48,
                max: 3071,
                ..
            }
        );
        let low = Limits {
            max_packets: 10,
            ..default()
        };
        assert_error!(
            outcome_within(path, &low),
            TooMany {
                limit: "max_packets",
                max: 10,
                needed: Some(25),
                ..
            }
        );
        let low = Limits {
            max_total_pixels: 64 * 48 * 24,
            ..default()
        };
        assert_error!(
            outcome_within(path, &low),
            TooMany {
                limit: "max_total_pixels",
                ..
            }
        );
        let low = Limits {
            max_memory: 64 * 48 * 30,
            ..default()
        };
        let refused = Video::open(path, &low).and_then(|mut video| video.frames(&[3; 20]));
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
        let exact = Limits {
            max_pixels: 64 * 48,
            max_packets: 25,
            max_total_pixels: 64 * 48 * 25,
            ..default()
        };
        assert_eq!(outcome_within(path, &exact).unwrap().frames, 25);
    }
    // What one call returns: three frames, of which each is 9,216 bytes.
    let some = Limits {
        max_memory: 20 << 20,
        ..default()
    };
    let mut video = Video::open(&files[0], &some).unwrap();
    assert_eq!(video.frames(&[3; 2000]).unwrap().len(), 2000);
    let error = video.frames(&[3; 3000]).unwrap_err();
    assert_eq!(
        error.limit(),
        Some(("max_memory", Some((3000 * 9216).to_string())))
    );
    let low = Limits {
        max_streams: 0,
        ..default()
    };
    assert_error!(
        outcome_within(&files[0], &low),
        TooMany {
            limit: "max_streams",
            max: 0,
            ..
        }
    );
}

mod needs_ffmpeg {
    use super::*;

    #[test]
    #[ignore = "needs the program ffmpeg"]
    fn bombs_many_streams_and_sound_alone_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        sound(folder);
        // A picture of 67 million pixels in a few kilobytes.
        for name in ["bomb.mp4", "bomb.ts"] {
            let bomb = "-f lavfi -i color=size=8192x8192:duration=0.04:rate=25 -c:v libx264 \
                        -preset ultrafast";
            let bomb = bomb.split_whitespace().collect::<Vec<_>>().join(" ");
            if run_ffmpeg(folder, &format!("{bomb} {name}")) {
                let refused = outcome(&folder.join(name));
                assert_error!(
                    refused,
                    TooManyPixels {
                        width: 8192,
                        height: 8192,
                        ..
                    }
                );
            }
        }
        // Seventy streams.
        let maps = " -map 0:v".repeat(70);
        if run_ffmpeg(folder, &format!("-i sound.mp4{maps} -c copy many.mkv")) {
            assert_error!(
                outcome(&folder.join("many.mkv")),
                TooMany {
                    limit: "max_streams",
                    ..
                }
            );
        }
        // Sound, with and without a cover.
        let sine = "-f lavfi -i sine=duration=0.2";
        assert!(run_ffmpeg(folder, &format!("{sine} -c:a aac audio.mp4")));
        assert_error!(outcome(&folder.join("audio.mp4")), AudioOnly { .. });
        let cover = "-map 0:a -map 1:v -frames:v 1 -c:v mjpeg -disposition:v attached_pic";
        if run_ffmpeg(
            folder,
            &format!("{sine} -i sound.avi -c:a aac {cover} cover.mp4"),
        ) {
            assert_error!(outcome(&folder.join("cover.mp4")), AudioOnly { .. });
        }
    }
}

#[test]
fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let files = sound(folder);
    // The index of an MP4 is behind its pictures.
    let bytes = fs::read(&files[1]).unwrap();
    let cut = file(folder, "cut.mp4", &bytes[..find(&bytes, b"moov") - 4]);
    assert_error!(outcome(&cut), Header { .. });
    // A sound header, and nothing after it.
    let mut bytes = fs::read(&files[0]).unwrap();
    let movie = find(&bytes, b"movi") + 4;
    let cut = file(folder, "cut.avi", &bytes[..movie]);
    assert_error!(
        outcome(&cut),
        NothingDecodes { packets: 0, .. } | Header { .. }
    );
    let nothing = Video::open(&cut, &Limits::default()).and_then(|mut video| {
        video.sample(|count| {
            assert!(count > 0, "never asked to choose from nothing");
            vec![0]
        })
    });
    assert!(nothing.is_err());
    // A codec that nobody knows.
    let mut unknown = bytes.clone();
    while let Some(at) = unknown
        .windows(4)
        .position(|four| four.eq_ignore_ascii_case(b"FMP4"))
    {
        unknown[at..at + 4].copy_from_slice(b"ZZZZ");
    }
    assert_error!(
        outcome(&file(folder, "unknown.avi", &unknown)),
        NoDecoder { .. }
    );
    // Every packet but its header is gone.
    let end = find(&bytes, b"idx1");
    let mut at = movie;
    let mut packets = Vec::new();
    while at + 8 < end {
        let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        packets.push(at + 8..at + 8 + size);
        at += 8 + size.next_multiple_of(2);
    }
    assert_eq!(packets.len(), 25);
    let whole = bytes.clone();
    packets
        .iter()
        .for_each(|packet| bytes[packet.clone()].fill(0xff));
    let gone = file(folder, "gone.avi", &bytes);
    assert_error!(
        outcome(&gone),
        NothingDecodes { .. } | Decoder { .. } | Header { .. }
    );
    // Two of five packets are gone.
    let mut bytes = whole;
    for packet in packets
        .iter()
        .skip(3)
        .step_by(5)
        .chain(packets.iter().skip(4).step_by(5))
    {
        bytes[packet.clone()].fill(0xff);
    }
    let damaged = file(folder, "damaged.avi", &bytes);
    assert_error!(outcome(&damaged), Damaged { packets: 25, .. });
    let lenient = Limits {
        max_damaged: 1.0,
        ..Limits::default()
    };
    let mut video = Video::open(&damaged, &lenient).unwrap();
    let count = video.count_frames().unwrap();
    assert!(
        count.corrupt_packets + count.damaged_frames > 5 && count.frames > 5,
        "{count:?}"
    );
    assert_eq!(video.frames(&[count.frames - 1]).unwrap().len(), 1);
}

#[test]
fn mutants_end_soon_and_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let files = sound(folder);
    let mut random = Random(2);
    let mut mutants = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let whole = fs::read(path).unwrap();
        let mut add = |kind: &str, bytes: &[u8]| {
            mutants.push(file(
                folder,
                &format!("{}_{kind}_{name}", mutants.len()),
                bytes,
            ));
        };
        for _ in 0..30 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(20) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            add("flip", &bytes);
        }
        for part in 1..15 {
            add("cut", &whole[..whole.len() * part / 15]);
        }
        for part in 0..10 {
            let mut bytes = whole.clone();
            let start = whole.len() * part / 10;
            let end = (start + 200).min(bytes.len());
            bytes[start..end].fill(0);
            add("zero", &bytes);
        }
        let fields: [&[u8]; 18] = [
            b"moov",
            b"trak",
            b"stsz",
            b"stco",
            b"stts",
            b"ctts",
            b"stsc",
            b"stsd",
            b"avcC",
            b"elst",
            b"RIFF",
            b"hdrl",
            b"strh",
            b"strf",
            b"movi",
            b"idx1",
            b"\x16\x54\xae\x6b",
            b"\x1f\x43\xb6\x75",
        ];
        for field in fields {
            let Some(at) = whole.windows(4).position(|four| four == field) else {
                continue;
            };
            for value in [0, u32::MAX, 1 << 31, 0x7fff_ffff] {
                for place in [at.saturating_sub(4), at + 4, at + 8, at + 12] {
                    let mut bytes = whole.clone();
                    let Some(slot) = bytes.get_mut(place..place + 4) else {
                        continue;
                    };
                    slot.copy_from_slice(&value.to_be_bytes());
                    add("field", &bytes);
                }
            }
        }
    }
    let sound = mutants
        .par_iter()
        .filter(|path| outcome(path).is_ok())
        .count();
    eprintln!(
        "{} mutants: {sound} give frames, the rest clear errors",
        mutants.len()
    );
    assert!(mutants.len() > 300 && sound > 50);
}
