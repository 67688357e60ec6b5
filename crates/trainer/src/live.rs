//! Clips decoded and transformed while the model works: training and testing from videos.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use clip_backbone::Preprocess;
use data::transform::Augment;
use data::{
    ClipPixels, Loader, LoaderConfig, Manifest, Recipe, Sample, Sampling, SkipList, VideoSource,
};
use models::{Classifier, Clips};
use tch::{Device, Kind, Tensor};

use crate::evaluate::Scored;
use crate::interrupt::Interrupt;
use crate::log::progress_bar;
use crate::source::{ClipSource, Drawn};
use crate::{Error, Result};

/// Clips scored at once, in views.
const BATCH: usize = 16;

/// What training clips go through.
#[derive(Debug, Clone)]
pub struct LiveRecipe {
    /// Which frames.
    pub sampling: Sampling,
    /// What is done to them.
    pub augment: Augment,
    /// How the backbone wants them.
    pub preprocess: Preprocess,
    /// Where tensors are made.
    pub device: Device,
}

/// Training clips from their videos: one random view a clip and epoch, drawn from (seed, epoch,
/// clip) alone, so that neither batches nor threads nor a resumption change it.
pub struct LiveClips {
    recipe: LiveRecipe,
    manifest: Arc<Manifest>,
    /// The clip of each position, as a position in the manifest.
    clips: Vec<usize>,
    classes: Vec<i64>,
    shown: Vec<Vec<i64>>,
    worker: Worker,
    /// The batch that is under way.
    asked: Option<Asked>,
}

/// A batch, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    positions: Vec<usize>,
    seed: u64,
    epoch: u64,
}

impl LiveClips {
    /// The clips of `manifest` at `clips`, with the class of each.
    ///
    /// # Errors
    /// [`Error::Data`] where no thread can be started or the recipe is out of range;
    /// [`Error::Mismatch`] where clips and classes differ in number.
    pub fn new(
        manifest: Arc<Manifest>,
        clips: Vec<usize>,
        classes: Vec<i64>,
        recipe: LiveRecipe,
    ) -> Result<Self> {
        if clips.len() != classes.len() {
            return Err(Error::mismatch("classes", clips.len(), classes.len()));
        }
        Ok(Self {
            worker: Worker::new(manifest.clone())?,
            recipe,
            manifest,
            clips,
            classes,
            shown: Vec::new(),
            asked: None,
        })
    }

    /// The same of clips that show several classes each, `shown` in the clips' order.
    pub fn showing(self, shown: Vec<Vec<i64>>) -> Self {
        Self { shown, ..self }
    }

    fn start(&mut self, asked: Asked) -> Result<()> {
        let clips = asked.positions.iter();
        let clips = clips.filter_map(|position| self.clips.get(*position).copied());
        self.worker.start(Job {
            clips: clips.collect(),
            recipe: Recipe::Train {
                sampling: self.recipe.sampling,
                augment: self.recipe.augment.clone(),
                seed: asked.seed,
                epoch: asked.epoch,
                copies: 1,
            },
        })?;
        self.asked = Some(asked);
        Ok(())
    }
}

impl ClipSource for LiveClips {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn shown(&self, position: usize) -> &[i64] {
        self.shown.get(position).map_or(&[], Vec::as_slice)
    }

    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn> {
        let wanted = Asked {
            positions: positions.to_vec(),
            seed,
            epoch,
        };
        if self.asked.as_ref() != Some(&wanted) {
            if self.asked.take().is_some() {
                self.worker.finish()?;
            }
            self.start(wanted)?;
        }
        self.asked = None;
        let mut samples = self.worker.finish()?.into_iter().peekable();
        let (mut kept, mut left_out, mut views) = (Vec::new(), Vec::new(), Vec::new());
        for &position in positions {
            let clip = self.clips.get(position).copied().unwrap_or(usize::MAX);
            // Samples come in the order asked for, without those that failed.
            match samples.next_if(|sample| sample.position == clip) {
                Some(sample) => {
                    kept.push(position);
                    views.extend(sample.views.into_iter().take(1));
                }
                None => {
                    let id = self.manifest.clips().get(clip).map(|clip| clip.id.clone());
                    left_out.extend(id);
                }
            }
        }
        for id in &left_out {
            tracing::warn!(clip = id, "cannot be decoded: left out of its batch");
        }
        Ok(Drawn {
            clips: Clips::Pixels(pixels(&views, &self.recipe.preprocess, self.recipe.device)?),
            positions: kept,
            left_out,
        })
    }

