//! Clips decoded and transformed while the model computes: training and testing from videos.

use std::collections::BTreeMap;
use std::sync::Arc;

use clip_backbone::Preprocess;
use clips::{
    Ahead, ClipPixels, ClipStream, Ended, Interrupt, Recipe, Sample, VideoFiles, to_tensor,
};
use data::{Manifest, Sampling};
use dist::Group;
use models::Clips;
use pixels::Augment;
use tch::Device;
use video::Limits;

use crate::evaluate::{Judge, Tested};
use crate::log::progress_bar;
use crate::ranks::dealt;
use crate::source::{BatchSource, Drawn};
use crate::{Error, Result};

/// Clips scored at once, counted in views.
const BATCH: usize = 16;

/// The pipeline of training clips.
#[derive(Debug, Clone)]
pub struct LiveRecipe {
    /// The frame sampling.
    pub sampling: Sampling,
    /// The random transform.
    pub augment: Augment,
    /// The backbone's preprocessing.
    pub preprocess: Preprocess,
    /// The device of the tensors.
    pub device: Device,
    /// Limits on the resources of a video.
    pub limits: Limits,
}

/// Training clips from their videos: one random view per clip and epoch, drawn from (seed, epoch,
/// clip) alone, so that batches, threads and resuming do not change it.
pub struct LiveClips {
    recipe: LiveRecipe,
    manifest: Arc<Manifest>,
    /// The clip of each position, as a position in the manifest.
    clips: Vec<usize>,
    classes: Vec<i64>,
    shown: Vec<Vec<i64>>,
    stream: ClipStream,
    /// The batch being prepared.
    asked: Option<Asked>,
}

/// A requested batch.
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
    /// [`Error::Data`] if no thread can be started or the recipe is out of range;
    /// [`Error::Mismatch`] if clips and classes differ in number.
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
            stream: stream(manifest.clone(), &recipe.limits)?,
            recipe,
            manifest,
            clips,
            classes,
            shown: Vec::new(),
            asked: None,
        })
    }

    /// The same for clips that show several classes each, `shown` in the clips' order.
    pub fn showing(self, shown: Vec<Vec<i64>>) -> Self {
        Self { shown, ..self }
    }

    fn start(&mut self, asked: Asked) -> Result<()> {
        let clips = asked.positions.iter();
        let clips = clips.filter_map(|position| self.clips.get(*position).copied());
        let clips: Vec<usize> = clips.collect();
        let recipe = Recipe::Train {
            sampling: self.recipe.sampling,
            geometry: self.recipe.preprocess.geometry,
            augment: self.recipe.augment.clone(),
            seed: asked.seed,
            epoch: asked.epoch,
            copies: 1,
        };
        self.stream.push(&clips, &recipe)?;
        self.asked = Some(asked);
        Ok(())
    }
}

impl BatchSource for LiveClips {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn shown(&self, position: usize) -> &[i64] {
        self.shown.get(position).map_or(&[], Vec::as_slice)
    }

    fn is_divided(&self) -> bool {
        true
    }

