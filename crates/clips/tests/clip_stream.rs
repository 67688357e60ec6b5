//! What the stream of clips promises, with clips that are made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clips::{Ahead, ClipError, ClipPixels, ClipSource, ClipStream, Recipe, Sample};
use data::{ClassName, Manifest, Sampling, VideoEntry};
use pixels::{Augment, ColourJitter, Geometry, Picture, RandAugment};
use random::Stream;
use video::FrameSink;

/// Clips of noise: number 7 has no frame, 11 fails, 13 panics; each takes its own time.
#[derive(Default)]
struct Noise {
    calls: AtomicUsize,
    delay: Duration,
}

impl ClipSource for Noise {
    fn decode(
        &self,
        path: &Path,
        _frames: Option<usize>,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(path.starts_with("videos"));
        let number: u64 = path.file_stem().unwrap().to_string_lossy().parse()?;
        // Late clips before early ones.
        std::thread::sleep(self.delay * (number * 7 % 5) as u32);
        match number {
            7 => return Ok(0),
            11 => return Err(format!("{} is truncated", path.display()).into()),
            13 => panic!("a decoder's bug"),
            _ => {}
        }
        let count = 5 + number as usize;
        for index in sink.choose(count) {
            let mut stream = Stream::new(number, &[&index.to_string()]);
            let width = 20 + number as usize;
            let rgb = (0..width * 16 * 3).map(|_| stream.next_u64() as u8);
            let picture = Picture::new(width, 16, rgb.collect())?;
            sink.take(index, index as f64 / 25.0, &mut &picture);
        }
        Ok(count)
    }
}

fn manifest(clips: usize) -> Arc<Manifest> {
    let clips = (0..clips)
        .map(|number| VideoEntry::new(format!("{number:03}"), format!("{number}.avi"), vec![0]));
    let classes = vec![ClassName::new("noise")];
    Arc::new(Manifest::new("noise", "videos", classes, clips.collect()).unwrap())
}

fn stream(clips: usize, source: Noise, workers: usize, jobs: usize) -> ClipStream {
    ClipStream::new(manifest(clips), Arc::new(source), Ahead { workers, jobs }).unwrap()
}

fn training(copies: usize) -> Recipe {
    Recipe::Train {
        sampling: Sampling::Segments { frames: 4 },
        geometry: Geometry::openai(12),
        augment: Augment {
            jitter: Some(ColourJitter::default()),
            rand_augment: Some(RandAugment {
                ops: 2,
                magnitude: 9,
            }),
            ..Augment::default()
        },
        seed: 3,
        epoch: 5,
        copies,
    }
}

fn testing(views: &str) -> Recipe {
    Recipe::Test {
        sampling: Sampling::Segments { frames: 4 },
        geometry: Geometry::openai(12),
        views: views.parse().unwrap(),
        seed: 3,
    }
}

/// A clip's position and views.
type Good = (usize, Vec<ClipPixels>);

/// The good clips, and the reasons of the others.
fn all(
    mut stream: ClipStream,
    positions: &[usize],
    recipe: &Recipe,
) -> (Vec<Good>, Vec<(usize, String)>) {
    stream.push(positions, recipe).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for Sample { position, views } in stream {
        match views {
            Ok(views) => good.push((position, views)),
            Err(reason) => bad.push((position, reason)),
        }
    }
    (good, bad)
}

#[test]
fn order_and_content_do_not_depend_on_the_workers() {
    let positions: Vec<usize> = (0..40).rev().chain([3, 3]).collect();
    for recipe in [training(1), testing("2x3")] {
        let mut results = Vec::new();
        for (workers, jobs) in [(1, 1), (2, 3), (5, 20), (3, 100)] {
            let delay = Duration::from_micros(200);
            let noise = Noise {
                delay,
                ..Noise::default()
            };
            results.push(all(stream(40, noise, workers, jobs), &positions, &recipe));
        }
        assert!(results.iter().all(|result| *result == results[0]));
        let (good, bad) = &results[0];
        let good: Vec<usize> = good.iter().map(|(position, _)| *position).collect();
        let whole = |position: &usize| ![7, 11, 13].contains(position);
        let expected: Vec<usize> = positions.iter().copied().filter(whole).collect();
        assert_eq!(good, expected);
        assert_eq!(
            bad[..],
            [
                (13, "decoding panicked".to_owned()),
                (11, "videos/11.avi is truncated".into()),
                (7, "has no frame that can be decoded".into()),
            ]
        );
    }
}