    fn ahead(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<()> {
        self.start(Asked {
            positions: positions.to_vec(),
            seed,
            epoch,
        })
    }
}

/// Views as a batch of frames, `[B, T, 3, S, S]`; empty for none.
///
/// # Errors
/// [`Error::Mismatch`] where they differ in size, and what the backbone refuses.
pub fn pixels(views: &[ClipPixels], preprocess: &Preprocess, device: Device) -> Result<Tensor> {
    let Some(first) = views.first() else {
        return Ok(Tensor::zeros([0], (Kind::Float, device)));
    };
    let shape = |view: &ClipPixels| [view.frames, view.height, view.width];
    if let Some(other) = views.iter().find(|view| shape(view) != shape(first)) {
        return Err(Error::mismatch(
            "views of one batch",
            format!("{:?}", shape(first)),
            format!("{:?}", shape(other)),
        ));
    }
    let rgb: Vec<&[u8]> = views.iter().map(|view| view.rgb.as_slice()).collect();
    let rgb = rgb.concat();
    let [frames, height, width] = shape(first).map(|size| size as i64);
    let count = views.len() as i64;
    let bytes = Tensor::f_from_data_size(&rgb, &[count * frames, height, width, 3], Kind::Uint8)?;
    let normal = preprocess.normalise(&bytes.to_device(device))?; // (B T, 3, S, S)
    Ok(normal.f_view([count, frames, 3, height, width])?)
}

/// Test clips scored from their videos.
pub struct LiveScorer<'a> {
    /// The data set.
    pub manifest: &'a Arc<Manifest>,
    /// Which frames and crops.
    pub recipe: &'a Recipe,
    /// How the backbone wants them.
    pub preprocess: &'a Preprocess,
    /// Where tensors are made.
    pub device: Device,
    /// Asked between clips.
    pub interrupt: &'a Interrupt,
    /// No progress on stderr.
    pub quiet: bool,
}

/// What scoring gave: of each clip in order its scores, and the clips that cannot be decoded.
pub struct LiveScores {
    /// The scores, of the clips that were decoded.
    pub scored: Scored,
    /// Those clips, as positions in the manifest.
    pub clips: Vec<usize>,
    /// The others, each with the reason.
    pub skipped: BTreeMap<usize, String>,
}

impl LiveScorer<'_> {
    /// Scores `clips`, positions in the manifest whose classes are `labels`; `None` where it
    /// was stopped.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where no clip can be decoded, and what the model refuses.
    pub fn score(
        &self,
        classifier: &dyn Classifier,
        clips: &[usize],
        labels: &[usize],
    ) -> Result<Option<LiveScores>> {
        let loader = loader(self.manifest.clone())?;
        let bar = match self.quiet {
            true => indicatif::ProgressBar::hidden(),
            false => progress_bar(
                clips.len() as u64,
                "test {bar:20} {pos}/{len} clips, {per_sec}, {eta} left",
            ),
        };
        let at_once = (BATCH / self.recipe.views().max(1)).max(1);
        let mut pass = loader.pass(clips, self.recipe)?;
        let mut waiting: Vec<Sample> = Vec::new();
        let (mut probabilities, mut scored) = (Vec::new(), Vec::new());
        loop {
            let next = pass.next().transpose()?;
            let last = next.is_none();
            waiting.extend(next);
            if waiting.len() >= at_once || (last && !waiting.is_empty()) {
                probabilities.extend(self.probabilities(classifier, &waiting)?);
                bar.inc(waiting.len() as u64);
                scored.extend(waiting.drain(..).map(|sample| sample.position));
            }
            if self.interrupt.asked() {
                return Ok(None);
            }
            if last {
                break;
            }
        }
        bar.finish_and_clear();
        let skipped: BTreeMap<usize, String> = pass
            .report()
            .skipped
            .iter()
            .map(|clip| (clip.position, clip.reason.clone()))
            .collect();
        if scored.is_empty() {
            let reason = skipped.values().next().cloned().unwrap_or_default();
            return Err(Error::mismatch(
                "test clips that decode",
                "at least 1",
                reason,
            ));
        }
        let decoded = |clip: &usize| !skipped.contains_key(clip);
        let of_decoded = clips.iter().zip(labels).filter(|(clip, _)| decoded(clip));
        Ok(Some(LiveScores {
            scored: Scored {
                probabilities,
                labels: of_decoded.map(|(_, label)| *label).collect(),
                classes: classifier.labels().len(),
            },
            clips: scored,
            skipped,
        }))
    }

    /// Row by row, the mean over the views of each clip.
    fn probabilities(&self, classifier: &dyn Classifier, samples: &[Sample]) -> Result<Vec<f32>> {
        let views = samples.first().map_or(0, |sample| sample.views.len());
        let looks = (0..views)
            .map(|view| {
                let of_view = samples.iter().filter_map(|sample| sample.views.get(view));
                let of_view: Vec<ClipPixels> = of_view.cloned().collect();
                Ok(Clips::Pixels(pixels(
                    &of_view,
                    self.preprocess,
                    self.device,
                )?))
            })
            .collect::<Result<Vec<_>>>()?;
        let scores = classifier.probabilities(&looks)?;
        let scores = scores.to_kind(Kind::Float).to_device(Device::Cpu);
        Ok(Vec::try_from(scores.contiguous().view(-1))?)
    }
}

fn loader(manifest: Arc<Manifest>) -> Result<Loader> {
    Ok(Loader::new(
        manifest,
        Arc::new(VideoSource::default()),
        // Clips of the skip list are in no split.
        SkipList::new(),
        // Bad clips are counted and named by whoever asked for them.
        LoaderConfig {
            tolerated: 1.0,
            ..LoaderConfig::default()
        },
    )?)
}