    fn batch(&mut self, positions: &[usize], seed: u64, epoch: u64) -> Result<Drawn> {
        let wanted = Asked {
            positions: positions.to_vec(),
            seed,
            epoch,
        };
        if self.asked.as_ref() != Some(&wanted) {
            if let Some(other) = self.asked.take() {
                self.stream
                    .by_ref()
                    .take(other.positions.len())
                    .for_each(drop);
            }
            self.start(wanted)?;
        }
        self.asked = None;
        let (mut kept, mut left_out, mut views) = (Vec::new(), Vec::new(), Vec::new());
        for (&position, sample) in positions.iter().zip(self.stream.by_ref()) {
            match sample.views {
                Ok(made) => {
                    kept.push(position);
                    views.extend(made.into_iter().take(1));
                }
                Err(_) => {
                    let clip = self.manifest.clips().get(sample.position);
                    left_out.extend(clip.map(|clip| clip.id.clone()));
                }
            }
        }
        for id in &left_out {
            tracing::warn!(clip = id, "cannot be decoded: skipped in its batch");
        }
        Ok(Drawn {
            clips: Clips::Pixels(to_tensor(
                &views,
                &self.recipe.preprocess,
                self.recipe.device,
            )?),
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

/// Test clips scored from their videos.
pub struct LiveScorer<'a> {
    /// The data set.
    pub manifest: &'a Arc<Manifest>,
    /// The frames and crops.
    pub recipe: &'a Recipe,
    /// The backbone's preprocessing.
    pub preprocess: &'a Preprocess,
    /// The device of the tensors.
    pub device: Device,
    /// Limits on the resources of a video.
    pub limits: &'a Limits,
    /// Checked between clips.
    pub interrupt: &'a Interrupt,
    /// Hides the progress on stderr.
    pub quiet: bool,
    /// The processes that score together.
    pub group: &'a dyn Group,
}

impl LiveScorer<'_> {
    /// Scores `clips`, positions in the manifest whose classes are `labels`, in windows that are dealt
    /// to the processes; each has all scores.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if no clip can be decoded, and any error of the model.
    pub fn score(
        &self,
        judge: &Judge<'_>,
        clips: &[usize],
        labels: &[usize],
    ) -> Result<Ended<Tested>> {
        let bar = match self.quiet {
            true => indicatif::ProgressBar::hidden(),
            false => progress_bar(
                clips.len() as u64,
                "test {bar:20} {pos}/{len} clips, {per_sec}, {eta} left",
            ),
        };
        let at_once = (BATCH / self.recipe.views().max(1)).max(1);
        let windows: Vec<&[usize]> = clips.chunks(at_once).collect();
        let mut stream = stream(self.manifest.clone(), self.limits)?;
        let own = windows.iter().skip(self.group.rank());
        for window in own.step_by(self.group.size()) {
            stream.push(window, self.recipe)?;
        }
        let scored = dealt(self.group, windows.len(), |window| {
            let clips = windows.get(window).copied().unwrap_or_default();
            let (mut decoded, mut skipped) = (Vec::new(), Vec::new());
            for Sample { position, views } in stream.by_ref().take(clips.len()) {
                match views {
                    Ok(views) => decoded.push(views),
                    Err(reason) => skipped.push((position, reason)),
                }
                if self.interrupt.asked() {
                    return Ok(None);
                }
            }
            let rows = match decoded.is_empty() {
                true => Vec::new(),
                false => judge.rows(&self.views(&decoded)?)?,
            };
            bar.inc((clips.len() * self.group.size()) as u64);
            let bits = rows.into_iter().map(f32::to_bits);
            Ok(Some((bits.collect::<Vec<u32>>(), skipped)))
        })?;
        bar.finish_and_clear();
        let Some(scored) = scored else {
            return Ok(Ended::Stopped);
        };
        let (mut rows, mut skipped) = (Vec::new(), BTreeMap::new());
        for (bits, of_window) in scored {
            rows.extend(bits.into_iter().map(f32::from_bits));
            skipped.extend(of_window);
        }
        let decoded = |clip: &usize| !skipped.contains_key(clip);
        let scored: Vec<usize> = clips.iter().copied().filter(decoded).collect();
        if scored.is_empty() {
            let reason = skipped.values().next().cloned().unwrap_or_default();
            return Err(Error::mismatch(
                "decodable test clips",
                "at least 1",
                reason,
            ));
        }
        let of_decoded = clips.iter().zip(labels).filter(|(clip, _)| decoded(clip));
        Ok(Ended::Done(Tested {
            scored: judge.scored(&rows, of_decoded.map(|(_, label)| *label).collect()),
            clips: scored,
            skipped,
        }))
    }

    /// Each view of all clips.
    fn views(&self, clips: &[Vec<ClipPixels>]) -> Result<Vec<Clips>> {
        let views = clips.first().map_or(0, Vec::len);
        (0..views)
            .map(|view| {
                let of_view = clips.iter().filter_map(|views| views.get(view));
                let frames = to_tensor(of_view, self.preprocess, self.device)?;
                Ok(Clips::Pixels(frames))
            })
            .collect()
    }
}

fn stream(manifest: Arc<Manifest>, limits: &Limits) -> Result<ClipStream> {
    let source = Arc::new(VideoFiles {
        limits: limits.clone(),
        ..VideoFiles::default()
    });
    Ok(ClipStream::new(manifest, source, Ahead::default())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use data::formats::{ReadOptions, class_folders};
    use tch::Tensor;

    use super::*;

    /// Three drawn clips and one that is not a video.
    fn manifest(folder: &std::path::Path) -> Arc<Manifest> {
        for (number, clip) in ["Punch/1.avi", "Punch/2.avi", "PushUps/1.avi"]
            .iter()
            .enumerate()
        {
            let (width, height) = (64, 48);
            let shade = |index: usize, at: usize| ((at * (number + 5)) >> 4 ^ (8 * index)) as u8;
            let frame = |index| video::Frame {
                index,
                time: index as f64 / 10.0,
                width,
                height,
                rgb: (0..width * height * 3).map(|at| shade(index, at)).collect(),
            };
            let path = folder.join(clip);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let frames: Vec<_> = (0..8).map(frame).collect();
            video::write_clip(&path, &frames, 10).unwrap();
        }
        std::fs::write(folder.join("PushUps/broken.avi"), b"no video").unwrap();
        let found = class_folders("own", folder, ReadOptions::default()).unwrap();
        Arc::new(found.manifest)
    }

    fn live(manifest: &Arc<Manifest>) -> LiveClips {
        let recipe = LiveRecipe {
            sampling: Sampling::Segments { frames: 2 },
            augment: Augment::default(),
            preprocess: Preprocess::openai(32),
            device: Device::Cpu,
            limits: Limits::default(),
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
        // Requested ahead, alone, in another order, by another process.
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

        // Undecodable clips are named, and the others are unaffected.
        let drawn = one.batch(&[good[0], broken, good[1]], 7, 3).unwrap();
        assert_eq!(drawn.positions, [good[0], good[1]]);
        assert_eq!(drawn.left_out, ["PushUps/broken.avi"]);
        assert_eq!(tensor(&drawn), together.narrow(0, 0, 2));
        assert!(one.batch(&[broken], 7, 3).unwrap().positions.is_empty());
    }
}
