//! The sources of training clips.

use crate::{Error, Result};
use clips::FeatureSet;
use models::Clips;
use random::{Purpose, StepStream};

/// Labelled clips that are requested in batches.
pub trait BatchSource {
    /// The class of every clip, an index into the run's labels.
    fn classes(&self) -> &[i64];

    /// Every class of the clip at `position`, if clips show several; else none.
    fn shown(&self, _position: usize) -> &[i64] {
        &[]
    }

    /// Whether reading a clip is expensive, so that each of several processes reads its own only. A
    /// batch is mixed within what a process reads.
    fn is_divided(&self) -> bool {
        false
    }

    /// A batch: the clips at `positions`, as training sees them in `epoch` of a run with
    /// `seed`, without those that cannot be read.
    ///
    /// # Errors
    /// Any error of reading them.
    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn>;

    /// Announces the next batch, so that it can be prepared ahead.
    ///
    /// # Errors
    /// Any error of starting its preparation.
    fn ahead(&mut self, _positions: &[usize], _seed: u64, _epoch: u64) -> Result<()> {
        Ok(())
    }
}

/// A drawn batch.
#[derive(Debug)]
pub struct Drawn {
    /// The clips.
    pub clips: Clips,
    /// Their positions, in order: the requested ones without those left out.
    pub positions: Vec<usize>,
    /// Ids of clips that could not be read.
    pub left_out: Vec<String>,
}

/// Clips of stored features; a batch reads its own from the mapped files.
pub struct KeptClips<'a> {
    /// One set per recipe of views, in order.
    sets: &'a [FeatureSet],
    /// The clip of each position, as a position in the manifest.
    clips: Vec<usize>,
    classes: Vec<i64>,
    shown: Vec<Vec<i64>>,
}

impl<'a> KeptClips<'a> {
    /// The clips of `sets` at `clips`, with the class of each.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if clips and classes differ in number, or there is no view.
    pub fn new(sets: &'a [FeatureSet], clips: Vec<usize>, classes: Vec<i64>) -> Result<Self> {
        if clips.len() != classes.len() {
            return Err(Error::mismatch("classes", clips.len(), classes.len()));
        }
        if sets.is_empty() {
            return Err(Error::mismatch("sets of training views", "at least 1", 0));
        }
        Ok(Self {
            sets,
            clips,
            classes,
            shown: Vec::new(),
        })
    }

    /// The same for clips that show several classes each, `shown` in the clips' order.
    pub fn showing(self, shown: Vec<Vec<i64>>) -> Self {
        Self { shown, ..self }
    }
}

impl BatchSource for KeptClips<'_> {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn shown(&self, position: usize) -> &[i64] {
        self.shown.get(position).map_or(&[], Vec::as_slice)
    }

    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn> {
        let views: usize = self.sets.iter().map(FeatureSet::views).sum();
        let mut rows = Vec::with_capacity(positions.len());
        for position in positions {
            let clip = self.clips.get(*position).copied();
            let clip = clip.ok_or_else(|| Error::mismatch("clip", self.clips.len(), position))?;
            let mut view = drawn_view(seed, epoch, *position, views);
            for set in self.sets {
                if view < set.views() {
                    rows.push((set, clip, view));
                    break;
                }
                view -= set.views();
            }
        }
        Ok(Drawn {
            clips: Clips::Features(FeatureSet::gather(&rows)?),
            positions: positions.to_vec(),
            left_out: Vec::new(),
        })
    }
}

