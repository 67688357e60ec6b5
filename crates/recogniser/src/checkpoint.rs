//! Checkpoints: one folder each, complete or absent.
//!
//! `step-0000000300/` holds one safetensors file per group of tensors, `state.json`, and
//! `manifest.json` with the length and SHA-256 of every other file and of itself. A folder is written under
//! a temporary name, its files and itself are synced, it is renamed, the folder above is
//! synced, and only then are older ones removed. The loader takes the newest one in which every
//! hash verifies. Only trained tensors are stored, never the backbone.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Error, Result};
use disk::{Disk, RealDisk, sha256};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The group of trained parameters.
pub const TRAINED: &str = "trained";
/// The group of the optimizer state.
pub const OPTIMIZER: &str = "optimizer";

/// The start of the name of a checkpoint's folder.
pub(crate) const STEP: &str = "step-";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    step: u64,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    sha256: String,
}

/// A run's checkpoints, in one folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    keep: usize,
}

/// A verified checkpoint.
#[derive(Debug)]
pub struct Loaded<S> {
    /// Its folder.
    pub path: PathBuf,
    /// The step after which it was written.
    pub step: u64,
    /// Its tensors by group.
    pub groups: BTreeMap<String, Tensors>,
    /// The state stored beside the tensors.
    pub state: S,
    /// SHA-256 of the manifest, which covers every other file: the checkpoint's name in a
    /// table of results.
    pub hash: String,
    /// Newer checkpoints that did not verify, each with the reason.
    pub refused: Vec<(PathBuf, String)>,
}

impl Store {
    /// The checkpoints in `folder`, of which the newest `keep` (at least one) are kept.
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self {
            folder: folder.into(),
            keep: keep.max(1),
        }
    }

    /// Writes the checkpoint of `step`, then removes those beyond the newest kept.
    ///
    /// # Errors
    /// [`Error::Disk`]; all earlier checkpoints are intact then.
    pub fn save<S: Serialize>(
        &self,
        step: u64,
        groups: &BTreeMap<&str, Tensors>,
        state: &S,
    ) -> Result<PathBuf> {
        self.save_on(&RealDisk, step, groups, state)
    }

    fn save_on<S: Serialize>(
        &self,
        disk: &dyn Disk,
        step: u64,
        groups: &BTreeMap<&str, Tensors>,
        state: &S,
    ) -> Result<PathBuf> {
        let mut files = BTreeMap::new();
        for (group, tensors) in groups {
            files.insert(format!("{group}.safetensors"), encode_tensors(tensors)?);
        }
        files.insert(STATE.to_owned(), json(state)?);
        let manifest = Manifest {
            format: FORMAT,
            step,
            files: files
                .iter()
                .map(|(name, bytes)| (name.clone(), Entry::of(bytes)))
                .collect(),
        };
        files.insert(MANIFEST.to_owned(), sealed(&manifest)?);

        disk::make_folder(&self.folder)?;
        let name = format!("{STEP}{step:010}");
        let temporary = self
            .folder
            .join(format!(".{name}.{}.tmp", std::process::id()));
        let place = self.folder.join(&name);
        let written = self.write_folder(disk, &temporary, &place, &files);
        if written.is_err() {
            // The first error is the one to report; the next save removes the remains.
            let _ = fs::remove_dir_all(&temporary);
        }
        written?;
        self.tidy_on(disk)?;
        Ok(place)
    }

    /// Removes the checkpoints beyond the newest kept, and what a killed writer left: a call that was
    /// interrupted may have left both.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn tidy(&self) -> Result<()> {
        self.tidy_on(&RealDisk)
    }

    fn tidy_on(&self, disk: &dyn Disk) -> Result<()> {
        let steps = self.steps()?;
        let old = steps.get(self.keep..).unwrap_or_default();
        for step in old {
            let path = self.path(*step);
            disk.remove_dir(&path)
                .map_err(disk::Error::of("cannot remove", &path))?;
        }
        if !old.is_empty() {
            // A finished run is not tidied again.
            disk.sync_dir(&self.folder)
                .map_err(disk::Error::of("cannot sync", &self.folder))?;
        }
        self.sweep();
        Ok(())
    }

    fn write_folder(
        &self,
        disk: &dyn Disk,
        temporary: &Path,
        place: &Path,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<()> {
        disk.create_dir(temporary)
            .map_err(disk::Error::of("cannot create", temporary))?;
        for (name, bytes) in files {
            let path = temporary.join(name);
            disk.write(&path, bytes)
                .map_err(disk::Error::of("cannot write", &path))?;
        }
        disk.sync_dir(temporary)
            .map_err(disk::Error::of("cannot sync", temporary))?;
        if place.exists() {
            // The same step again, after a resume: the existing one is equal or broken.
            disk.remove_dir(place)
                .map_err(disk::Error::of("cannot remove", place))?;
        }
        disk.rename(temporary, place)
            .map_err(disk::Error::of("cannot rename to", place))?;
        disk.sync_dir(&self.folder)
            .map_err(disk::Error::of("cannot sync", &self.folder))?;
        Ok(())
    }

    /// Removes the remains of writers that were killed.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(".tmp") {
                // Remains that cannot be removed do no harm.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Loads the newest checkpoint that verifies; `None` if there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there are some and none verifies; [`Error::Disk`] if the system refuses to
    /// read one: an older one is not the answer to that.
    pub fn load<S: DeserializeOwned>(&self) -> Result<Option<Loaded<S>>> {
        let mut refused = Vec::new();
        for step in self.steps()? {
            let path = self.path(step);
            match load(&path) {
                Ok(loaded) => return Ok(Some(Loaded { refused, ..loaded })),
                Err(Error::Checkpoint { reason, .. }) => refused.push((path, reason)),
                Err(error) => return Err(error),
            }
        }
        match refused.first() {
            None => Ok(None),
            Some((path, reason)) => Err(Error::Checkpoint {
                path: path.clone(),
                reason: format!("{reason}; no older one verifies either"),
            }),
        }
    }

    /// The steps of the checkpoints, newest first.
    fn steps(&self) -> Result<Vec<u64>> {
        let refuse = || disk::Error::of("cannot list", &self.folder);
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(refuse())?,
        };
        let mut steps: Vec<u64> = Vec::new();
        for entry in entries {
            let name = entry.map_err(refuse())?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix(STEP));
            steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
        }
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{STEP}{step:010}"))
    }
}

