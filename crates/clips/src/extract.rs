//! Frame features: computed once with the frozen image tower, stored on disk.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clip_backbone::{FrameTokens, Usage};
use data::{Manifest, VideoEntry};
use tch::Tensor;

use crate::backbone::Backbone;
use video::Limits;

use crate::clip_source::VideoFiles;
use crate::clip_stream::{ClipStream, Sample};
use crate::feature_cache::{
    FeatureLayout, FeatureReader, FeatureWriter, Row, ShardRows, ShareOfWork, Storage,
};
use crate::features::FeatureSet;
use crate::fingerprint::Fingerprint;
use crate::interrupt::{Ended, Interrupt};
use crate::kept_rows::{KeptRows, write_list};
use crate::pixels::{ClipPixels, to_tensor};
use crate::read_ahead::Ahead;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Frames per forward pass of the image tower.
const FRAMES: usize = 64;
/// Frames that keep a GPU busy.
const GPU_FRAMES: usize = 256;

/// How many clips of so many frames are encoded in one pass: one on a processor, which is busy with
/// it; several on a GPU.
#[must_use]
pub fn clips_at_once(device: tch::Device, frames: usize) -> NonZeroUsize {
    let several = match device {
        tch::Device::Cpu => 1,
        _ => GPU_FRAMES / frames.max(1),
    };
    NonZeroUsize::new(several).unwrap_or(NonZeroUsize::MIN)
}
/// Clips per shard.
const SHARD: usize = 128;
/// Fields of the fingerprint that say which clips the features are of.
const CLIPS: &str = "clips";
const FILES: &str = "files";

/// Statistics of an extraction.
#[derive(Debug, Default)]
pub struct Extraction {
    /// Requested clips.
    pub total: usize,
    /// Clips computed now; the others were already stored.
    pub computed: usize,
    /// Clips taken over from an earlier set that has features of the same files.
    pub taken_over: usize,
    /// Clips that cannot be decoded, by position, each with the reason.
    pub skipped: BTreeMap<usize, String>,
    /// Computed clips with fewer frames than are sampled, so that frames repeat, by position, each
    /// with its number of frames.
    pub short: BTreeMap<usize, usize>,
    /// Elapsed time.
    pub elapsed: Duration,
    /// Of that, time spent waiting for decoded clips.
    pub waiting: Duration,
    /// Of that, time spent in the image tower.
    pub computing: Duration,
    /// Total working time of all decoding workers, in parallel with the tower.
    pub decoding: Duration,
    /// Number of decoding workers.
    pub workers: usize,
}

impl Extraction {
    /// Clips per second, overall and of each of the two stages alone; `None` if
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

/// Clips per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Overall, with both stages running.
    pub clips: f64,
    /// The image tower while it was computing.
    pub tower: f64,
    /// All decoding workers while they were decoding.
    pub decoding: f64,
}

/// Computes features of a data set's clips with one backbone.
pub struct Extractor<'a> {
    /// The frozen CLIP.
    pub backbone: &'a Backbone,
    /// The videos.
    pub manifest: &'a Manifest,
    /// The identity of each clip's file, from [`file_identities`](crate::file_identities).
    pub files: &'a [String],
    /// The folder of all stored features.
    pub folder: &'a Path,
    /// The features of each frame.
    pub tokens: FrameTokens,
    /// Clips that are encoded in one pass, such as [`clips_at_once`]; the last bits of features depend
    /// on it.
    pub at_once: NonZeroUsize,
    /// The precision they are stored in.
    pub storage: Storage,
    /// Limits on the resources of a video.
    pub limits: Limits,
    /// Checked between clips.
    pub interrupt: &'a Interrupt,
    /// Called after each clip with the number of clips done and in all.
    pub progress: &'a dyn Fn(usize, usize),
}

/// The missing shards that a process computes.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// Its share of them.
    Share(ShareOfWork),
    /// Those that it claims, each when it has time for one: the name of the features and the number
    /// of the shard, which are claimed once among all processes. An error is a message.
    Claimed(&'a dyn Fn(&str, usize) -> std::result::Result<bool, String>),
}

/// Shards claimed ahead, so that decoding continues while one is written.
const AHEAD: usize = 2;

/// A subset of a data set's clips, as a manifest of its own.
struct Part {
    manifest: Manifest,
    files: Vec<String>,
    positions: Vec<usize>,
    folder: PathBuf,
    layout: FeatureLayout,
    fingerprint: Fingerprint,
}

impl Part {
    /// Each of the places with its clip and the identity of its file.
    fn clips(&self, places: Range<usize>) -> impl Iterator<Item = (usize, &VideoEntry, &str)> {
        let clips = self.manifest.clips().iter().zip(&self.files);
        let clips = clips.enumerate().skip(places.start).take(places.len());
        clips.map(|(place, (clip, file))| (place, clip, file.as_str()))
    }
}

