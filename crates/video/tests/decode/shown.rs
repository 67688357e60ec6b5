//! What is shown: which stream, which way up, in which shape, and when.

use std::ops::ControlFlow;
use std::path::Path;

use ffmpeg_next::{Rational, codec::Id, format::Pixel};
use video::{Limits, Timing, Video};

use crate::muxed::{Film, mux};
use crate::support::{open, sequential};

/// A film of an encoder that every FFmpeg has.
fn film(encoder: Id, width: u32, height: u32, times: &[i64], lasts: i64) -> Film {
    Film {
        encoder,
        width,
        height,
        times: times.to_vec(),
        lasts,
        aspect: Rational(1, 1),
        default: false,
        format: match encoder {
            Id::MJPEG => Pixel::YUVJ420P,
            _ => Pixel::YUV420P,
        },
    }
}

fn sizes(path: &Path) -> Vec<(usize, usize)> {
    let mut sizes = Vec::new();
    let visited = open(path).unwrap().for_each_frame(|frame| {
        sizes.push((frame.width, frame.height));
        ControlFlow::Continue(())
    });
    visited.unwrap();
    sizes
}

#[test]
fn the_film_is_decoded_not_a_still_nor_slides() {
    let folder = tempfile::tempdir().unwrap();
    let each: Vec<i64> = (0..50).collect();
    let moving = film(Id::MPEG4, 64, 48, &each, 1);
    let slides = film(Id::MPEG4, 160, 120, &[0, 25], 25);
    let still = film(Id::MJPEG, 320, 240, &[0], 50);
    for name in ["film.mp4", "film.mkv", "film.nut"] {
        for beside in [&slides, &still] {
            let beside = Film {
                default: true,
                ..beside.clone()
            };
            let path = mux(folder.path(), name, &[beside.clone(), moving.clone()]);
            let mut video = open(&path).unwrap();
            assert_eq!(video.header().stream, 1, "{name}");
            assert_eq!(video.count_frames().unwrap().frames, 50);
            let choice = video.header().choice().unwrap();
            assert!(choice.contains("64x48, 50 frames"), "{choice}");
            // The other on request, and no third.
            let other = |stream| Video::open_stream(&path, &Limits::default(), Some(stream));
            let count = other(0).unwrap().count_frames().unwrap();
            assert_eq!(count.frames, beside.times.len());
            let error = other(2).err().unwrap().to_string();
            assert!(error.contains("stream 2 is not one of"), "{error}");
        }
        let path = mux(folder.path(), name, std::slice::from_ref(&moving));
        assert_eq!(open(&path).unwrap().header().choice(), None);
    }
}

