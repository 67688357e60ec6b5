//! What splits and draws promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use data::formats::{Format, Missing, ReadOptions};
use data::splits::{base_to_novel, few_shot, half_classes, read_published};
use data::{ClassName, Manifest, Split, VideoEntry};
use proptest::prelude::*;
use proptest::sample::SizeRange;

/// Reads a registered format by its official lists alone.
fn read(name: &str, lists: &Path) -> Manifest {
    let options = ReadOptions {
        missing: Missing::Unchecked,
        follow_links: false,
    };
    let format = Format::named(name).unwrap();
    format
        .read(Path::new(""), Some(lists), options)
        .unwrap()
        .manifest
}

/// A data set whose class `c` has `sizes[c]` clips, the last of them for tests.
fn manifest(sizes: &[usize], shuffled: u64) -> (Manifest, Split) {
    let classes = (0..sizes.len())
        .map(|class| ClassName::new(format!("class {class}")))
        .collect();
    let mut clips: Vec<VideoEntry> = sizes
        .iter()
        .enumerate()
        .flat_map(|(class, size)| {
            (0..*size).map(move |number| {
                let id = format!("{class}/v_g{:02}_{number}.avi", number / 2);
                VideoEntry {
                    group: Some(format!("{class}/{}", number / 2)),
                    ..VideoEntry::new(id, format!("{class}/{number}.avi"), vec![class])
                }
            })
        })
        .collect();
    random::Stream::new(shuffled, &[]).shuffle(&mut clips);
    let manifest = Manifest::new("made up", "", classes, clips).unwrap();
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (position, clip) in manifest.clips().iter().enumerate() {
        let number: usize = clip
            .path
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let last_group = (sizes[clip.label()] - 1) / 2;
        if number / 2 == last_group {
            test.push(position)
        } else {
            train.push(position)
        }
    }
    (
        manifest,
        Split {
            name: "1".into(),
            train,
            test,
        },
    )
}

fn sizes(classes: impl Into<SizeRange>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(10_usize..30, classes)
}

proptest! {
    #[test]
    fn draws_are_exact_nested_and_free_of_test_clips(
        sizes in sizes(1..8), seed: u64, order: u64, k in 1_usize..7,
    ) {
        let (manifest, split) = manifest(&sizes, order);
        split.check(&manifest).unwrap();
        split.check_groups(&manifest).unwrap();
        let draw = few_shot(&manifest, &split, k, seed).unwrap();
        draw.check(&manifest).unwrap();
        draw.check_groups(&manifest).unwrap();
        prop_assert_eq!(&draw.test, &split.test);
        for class in 0..sizes.len() {
            let drawn = draw.train.iter().filter(|p| manifest.clips()[**p].label() == class);
            prop_assert_eq!(drawn.count(), k);
        }
        let all: HashSet<_> = split.train.iter().collect();
        prop_assert!(draw.train.iter().all(|position| all.contains(position)));
        let more = few_shot(&manifest, &split, k + 1, seed).unwrap();
        let more: HashSet<_> = more.train.iter().collect();
        prop_assert!(draw.train.iter().all(|position| more.contains(position)));
    }

    #[test]
    fn draws_do_not_see_the_order_of_clips_or_other_classes(
        sizes in sizes(2..8), seed: u64, order: u64,
    ) {
        let drawn = |sizes: &[usize], order| -> BTreeSet<String> {
            let (manifest, mut split) = manifest(sizes, order);
            split.train.reverse();
            let draw = few_shot(&manifest, &split, 3, seed).unwrap();
            draw.train.iter().map(|position| manifest.clips()[*position].id.clone()).collect()
        };
        let all = drawn(&sizes, order);
        prop_assert_eq!(&all, &drawn(&sizes, order.wrapping_add(1)));
        let fewer = drawn(&sizes[..sizes.len() - 1], order);
        prop_assert!(fewer.is_subset(&all));
    }

    #[test]
    fn halves_are_exact_and_complete(sizes in sizes(2..20), seed: u64) {
        let (manifest, split) = manifest(&sizes, 0);
        let half = half_classes(&manifest, seed);
        prop_assert_eq!(half.len(), sizes.len() / 2);
        prop_assert_eq!(&half, &half_classes(&manifest, seed));
        let halves = base_to_novel(&manifest, &split);
        let mut both = [halves.base.clone(), halves.novel.clone()].concat();
        both.sort_unstable();
        prop_assert_eq!(both, (0..sizes.len()).collect::<Vec<_>>());
        prop_assert_eq!(halves.base.len(), sizes.len().div_ceil(2));
        let train = |class: usize| {
            split.train.iter().filter(|p| manifest.clips()[**p].label() == class).count()
        };
        let rarest = halves.base.iter().map(|class| train(*class)).min().unwrap();
        prop_assert!(halves.novel.iter().all(|class| train(*class) <= rarest));
        let base = split.of_classes(&manifest, &halves.base);
        let novel = split.of_classes(&manifest, &halves.novel);
        prop_assert_eq!(base.test.len() + novel.test.len(), split.test.len());
    }
}