impl Entry {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }
}

/// Loads the checkpoint folder at `path`, verifying every file.
///
/// # Errors
/// [`Error::Checkpoint`] with the first file that is missing or has changed, [`Error::Disk`] if the system
/// refuses to read one.
pub fn load<S: DeserializeOwned>(path: &Path) -> Result<Loaded<S>> {
    let refuse = |reason: String| Error::Checkpoint {
        path: path.to_path_buf(),
        reason,
    };
    let read = |name: &str| {
        let place = path.join(name);
        fs::read(&place).map_err(|error| match error.kind() {
            ErrorKind::NotFound => refuse(format!("{name} is missing")),
            _ => disk::Error::of("cannot read", place)(error).into(),
        })
    };
    let manifest_bytes = read(MANIFEST)?;
    let manifest = disk::expect_sealed(&manifest_bytes)
        .map_err(|reason| refuse(format!("{MANIFEST} {reason}")))?;
    let manifest: Manifest =
        serde_json::from_str(&manifest).map_err(|error| refuse(format!("{MANIFEST}: {error}")))?;
    if manifest.format != FORMAT {
        return Err(refuse(format!(
            "format {}; this version reads {FORMAT}",
            manifest.format
        )));
    }
    let mut groups = BTreeMap::new();
    let mut state = None;
    for (name, entry) in &manifest.files {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(refuse(format!(
                "{MANIFEST} lists {name:?}, which is outside the folder"
            )));
        }
        let bytes = read(name)?;
        if bytes.len() as u64 != entry.bytes {
            return Err(refuse(format!(
                "{name} should have {} bytes, has {}",
                entry.bytes,
                bytes.len()
            )));
        }
        if sha256(&bytes) != entry.sha256 {
            return Err(refuse(format!("{name} has changed: its SHA-256 differs")));
        }
        if name == STATE {
            let parsed = serde_json::from_slice(&bytes)
                .map_err(|error| refuse(format!("{STATE}: {error}")))?;
            state = Some(parsed);
        } else if let Some(group) = name.strip_suffix(".safetensors") {
            let tensors =
                decode_tensors(&bytes).map_err(|reason| refuse(format!("{name}: {reason}")))?;
            groups.insert(group.to_owned(), tensors);
        }
    }
    let state = state.ok_or_else(|| refuse(format!("{MANIFEST} does not list {STATE}")))?;
    Ok(Loaded {
        path: path.to_path_buf(),
        step: manifest.step,
        groups,
        state,
        hash: sha256(&manifest_bytes),
        refused: Vec::new(),
    })
}

