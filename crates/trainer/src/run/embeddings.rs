//! The frame features of a whole data set as files that other programs read.

use std::collections::BTreeMap;
use std::path::Path;

use clips::Ended;
use data::Manifest;
use recogniser::checkpoint::{Tensors, encode_tensors};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::Session;
use crate::json::write_json;
use crate::{Error, Result};

/// The features of every clip of a data set that can be decoded.
#[derive(Debug)]
pub struct Embeddings {
    clips: Vec<EmbeddedClip>,
    /// `[N, F, D]`: the frames of one view after those of another.
    frames: Tensor,
    about: About,
    /// The clips without features, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One row of the features.
#[derive(Debug, Serialize)]
struct EmbeddedClip {
    id: String,
    /// Of the whole file, by which a program finds the row of a video that it has.
    sha256: String,
    labels: Vec<usize>,
    /// `train` or `test`, by the name of the split.
    splits: BTreeMap<String, &'static str>,
}

/// What the rows are.
#[derive(Debug, Serialize)]
struct About {
    dataset: String,
    classes: Vec<String>,
    backbone_sha256: String,
    preprocessing: String,
    frames: usize,
    views: String,
}

impl Embeddings {
    /// Computes the features that are missing, under the recipe of test views.
    ///
    /// # Errors
    /// Any error of the clips, and a video file that cannot be read.
    pub fn of(session: &Session) -> Result<Ended<Self>> {
        let (dataset, config) = (&session.dataset, &session.config);
        let all: Vec<usize> = (0..dataset.manifest.clips().len()).collect();
        let Ended::Done(set) = session.features(&all, &session.test_recipe())? else {
            return Ok(Ended::Stopped);
        };
        let known: Vec<usize> = all.into_iter().filter(|clip| set.has(*clip)).collect();
        if known.is_empty() {
            return Err(Error::mismatch("clips", "at least 1 decodable", 0));
        }
        let mut parts = parts(&dataset.manifest);
        let clips = known.iter().map(|&position| {
            let splits = parts.remove(&position).unwrap_or_default();
            embedded(session, position, splits)
        });
        let clips = clips.collect::<Result<Vec<_>>>()?;
        let id = |(clip, reason)| (dataset.id(clip).to_owned(), reason);
        Ok(Ended::Done(Self {
            clips,
            frames: set.read(&known)?.f_flatten(1, 2)?,
            about: About {
                dataset: dataset.manifest.dataset().into(),
                classes: dataset.labels.clone(),
                backbone_sha256: session.backbone.identity.sha256.clone(),
                preprocessing: session.backbone.preprocess.fingerprint(),
                frames: config.data.frames,
                views: config.protocol.views.to_string(),
            },
            skipped: set.skipped().into_iter().map(id).collect(),
        }))
    }

    /// N, F, and D.
    pub fn size(&self) -> Vec<i64> {
        self.frames.size()
    }

    /// Writes `embeddings.safetensors` (`frames` `[N, F, D]` and their mean `pooled` `[N, D]`, f32, not
    /// normalised; `labels` `[N]`, i64, the first class of each), the same as `frames.npy`,
    /// `pooled.npy` and `labels.npy`, the rows' ids in `clips.json`, and `about.json`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let first = |clip: &EmbeddedClip| clip.labels.first().copied().unwrap_or(0) as i64;
        let labels: Vec<i64> = self.clips.iter().map(first).collect();
        let tensors = Tensors::from([
            ("frames".to_owned(), self.frames.shallow_clone()),
            ("labels".to_owned(), Tensor::from_slice(&labels)),
            (
                "pooled".to_owned(),
                self.frames.mean_dim(1, false, Kind::Float),
            ),
        ]);
        for (name, tensor) in &tensors {
            let path = folder.join(format!("{name}.npy"));
            let file = disk::temporary_for(&path, "")?;
            tensor.write_npy(file.path())?;
            disk::persist(file, &path)?;
        }
        let encoded = encode_tensors(&tensors)?;
        disk::write(&folder.join("embeddings.safetensors"), &encoded)?;
        write_json(&folder.join("clips.json"), &self.clips)?;
        write_json(&folder.join("about.json"), &self.about)
    }
}

fn embedded(
    session: &Session,
    position: usize,
    splits: BTreeMap<String, &'static str>,
) -> Result<EmbeddedClip> {
    let manifest = &session.dataset.manifest;
    let file = manifest.clips().get(position);
    let file = file.map(|clip| manifest.file(clip)).unwrap_or_default();
    let bytes = std::fs::read(&file).map_err(Error::file("cannot read", &file))?;
    Ok(EmbeddedClip {
        id: session.dataset.id(position).into(),
        sha256: disk::sha256(bytes),
        labels: session.dataset.classes(position).to_vec(),
        splits,
    })
}

/// The part of every split that each clip is in.
fn parts(manifest: &Manifest) -> BTreeMap<usize, BTreeMap<String, &'static str>> {
    let mut parts: BTreeMap<usize, BTreeMap<String, &'static str>> = BTreeMap::new();
    for split in manifest.splits() {
        for (part, clips) in [("train", &split.train), ("test", &split.test)] {
            for clip in clips {
                parts
                    .entry(*clip)
                    .or_default()
                    .insert(split.name.clone(), part);
            }
        }
    }
    parts
}
