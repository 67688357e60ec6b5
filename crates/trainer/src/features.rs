//! Frame features: computed once with the frozen image tower, kept on disk.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clip_backbone::Usage;
use data::feature_cache::{
    FeatureLayout, FeatureReader, FeatureWriter, Precision, Row, ShardRows, ShareOfWork,
};
use data::{
    Clip, ClipPixels, Fingerprint, Loader, LoaderConfig, Manifest, Pass, Recipe, SkipList,
    VideoSource,
};
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use tch::{Kind, Tensor};

use crate::backbone::Backbone;
use crate::dataset::Dataset;
use crate::interrupt::Interrupt;
use crate::log::progress_bar;
use crate::{Error, Result};

/// Frames the image tower sees at once.
const FRAMES: i64 = 64;
/// Clips a file.
const SHARD: usize = 128;

/// What an extraction did.
#[derive(Debug, Default)]
pub struct Extraction {
    /// Clips asked for.
    pub total: usize,
    /// Clips computed now; the others were kept already.
    pub computed: usize,
    /// Clips that cannot be decoded, by position, each with its reason.
    pub skipped: BTreeMap<usize, String>,
    /// Time it took.
    pub elapsed: Duration,
    /// Of that, time spent waiting for decoded clips.
    pub waiting: Duration,
    /// Of that, time spent in the image tower.
    pub computing: Duration,
    /// Time that all decoding workers together spent, beside the tower.
    pub decoding: Duration,
    /// How many there were.
    pub workers: usize,
    /// Stopped on request before the end.
    pub interrupted: bool,
}

impl Extraction {
    /// Clips a second, and what each of the two stages would reach alone; `None` where
    /// nothing was computed.
    pub fn rates(&self) -> Option<Rates> {
        let per = |time: Duration| self.computed as f64 / time.as_secs_f64();
        (self.computed > 0).then(|| Rates {
            clips: per(self.elapsed),
            tower: per(self.computing),
            decoding: per(self.decoding) * self.workers as f64,
        })
    }
}

/// Clips a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Of the whole, with both stages at work.
    pub clips: f64,
    /// The image tower while it worked.
    pub tower: f64,
    /// All decoding workers while they worked.
    pub decoding: f64,
}

/// Computes features of a data set's clips under one backbone.
pub struct Extractor<'a> {
    /// The frozen CLIP.
    pub backbone: &'a Backbone,
    /// The videos.
    pub dataset: &'a Dataset,
    /// The folder that holds all kept features.
    pub folder: &'a Path,
    /// The precision they are kept in.
    pub precision: Precision,
    /// Asked between clips.
    pub interrupt: &'a Interrupt,
    /// No progress on stderr.
    pub quiet: bool,
}

/// Kept features of some clips under one recipe.
pub struct FeatureSet {
    reader: FeatureReader,
    places: HashMap<usize, usize>,
}

/// Some clips of a data set, as a manifest of their own.
struct Part {
    manifest: Manifest,
    positions: Vec<usize>,
    folder: PathBuf,
    layout: FeatureLayout,
    fingerprint: Fingerprint,
}