#[test]
fn seeds_draw_differently() {
    let (manifest, split) = manifest(&[29; 5], 0);
    let draws: HashSet<Vec<usize>> = (0..10)
        .map(|seed| few_shot(&manifest, &split, 4, seed).unwrap().train)
        .collect();
    assert_eq!(draws.len(), 10);
    let halves: HashSet<Vec<usize>> = (0..10).map(|seed| half_classes(&manifest, seed)).collect();
    assert!(halves.len() > 3, "{halves:?}");
}

/// One draw, written down: another platform or a later version must draw the same.
#[test]
fn a_draw_is_the_same_for_ever() {
    let (manifest, split) = manifest(&[12, 20], 0);
    let draw = few_shot(&manifest, &split, 3, 5).unwrap();
    let ids: Vec<_> = draw
        .train
        .iter()
        .map(|p| manifest.clips()[*p].id.as_str())
        .collect();
    // By tests/reference/stream.py.
    assert_eq!(ids, include!("reference/draw_golden.in"));
}

fn lists(shared: &Path) -> PathBuf {
    shared.join("data/lists")
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn published_few_shot_lists_load_with_their_counts() {
        let shared = testkit::shared();
        let lists = lists(&shared);
        let ucf = read("ucf101", &lists.join("ucfTrainTestlist"));
        let hmdb = read("hmdb51", &lists.join("testTrainMulti_7030_splits"));
        for (name, manifest) in [("ucf101", &ucf), ("hmdb51", &hmdb)] {
            let folder = lists.join("few-shot").join(name);
            let official = manifest.split("1").unwrap();
            for k in [2, 4, 8, 16] {
                let list = folder.join(format!("train1_few_shot_{k}.txt"));
                let published = read_published(&list, manifest, Missing::Refuse).unwrap();
                assert_eq!(
                    published.positions.len(),
                    k * manifest.classes().len(),
                    "{name} {k}"
                );
                let split = Split {
                    name: "published".into(),
                    train: published.positions,
                    test: official.test.clone(),
                };
                split.check(manifest).unwrap();
            }
            for split in ["1", "2", "3"] {
                let list = folder.join(format!("val{split}.txt"));
                let published = read_published(&list, manifest, Missing::Refuse).unwrap();
                let mut test = manifest.split(split).unwrap().test.clone();
                test.sort_unstable();
                assert_eq!(published.positions, test, "{name} {split}");
            }
        }
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn our_halves_are_the_published_ones() {
        let shared = testkit::shared();
        let lists = lists(&shared);
        let ucf = read("ucf101", &lists.join("ucfTrainTestlist"));
        let hmdb = read("hmdb51", &lists.join("testTrainMulti_7030_splits"));
        for (name, manifest, sizes) in [
            ("ucf_splits", &ucf, [5_385, 2_088, 1_695]),
            ("hmdb_splits", &hmdb, [1_820, 780, 750]),
        ] {
            let split = manifest.split("1").unwrap();
            let halves = base_to_novel(manifest, split);
            let base = split.of_classes(manifest, &halves.base);
            let novel = split.of_classes(manifest, &halves.novel);
            let folder = lists.join("base-to-novel").join(name);
            let read = |list: &str| {
                read_published(&folder.join(list), manifest, Missing::Refuse)
                    .unwrap()
                    .positions
            };
            let ours = [&base.train, &base.test, &novel.test];
            for ((list, ours), size) in ["base_train.txt", "base_val.txt", "novel_val.txt"]
                .iter()
                .zip(ours)
                .zip(sizes)
            {
                let mut ours = ours.clone();
                ours.sort_unstable();
                assert_eq!(ours.len(), size, "{name} {list}");
                assert_eq!(read(list), ours, "{name} {list}");
            }
            for seed in 1..=3 {
                let shots = read(&format!("fs_base_s{seed}_train.txt"));
                assert_eq!(shots.len(), 16 * halves.base.len());
                let base: HashSet<_> = base.train.iter().collect();
                assert!(shots.iter().all(|position| base.contains(position)));
            }
        }
    }
}
