//! What kept features promise: resumed equals uninterrupted, damage is found, what was
//! made otherwise is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clips::feature_cache::{
    FeatureLayout, FeatureReader, FeatureWriter, Row, ShardRows, ShareOfWork, Storage,
};
use clips::{Error, Fingerprint};
use random::Stream;
use safetensors::{Dtype, SafeTensors};

const LAYOUT: FeatureLayout = FeatureLayout {
    clips: 23,
    views: 2,
    frames: 3,
    width: 5,
    clips_per_shard: 4,
    storage: Storage::F16,
};

fn fingerprint() -> Fingerprint {
    Fingerprint::new()
        .with("weights", "abc")
        .with("size", 224)
        .with("manifest", "def")
}

/// Stands for a model: the features of a clip.
fn features(position: usize) -> Vec<f32> {
    let mut stream = Stream::new(position as u64, &["features"]);
    (0..LAYOUT.clip_len())
        .map(|_| stream.between(-8.0, 8.0) as f32)
        .collect()
}

/// Positions 6 and 22 cannot be read.
fn content(layout: &FeatureLayout, shard: usize) -> ShardRows {
    let mut content = ShardRows::default();
    for position in layout.positions(shard) {
        if [6, 22].contains(&position) {
            content.skipped.insert(position, "is truncated".into());
        } else {
            content.rows.push(Row {
                position,
                features: features(position),
            });
        }
    }
    content
}

fn open(folder: &Path, layout: FeatureLayout) -> FeatureWriter {
    FeatureWriter::open(folder, layout, fingerprint()).unwrap()
}