impl Extractor<'_> {
    /// Computes what is not kept yet of the clips at `positions` under `recipe`, or one
    /// process's share of it.
    ///
    /// # Errors
    /// No clip at all can be decoded, the disk refuses, or the backbone does. What was
    /// computed is kept.
    pub fn extract(
        &self,
        positions: &[usize],
        recipe: &Recipe,
        share: ShareOfWork,
    ) -> Result<Extraction> {
        let part = self.part(positions, recipe)?;
        let writer = FeatureWriter::open(&part.folder, part.layout, part.fingerprint.clone())?;
        let pending = writer.pending(share);
        let mut done = Extraction {
            total: part.positions.len(),
            ..Extraction::default()
        };
        if pending.is_empty() {
            return Ok(done);
        }
        let config = LoaderConfig {
            // Bad clips are counted here, over the whole of the work.
            tolerated: 1.0,
            ..LoaderConfig::default()
        };
        done.workers = config.workers;
        let loader = Loader::new(
            Arc::new(part.manifest.clone()),
            Arc::new(VideoSource::default()),
            SkipList::new(),
            config,
        )?;
        let places: Vec<usize> = pending
            .iter()
            .flat_map(|shard| part.layout.positions(*shard))
            .collect();
        let bar = if self.quiet {
            ProgressBar::hidden()
        } else {
            progress_bar(
                places.len() as u64,
                "features {bar:20} {pos}/{len} clips, {per_sec}, {eta} left",
            )
        };
        let began = Instant::now();
        // One pass over all shards: decoding goes on while one is written.
        let mut pass = loader.pass(&places, recipe)?;
        for shard in pending {
            let end = part.layout.positions(shard).end;
            let known = pass.report().skipped.len();
            let Some(mut rows) = self.shard(&mut pass, end, &bar, &mut done)? else {
                done.interrupted = true;
                break;
            };
            for skipped in pass.report().skipped.iter().skip(known) {
                if let Some(position) = part.positions.get(skipped.position) {
                    done.skipped.insert(*position, skipped.reason.clone());
                }
                rows.skipped
                    .insert(skipped.position, skipped.reason.clone());
                bar.inc(1);
            }
            writer.write(shard, &rows)?;
        }
        done.elapsed = began.elapsed();
        done.decoding = pass.busy();
        bar.finish_and_clear();
        if done.computed == 0 && !done.interrupted && !places.is_empty() {
            let first = done.skipped.iter().next();
            return Err(Error::mismatch(
                "clips that can be decoded",
                "at least 1",
                first.map_or_else(String::new, |(position, reason)| {
                    let all = places.len();
                    format!("0 of {all}; {}: {reason}", self.dataset.id(*position))
                }),
            ));
        }
        Ok(done)
    }

    /// The good clips before position `end`; `None` where it was stopped.
    fn shard(
        &self,
        pass: &mut Pass<'_>,
        end: usize,
        bar: &ProgressBar,
        done: &mut Extraction,
    ) -> Result<Option<ShardRows>> {
        let mut rows = ShardRows::default();
        loop {
            let asked = Instant::now();
            let next = pass.next_before(end);
            done.waiting += asked.elapsed();
            let Some(sample) = next else { break };
            let sample = sample?;
            let begun = Instant::now();
            let features = self.encode(&sample.views)?;
            done.computing += begun.elapsed();
            done.computed += 1;
            rows.rows.push(Row {
                position: sample.position,
                features,
            });
            bar.inc(1);
            if self.interrupt.asked() {
                return Ok(None);
            }
        }
        Ok(Some(rows))
    }

    /// Opens the kept features of the clips at `positions` under `recipe`.
    ///
    /// # Errors
    /// [`Error::Data`] where they are absent, incomplete, damaged, or made from something else.
    pub fn open(&self, positions: &[usize], recipe: &Recipe) -> Result<FeatureSet> {
        let part = self.part(positions, recipe)?;
        let reader = FeatureReader::open(&part.folder, &part.fingerprint)?;
        let places = part
            .positions
            .iter()
            .enumerate()
            .map(|(place, at)| (*at, place));
        Ok(FeatureSet {
            places: places.collect(),
            reader,
        })
    }

    /// `[V, T, D]` of one clip's views, row by row.
    fn encode(&self, views: &[ClipPixels]) -> Result<Vec<f32>> {
        let _guard = tch::no_grad_guard();
        let Some(first) = views.first() else {
            return Err(Error::mismatch("views of a clip", "at least 1", 0));
        };
        let joined;
        let rgb: &[u8] = match views {
            [only] => &only.rgb,
            several => {
                let parts: Vec<&[u8]> = several.iter().map(|view| view.rgb.as_slice()).collect();
                joined = parts.concat();
                &joined
            }
        };
        let size = [
            (views.len() * first.frames) as i64,
            first.height as i64,
            first.width as i64,
            3,
        ];
        let pixels = Tensor::f_from_data_size(rgb, &size, Kind::Uint8)?;
        let clip = self.backbone.clip(Usage::Frozen)?;
        let vision = &clip.vision;
        let parts = pixels
            .split(FRAMES, 0)
            .iter()
            .map(|part| {
                let part = part.to_device(vision.device());
                let part = self.backbone.preprocess.normalise(&part)?;
                Ok(vision.forward(&part)?.to_kind(Kind::Float))
            })
            .collect::<Result<Vec<_>>>()?;
        let features = Tensor::f_cat(&parts, 0)?.to_device(tch::Device::Cpu); // (V T, D)
        Ok(Vec::try_from(features.contiguous().view(-1))?)
    }

    fn part(&self, positions: &[usize], recipe: &Recipe) -> Result<Part> {
        let whole = &self.dataset.manifest;
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let clips: Vec<Clip> = positions
            .iter()
            .filter_map(|position| whole.clips().get(*position).cloned())
            .collect();
        // Clips are sorted by id, so the part keeps their order.
        let manifest = Manifest::new(
            whole.dataset(),
            whole.root(),
            whole.classes().to_vec(),
            clips,
        )?;
        let frames = match recipe {
            Recipe::Train { sampling, .. } | Recipe::Test { sampling, .. } => sampling.frames(),
        };
        let identity = &self.backbone.identity;
        let fingerprint = Fingerprint::new()
            .with("clips", manifest.fingerprint())
            .with("weights", &identity.sha256)
            .with("tower precision", format!("{:?}", identity.precision))
            .with("preprocessing", format!("{:?}", self.backbone.preprocess))
            .with("recipe", format!("{recipe:?}"))
            .with("kept as", format!("{:?}", self.precision));
        let key = Sha256::digest(format!("{fingerprint:?}"));
        let key: String = key
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = self.folder.join(format!("{}-{key}", whole.dataset()));
        let layout = FeatureLayout {
            clips: positions.len(),
            views: recipe.views(),
            frames,
            width: usize::try_from(identity.joint_width).unwrap_or(0),
            clips_per_shard: SHARD,
            batch: 1,
            precision: self.precision,
        };
        Ok(Part {
            manifest,
            positions,
            folder,
            layout,
            fingerprint,
        })
    }
}

