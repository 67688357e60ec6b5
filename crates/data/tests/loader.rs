//! What the loader promises, with clips that are made up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data::random::Stream;
use data::transform::{Augment, ColourJitter, Picture, RandAugment};
use data::{
    ClassName, Clip, ClipError, ClipSource, Error, FrameSink, Loader, LoaderConfig, Manifest,
    Recipe, Sample, Sampling, SkipList,
};

/// Clips of noise: number 7 has no frame, 11 fails, 13 panics; each takes its own time.
#[derive(Default)]
struct Noise {
    calls: AtomicUsize,
    delay: Duration,
    all_bad: bool,
}

impl ClipSource for Noise {
    fn decode(
        &self,
        clip: &Clip,
        path: &Path,
        sink: &mut dyn FrameSink,
    ) -> Result<usize, ClipError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(path.starts_with("videos"));
        let number: u64 = clip.id.parse()?;
        // Late clips before early ones.
        std::thread::sleep(self.delay * (number * 7 % 5) as u32);
        match number {
            _ if self.all_bad => return Err("broken".into()),
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
    let clips = (0..clips).map(|number| Clip {
        id: format!("{number:03}"),
        path: format!("{number}.avi").into(),
        labels: vec![0],
        group: None,
        frames: None,
    });
    let classes = vec![ClassName::new("noise")];
    Arc::new(Manifest::new("noise", "videos", classes, clips.collect()).unwrap())
}

fn loader(clips: usize, source: Noise, workers: usize, ahead: usize, tolerated: f64) -> Loader {
    let config = LoaderConfig {
        workers,
        ahead,
        tolerated,
    };
    Loader::new(manifest(clips), Arc::new(source), SkipList::new(), config).unwrap()
}

fn training(copies: usize) -> Recipe {
    Recipe::Train {
        sampling: Sampling::Segments { frames: 4 },
        augment: Augment {
            size: 12,
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
        views: views.parse().unwrap(),
        size: 12,
        seed: 3,
    }
}

fn all(loader: &Loader, positions: &[usize], recipe: &Recipe) -> (Vec<Sample>, usize) {
    let mut pass = loader.pass(positions, recipe).unwrap();
    let samples: Vec<Sample> = pass.by_ref().map(Result::unwrap).collect();
    let report = pass.report();
    assert_eq!(report.seen, samples.len());
    assert_eq!(report.seen + report.skipped.len(), report.total);
    (samples, report.skipped.len())
}

#[test]
fn order_and_content_do_not_depend_on_the_workers() {
    let positions: Vec<usize> = (0..40).rev().chain([3, 3]).collect();
    for recipe in [training(1), testing("2x3")] {
        let mut results = Vec::new();
        for (workers, ahead) in [(1, 1), (2, 3), (5, 20), (3, 100)] {
            let delay = Duration::from_micros(200);
            let noise = Noise {
                delay,
                ..Noise::default()
            };
            results.push(all(
                &loader(40, noise, workers, ahead, 0.2),
                &positions,
                &recipe,
            ));
        }
        assert!(results.iter().all(|result| *result == results[0]));
        let (samples, skipped) = &results[0];
        assert_eq!((samples.len(), *skipped), (39, 3));
        let expected: Vec<usize> = positions
            .iter()
            .copied()
            .filter(|p| ![7, 11, 13].contains(p))
            .collect();
        assert_eq!(
            samples.iter().map(|s| s.position).collect::<Vec<_>>(),
            expected
        );
    }
}

#[test]
fn a_sample_has_the_shape_asked_for() {
    let loader = loader(10, Noise::default(), 2, 4, 0.2);
    let (samples, _) = all(&loader, &[2], &testing("4x3"));
    assert_eq!(samples[0].views.len(), 12);
    for view in &samples[0].views {
        assert_eq!((view.frames, view.height, view.width), (4, 12, 12));
        assert_eq!(view.rgb.len(), 4 * 12 * 12 * 3);
        assert_eq!(view.indices.len(), 4);
        assert!(
            view.times
                .iter()
                .zip(&view.indices)
                .all(|(t, i)| *t == *i as f64 / 25.0)
        );
    }
    // The three crops of one temporal view see the same frames at different places.
    let [a, b] = [&samples[0].views[0], &samples[0].views[2]];
    assert_eq!(a.indices, b.indices);
    assert_ne!(a.rgb, b.rgb);
    let (single, _) = all(&loader, &[0], &testing("1x1"));
    assert_eq!(single[0].views[0].indices, [0, 1, 3, 4]);
}

#[test]
fn copies_are_the_views_of_the_epochs_that_follow() {
    let loader = loader(6, Noise::default(), 2, 4, 0.0);
    let (copies, _) = all(&loader, &[4], &training(3));
    for (copy, view) in copies[0].views.iter().enumerate() {
        let Recipe::Train {
            sampling,
            augment,
            seed,
            epoch,
            ..
        } = training(1)
        else {
            panic!()
        };
        let epoch = epoch + copy as u64;
        let later = Recipe::Train {
            sampling,
            augment,
            seed,
            epoch,
            copies: 1,
        };
        let (alone, _) = all(&loader, &[4], &later);
        assert_eq!(alone[0].views, std::slice::from_ref(view));
    }
    assert_ne!(copies[0].views[0], copies[0].views[1]);
}

#[test]
fn bad_clips_are_listed_with_their_reasons() {
    let loader = loader(20, Noise::default(), 3, 6, 0.15);
    let positions: Vec<usize> = (0..20).collect();
    let mut pass = loader.pass(&positions, &testing("1x1")).unwrap();
    assert_eq!(pass.by_ref().filter(Result::is_ok).count(), 17);
    let skipped: Vec<(&str, &str)> = pass
        .report()
        .skipped
        .iter()
        .map(|s| (s.id.as_str(), s.reason.as_str()))
        .collect();
    assert_eq!(
        skipped,
        [
            ("007", "has no frame that can be decoded"),
            ("011", "videos/11.avi is truncated"),
            ("013", "decoding panicked"),
        ]
    );
}

#[test]
fn too_many_bad_clips_end_the_pass() {
    let loader = loader(20, Noise::default(), 3, 6, 0.1);
    let positions: Vec<usize> = (0..20).collect();
    let mut pass = loader.pass(&positions, &testing("1x1")).unwrap();
    let error = pass.find_map(Result::err).unwrap();
    let Error::TooManyBadClips {
        skipped: 3,
        total: 20,
        allowed: 2,
        id,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(id, "013");
    assert!(pass.next().is_none(), "a pass that failed is over");
}

#[test]
fn clips_of_the_skip_list_are_never_opened() {
    let source = Arc::new(Noise::default());
    let mut skip = SkipList::new();
    for id in ["007", "011", "013"] {
        skip.insert(id, "known to be bad");
    }
    let config = LoaderConfig {
        workers: 2,
        ahead: 4,
        tolerated: 0.0,
    };
    let loader = Loader::new(manifest(20), source.clone(), skip, config).unwrap();
    let positions: Vec<usize> = (0..20).collect();
    let mut pass = loader.pass(&positions, &testing("1x1")).unwrap();
    assert_eq!(pass.by_ref().map(Result::unwrap).count(), 17);
    assert!(pass.report().skipped.iter().all(|skipped| skipped.known));
    assert_eq!(pass.report().skipped.len(), 3);
    assert_eq!(source.calls.load(Ordering::SeqCst), 17);
}

#[test]
fn no_more_clips_are_begun_than_may_wait() {
    let source = Arc::new(Noise::default());
    let config = LoaderConfig {
        workers: 4,
        ahead: 5,
        tolerated: 1.0,
    };
    let loader = Loader::new(manifest(100), source.clone(), SkipList::new(), config).unwrap();
    let positions: Vec<usize> = (20..90).collect();
    let mut pass = loader.pass(&positions, &testing("1x1")).unwrap();
    for taken in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        assert!(source.calls.load(Ordering::SeqCst) <= taken + 5);
        pass.next().unwrap().unwrap();
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
        let loader = loader(
            30,
            Noise {
                delay,
                ..Noise::default()
            },
            3,
            9,
            1.0,
        );
        let positions: Vec<usize> = (0..30).collect();
        let mut pass = loader.pass(&positions, &testing("1x1")).unwrap();
        for _ in 0..taken {
            let _ = pass.next();
        }
        let begun = Instant::now();
        drop(pass);
        drop(loader);
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
fn passes_may_share_a_loader_and_an_empty_one_is_over_at_once() {
    let loader = loader(30, Noise::default(), 2, 3, 1.0);
    assert!(loader.pass(&[], &testing("1x1")).unwrap().next().is_none());
    let mut first = loader.pass(&[0, 1, 2, 3, 4, 5], &testing("1x1")).unwrap();
    let mut second = loader.pass(&[5, 4, 3, 2, 1, 0], &testing("1x1")).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        seen.insert((0, first.next().unwrap().unwrap().position));
        seen.insert((1, second.next().unwrap().unwrap().position));
    }
    assert_eq!(seen.len(), 12);
}

#[test]
fn settings_out_of_range_are_refused() {
    let new = |workers, ahead, tolerated| {
        let config = LoaderConfig {
            workers,
            ahead,
            tolerated,
        };
        Loader::new(
            manifest(1),
            Arc::new(Noise::default()),
            SkipList::new(),
            config,
        )
        .err()
        .map(|error| error.to_string())
    };
    assert!(new(0, 1, 0.0).unwrap().contains("workers"));
    assert!(new(1, 0, 0.0).unwrap().contains("ahead"));
    assert!(new(1, 1, f64::NAN).unwrap().contains("tolerated"));
    let loader = loader(
        3,
        Noise {
            all_bad: true,
            ..Noise::default()
        },
        1,
        1,
        1.0,
    );
    assert!(loader.pass(&[3], &testing("1x1")).is_err());
    assert!(loader.pass(&[0], &training(0)).is_err());
    let (samples, skipped) = all(&loader, &[0, 1, 2], &testing("1x1"));
    assert_eq!((samples.len(), skipped), (0, 3));
}