fn extract(folder: &Path, layout: FeatureLayout, share: ShareOfWork) {
    let writer = open(folder, layout);
    for shard in writer.pending(share) {
        writer.write(shard, &content(&layout, shard)).unwrap();
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn features_come_back_as_they_were() {
    for storage in [Storage::F16, Storage::F32] {
        let folder = tempfile::tempdir().unwrap();
        let layout = FeatureLayout { storage, ..LAYOUT };
        extract(folder.path(), layout, ShareOfWork::ALL);
        let reader = FeatureReader::open(folder.path(), &fingerprint()).unwrap();
        assert_eq!(*reader.layout(), layout);
        assert_eq!(reader.skipped().into_keys().collect::<Vec<_>>(), [6, 22]);
        let mut out = [0.0; 15];
        for position in 0..23 {
            assert_eq!(reader.has(position), ![6, 22].contains(&position));
            for view in 0..2 {
                if !reader.has(position) {
                    assert!(reader.copy_view(position, view, &mut out).is_err());
                    continue;
                }
                reader.copy_view(position, view, &mut out).unwrap();
                for (kept, made) in out.iter().zip(&features(position)[view * 15..]) {
                    let tolerance = if storage == Storage::F32 {
                        0.0
                    } else {
                        8.0 / 2048.0
                    };
                    assert!((kept - made).abs() <= tolerance, "{kept} {made}");
                }
            }
        }
        assert!(reader.copy_view(23, 0, &mut out).is_err());
        assert!(reader.copy_view(0, 2, &mut out).is_err());
        assert!(reader.copy_view(0, 0, &mut out[..14]).is_err());
    }
}

#[test]
fn any_safetensors_reader_can_read_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    extract(folder.path(), LAYOUT, ShareOfWork::ALL);
    let bytes = fs::read(folder.path().join("features-00001.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let features = file.tensor("features").unwrap();
    assert_eq!(
        (features.dtype(), features.shape()),
        (Dtype::F16, &[3, 2, 3, 5][..])
    );
    let positions = file.tensor("positions").unwrap();
    let expected: Vec<u8> = [4_u32, 5, 7]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    assert_eq!(positions.data(), expected);
}

#[test]
fn resumed_and_shared_work_gives_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    extract(whole.path(), LAYOUT, ShareOfWork::ALL);

    // Cut short after two shards, one of them damaged, with a half-written file left over.
    let resumed = tempfile::tempdir().unwrap();
    let writer = open(resumed.path(), LAYOUT);
    for shard in [0, 1] {
        writer.write(shard, &content(&LAYOUT, shard)).unwrap();
    }
    let damaged = resumed.path().join("features-00001.safetensors");
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(writer.pending(ShareOfWork::ALL), [1, 2, 3, 4, 5]);
    let absent = FeatureReader::open(resumed.path(), &fingerprint())
        .err()
        .unwrap()
        .to_string();
    assert!(
        absent.contains("4 of 6 shards") && absent.contains("features-00002"),
        "{absent}"
    );
    extract(resumed.path(), LAYOUT, ShareOfWork::ALL);
    assert_eq!(files(resumed.path()), files(whole.path()));
    assert!(
        open(resumed.path(), LAYOUT)
            .pending(ShareOfWork::ALL)
            .is_empty()
    );

    let shared = tempfile::tempdir().unwrap();
    for share in ["2/3", "0/3", "1/3"] {
        extract(shared.path(), LAYOUT, share.parse().unwrap());
    }
    assert_eq!(files(shared.path()), files(whole.path()));
}

/// What the process does that the next test starts and kills.
fn extract_slowly(folder: &Path) {
    let writer = open(folder, LAYOUT);
    for shard in writer.pending(ShareOfWork::ALL) {
        std::thread::sleep(Duration::from_millis(4));
        writer.write(shard, &content(&LAYOUT, shard)).unwrap();
    }
}

#[test]
fn a_killed_extraction_is_continued_to_the_same_bytes() {
    if let Some(folder) = std::env::var_os("SIF_TEST_FOLDER") {
        return extract_slowly(Path::new(&folder));
    }
    let whole = tempfile::tempdir().unwrap();
    extract(whole.path(), LAYOUT, ShareOfWork::ALL);
    let killed = tempfile::tempdir().unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_extraction_is_continued_to_the_same_bytes",
            ])
            .env("SIF_TEST_FOLDER", killed.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    for round in 0..8 {
        let mut process = start();
        std::thread::sleep(Duration::from_millis(5 + 7 * round));
        // SIGKILL on Unix: no handler, no cleaning up.
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(start().wait().unwrap().success());
    let mut left = files(killed.path());
    // What a kill may leave is a half-written file that never got its name.
    left.retain(|name, _| !name.starts_with(".part-"));
    assert_eq!(left, files(whole.path()));
    FeatureReader::open(killed.path(), &fingerprint()).unwrap();
}

#[test]
fn another_origin_is_refused_field_by_field() {
    let folder = tempfile::tempdir().unwrap();
    extract(folder.path(), LAYOUT, ShareOfWork::ALL);
    let other = Fingerprint::new()
        .with("weights", "xyz")
        .with("size", 224)
        .with("sampler", "8");
    for error in [
        FeatureReader::open(folder.path(), &other).err().unwrap(),
        FeatureWriter::open(folder.path(), LAYOUT, other)
            .err()
            .unwrap(),
    ] {
        let Error::Fingerprint { differences, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(differences.len(), 3);
        let text = error.to_string();
        assert!(
            text.contains("weights: kept features have 'abc', this run wants 'xyz'"),
            "{text}"
        );
    }
    let layout = FeatureLayout { views: 3, ..LAYOUT };
    let error = FeatureWriter::open(folder.path(), layout, fingerprint())
        .err()
        .unwrap();
    assert!(error.to_string().contains("views: 2"), "{error}");
}

/// Every byte of every file, turned over one at a time, and every cut.
#[test]
fn damage_anywhere_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let layout = FeatureLayout {
        clips: 3,
        clips_per_shard: 2,
        ..LAYOUT
    };
    let writer = open(folder.path(), layout);
    for shard in 0..2 {
        let rows = layout.positions(shard);
        let rows = rows
            .map(|position| Row {
                position,
                features: features(position),
            })
            .collect();
        writer
            .write(
                shard,
                &ShardRows {
                    rows,
                    skipped: BTreeMap::new(),
                },
            )
            .unwrap();
    }
    let read = || {
        let reader = FeatureReader::open(folder.path(), &fingerprint()).ok()?;
        let mut all = vec![0.0; 3 * 2 * 15];
        for (place, out) in all.chunks_mut(15).enumerate() {
            reader.copy_view(place / 2, place % 2, out).ok()?;
        }
        Some((*reader.layout(), all))
    };
    let good = read().unwrap();
    let path = folder.path().join("features-00000.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        fs::write(&path, &changed).unwrap();
        match read() {
            None => found += 1,
            Some(same) => {
                assert_eq!(same, good, "byte {place} changes what is read");
                harmless += 1;
            }
        }
    }
    // Blanks that pad the header may become other blanks.
    assert!(
        harmless <= 8 && found > 450,
        "{found} found, {harmless} harmless"
    );
    for length in (0..bytes.len()).step_by(13) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(read().is_none(), "cut to {length} bytes");
    }
    // A shard in another's place.
    fs::copy(folder.path().join("features-00001.safetensors"), &path).unwrap();
    assert!(read().is_none());
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read().unwrap(), good);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let writer = open(folder.path(), LAYOUT);
    let refused = |change: &dyn Fn(&mut ShardRows), part: &str| {
        let mut rows = content(&LAYOUT, 0);
        change(&mut rows);
        let error = writer.write(0, &rows).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(
        &|c| drop(c.rows.pop()),
        "3 clips with features and 0 skipped, expected 4",
    );
    refused(&|c| c.rows.swap(0, 1), "are not ascending");
    refused(&|c| c.rows[3].position = 9, "position 9");
    refused(
        &|c| drop(c.skipped.insert(2, String::new())),
        "has features and is also skipped",
    );
    refused(&|c| c.rows[1].features.truncate(29), "expected 30 numbers");
    refused(&|c| c.rows[1].features[3] = f32::NAN, "NaN");
    refused(&|c| c.rows[1].features[3] = 1e6, "1000000");
    assert_eq!(
        files(folder.path()).len(),
        1,
        "nothing but the index was written"
    );

    let bad = |layout: FeatureLayout| {
        FeatureWriter::open(folder.path(), layout, fingerprint())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(bad(FeatureLayout { views: 0, ..LAYOUT }).contains("views"));
    for share in ["", "1", "1/1", "3/2", "a/b", "0/0"] {
        assert!(share.parse::<ShareOfWork>().is_err(), "{share}");
    }
    let index = folder.path().join("features.json");
    fs::write(&index, disk::seal("{\"format\": 1}")).unwrap();
    assert!(bad(LAYOUT).contains("not an index of features"));
    fs::write(&index, "{}").unwrap();
    assert!(bad(LAYOUT).contains("has no SHA-256"));
}
