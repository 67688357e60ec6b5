//! Made files, one for each trait of containers and codecs that breaks random access.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::support::{CONVERSIONS, check, file, find, open, reference_pixels, run_ffmpeg};

const SOURCE: &str = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=2";

/// Name and how FFmpeg's program makes it from [`SOURCE`].
const ENCODED: &[(&str, &str)] = &[
    ("mpeg4_one_key.avi", "-c:v mpeg4 -q:v 5 -g 600"),
    ("mpeg4_gop12.avi", "-c:v mpeg4 -q:v 5 -g 12"),
    ("mpeg4_b.avi", "-c:v mpeg4 -q:v 5 -g 24 -bf 2"),
    ("mpeg4_b.mp4", "-c:v mpeg4 -q:v 5 -g 24 -bf 2"),
    (
        "mpeg4_sound.avi",
        "-f lavfi -i sine=duration=2 -c:v mpeg4 -q:v 5 -g 12 -c:a mp2",
    ),
    (
        "mpeg4_odd.avi",
        "-vf scale=17:33,setsar=1 -c:v mpeg4 -q:v 5",
    ),
    ("xvid.avi", "-c:v libxvid -q:v 5 -g 12 -bf 2"),
    ("gop1.mp4", "-c:v libx264 -preset veryfast -g 1"),
    ("gop12.mp4", "-c:v libx264 -preset veryfast -g 12"),
    ("one_key.mp4", "-c:v libx264 -preset veryfast -g 600"),
    ("pyramid.mp4", "-c:v libx264 -preset slower -bf 6 -g 25"),
    (
        "closed.mp4",
        "-c:v libx264 -x264-params open-gop=0:keyint=10:bframes=3",
    ),
    (
        "open_gop.mp4",
        "-c:v libx264 -x264-params open-gop=1:keyint=12:min-keyint=1:bframes=3",
    ),
    (
        "open_gop.ts",
        "-c:v libx264 -x264-params open-gop=1:keyint=12:min-keyint=1:bframes=3",
    ),
    (
        "intra_refresh.mp4",
        "-c:v libx264 -x264-params intra-refresh=1:keyint=20",
    ),
    ("no_count.mkv", "-c:v libx264 -preset veryfast"),
    (
        "fragments.mp4",
        "-c:v libx264 -g 10 -movflags frag_keyframe+empty_moov",
    ),
    (
        "variable.mkv",
        "-vf setpts=PTS+0.3*floor(N/7)/TB -vsync vfr -c:v libx264",
    ),
    (
        "ten_bit.mp4",
        "-pix_fmt yuv420p10le -c:v libx264 -preset veryfast",
    ),
    ("gray.mp4", "-pix_fmt gray -c:v libx264 -preset veryfast"),
    (
        "yuv444.mp4",
        "-vf scale=17:33,setsar=1 -pix_fmt yuv444p -c:v libx264",
    ),
    (
        "full_range.mp4",
        "-vf scale=out_range=full -pix_fmt yuvj420p -c:v libx264",
    ),
    (
        "bt709.mp4",
        "-vf scale=out_color_matrix=bt709 -colorspace bt709 -c:v libx264",
    ),
    (
        "interlaced.mpg",
        "-c:v mpeg2video -flags +ilme+ildct -bf 2 -q:v 4",
    ),
    ("mpeg1.mpg", "-c:v mpeg1video -bf 2 -q:v 4"),
    ("mpeg2.ts", "-c:v mpeg2video -bf 2 -q:v 4"),
    ("h263.3gp", "-vf scale=128:96 -c:v h263 -q:v 5"),
    ("flash.flv", "-c:v flv -q:v 5"),
    ("windows.wmv", "-c:v wmv2 -q:v 5"),
    ("theora.ogv", "-c:v libtheora -q:v 5"),
    ("motion.avi", "-c:v mjpeg -pix_fmt yuvj422p -q:v 3"),
    ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8"),
    (
        "vp9.webm",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 12",
    ),
    (
        "hevc.mp4",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=3",
    ),
    ("colours.gif", "-c:v gif"),
    ("lossless.avi", "-c:v ffv1"),
    (
        "raw.avi",
        "-vf scale=17:33,setsar=1 -pix_fmt bgr24 -c:v rawvideo",
    ),
];

mod needs_ffmpeg {
    use super::*;

    #[test]
    #[ignore = "needs the program ffmpeg"]
    fn made_videos_are_exact() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let made = ENCODED.par_iter().filter_map(|(name, arguments)| {
            // `file:` keeps FFmpeg's program from guessing at names.
            if run_ffmpeg(folder, &format!("{SOURCE} {arguments} file:{name}")) {
                return Some(folder.join(name));
            }
            eprintln!("{name}: this ffmpeg does not make it");
            None
        });
        let mut files: Vec<_> = made.collect();
        assert!(files.len() * 2 > ENCODED.len(), "most can be made");
        files.extend(derived(folder));
        let exact = |path: &&PathBuf| {
            let check = || {
                let count = check(path, 4);
                compare(path, count.frames);
                let name = path.file_name().unwrap().to_str().unwrap();
                // What is whole has its 50 frames; the rest is checked against FFmpeg's program.
                let whole = ENCODED.iter().any(|(encoded, _)| *encoded == name);
                if whole && !["variable.mkv", "colours.gif", "xvid.avi"].contains(&name) {
                    assert_eq!(count.frames, 50, "{name}");
                    assert_eq!(count.corrupt_packets + count.damaged_frames, 0, "{name}");
                }
            };
            std::panic::catch_unwind(check).is_ok()
        };
        let wrong: Vec<_> = files.par_iter().filter(|path| !exact(path)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        eprintln!("{} made videos", files.len());
    }
}