/// SHA-256 over names, shapes and values of tensors, in the order of their names.
///
/// # Errors
/// [`Error::Mismatch`] for a kind that cannot be stored.
pub fn fingerprint(tensors: &Tensors) -> Result<String> {
    Ok(sha256(&encode_tensors(tensors)?))
}

fn json<S: Serialize>(value: &S) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::mismatch("checkpoint", "values that JSON can hold", error))?;
    text.push(b'\n');
    Ok(text)
}

/// A JSON object that ends with its own SHA-256.
pub(crate) fn sealed<S: Serialize>(value: &S) -> Result<Vec<u8>> {
    let text = json(value)?;
    Ok(disk::seal(&String::from_utf8_lossy(&text)).into_bytes())
}

/// Tensors as a safetensors file.
///
/// # Errors
/// [`Error::Mismatch`] for a kind that cannot be stored.
pub fn encode_tensors(tensors: &Tensors) -> Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        raw.push((name, raw_values(name, tensor)?));
    }
    let mut views = Vec::with_capacity(raw.len());
    for (name, values) in &raw {
        let view = TensorView::new(values.dtype, values.shape.clone(), &values.bytes)
            .map_err(|error| Error::mismatch(format!("tensor {name}"), "storable", error))?;
        views.push((*name, view));
    }
    safetensors::serialize(views, None)
        .map_err(|error| Error::mismatch("tensors", "storable", error))
}

