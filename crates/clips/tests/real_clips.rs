//! From official lists to the pixels of real clips.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use clip_backbone::{Checkpoint, ClipModel, Usage};
use clips::{Ahead, ClipPixels, ClipStream, Recipe, VideoFiles, to_tensor};
use data::formats::{Format, Missing, ReadOptions};
use data::splits::few_shot;
use data::{Manifest, Sampling, Views};
use pixels::Geometry;
use tch::{Device, Kind, Tensor};
use video::{Limits, Video};

/// A registered format with its official lists, some of whose clips are here.
fn read(name: &str, root: &Path, lists: &Path) -> Manifest {
    let allow = ReadOptions {
        missing: Missing::Allow,
        follow_links: false,
    };
    let format = Format::named(name).unwrap();
    format.read(root, Some(lists), allow).unwrap().manifest
}

fn recipe() -> Recipe {
    let sampling = Sampling::Segments { frames: 8 };
    Recipe::Test {
        sampling,
        geometry: Geometry::openai(112),
        views: Views::SINGLE,
        seed: 0,
    }
}

fn single_views(manifest: &Manifest, positions: &[usize], workers: usize) -> Vec<ClipPixels> {
    let ahead = Ahead { workers, jobs: 4 };
    let source = Arc::new(VideoFiles::default());
    let mut stream = ClipStream::new(Arc::new(manifest.clone()), source, ahead).unwrap();
    stream.push(positions, &recipe()).unwrap();
    stream
        .map(|sample| sample.views.unwrap().remove(0))
        .collect()
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn sixteen_shots_of_ucf_and_their_pixels() {
        let data = testkit::shared().join("data");
        let (root, lists) = (
            data.join("ucf8/UCF-101"),
            data.join("lists/ucfTrainTestlist"),
        );
        let manifest = read("ucf101", &root, &lists);
        let split = few_shot(&manifest, manifest.split("1").unwrap(), 16, 0).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (128, 112));

        // One clip of each class, by one worker and by two, without and with verified counts.
        let positions: Vec<usize> = split.train.iter().copied().step_by(16).collect();
        let mut counted = manifest.clone();
        let mut results = Vec::new();
        for workers in [1, 2] {
            let samples = single_views(&counted, &positions, workers);
            for (position, view) in positions.iter().zip(&samples) {
                assert_eq!((view.frames, view.size), (8, 112));
                assert!(view.times.windows(2).all(|pair| pair[0] < pair[1]));
                let path = counted.file(&counted.clips()[*position]);
                let mut video = Video::open(&path, &Limits::default()).unwrap();
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
        let data = testkit::shared().join("data");
        let lists = data.join("lists/testTrainMulti_7030_splits");
        let manifest = read("hmdb51", &data.join("hmdb-mini"), &lists);
        let one = few_shot(&manifest, manifest.split("1").unwrap(), 1, 0).unwrap();
        assert_eq!((one.train.len(), one.test.len()), (21, 21));
        let positions: Vec<usize> = (0..manifest.clips().len()).collect();
        assert_eq!(single_views(&manifest, &positions, 2).len(), 42);
    }

    /// On a processor that multiplies in bf16 this is what `auto` takes there.
    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn features_in_bf16_are_close_to_those_in_fp32_on_real_frames() {
        let data = testkit::shared().join("data");
        let (root, lists) = (
            data.join("ucf8/UCF-101"),
            data.join("lists/ucfTrainTestlist"),
        );
        let manifest = read("ucf101", &root, &lists);
        let split = few_shot(&manifest, manifest.split("1").unwrap(), 16, 0).unwrap();
        let positions: Vec<usize> = split.train.iter().copied().step_by(2).collect();
        let mut recipe = recipe();
        let Recipe::Test { geometry, .. } = &mut recipe else {
            panic!("a test recipe");
        };
        *geometry = Geometry::openai(224);
        let source = Arc::new(VideoFiles::default());
        let manifest = Arc::new(manifest);
        let mut stream = ClipStream::new(manifest, source, Ahead::default()).unwrap();
        stream.push(&positions, &recipe).unwrap();
        let checkpoint = Checkpoint::open(data.join("weights/deit-tiny-dual")).unwrap();
        let load = |kind| checkpoint.load(Usage::Frozen, Device::Cpu, kind).unwrap();
        let (half, full) = (load(Kind::BFloat16), load(Kind::Float));
        let mut cosines = Vec::new();
        for sample in stream {
            let views = sample.views.unwrap();
            let pixels = to_tensor(&views, checkpoint.preprocess(), Device::Cpu).unwrap();
            let features = |clip: &ClipModel| {
                let features = tch::no_grad(|| clip.vision.forward(&pixels.flatten(0, 1)));
                features.unwrap().to_kind(Kind::Double)
            };
            let of_clip = Tensor::cosine_similarity(&features(&half), &features(&full), 1, 1e-12);
            cosines.extend(Vec::<f64>::try_from(of_clip).unwrap());
        }
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        let least = cosines.iter().copied().fold(1.0, f64::min);
        let close = cosines.iter().filter(|cosine| **cosine >= 0.999).count();
        println!(
            "{} frames: mean {mean:.5}, least {least:.5}, {close} of at least 0.999",
            cosines.len()
        );
        assert!(cosines.len() > 100 && mean >= 0.999 && least >= 0.99);
    }
}