impl Extractor<'_> {
    /// Computes the missing features of the clips at `positions` under `recipe`, or one process's
    /// part of them.
    ///
    /// # Errors
    /// No clip at all can be decoded, a file cannot be written, a shard cannot be claimed, or the
    /// backbone fails. Features computed before are kept.
    pub fn extract(
        &self,
        positions: &[usize],
        recipe: &Recipe,
        work: Work<'_>,
    ) -> Result<Ended<Extraction>> {
        let part = self.part(positions, recipe)?;
        let writer = FeatureWriter::open(&part.folder, part.layout, part.fingerprint.clone())?;
        let pending = writer.pending(match work {
            Work::Share(share) => share,
            Work::Claimed(_) => ShareOfWork::ALL,
        });
        let mut done = Extraction {
            total: part.positions.len(),
            ..Extraction::default()
        };
        if pending.is_empty() {
            return Ok(Ended::Done(done));
        }
        write_list(&part.folder, part.manifest.clips(), &part.files)?;
        let ahead = Ahead::default();
        done.workers = ahead.workers;
        let began = Instant::now();
        let kept = KeptRows::beside(&part.folder, &part.fingerprint, &[CLIPS, FILES]);
        let pending_clips = || {
            let shards = pending.iter().map(|shard| part.layout.positions(*shard));
            shards.flat_map(|places| part.clips(places))
        };
        let of = pending_clips()
            .filter(|(_, clip, file)| !kept.has(clip, file))
            .count();
        let name = part
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let mut left = pending.iter().copied();
        let mut claim = || -> Result<Option<usize>> {
            let Work::Claimed(claim) = work else {
                return Ok(left.next());
            };
            for shard in left.by_ref() {
                if claim(&name, shard).map_err(Error::Claim)? {
                    return Ok(Some(shard));
                }
            }
            Ok(None)
        };
        let manifest = Arc::new(part.manifest.clone());
        let source = VideoFiles {
            limits: self.limits.clone(),
            ..VideoFiles::default()
        };
        let mut clips = ClipStream::new(manifest, Arc::new(source), ahead)?;
        let mut begun = VecDeque::new();
        loop {
            while begun.len() < AHEAD {
                let Some(shard) = claim()? else {
                    break;
                };
                let all = part.clips(part.layout.positions(shard));
                let places: Vec<usize> = all
                    .filter(|(_, clip, file)| !kept.has(clip, file))
                    .map(|(place, ..)| place)
                    .collect();
                done.taken_over += part.layout.positions(shard).len() - places.len();
                clips.push(&places, recipe)?;
                begun.push_back(shard);
            }
            let Some(shard) = begun.pop_front() else {
                break;
            };
            let shard_places = part.layout.positions(shard);
            let end = shard_places.end;
            let positions = part.positions.as_slice();
            let Some(mut rows) = self.shard(&mut clips, end, of, positions, &mut done)? else {
                return Ok(Ended::Stopped);
            };
            for (position, clip, file) in part.clips(shard_places) {
                if let Some(features) = kept.row(clip, file)? {
                    rows.rows.push(Row { position, features });
                }
            }
            rows.rows.sort_by_key(|row| row.position);
            for (place, reason) in &rows.skipped {
                if let Some(position) = part.positions.get(*place) {
                    done.skipped.insert(*position, reason.clone());
                }
            }
            writer.write(shard, &rows)?;
        }
        done.elapsed = began.elapsed();
        done.decoding = clips.busy();
        let have = done.computed + done.taken_over;
        // A claimed part says nothing about the others.
        let is_whole = matches!(work, Work::Share(_));
        if let (true, 0, Some((position, reason))) =
            (is_whole, have, done.skipped.first_key_value())
        {
            let clip = self.manifest.clips().get(*position);
            return Err(Error::NothingDecodes {
                of,
                id: clip.map(|clip| clip.id.clone()).unwrap_or_default(),
                reason: reason.clone(),
            });
        }
        Ok(Ended::Done(done))
    }

    /// The clips before position `end`, of `of` in all; `None` if it was stopped. `positions` are
    /// theirs in the whole data set.
    fn shard(
        &self,
        clips: &mut ClipStream,
        end: usize,
        of: usize,
        positions: &[usize],
        done: &mut Extraction,
    ) -> Result<Option<ShardRows>> {
        let mut rows = ShardRows::default();
        let mut short = BTreeMap::new();
        let mut waiting = Vec::with_capacity(self.at_once.get());
        loop {
            let more = clips.next_position().is_some_and(|position| position < end);
            if waiting.len() == self.at_once.get() || !more && !waiting.is_empty() {
                let begun = Instant::now();
                let encoded = self.encode(&waiting)?;
                done.computing += begun.elapsed();
                done.computed += encoded.len();
                rows.rows.extend(encoded);
                waiting.clear();
                (self.progress)(done.computed + done.skipped.len() + rows.skipped.len(), of);
            }
            if self.interrupt.asked() {
                return Ok(None);
            }
            if !more {
                break;
            }
            let asked = Instant::now();
            let next = clips.next();
            done.waiting += asked.elapsed();
            let Some(Sample { position, views }) = next else {
                break;
            };
            match views {
                Ok(views) => {
                    if let Some(view) = views.first().filter(|view| view.frame_count < view.frames)
                    {
                        short.insert(position, view.frame_count);
                    }
                    waiting.push((position, views));
                }
                Err(reason) => {
                    rows.skipped.insert(position, reason);
                }
            }
        }
        for (place, frames) in short {
            if let Some(position) = positions.get(place) {
                done.short.insert(*position, frames);
            }
        }
        Ok(Some(rows))
    }

    /// Opens the stored features of the clips at `positions` under `recipe`.
    ///
    /// # Errors
    /// [`Error::Features`] and [`Error::Fingerprint`] if they are absent, incomplete, damaged, or made from something else.
    pub fn open(&self, positions: &[usize], recipe: &Recipe) -> Result<FeatureSet> {
        let part = self.part(positions, recipe)?;
        let reader = FeatureReader::open(&part.folder, &part.fingerprint)?;
        Ok(FeatureSet::new(reader, &part.positions))
    }

    /// `[V, T, F]` of each clip's views, row-major.
    fn encode(&self, clips: &[(usize, Vec<ClipPixels>)]) -> Result<Vec<Row>> {
        let _guard = tch::no_grad_guard();
        let clip = self.backbone.clip(Usage::Frozen)?;
        let vision = &clip.vision;
        let views: Vec<&ClipPixels> = clips.iter().flat_map(|(_, views)| views).collect();
        let frames = views.first().map_or(1, |view| view.frames).max(1);
        let parts = views
            .chunks((FRAMES / frames).max(self.at_once.get()))
            .map(|part| {
                let pixels = to_tensor(
                    part.iter().copied(),
                    &self.backbone.preprocess,
                    vision.device(),
                )?;
                let encoded = vision.encode(&pixels.f_flatten(0, 1)?, self.tokens)?;
                Ok(encoded.clips(frames as i64)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let features = Tensor::f_cat(&parts, 0)?.to_device(tch::Device::Cpu);
        let numbers: Vec<f32> = Vec::try_from(features.contiguous().view(-1))?;
        let each = (numbers.len() / clips.len().max(1)).max(1);
        let rows = clips.iter().zip(numbers.chunks(each));
        Ok(rows
            .map(|((position, _), features)| Row {
                position: *position,
                features: features.to_vec(),
            })
            .collect())
    }

    fn part(&self, positions: &[usize], recipe: &Recipe) -> Result<Part> {
        let whole = self.manifest;
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let clips: Vec<VideoEntry> = positions
            .iter()
            .filter_map(|position| whole.clips().get(*position).cloned())
            .collect();
        // Clips are sorted by id, so the subset keeps their order.
        let manifest = Manifest::new(
            whole.dataset(),
            whole.root(),
            whole.classes().to_vec(),
            clips,
        )?;
        let file = |position: &usize| self.files.get(*position).cloned();
        let files: Vec<String> = positions.iter().filter_map(file).collect();
        let identity = &self.backbone.identity;
        let fingerprint = Fingerprint::new()
            .with(CLIPS, manifest.fingerprint())
            .with(FILES, disk::sha256(files.join("\n")))
            .with("weights", &identity.sha256)
            .with("tower precision", identity.precision)
            .with("preprocessing", self.backbone.preprocess.fingerprint())
            .with("recipe", recipe.fingerprint())
            .with("kept as", self.storage);
        let fingerprint = match self.tokens {
            FrameTokens::Class => fingerprint,
            tokens => fingerprint.with("tokens", tokens),
        };
        let key = disk::sha256(fingerprint.to_string());
        let key = key.get(..16).unwrap_or(&key);
        let folder = self.folder.join(format!("{}-{key}", whole.dataset()));
        let layout = FeatureLayout {
            clips: positions.len(),
            views: recipe.views(),
            frames: recipe.sampling().frames(),
            width: usize::try_from(self.tokens.count() * identity.joint_width).unwrap_or(0),
            clips_per_shard: SHARD,
            storage: self.storage,
        };
        Ok(Part {
            manifest,
            files,
            positions,
            folder,
            layout,
            fingerprint,
        })
    }
}
