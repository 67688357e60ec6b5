//! From official lists to the pixels of real clips.
#![cfg(feature = "decode")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use data::formats::{Missing, ReadOptions, hmdb51, ucf101};
use data::splits::few_shot;
use data::{Loader, LoaderConfig, Recipe, Sampling, SkipList, VideoSource, Views};

const ALLOW: ReadOptions = ReadOptions {
    missing: Missing::Allow,
    follow_links: false,
};

fn recipe() -> Recipe {
    let sampling = Sampling::Segments { frames: 8 };
    Recipe::Test {
        sampling,
        views: Views::SINGLE,
        size: 112,
        seed: 0,
    }
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn sixteen_shots_of_ucf_and_their_pixels() {
        let shared = testkit::shared();
        let data = shared.join("data");
        let (root, lists) = (
            data.join("ucf8/UCF-101"),
            data.join("lists/ucfTrainTestlist"),
        );
        let manifest = ucf101(&root, &lists, ALLOW).unwrap().manifest;
        let split = few_shot(&manifest, manifest.split("1").unwrap(), 16, 0).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (128, 112));

        // One clip of each class, by one worker and by two, without and with verified counts.
        let positions: Vec<usize> = split.train.iter().copied().step_by(16).collect();
        let mut counted = manifest.clone();
        let mut results = Vec::new();
        for workers in [1, 2] {
            let config = LoaderConfig {
                workers,
                ahead: 4,
                tolerated: 0.0,
            };
            let source = Arc::new(VideoSource::default());
            let loader =
                Loader::new(Arc::new(counted.clone()), source, SkipList::new(), config).unwrap();
            let samples: Vec<_> = loader
                .pass(&positions, &recipe())
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            for (position, sample) in positions.iter().zip(&samples) {
                let view = &sample.views[0];
                assert_eq!((view.frames, view.height, view.width), (8, 112, 112));
                assert!(view.times.windows(2).all(|pair| pair[0] < pair[1]));
                let path = counted.file(&counted.clips()[*position]);
                let limits = data::decode::Limits::default();
                let mut video = data::decode::Video::open(&path, &limits).unwrap();
                let count = video.count_frames().unwrap().frames;
                assert_eq!(view.indices, Sampling::Segments { frames: 8 }.centre(count));
                counted.set_frames(*position, count);
            }
            results.push(samples);
        }
        assert_eq!(results[0], results[1]);
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn hmdb_clips_with_odd_names_are_read() {
        let shared = testkit::shared();
        let data = shared.join("data");
        let lists = data.join("lists/testTrainMulti_7030_splits");
        let manifest = hmdb51(&data.join("hmdb-mini"), &lists, ALLOW)
            .unwrap()
            .manifest;
        let one = few_shot(&manifest, manifest.split("1").unwrap(), 1, 0).unwrap();
        assert_eq!((one.train.len(), one.test.len()), (21, 21));
        let positions: Vec<usize> = (0..manifest.clips().len()).collect();
        let config = LoaderConfig {
            workers: 2,
            ahead: 6,
            tolerated: 0.0,
        };
        let loader = Loader::new(
            Arc::new(manifest),
            Arc::new(VideoSource::default()),
            SkipList::new(),
            config,
        )
        .unwrap();
        let mut pass = loader.pass(&positions, &recipe()).unwrap();
        assert_eq!(pass.by_ref().map(Result::unwrap).count(), 42);
        assert!(pass.report().skipped.is_empty());
    }
}