/// Checks number, size and pixels of the frames against FFmpeg's program.
fn compare(path: &Path, count: usize) {
    let mut pixels = Vec::new();
    let mut frames = 0;
    let mut size = None;
    let mut resized = false;
    let mut video = open(path).unwrap();
    let stored = video.header().streams[0].clone();
    let stored = (stored.width, stored.height);
    video
        .for_each_frame(|frame| {
            let first = *size.get_or_insert((frame.width, frame.height));
            resized |= first != (frame.width, frame.height);
            if !resized {
                pixels.extend(frame.rgb);
            }
            frames += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    let (width, height) = size.unwrap();
    assert_eq!(frames, count, "{path:?}");
    let close = CONVERSIONS.iter().any(|conversion| {
        let expected = reference_pixels(path, conversion);
        let expected_frames = expected.len() / (stored.0 * stored.1 * 3);
        assert_eq!(
            frames, expected_frames,
            "{path:?}: as many frames as FFmpeg's"
        );
        // After a change of size FFmpeg's program scales: those are not compared.
        let mut pairs = pixels.iter().zip(&expected);
        pairs.all(|(a, b)| a.abs_diff(*b) <= 2)
    });
    // Of an odd size FFmpeg's program scales chroma by a little less than two, and it leaves pixels
    // as they are that are not square.
    let odd = !width.is_multiple_of(2) || !height.is_multiple_of(2);
    let square = (width, height) == stored;
    assert!(
        odd || close || !square,
        "{path:?}: other pixels than FFmpeg's"
    );
}

/// Files made of those already made.
fn derived(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    // Turned.
    if let Some(bytes) = read("gop12.mp4") {
        const ONE: i32 = 1 << 16;
        for (name, [a, b, c, d]) in [
            ("turned_90.mp4", [0, ONE, -ONE, 0]),
            ("turned_180.mp4", [-ONE, 0, 0, -ONE]),
            ("turned_270.mp4", [0, -ONE, ONE, 0]),
            ("mirrored.mp4", [ONE, 0, 0, -ONE]),
        ] {
            let mut bytes = bytes.clone();
            let matrix = find(&bytes, b"tkhd") + 4 + 40;
            for (place, value) in [(0, a), (1, b), (3, c), (4, d)] {
                bytes[matrix + 4 * place..][..4].copy_from_slice(&i32::to_be_bytes(value));
            }
            files.push(file(folder, name, &bytes));
        }
    }
    // An edit list hides the frames before the cut.
    for source in ["pyramid.mp4", "mpeg4_b.mp4", "open_gop.mp4"] {
        let name = format!("edited_{source}");
        if folder.join(source).exists()
            && run_ffmpeg(
                folder,
                &format!("-ss 0.7 -i file:{source} -c copy file:{name}"),
            )
        {
            files.push(folder.join(name));
        }
    }
    // Cut off, and begun in the middle.
    for source in [
        "mpeg4_b.avi",
        "no_count.mkv",
        "mpeg2.ts",
        "mpeg1.mpg",
        "flash.flv",
        "fragments.mp4",
    ] {
        let Some(bytes) = read(source) else { continue };
        for percent in [35, 60, 90] {
            let name = format!("cut_{percent}_{source}");
            files.push(file(folder, &name, &bytes[..bytes.len() * percent / 100]));
        }
    }
    for source in ["open_gop.ts", "mpeg2.ts", "mpeg1.mpg"] {
        let Some(bytes) = read(source) else { continue };
        let start = bytes.len() * 2 / 5;
        files.push(file(folder, &format!("late_{source}"), &bytes[start..]));
    }
    // Headers that lie about the number of frames.
    if let Some(bytes) = read("mpeg4_gop12.avi") {
        for claim in [0, 7, 48_000, u32::MAX] {
            let mut bytes = bytes.clone();
            let main = find(&bytes, b"avih") + 8 + 16;
            let stream = find(&bytes, b"strh") + 8 + 32;
            for place in [main, stream] {
                bytes[place..place + 4].copy_from_slice(&claim.to_le_bytes());
            }
            files.push(file(folder, &format!("claims_{claim}.avi"), &bytes));
        }
    }
    // Two sizes in one stream.
    let other = "-f lavfi -i testsrc2=size=176x144:rate=25:duration=1";
    let args = format!("{other} -c:v mpeg2video -bf 2 -q:v 4 file:other.ts");
    if run_ffmpeg(folder, &args)
        && let (Some(mut bytes), Some(more)) = (read("mpeg2.ts"), read("other.ts"))
    {
        bytes.extend(more);
        files.push(file(folder, "two_sizes.ts", &bytes));
    }
    files
}
