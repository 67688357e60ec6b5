//! Extraction, `predict` and the timeline feed a model the same pixels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip_backbone::pixels::{Filter, Geometry, Picture, Resize, Resizer, View};
use clips::{Ahead, ClipPixels, ClipStream, Recipe, VideoFiles};
use data::formats::{ReadOptions, class_folders};
use data::{Sampling, Views};
use video::{Frame, Limits, Video, write_clip};

use crate::decode_ahead;
use crate::windows::{WindowEvent, windows};

const FRAMES: usize = 3;

/// A video of block noise, so that filters differ.
fn write(path: &Path, width: usize, height: usize) {
    let frame = |index: usize| {
        let byte = |at: usize| {
            let (y, x, c) = (at / 3 / width, at / 3 % width, at % 3);
            ((y / 3 * 37 + x / 2 * 59 + c * 83 + index * 101) % 251) as u8
        };
        Frame {
            index,
            time: 0.0,
            width,
            height,
            rgb: (0..width * height * 3).map(byte).collect(),
        }
    };
    write_clip(path, &(0..7).map(frame).collect::<Vec<_>>(), 10).unwrap();
}

/// Whole frames, resized directly.
fn reference(path: &Path, geometry: Geometry) -> Vec<u8> {
    let sampling = Sampling::Segments { frames: FRAMES };
    let mut video = Video::open(path, &Limits::default()).unwrap();
    let sample = video.sample(|count| sampling.centre(count)).unwrap();
    let views = sample.frames.into_iter().map(|frame| {
        let picture = Picture::new(frame.width, frame.height, frame.rgb).unwrap();
        let view = geometry.view(&mut Resizer::plain(), &picture, View::CENTRE);
        view.unwrap().into_rgb()
    });
    views.collect::<Vec<_>>().concat()
}

fn extracted(root: &Path, geometry: Geometry) -> Vec<ClipPixels> {
    let found = class_folders("own", root, ReadOptions::default()).unwrap();
    let all: Vec<usize> = (0..found.manifest.clips().len()).collect();
    let source = Arc::new(VideoFiles::default());
    let manifest = Arc::new(found.manifest);
    let mut stream = ClipStream::new(manifest, source, Ahead::default()).unwrap();
    let recipe = Recipe::Test {
        sampling: Sampling::Segments { frames: FRAMES },
        geometry,
        views: Views::SINGLE,
        seed: 0,
    };
    stream.push(&all, &recipe).unwrap();
    stream
        .map(|sample| sample.views.unwrap().remove(0))
        .collect()
}

/// The single window of a video shorter than it.
fn window(path: &Path, geometry: Geometry) -> Vec<u8> {
    let minute = "1m".parse().unwrap();
    let events = windows(
        path,
        &VideoFiles::default(),
        FRAMES,
        minute,
        minute,
        geometry,
    )
    .unwrap();
    let part = events.filter_map(|event| match event.unwrap() {
        WindowEvent::Part(part) => Some(part.clip.rgb),
        WindowEvent::End(_) | WindowEvent::Choice(_) => None,
    });
    part.collect::<Vec<_>>().concat()
}

#[test]
fn every_way_to_a_model_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    std::fs::create_dir(folder.path().join("class")).unwrap();
    let sizes = [
        (64, 64),
        (97, 41),
        (33, 130),
        (31, 31),
        (200, 46),
        (48, 211),
        (40, 64),
    ];
    for (width, height) in sizes {
        let path = folder
            .path()
            .join(format!("class/{width:03}x{height:03}.avi"));
        write(&path, width, height);
        paths.push(path);
    }
    paths.sort();
    let mut distinct = std::collections::HashSet::new();
    for resize in [Resize::ShortSide(32), Resize::ShortSide(43), Resize::Squash] {
        for filter in [Filter::Bicubic, Filter::Bilinear] {
            let geometry = Geometry {
                size: 32,
                resize,
                filter,
            };
            let extracted = extracted(folder.path(), geometry);
            let predicted =
                decode_ahead(paths.clone(), &VideoFiles::default(), FRAMES, geometry).unwrap();
            for ((path, predicted), extracted) in predicted.zip(extracted) {
                let what = format!("{} {geometry:?}", path.display());
                let expected = reference(&path, geometry);
                assert!(extracted.rgb == expected, "extraction: {what}");
                assert_eq!(predicted.unwrap().clip, extracted, "predict: {what}");
                assert!(window(&path, geometry) == expected, "timeline: {what}");
                distinct.insert(expected);
            }
        }
    }
    // The modes and filters do differ.
    assert!(distinct.len() > 6 * (sizes.len() - 2), "{}", distinct.len());
}