impl FeatureSet {
    /// Whether the clip at a position of the data set has features; one that cannot be
    /// decoded has none.
    pub fn has(&self, position: usize) -> bool {
        self.places
            .get(&position)
            .is_some_and(|place| self.reader.has(*place))
    }

    /// Clips without features: the position in the data set, and why.
    pub fn skipped(&self) -> BTreeMap<usize, String> {
        let skipped = self.reader.skipped();
        let named = |(at, place): (&usize, &usize)| Some((*at, skipped.get(place)?.clone()));
        self.places.iter().filter_map(named).collect()
    }

    /// The features of the clips at `positions`: `[N, V, T, D]` in fp32.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for no clips or one that is not in the set; [`Error::Data`] for
    /// one without features.
    pub fn read(&self, positions: &[usize]) -> Result<Tensor> {
        let layout = self.reader.layout();
        let view_len = layout.frames * layout.width;
        let mut values = vec![0f32; positions.len() * layout.clip_len()];
        if values.is_empty() {
            return Err(Error::mismatch("clips", "at least 1", positions.len()));
        }
        let mut slots = values.chunks_exact_mut(view_len);
        for position in positions {
            let place = self
                .places
                .get(position)
                .ok_or_else(|| Error::mismatch("clip", "one of the extracted part", position))?;
            for view in 0..layout.views {
                if let Some(slot) = slots.next() {
                    self.reader.copy_view(*place, view, slot)?;
                }
            }
        }
        let size = [
            positions.len() as i64,
            layout.views as i64,
            layout.frames as i64,
            layout.width as i64,
        ];
        Ok(Tensor::from_slice(&values).f_view(size)?)
    }
}