#[test]
fn an_orientation_holds_until_another_comes() {
    let folder = tempfile::tempdir().unwrap();
    let each: Vec<i64> = (0..6).collect();
    let path = mux(folder.path(), "a.avi", &[film(Id::MJPEG, 64, 48, &each, 1)]);
    assert_eq!(sizes(&path), [(64, 48); 6]);
    // EXIF's orientations 6, a quarter turn, and 1, in two of six pictures.
    let exif = |orientation| {
        let mut bytes =
            b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        bytes.extend([orientation, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let bytes = std::fs::read(&path).unwrap();
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for (at, _) in bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| four == b"00dc")
    {
        let size = bytes[at + 4..at + 8].try_into().unwrap();
        let packet = &bytes[at + 8..];
        if packet.starts_with(b"\xff\xd8") {
            packets.push(packet[..u32::from_le_bytes(size) as usize].to_vec());
        }
    }
    assert_eq!(packets.len(), 6);
    for (number, orientation) in [(1, 6), (4, 3)] {
        packets[number].splice(2..2, exif(orientation));
    }
    let path = folder.path().join("turned.mjpeg.avi");
    std::fs::write(&path, avi(&packets)).unwrap();
    let turned = [(64, 48), (48, 64), (48, 64), (48, 64), (64, 48), (64, 48)];
    assert_eq!(sizes(&path), turned);
    crate::support::check(&path, 20);
}

/// A bare AVI of JPEGs of 64 x 48, 25 a second.
fn avi(packets: &[Vec<u8>]) -> Vec<u8> {
    let chunk = |name: &[u8], content: &[u8]| {
        let mut bytes = [name, &(content.len() as u32).to_le_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let list = |name: &[u8], content: &[u8]| chunk(b"LIST", &[name, content].concat());
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let count = packets.len() as u32;
    let avih = words(&[40_000, 0, 0, 0, count, 0, 1, 0, 64, 48, 0, 0, 0, 0]);
    let strh = [
        b"vidsMJPG".as_slice(),
        &words(&[0, 0, 0, 1, 25, 0, count, 0, 0, 0, 0, 0]),
    ]
    .concat();
    let strf = [
        words(&[40, 64, 48, 1 | 24 << 16]),
        b"MJPG".to_vec(),
        words(&[0; 5]),
    ]
    .concat();
    let strl = list(
        b"strl",
        &[chunk(b"strh", &strh), chunk(b"strf", &strf)].concat(),
    );
    let hdrl = list(b"hdrl", &[chunk(b"avih", &avih), strl].concat());
    let movi: Vec<u8> = packets
        .iter()
        .flat_map(|packet| chunk(b"00dc", packet))
        .collect();
    let riff = [b"AVI ".to_vec(), hdrl, list(b"movi", &movi)].concat();
    chunk(b"RIFF", &riff)
}

#[test]
fn pixels_are_shown_in_their_shape() {
    let folder = tempfile::tempdir().unwrap();
    for (aspect, expected) in [
        ((2, 1), (128, 48)),
        ((1, 2), (64, 96)),
        ((64, 45), (91, 48)),
        ((1, 1), (64, 48)),
        // Not believable.
        ((1000, 1), (64, 48)),
    ] {
        let wide = Film {
            aspect: Rational(aspect.0, aspect.1),
            ..film(Id::MPEG4, 64, 48, &[0, 1, 2], 1)
        };
        for name in ["wide.mkv", "wide.mp4"] {
            let path = mux(folder.path(), name, std::slice::from_ref(&wide));
            assert_eq!(sizes(&path), [expected; 3], "{name} {aspect:?}");
            let header = open(&path).unwrap().header().clone();
            assert_eq!((header.width, header.height), expected);
            crate::support::check(&path, 5);
        }
    }
}

#[test]
fn ten_bits_show_what_eight_do() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = |name, format| {
        let film = Film {
            format,
            ..film(Id::FFV1, 67, 50, &[0, 1, 2], 1)
        };
        let path = mux(folder.path(), name, &[film]);
        open(&path).unwrap().frames(&[0, 1, 2]).unwrap()
    };
    let eight = pixels("8.mkv", Pixel::YUV420P);
    assert_eq!(pixels("10.mkv", Pixel::YUV420P10LE), eight);
}

#[test]
fn times_are_real_and_count_from_the_first_picture() {
    let folder = tempfile::tempdir().unwrap();
    // Stills of two seconds, then movement; an AVI cannot begin late.
    for (name, first, lasts) in [
        ("a.mp4", 250, 30),
        ("b.mp4", 0, 30),
        ("a.mkv", 250, 30),
        // Longer than any before it.
        ("b.mkv", 0, 90),
        ("a.nut", 250, 1),
        ("a.avi", 0, 1),
    ] {
        let times = [0, 50, 100].into_iter().chain(150..175);
        let times: Vec<i64> = times.map(|time| first + time).collect();
        let path = mux(
            folder.path(),
            name,
            &[film(Id::MPEG4, 64, 48, &times, lasts)],
        );
        let expected: Vec<f64> = times
            .iter()
            .map(|time| (time - first) as f64 / 25.0)
            .collect();
        let near = |a: f64, b: f64| (a - b).abs() < 2e-3;
        let mut video = open(&path).unwrap();
        let Timing { starts, end } = video.timing().unwrap();
        assert_eq!(starts.len(), times.len(), "{name}");
        assert!(
            starts.iter().zip(&expected).all(|(a, b)| near(*a, *b)),
            "{name} {starts:?}"
        );
        let last = expected.last().unwrap() + lasts as f64 / 25.0;
        assert!(near(end, last), "{name}: {end} {last}");
        assert_eq!(video.promised_timing().unwrap().starts, starts);
        assert_eq!(sequential(&path).unwrap().len(), 28);
        if name == "b.mkv" {
            // Cut off, it is not as long as it says.
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).unwrap();
            let Timing { starts, end } = open(&path).unwrap().timing().unwrap();
            assert!((3..28).contains(&starts.len()) && near(end, starts.last().unwrap() + 0.04));
        }
    }
}