struct RawValues {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn raw_values(name: &str, tensor: &Tensor) -> Result<RawValues> {
    let flat = tensor
        .detach()
        .to_device(tch::Device::Cpu)
        .contiguous()
        .view(-1);
    let (dtype, bytes) = match tensor.kind() {
        Kind::Float => {
            let values = Vec::<f32>::try_from(&flat)?;
            (
                Dtype::F32,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        Kind::Double => {
            let values = Vec::<f64>::try_from(&flat)?;
            (
                Dtype::F64,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        kind @ (Kind::Half | Kind::BFloat16) => {
            // The raw bits: tch reads bf16 as if it were fp16.
            let bits = Vec::<i16>::try_from(&flat.f_view_dtype(Kind::Int16)?)?;
            let dtype = match kind {
                Kind::Half => Dtype::F16,
                _ => Dtype::BF16,
            };
            (dtype, bits.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        Kind::Int64 => {
            let values = Vec::<i64>::try_from(&flat)?;
            (
                Dtype::I64,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        other => {
            return Err(Error::mismatch(
                format!("tensor {name}"),
                "fp16, bf16, fp32, fp64 or int64",
                format!("{other:?}"),
            ));
        }
    };
    let shape = tensor
        .size()
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(0))
        .collect();
    Ok(RawValues {
        dtype,
        shape,
        bytes,
    })
}

pub(crate) fn decode_tensors(bytes: &[u8]) -> std::result::Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let kind = match view.dtype() {
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            other => {
                return Err(format!(
                    "{name} is {other:?}; expected fp16, bf16, fp32, fp64 or int64"
                ));
            }
        };
        let shape: Vec<i64> = view
            .shape()
            .iter()
            .map(|size| i64::try_from(*size).map_err(|error| error.to_string()))
            .collect::<std::result::Result<_, _>>()?;
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)
            .map_err(|error| error.to_string())?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use disk::faults::FaultyDisk;
    use proptest::prelude::*;
    use tempfile::TempDir;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct State {
        note: String,
    }

    fn groups(value: f32) -> BTreeMap<&'static str, Tensors> {
        let tensor = |offset: f32| Tensor::from_slice(&[value, offset, f32::MIN_POSITIVE]);
        let trained = Tensors::from([
            ("a.weight".to_owned(), tensor(1.0).view([1, 3])),
            ("b".to_owned(), tensor(2.0)),
        ]);
        let optimizer = Tensors::from([("first.b".to_owned(), tensor(3.0))]);
        BTreeMap::from([(TRAINED, trained), (OPTIMIZER, optimizer)])
    }

    fn state(value: f32) -> State {
        State {
            note: format!("{value}"),
        }
    }

    fn store(keep: usize) -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("checkpoints"), keep);
        (folder, store)
    }

    fn save(store: &Store, step: u64) -> PathBuf {
        let value = step as f32;
        store.save(step, &groups(value), &state(value)).unwrap()
    }

    fn loaded_step(store: &Store) -> u64 {
        let loaded = store.load::<State>().unwrap().unwrap();
        let expected = groups(loaded.step as f32);
        for (group, tensors) in &loaded.groups {
            assert_eq!(tensors, &expected[group.as_str()]);
        }
        assert_eq!(loaded.state, state(loaded.step as f32));
        loaded.step
    }

    #[test]
    fn every_kind_comes_back_bit_for_bit() {
        let values = [1.0f32, -0.984_375, 3.0e-3, 65_000.0, 0.0, -1.0e-6];
        for (kind, dtype) in [
            (Kind::Float, Dtype::F32),
            (Kind::Double, Dtype::F64),
            (Kind::Half, Dtype::F16),
            (Kind::BFloat16, Dtype::BF16),
            (Kind::Int64, Dtype::I64),
        ] {
            let tensor = Tensor::from_slice(&values).to_kind(kind).view([2, 3]);
            let named = Tensors::from([("a".to_owned(), tensor.shallow_clone())]);
            let bytes = encode_tensors(&named).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.tensor("a").unwrap().dtype(), dtype);
            let back = decode_tensors(&bytes).unwrap().remove("a").unwrap();
            assert_eq!((back.kind(), back.size()), (kind, tensor.size()));
            // As other readers see the file: the numbers, not only the bits.
            assert!(back.equal(&tensor), "{kind:?}: {back:?} {tensor:?}");
            let wide = Vec::<f64>::try_from(back.to_kind(Kind::Double).view(-1)).unwrap();
            let expected = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap();
            assert_eq!(wide, expected);
        }
        let bf16 = Tensor::from_slice(&[1.0f32]).to_kind(Kind::BFloat16);
        let bytes = encode_tensors(&Tensors::from([("a".to_owned(), bf16)])).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("a").unwrap().data(), [0x80, 0x3F], "1 in bf16");
    }

    #[test]
    fn what_is_saved_comes_back_and_the_oldest_go() {
        let (_folder, store) = store(2);
        assert!(store.load::<State>().unwrap().is_none());
        for step in [5, 10, 15] {
            save(&store, step);
        }
        assert_eq!(loaded_step(&store), 15);
        assert_eq!(store.steps().unwrap(), [15, 10]);
        // The same step again, as after a resume.
        save(&store, 15);
        assert_eq!(loaded_step(&store), 15);
    }