/// Some clips to prepare.
struct Job {
    clips: Vec<usize>,
    recipe: Recipe,
}

/// A thread that prepares one batch while the model works on the one before.
struct Worker {
    // Dropped before the thread is joined, which ends it.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<std::result::Result<Vec<Sample>, data::Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn new(manifest: Arc<Manifest>) -> Result<Self> {
        let loader = loader(manifest)?;
        let (jobs, asked) = sync_channel::<Job>(1);
        let (sender, done) = sync_channel(1);
        let work = move || {
            for job in asked {
                let pass = loader.pass(&job.clips, &job.recipe);
                let samples = pass.and_then(Iterator::collect);
                // Nobody listens any more only where training has ended.
                if sender.send(samples).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("batches".into())
            .spawn(work);
        let thread =
            thread.map_err(|error| Error::mismatch("threads", "one that starts", error))?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Begins a job. Each is to be [finished](Self::finish) before the next but one begins.
    fn start(&self, job: Job) -> Result<()> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|_| ended()),
            None => Err(ended()),
        }
    }

    /// The clips of the job begun longest ago, without those that failed.
    fn finish(&self) -> Result<Vec<Sample>> {
        Ok(self.done.recv().map_err(|_| ended())??)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // The last job's samples may lie there unasked for.
        while self.done.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic in a worker was reported as a bad clip.
            let _ = thread.join();
        }
    }
}

fn ended() -> Error {
    Error::mismatch("the thread of batches", "running", "it has ended")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use data::formats::{ReadOptions, class_folders};

    use super::*;

    /// Three drawn clips and one that is none.
    fn manifest(folder: &std::path::Path) -> Arc<Manifest> {
        for (number, clip) in ["Punch/1.avi", "Punch/2.avi", "PushUps/1.avi"]
            .iter()
            .enumerate()
        {
            let (width, height) = (64, 48);
            let shade = |index: usize, at: usize| ((at * (number + 5)) >> 4 ^ (8 * index)) as u8;
            let frame = |index| data::Frame {
                index,
                time: index as f64 / 10.0,
                width,
                height,
                rgb: (0..width * height * 3).map(|at| shade(index, at)).collect(),
            };
            let path = folder.join(clip);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let frames: Vec<_> = (0..8).map(frame).collect();
            data::encode::write_clip(&path, &frames, 10).unwrap();
        }
        std::fs::write(folder.join("PushUps/broken.avi"), b"no video").unwrap();
        let found = class_folders("own", folder, ReadOptions::default()).unwrap();
        Arc::new(found.manifest)
    }

    fn live(manifest: &Arc<Manifest>) -> LiveClips {
        let recipe = LiveRecipe {
            sampling: Sampling::Segments { frames: 2 },
            augment: Augment {
                size: 32,
                ..Augment::default()
            },
            preprocess: Preprocess::openai(32),
            device: Device::Cpu,
        };
        let clips: Vec<usize> = (0..manifest.clips().len()).collect();
        let classes = vec![0; clips.len()];
        LiveClips::new(manifest.clone(), clips, classes, recipe).unwrap()
    }

    fn tensor(drawn: &Drawn) -> Tensor {
        match &drawn.clips {
            Clips::Pixels(pixels) => pixels.shallow_clone(),
            Clips::Features(_) => panic!("pixels expected"),
        }
    }

    #[test]
    fn a_clips_view_depends_on_seed_epoch_and_clip_alone() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(folder.path());
        let broken = manifest
            .clips()
            .iter()
            .position(|c| c.id.contains("broken"))
            .unwrap();
        let good: Vec<usize> = (0..4).filter(|place| *place != broken).collect();
        let mut one = live(&manifest);
        let together = tensor(&one.batch(&good, 7, 3).unwrap());
        assert_eq!(together.size(), [3, 2, 3, 32, 32]);
        // Asked for ahead, alone, in another order, by another process.
        let mut other = live(&manifest);
        other.ahead(&[good[2]], 7, 3).unwrap();
        assert_eq!(
            tensor(&other.batch(&[good[2]], 7, 3).unwrap()).select(0, 0),
            together.select(0, 2)
        );
        other.ahead(&[good[0]], 7, 4).unwrap();
        let turned = tensor(&other.batch(&[good[1], good[0]], 7, 3).unwrap());
        assert_eq!(turned.select(0, 1), together.select(0, 0));
        for (seed, epoch) in [(7, 4), (8, 3)] {
            assert_ne!(tensor(&one.batch(&good, seed, epoch).unwrap()), together);
        }

        // What cannot be decoded is named, and the others are as they would have been.
        let drawn = one.batch(&[good[0], broken, good[1]], 7, 3).unwrap();
        assert_eq!(drawn.positions, [good[0], good[1]]);
        assert_eq!(drawn.left_out, ["PushUps/broken.avi"]);
        assert_eq!(tensor(&drawn), together.narrow(0, 0, 2));
        assert!(one.batch(&[broken], 7, 3).unwrap().positions.is_empty());
    }
}
