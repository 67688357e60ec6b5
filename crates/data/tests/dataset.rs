//! Reading a folder, prepared or not, with lists and a list of bad clips.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;

use data::formats::{CLASS_FOLDERS, Format};
use data::{Dataset, DatasetOptions, Error, SkipList, Split};

/// The option that an error names, and what it expects.
#[track_caller]
fn refused(options: &DatasetOptions) -> (&'static str, String) {
    match Dataset::read(options).unwrap_err() {
        Error::Option { name, expected, .. } => (name, expected),
        other => panic!("{other}"),
    }
}

#[test]
fn a_prepared_folder_is_all_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("own");
    for clip in ["JumpHigh/a.mp4", "JumpHigh/b.mp4", "run/c.mp4", "run/d.mp4"] {
        let path = root.join(clip);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let mut options = DatasetOptions::new(&CLASS_FOLDERS, &root);
    let mut dataset = Dataset::read(&options).unwrap();
    assert_eq!(dataset.labels, ["jump high", "run"]);
    assert!(!dataset.keep_counts(&BTreeMap::new()).unwrap());

    let split = Split {
        name: "1".into(),
        train: vec![0, 2],
        test: vec![1, 3],
    };
    let manifest = dataset.manifest.with_split(split).unwrap();
    manifest.save(&root.join(Dataset::MANIFEST)).unwrap();
    let mut bad = SkipList::new();
    bad.insert("run/c.mp4", "truncated");
    bad.save(&root.join(Dataset::SKIP)).unwrap();
    let mut dataset = Dataset::read(&options).unwrap();
    let split = dataset.split("1").unwrap();
    assert_eq!((split.train, split.test), (vec![0], vec![1, 3]));
    let counts = BTreeMap::from([("run/d.mp4".to_owned(), 9)]);
    assert!(dataset.keep_counts(&counts).unwrap());
    assert_eq!(
        Dataset::read(&options).unwrap().manifest.clips()[3].frames,
        Some(9)
    );

    // A clip that is gone since is refused, or left out.
    fs::remove_file(root.join("run/d.mp4")).unwrap();
    let error = Dataset::read(&options).unwrap_err().to_string();
    assert!(
        error.contains("1 of 4") && error.contains("'run/d.mp4'"),
        "{error}"
    );
    options.allow_missing = true;
    let dataset = Dataset::read(&options).unwrap();
    assert_eq!(dataset.split("1").unwrap().test, [1]);

    // The folder of another data set, and a data set without lists.
    options.layout = Format::named("ucf101").unwrap();
    let (option, expected) = refused(&options);
    assert_eq!(option, "layout");
    assert!(expected.starts_with("own, as "), "{expected}");
    fs::remove_file(root.join(Dataset::MANIFEST)).unwrap();
    for name in ["ucf101", "csv"] {
        options.layout = Format::named(name).unwrap();
        assert_eq!(refused(&options).0, "lists");
    }
}