    #[test]
    fn writes_are_in_the_order_that_survives_a_crash() {
        let (_folder, store) = store(1);
        save(&store, 1);
        let disk = FaultyDisk::new(usize::MAX, false);
        store.save_on(&disk, 2, &groups(2.0), &state(2.0)).unwrap();
        let trace = disk.trace.borrow();
        let kinds: Vec<_> = trace
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "create", "write", "write", "write", "write", "sync", "rename", "sync", "remove",
                "sync"
            ]
        );
        assert_eq!(trace[7], "sync checkpoints");
        assert_eq!(trace[8], "remove step-0000000001");
    }

    #[test]
    fn a_failure_at_any_operation_leaves_the_old_or_the_new_one() {
        let mut failed = 0;
        for sticky in [false, true] {
            for fail_at in 0.. {
                let (_folder, store) = store(1);
                save(&store, 1);
                let disk = FaultyDisk::new(fail_at, sticky);
                let result = store.save_on(&disk, 2, &groups(2.0), &state(2.0));
                let step = loaded_step(&store);
                match result {
                    Ok(_) => assert_eq!(step, 2),
                    Err(error) => {
                        failed += 1;
                        assert!(step == 1 || step == 2);
                        assert!(matches!(error, Error::Disk(_)), "{error}");
                    }
                }
                // Whatever was left, the next save succeeds and cleans up.
                save(&store, 3);
                assert_eq!(loaded_step(&store), 3);
                assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 1);
                if fail_at >= disk.operations() {
                    break;
                }
            }
        }
        assert_eq!(failed, 20, "each of 10 operations, once and for good");
    }

    #[test]
    fn the_loader_walks_back_to_one_that_verifies() {
        for file in [
            "trained.safetensors",
            "optimizer.safetensors",
            STATE,
            MANIFEST,
        ] {
            for harm in ["truncate", "flip", "remove"] {
                let (_folder, store) = store(3);
                save(&store, 1);
                let path = save(&store, 2).join(file);
                match harm {
                    "truncate" => {
                        let bytes = fs::read(&path).unwrap();
                        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
                    }
                    "flip" => {
                        let mut bytes = fs::read(&path).unwrap();
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 4;
                        fs::write(&path, bytes).unwrap();
                    }
                    _ => fs::remove_file(&path).unwrap(),
                }
                let loaded = store.load::<State>().unwrap().unwrap();
                assert_eq!(loaded.step, 1, "{harm} {file}");
                assert_eq!(loaded.refused.len(), 1);
            }
        }
    }

    #[test]
    fn nothing_that_verifies_is_an_error_not_a_fresh_start() {
        let (_folder, store) = store(3);
        let path = save(&store, 1);
        fs::remove_file(path.join(STATE)).unwrap();
        let error = store.load::<State>().unwrap_err().to_string();
        assert!(error.contains(STATE), "{error}");
    }

    #[test]
    fn a_manifest_cannot_point_outside_its_folder() {
        let (_folder, store) = store(1);
        let path = save(&store, 1).join(MANIFEST);
        let text = disk::expect_sealed(&fs::read(&path).unwrap()).unwrap();
        let text = disk::seal(&text.replace("state.json", "../state.json"));
        fs::write(&path, text).unwrap();
        let error = store.load::<State>().unwrap_err().to_string();
        assert!(error.contains("outside"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_flipped_bit_goes_unseen(position in 0.0f64..1.0, bit in 0u8..8) {
            let (_folder, store) = store(1);
            let folder = save(&store, 1);
            for name in ["trained.safetensors", "optimizer.safetensors", STATE] {
                let path = folder.join(name);
                let good = fs::read(&path).unwrap();
                let mut bad = good.clone();
                let at = (position * bad.len() as f64) as usize;
                bad[at] ^= 1 << bit;
                fs::write(&path, &bad).unwrap();
                prop_assert!(load::<State>(&folder).is_err());
                fs::write(&path, &good).unwrap();
            }
            prop_assert!(load::<State>(&folder).is_ok());
        }

        #[test]
        fn no_manifest_makes_the_loader_panic(text in ".{0,200}") {
            let (_folder, store) = store(1);
            let folder = save(&store, 1);
            fs::write(folder.join(MANIFEST), text).unwrap();
            prop_assert!(load::<State>(&folder).is_err());
        }
    }
}