/// The view of a clip in an epoch. Keyed by the clip, so that it does not depend on its batch.
fn drawn_view(seed: u64, epoch: u64, position: usize, views: usize) -> usize {
    StepStream::new(seed, Purpose::View, epoch, position as u64).below(views)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use clips::Fingerprint;
    use clips::feature_cache::{
        FeatureLayout, FeatureReader, FeatureWriter, Row, ShardRows, Storage,
    };
    use tch::{Kind, Tensor};

    use super::*;

    /// Clips whose features are in memory: `[N, V, T, D]`.
    pub(crate) struct InMemory {
        features: Tensor,
        classes: Vec<i64>,
        pub(crate) shown: Vec<Vec<i64>>,
    }

    impl InMemory {
        pub(crate) fn new(features: Tensor, classes: Vec<i64>) -> Self {
            assert_eq!(features.size4().unwrap().0, classes.len() as i64);
            Self {
                features,
                classes,
                shown: Vec::new(),
            }
        }
    }

    impl BatchSource for InMemory {
        fn classes(&self) -> &[i64] {
            &self.classes
        }

        fn shown(&self, position: usize) -> &[i64] {
            self.shown.get(position).map_or(&[], Vec::as_slice)
        }

        fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn> {
            let views = self.features.size4()?.1 as usize;
            let row = |&at: &usize| (at * views + drawn_view(seed, epoch, at, views)) as i64;
            let rows: Vec<i64> = positions.iter().map(row).collect();
            let flat = self.features.flatten(0, 1); // (N V, T, D)
            let batch = flat.f_index_select(0, &Tensor::from_slice(&rows))?;
            Ok(Drawn {
                clips: Clips::Features(batch.to_kind(Kind::Float)),
                positions: positions.to_vec(),
                left_out: Vec::new(),
            })
        }
    }

    /// Features of `clips` clips, `views` views, 2 frames and 3 numbers each, stored in `folder`;
    /// the first number of a view is 10 clip + view.
    fn kept(folder: &std::path::Path, clips: usize, first: usize, views: usize) -> FeatureSet {
        let layout = FeatureLayout {
            clips,
            views,
            frames: 2,
            width: 3,
            clips_per_shard: 2,
            storage: Storage::F16,
        };
        let fingerprint = Fingerprint::new().with("made up", first);
        let writer = FeatureWriter::open(folder, layout, fingerprint.clone()).unwrap();
        for shard in 0..layout.shards() {
            let row = |position: usize| Row {
                position,
                features: (0..views)
                    .flat_map(|view| [(10 * position + first + view) as f32, 0., 0., 0., 0., 0.])
                    .collect(),
            };
            let rows = ShardRows {
                rows: layout.positions(shard).map(row).collect(),
                ..ShardRows::default()
            };
            writer.write(shard, &rows).unwrap();
        }
        let reader = FeatureReader::open(folder, &fingerprint).unwrap();
        let positions: Vec<usize> = (0..clips).collect();
        FeatureSet::new(reader, &positions)
    }

    /// Anonymous memory of this process, in MB; mapped files are the system's.
    #[cfg(target_os = "linux")]
    fn anonymous() -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib: f64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kib / 1024.0
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn features_are_read_where_they_lie() {
        // 100 MB of features, of which 12 MB are asked for, one batch at a time.
        const CLIPS: usize = 2_500;
        let layout = FeatureLayout {
            clips: CLIPS,
            views: 5,
            frames: 8,
            width: 512,
            clips_per_shard: 128,
            storage: Storage::F16,
        };
        let folder = tempfile::tempdir().unwrap();
        let writer = FeatureWriter::open(folder.path(), layout, Fingerprint::new()).unwrap();
        for shard in 0..layout.shards() {
            let row = |position: usize| Row {
                position,
                features: vec![position as f32; layout.clip_len()],
            };
            let rows = ShardRows {
                rows: layout.positions(shard).map(row).collect(),
                ..ShardRows::default()
            };
            writer.write(shard, &rows).unwrap();
        }
        let before = anonymous();
        let reader = FeatureReader::open(folder.path(), &Fingerprint::new()).unwrap();
        let positions: Vec<usize> = (0..CLIPS).collect();
        let sets = [FeatureSet::new(reader, &positions)];
        let mut source = KeptClips::new(&sets, positions.clone(), vec![0; CLIPS]).unwrap();
        for batch in positions.chunks(32) {
            let Clips::Features(batch) = source.batch(batch, 0, 0).unwrap().clips else {
                panic!("features expected");
            };
            assert_eq!(batch.size(), [batch.size()[0], 8, 512]);
        }
        let grown = anonymous() - before;
        assert!(grown < 25.0, "{grown} MB");
    }

    #[test]
    fn a_batch_is_the_clips_asked_for_in_their_order_each_in_one_of_its_views() {
        let folder = tempfile::tempdir().unwrap();
        let sets = [
            kept(&folder.path().join("centre"), 5, 0, 1),
            kept(&folder.path().join("random"), 5, 1, 2),
        ];
        let mut source = KeptClips::new(&sets, vec![4, 1, 2], vec![0, 1, 0]).unwrap();
        let mut views = std::collections::BTreeSet::new();
        for epoch in 0..30 {
            let Clips::Features(batch) = source.batch(&[2, 0], 7, epoch).unwrap().clips else {
                panic!("features expected");
            };
            assert_eq!(batch.size(), [2, 2, 3]);
            let first = batch.double_value(&[0, 0, 0]);
            assert!((20.0..=22.0).contains(&first), "{first}");
            views.insert(first as i64);
            let second = batch.double_value(&[1, 0, 0]);
            assert!((40.0..=42.0).contains(&second), "{second}");
        }
        assert_eq!(views.len(), 3, "all views are used");
        assert!(source.batch(&[3], 7, 0).is_err());
        assert!(KeptClips::new(&sets, vec![1], vec![]).is_err());
    }
}
