//! What leads to none of the frames wanted is not decoded, and the frames are the same.

use ffmpeg_next::format::{context::StreamIo, input_from_stream};

use crate::made::{Made, make};
use crate::support::{check, open};

/// File, encoder, and its options.
type Trait = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const TRAITS: [Trait; 11] = [
    ("one_key.avi", "mpeg4", &[("g", "600")]),
    ("gop12.avi", "mpeg4", &[("g", "12")]),
    ("both_sides.avi", "mpeg4", &[("g", "12"), ("bf", "2")]),
    ("both_sides.mp4", "mpeg4", &[("g", "24"), ("bf", "3")]),
    (
        "fields.avi",
        "mpeg4",
        &[("g", "24"), ("bf", "2"), ("flags", "+ilme+ildct")],
    ),
    (
        "quarter.avi",
        "mpeg4",
        &[("g", "24"), ("bf", "2"), ("flags", "+qpel+mv4")],
    ),
    ("default.mp4", "libx264", &[]),
    (
        "closed.mp4",
        "libx264",
        &[("g", "12"), ("bf", "2"), ("flags", "+cgop")],
    ),
    (
        "open.mp4",
        "libx264",
        &[("x264-params", "open-gop=1:keyint=12:min-keyint=1:bframes=3")],
    ),
    (
        "closed.ts",
        "libx264",
        &[("g", "12"), ("bf", "2"), ("flags", "+cgop")],
    ),
    ("pictures.avi", "mjpeg", &[]),
];

#[test]
fn made_streams_are_exact_however_much_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (name, encoder, options) in TRAITS {
        let made = Made {
            name,
            encoder,
            width: 112,
            height: 80,
            frames: 60,
            options,
        };
        if !make(folder.path(), &made).unwrap() {
            eprintln!("{name}: this FFmpeg has no {encoder}");
            continue;
        }
        seen += 1;
        let path = folder.path().join(name);
        assert_eq!(check(&path, 12).frames, 60, "{name}");
        let known = open(&path).unwrap().verify().unwrap().known;
        // Of fields the MPEG-4 decoder remembers times, rounded: nothing may be left out.
        let fields = name == "fields.avi";
        assert_eq!(known, Some(60).filter(|_| !fields), "{name}");

        // Two frames, near the beginning and the end.
        let cost = |indices: &[usize]| {
            let mut video = open(&path).unwrap();
            video.frames_of(60, indices).unwrap();
            video.packets_decoded()
        };
        let (cost, most) = (cost(&[2, 55]), 57);
        let expected = match name {
            // Nothing to leave out.
            "one_key.avi" | "fields.avi" => 56..=most,
            "gop12.avi" | "closed.mp4" | "closed.ts" => 3..=30,
            "pictures.avi" => 2..=4,
            _ => 3..=most - 8,
        };
        assert!(expected.contains(&cost), "{name}: {cost} of {most}");
    }
    assert!(seen >= 7, "MPEG-4 and motion JPEG are in every FFmpeg");
}

/// FFmpeg's parsers are left out of such files: what they say must not depend on it.
#[test]
fn avi_says_what_ffmpeg_reads_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("in_order.avi", &[("g", "12")]),
        ("both_sides.avi", &[("bf", "2")]),
    ] {
        let made = Made {
            name,
            encoder: "mpeg4",
            width: 64,
            height: 48,
            frames: 40,
            options,
        };
        assert!(make(folder.path(), &made).unwrap());
        let path = folder.path().join(name);
        let bytes = StreamIo::from_read_seek(std::fs::File::open(&path).unwrap()).unwrap();
        let mut file = input_from_stream(bytes, None, None).unwrap();
        let stream = file.streams().next().unwrap();
        let (frames, rate) = (stream.frames(), stream.avg_frame_rate());
        let pictures = file.packets().count();

        let mut video = open(&path).unwrap();
        let header = video.header();
        assert_eq!(header.frames, usize::try_from(frames).ok());
        assert_eq!((header.width, header.height), (64, 48));
        assert_eq!(video.count_frames().unwrap().packets, pictures);
        let times: Vec<f64> = (0..pictures)
            .map(|frame| frame as f64 / f64::from(rate))
            .collect();
        let promised = video.promised_timing().unwrap().starts;
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(promised.len() == pictures && promised.iter().zip(&times).all(near));
    }
}

#[test]
fn a_number_that_is_not_the_streams_own_skips_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = Made {
        name: "gop12.avi",
        encoder: "mpeg4",
        width: 64,
        height: 48,
        frames: 40,
        options: &[("g", "12")],
    };
    assert!(make(folder.path(), &made).unwrap());
    let path = folder.path().join(made.name);
    let plain = open(&path).unwrap().frames(&[30]).unwrap();
    for known in [39, 41, 1] {
        let mut video = open(&path).unwrap();
        assert_eq!(video.frames_of(known, &[30]).unwrap(), plain);
        assert_eq!(video.packets_decoded(), 31);
    }
    assert!(open(&path).unwrap().frames_of(40, &[40]).is_err());

    // A damaged picture: the plain way is taken, and what it gives is given.
    let mut bytes = std::fs::read(&path).unwrap();
    let pictures: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| bytes[*at..].starts_with(&[0, 0, 1, 0xb6]))
        .collect();
    let at = pictures[26] + 8;
    bytes[at..at + 40].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let verified = open(&path).unwrap().verify().unwrap();
    assert_eq!(verified.known, None, "{verified:?}");
    let indices = [5, 28, 30];
    let plain = open(&path).unwrap().frames(&indices).unwrap();
    let skipping = open(&path).unwrap().frames_of(40, &indices).unwrap();
    assert_eq!(plain, skipping);
}