#[test]
fn a_sample_has_the_shape_asked_for() {
    let (good, _) = all(stream(10, Noise::default(), 2, 4), &[2], &testing("4x3"));
    let views = &good[0].1;
    assert_eq!(views.len(), 12);
    for view in views {
        assert_eq!((view.frames, view.size, view.frame_count), (4, 12, 7));
        assert_eq!(view.rgb.len(), 4 * 12 * 12 * 3);
        assert_eq!(view.indices.len(), 4);
        let shown = view.times.iter().zip(&view.indices);
        assert!(shown.into_iter().all(|(t, i)| *t == *i as f64 / 25.0));
    }
    // The three crops of one temporal view see the same frames at different places.
    let [a, b] = [&views[0], &views[2]];
    assert_eq!(a.indices, b.indices);
    assert_ne!(a.rgb, b.rgb);
    let (single, _) = all(stream(10, Noise::default(), 2, 4), &[0, 2], &testing("1x1"));
    assert_eq!(single[0].1[0].indices, [0, 1, 3, 4]);
    // The centre of three crops is the single one.
    let (three, _) = all(stream(10, Noise::default(), 2, 4), &[2], &testing("1x3"));
    assert_eq!(three[0].1[1], single[1].1[0]);
}

#[test]
fn copies_are_the_views_of_the_epochs_that_follow() {
    let of = |recipe: &Recipe| all(stream(6, Noise::default(), 2, 4), &[4], recipe).0;
    let copies = of(&training(3));
    for (copy, view) in copies[0].1.iter().enumerate() {
        let mut later = training(1);
        if let Recipe::Train { epoch, .. } = &mut later {
            *epoch += copy as u64;
        }
        assert_eq!(of(&later)[0].1, std::slice::from_ref(view));
    }
    assert_ne!(copies[0].1[0], copies[0].1[1]);
}

#[test]
fn clips_may_be_asked_for_while_others_are_under_way() {
    let mut stream = stream(30, Noise::default(), 2, 3);
    assert!(stream.next().is_none());
    stream.push(&[0, 1, 2], &testing("1x1")).unwrap();
    assert_eq!(stream.next().unwrap().position, 0);
    stream.push(&[2, 5], &training(1)).unwrap();
    let rest: Vec<Sample> = stream.by_ref().collect();
    let positions: Vec<usize> = rest.iter().map(|sample| sample.position).collect();
    assert_eq!(positions, [1, 2, 2, 5]);
    assert_ne!(rest[1].views, rest[2].views);
}

#[test]
fn no_more_clips_are_begun_than_may_wait() {
    let source = Arc::new(Noise::default());
    let ahead = Ahead {
        workers: 4,
        jobs: 5,
    };
    let mut stream = ClipStream::new(manifest(100), source.clone(), ahead).unwrap();
    let positions: Vec<usize> = (20..90).collect();
    stream.push(&positions, &testing("1x1")).unwrap();
    for taken in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        assert!(source.calls.load(Ordering::SeqCst) <= taken + 5);
        stream.next().unwrap().views.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn dropping_ends_every_thread_at_any_moment() {
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("clips-"))
            .count()
    };
    for taken in [0, 1, 7, 30] {
        let delay = Duration::from_millis(1);
        let noise = Noise {
            delay,
            ..Noise::default()
        };
        let mut stream = stream(30, noise, 3, 9);
        let positions: Vec<usize> = (0..30).collect();
        stream.push(&positions, &testing("1x1")).unwrap();
        for _ in 0..taken {
            let _ = stream.next();
        }
        let begun = Instant::now();
        drop(stream);
        assert!(begun.elapsed() < Duration::from_secs(5));
        // Other tests of this process may have workers, too; these will be gone.
        while threads() > 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "workers are left"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let new = |workers, jobs| {
        let ahead = Ahead { workers, jobs };
        let stream = ClipStream::new(manifest(1), Arc::new(Noise::default()), ahead);
        stream.err().unwrap().to_string()
    };
    assert!(new(0, 1).contains("workers"));
    assert!(new(1, 0).contains("jobs"));
    let mut stream = stream(3, Noise::default(), 1, 1);
    assert!(stream.push(&[3], &testing("1x1")).is_err());
    assert!(stream.push(&[0], &training(0)).is_err());
}
