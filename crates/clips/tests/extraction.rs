//! Features of made videos.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use clip_backbone::FrameTokens;
use clips::feature_cache::{FeatureReader, ShareOfWork, Storage};
use clips::{Backbone, Ended, Extractor, Interrupt, Precision, Recipe, Work};
use data::{ClassName, Manifest, Sampling, VideoEntry, Views};
use random::Stream;
use tch::Device;
use video::{Frame, Limits};

const CLIPS: usize = 7;
const BROKEN: usize = 2;

/// Clips of noise, one of which is none.
fn clips(folder: &Path) -> Manifest {
    for clip in 0..CLIPS {
        let mut stream = Stream::new(clip as u64, &["noise"]);
        let frame = |index| Frame {
            index,
            time: 0.0,
            width: 32,
            height: 32,
            rgb: (0..32 * 32 * 3).map(|_| stream.next_u64() as u8).collect(),
        };
        let frames: Vec<Frame> = (0..6).map(frame).collect();
        let path = folder.join(format!("{clip}.avi"));
        video::write_clip(&path, &frames, 25).unwrap();
    }
    fs::write(folder.join(format!("{BROKEN}.avi")), b"no video").unwrap();
    let entry = |clip| VideoEntry::new(format!("{clip}"), format!("{clip}.avi"), vec![0]);
    let classes = vec![ClassName::new("noise")];
    Manifest::new("noise", folder, classes, (0..CLIPS).map(entry).collect()).unwrap()
}

/// Each clip's features, of those that have any.
fn features(folder: &Path) -> BTreeMap<usize, Vec<f32>> {
    let set = fs::read_dir(folder).unwrap().flatten().next().unwrap();
    let reader = FeatureReader::open_any(&set.path()).unwrap();
    let layout = reader.layout();
    let row = |clip| {
        let mut row = vec![0.0; layout.frames * layout.width];
        reader.copy_view(clip, 0, &mut row).unwrap();
        (clip, row)
    };
    let there = (0..layout.clips).filter(|clip| reader.has(*clip));
    there.map(row).collect()
}

#[test]
fn several_clips_in_one_pass_have_the_features_of_each_alone() {
    let place = tempfile::tempdir().unwrap();
    let manifest = clips(place.path());
    let weights = testkit::workspace_root().join("datasets/demo/backbone");
    let backbone = Backbone::open(&weights, None, Precision::Fp32, Device::Cpu).unwrap();
    let identities = clips::file_identities(&manifest);
    let recipe = Recipe::Test {
        sampling: Sampling::Segments { frames: 2 },
        geometry: backbone.preprocess.geometry,
        views: Views::SINGLE,
        seed: 0,
    };
    let extract = |at_once: usize| {
        let folder = place.path().join(format!("features-{at_once}"));
        let extractor = Extractor {
            backbone: &backbone,
            manifest: &manifest,
            files: &identities,
            folder: &folder,
            tokens: FrameTokens::Class,
            at_once: NonZeroUsize::new(at_once).unwrap(),
            storage: Storage::F32,
            limits: Limits::default(),
            interrupt: &Interrupt::default(),
            progress: &|_, _| {},
        };
        let all: Vec<usize> = (0..CLIPS).collect();
        let ended = extractor.extract(&all, &recipe, Work::Share(ShareOfWork::ALL));
        let Ended::Done(done) = ended.unwrap() else {
            panic!("nobody has stopped it");
        };
        let skipped: Vec<usize> = done.skipped.keys().copied().collect();
        assert_eq!((done.computed, skipped), (CLIPS - 1, vec![BROKEN]));
        features(&folder)
    };
    let alone = extract(1);
    assert_eq!(alone.len(), CLIPS - 1);
    for at_once in [3, 100] {
        let together = extract(at_once);
        assert!(together.keys().eq(alone.keys()));
        for (one, other) in together.values().flatten().zip(alone.values().flatten()) {
            assert!((one - other).abs() < 1e-5, "{at_once}: {one} and {other}");
        }
    }
}
