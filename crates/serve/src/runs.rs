//! Runs that clients teach: their clips, their training, and what came of it.
//!
//! Each lies in a folder whose name is the server's own. Names that clients give are content, never
//! paths.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::decoders::myself;
use crate::engine::{Engine, Origin};
use crate::upload::Video;
use crate::{Result, limits};

/// The name of the command that is the training process.
pub const TRAIN_WORKER: &str = "train-worker";
/// Seconds in which a deleted run can be restored.
pub(crate) const UNDO: u64 = 600;
/// The beginning of the names of their folders, before 16 random characters.
const PREFIX: &str = "run-";
/// Time between two looks for runs that were deleted long ago.
const SWEEP: Duration = Duration::from_secs(10);
/// Time between two looks at a training's log.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a run beside its clips; a file in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Its name, for people.
    pub(crate) name: String,
    /// The checkpoint it is trained on, a model's id.
    pub(crate) model: String,
    /// Its clips, in the order in which they came.
    pub(crate) clips: Vec<Clip>,
    /// When it was made, in seconds since 1970.
    pub(crate) created: u64,
    /// How its last training ended; none while it goes on, or if the server ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// When it was deleted, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<u64>,
}

/// The end of a training.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ended {
    Ready,
    Failed(String),
}

impl Description {
    /// How far it is, when it is not being trained.
    fn progress(&self) -> Progress {
        match (&self.ended, self.deleted) {
            (_, Some(_)) => Progress::Deleted,
            (Some(Ended::Ready), None) => Progress::Ready,
            (Some(Ended::Failed(reason)), None) => Progress::Failed {
                reason: reason.clone(),
            },
            (None, None) => waiting("its training was interrupted, and goes on soon"),
        }
    }
}

/// A clip of a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Clip {
    /// Its id in results and reports.
    pub(crate) id: String,
    /// Its class.
    pub(crate) class: String,
    /// The client's name of it.
    pub(crate) name: String,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum Progress {
    /// Features are computed, or training steps made.
    Training {
        /// Steps done.
        step: u64,
        /// Loss of the last one.
        #[serde(skip_serializing_if = "Option::is_none")]
        loss: Option<f64>,
        /// The last words of the training.
        message: String,
    },
    /// It can be asked.
    Ready,
    /// It ended without a result.
    Failed {
        /// The reason.
        reason: String,
    },
    /// It is deleted, and can be restored for a while.
    Deleted,
}

struct Run {
    description: Description,
    progress: watch::Sender<Progress>,
    /// Dropped to end a training.
    training: Option<watch::Sender<()>>,
}

/// All runs.
#[derive(Clone)]
pub(crate) struct Runs {
    root: PathBuf,
    runs: Arc<Mutex<BTreeMap<String, Run>>>,
    places: Arc<Semaphore>,
    engine: Engine,
    stopping: watch::Receiver<bool>,
}

/// The right to train.
pub(crate) struct Turn(#[allow(dead_code)] OwnedSemaphorePermit);

impl Runs {
    /// Reads the runs in `root`, which is made if need be. Training ends when the server is
    /// `stopping`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(crate) fn open(
        root: &Path,
        engine: Engine,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self> {
        private_folder(root)?;
        let mut runs = BTreeMap::new();
        let entries = fs::read_dir(root).map_err(disk::Error::of("cannot read", root))?;
        for folder in entries.flatten().map(|entry| entry.path()) {
            match read(&folder) {
                Some((id, description)) => drop(runs.insert(id, Run::new(description))),
                None if is_unfinished(&folder) => purge(&folder),
                None => {}
            }
        }
        Ok(Self {
            root: root.into(),
            runs: Arc::new(Mutex::new(runs)),
            places: Arc::new(Semaphore::new(1)),
            engine,
            stopping,
        })
    }

    /// Makes the trained runs models, one after another, and goes on with interrupted trainings.
    pub(crate) async fn load(self) {
        for (id, _, progress) in self.list() {
            match progress {
                Progress::Ready => self.publish(&id).await,
                Progress::Training { .. } => self.resume(&id),
                Progress::Failed { .. } | Progress::Deleted => {}
            }
        }
    }

    /// Purges, now and then, what was deleted long ago.
    pub(crate) async fn sweep(self) {
        loop {
            let over = |run: &Run| run.description.deleted.is_some_and(|at| at + UNDO <= now());
            let over: Vec<String> = self
                .all()
                .extract_if(.., |_, run| over(run))
                .map(|(id, _)| id)
                .collect();
            let root = self.root.clone();
            let purged = move || over.iter().for_each(|id| purge(&root.join(id)));
            let _ = tokio::task::spawn_blocking(purged).await;
            tokio::time::sleep(SWEEP).await;
        }
    }

    /// The right to train, if nothing else is trained.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.places.clone().try_acquire_owned().ok().map(Turn)
    }

    /// Waits for the end of a training.
    pub(crate) async fn ended(&self) {
        let _ = self.places.acquire().await;
    }

    /// Every run that is not deleted, and how far it is.
    pub(crate) fn list(&self) -> Vec<(String, Description, Progress)> {
        let runs = self.all();
        let all = runs.iter().map(|(id, run)| {
            let progress = run.progress.borrow().clone();
            (id.clone(), run.description.clone(), progress)
        });
        all.filter(|(.., progress)| *progress != Progress::Deleted)
            .collect()
    }

    /// Whether as many runs are kept as may be, those that can be restored among them.
    pub(crate) fn is_full(&self) -> bool {
        self.all().len() >= limits::RUNS
    }

    /// One run that is not deleted.
    pub(crate) fn get(&self, id: &str) -> Option<(Description, watch::Receiver<Progress>)> {
        let runs = self.all();
        let run = runs.get(id)?;
        let there = run.description.deleted.is_none();
        there.then(|| (run.description.clone(), run.progress.subscribe()))
    }

    /// The folder of what the training of a run writes. Only ids of runs are joined to a path.
    pub(crate) fn folder(&self, id: &str) -> Option<PathBuf> {
        self.all()
            .contains_key(id)
            .then(|| self.root.join(id).join("run"))
    }

    /// The file of a run's clip.
    pub(crate) fn clip(&self, id: &str, clip: &str) -> Option<PathBuf> {
        let runs = self.all();
        let mut clips = runs.get(id)?.description.clips.iter();
        // The path is made of the id that the server gave.
        let known = clips.find(|known| known.id == clip)?;
        Some(self.root.join(id).join("clips").join(&known.id))
    }

    /// A new run with these clips, of which each has a class; its id.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn make(
        &self,
        name: String,
        model: String,
        clips: &[(String, Video)],
    ) -> Result<String> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(16)
            .tempdir_in(&self.root)
            .map_err(disk::Error::of("cannot make a folder in", &self.root))?;
        let mut description = Description {
            name,
            model,
            clips: Vec::new(),
            created: now(),
            ended: None,
            deleted: None,
        };
        store(folder.path(), &mut description, clips)?;
        // From here on it is not removed with its guard.
        let folder = folder.keep();
        let id = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.all().insert(id.clone(), Run::new(description));
        Ok(id)
    }

    /// Adds clips to a run, for whoever has the turn. `false` if it is deleted.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn add(&self, id: &str, clips: &[(String, Video)]) -> Result<bool> {
        let Some((mut description, _)) = self.get(id) else {
            return Ok(false);
        };
        description.ended = None;
        // Not under the lock, for it takes its time.
        store(&self.root.join(id), &mut description, clips)?;
        self.change(id, |run| {
            let there = run.description.deleted.is_none();
            if there {
                run.description = description;
                run.progress.send_replace(waiting(""));
            }
            there
        })
    }

    /// Trains a run in a process of its own, in the background.
    pub(crate) fn train(&self, id: &str, weights: String, turn: Turn) {
        let (stop, stopped) = watch::channel(());
        let progress = {
            let mut runs = self.all();
            let run = runs.get_mut(id);
            let Some(run) = run.filter(|run| run.description.deleted.is_none()) else {
                return;
            };
            run.training = Some(stop);
            run.progress.clone()
        };
        let (runs, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            let folder = runs.root.join(&id);
            let trained = train(&folder, &weights, &progress, stopped, runs.stopping.clone()).await;
            let ended = match trained {
                Ok(()) => Ended::Ready,
                Err(None) => return,
                Err(Some(reason)) => {
                    Ended::Failed(format!("{reason}; add clips, or teach it anew"))
                }
            };
            let (at, run) = (runs.clone(), id.clone());
            let noted = tokio::task::spawn_blocking(move || {
                at.change(&run, |run| {
                    run.training = None;
                    run.description.ended = Some(ended);
                    run.description.deleted.is_none()
                })
            });
            match noted.await {
                Ok(Ok(there)) if !there => {}
                Ok(Ok(_)) => runs.publish(&id).await,
                Ok(Err(error)) => tracing::error!("{error}"),
                Err(_) => {}
            }
            drop(turn);
        });
    }

    /// Goes on with an interrupted training once nothing else is trained.
    fn resume(&self, id: &str) {
        let (runs, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            let Ok(turn) = runs.places.clone().acquire_owned().await else {
                return;
            };
            let Some((description, _)) = runs.get(&id) else {
                return;
            };
            if description.ended.is_some() || *runs.stopping.borrow() {
                return;
            }
            let mut cards = runs.engine.cards().into_iter();
            if let Some(base) = cards.find(|card| card.id == description.model) {
                return runs.train(&id, base.place, Turn(turn));
            }
            let reason = format!(
                "its training was interrupted, and its checkpoint {} is not served: start the server \
                 with it",
                description.model
            );
            if let Some(run) = runs.all().get(&id) {
                run.progress.send_replace(Progress::Failed { reason });
            }
        });
    }

    /// Makes a trained run a model, or says why it is none.
    async fn publish(&self, id: &str) {
        let (Some(folder), Some((description, _))) = (self.folder(id), self.get(id)) else {
            return;
        };
        let mut progress = description.progress();
        if progress == Progress::Ready {
            let origin = Origin {
                id: id.to_owned(),
                name: description.name,
                place: folder.display().to_string(),
            };
            if let Err(error) = self.engine.add(origin).await {
                let reason = error.to_string();
                progress = Progress::Failed { reason };
            }
        }
        match self.all().get(id) {
            Some(run) if run.description.deleted.is_none() => {
                run.progress.send_replace(progress);
            }
            // Deleted meanwhile.
            _ => self.engine.remove(id),
        }
    }

    /// Deletes a run, and ends its training. `false` if there is none.
    ///
    /// # Errors
    /// Its description cannot be written.
    pub(crate) fn delete(&self, id: &str) -> Result<bool> {
        let deleted = self.change(id, |run| {
            let there = run.description.deleted.is_none();
            if there {
                run.description.deleted = Some(now());
                run.progress.send_replace(Progress::Deleted);
                run.training = None;
            }
            there
        })?;
        if deleted {
            self.engine.remove(id);
        }
        Ok(deleted)
    }

    /// Restores a deleted run. `false` if there is none.
    ///
    /// # Errors
    /// Its description cannot be written.
    pub(crate) fn undo(&self, id: &str) -> Result<bool> {
        self.change(id, |run| {
            let there = run.description.deleted.take().is_some();
            if there {
                run.progress.send_replace(run.description.progress());
            }
            there
        })
    }

    /// Makes a restored run a model again, or goes on with its training.
    pub(crate) async fn restored(&self, id: &str) {
        match self.get(id) {
            Some((description, _)) if description.ended.is_none() => self.resume(id),
            _ => self.publish(id).await,
        }
    }

    /// Changes a run, and writes its description if `change` says so, which it returns; `false`
    /// without such a run.
    fn change(&self, id: &str, change: impl FnOnce(&mut Run) -> bool) -> Result<bool> {
        let mut runs = self.all();
        let Some(run) = runs.get_mut(id) else {
            return Ok(false);
        };
        let changed = change(run);
        if changed {
            describe(&self.root.join(id), &run.description)?;
        }
        Ok(changed)
    }

    /// A lock is poisoned by a panic alone, after which the map is as it was.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.runs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Run {
    fn new(description: Description) -> Self {
        Self {
            progress: watch::Sender::new(description.progress()),
            description,
            training: None,
        }
    }
}

fn waiting(message: &str) -> Progress {
    Progress::Training {
        step: 0,
        loss: None,
        message: message.into(),
    }
}

/// A folder for its owner alone.
fn private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    Ok(made.map_err(disk::Error::of("cannot make the folder", path))?)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn read(folder: &Path) -> Option<(String, Description)> {
    let id = folder.file_name()?.to_str()?.to_owned();
    let bytes = fs::read(folder.join("description.json")).ok()?;
    Some((id, serde_json::from_slice(&bytes).ok()?))
}

fn describe(folder: &Path, description: &Description) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(description).unwrap_or_default();
    Ok(disk::write(&folder.join("description.json"), &bytes)?)
}

/// Whether the folder is one of a run that was never whole: the server ended in making it.
fn is_unfinished(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let random = name.strip_prefix(PREFIX).unwrap_or_default();
    let is_ours = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_ours && !folder.join("description.json").exists()
}

fn purge(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!("{}: cannot be removed: {error}", folder.display());
    }
}

/// Writes clips, the list of all, and the description. Every name on disk is a number.
fn store(folder: &Path, description: &mut Description, clips: &[(String, Video)]) -> Result<()> {
    let files = folder.join("clips");
    private_folder(&files)?;
    for (class, video) in clips {
        let id = format!("{:05}", description.clips.len());
        let path = files.join(&id);
        let copy = || {
            let mut from = &*video.file;
            from.rewind()?;
            std::io::copy(&mut from, &mut fs::File::create(&path)?)
        };
        copy().map_err(disk::Error::of("cannot write", &path))?;
        description.clips.push(Clip {
            id,
            class: class.clone(),
            name: video.name.clone(),
        });
    }
    let mut list = csv::Writer::from_writer(Vec::new());
    let rows = description
        .clips
        .iter()
        .map(|clip| [clip.id.as_str(), clip.class.as_str()]);
    for row in std::iter::once(["video", "label"]).chain(rows) {
        // Writing to memory does not fail.
        let _ = list.write_record(row);
    }
    disk::write(
        &folder.join("list.csv"),
        &list.into_inner().unwrap_or_default(),
    )?;
    describe(folder, description)
}

/// Trains the run in `folder`, or goes on with it; the reason if that fails, none if it is deleted or the
/// server stops.
async fn train(
    folder: &Path,
    weights: &str,
    progress: &watch::Sender<Progress>,
    mut stopped: watch::Receiver<()>,
    mut stopping: watch::Receiver<bool>,
) -> std::result::Result<(), Option<String>> {
    let set = |key: &str, path: &Path| format!("{key}={:?}", path.display().to_string());
    let clips = folder.join("clips");
    let cannot = |error: io::Error| format!("the training process cannot be started: {error}");
    let program = myself().map_err(cannot)?;
    let mut child = Command::new(program)
        .arg(TRAIN_WORKER)
        .arg(&clips)
        .args(["--weights", weights, "--out"])
        .arg(folder.join("run"))
        .args(["--set", "data.layout=\"csv\"", "--set", "name=\"served\""])
        .args(["--set", &set("data.lists", &folder.join("list.csv"))])
        // It stops when its standard input ends, with this process at the latest.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let mut goes_on = child.stdin.take();
    let Some(stderr) = child.stderr.take() else {
        return Err(Some("the training process says nothing".into()));
    };
    let mut lines = BufReader::new(stderr).split(b'\n');
    let log = folder.join("run/seed-0/log.jsonl");
    let mut look = tokio::time::interval(LOOK);
    let (mut said, mut failure) = (String::new(), None);
    loop {
        tokio::select! {
            line = lines.next_segment() => match line {
                Ok(Some(line)) => {
                    let line = String::from_utf8_lossy(&line);
                    if let Some(error) = line.strip_prefix("error: ") {
                        failure = Some(error.to_owned());
                    }
                    said = recogniser::printable(&line);
                }
                _ => break,
            },
            _ = look.tick() => {
                let (step, loss) = last_step(&log).unwrap_or((0, None));
                let message = said.clone();
                progress.send_if_modified(|now| {
                    let next = Progress::Training { step, loss, message };
                    let changed = *now != next && *now != Progress::Deleted;
                    if changed {
                        *now = next;
                    }
                    changed
                });
            }
            _ = stopped.changed() => {
                let _ = child.kill().await;
                return Err(None);
            }
            _ = stopping.changed(), if goes_on.is_some() => goes_on = None,
        }
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    match status.code() {
        // 1 says that clips were left out, which its result names.
        Some(0 | 1) => {
            purge_earlier(folder);
            Ok(())
        }
        _ if goes_on.is_none() => Err(None),
        _ => Err(failure.or_else(|| Some(format!("the training process ended: {status}")))),
    }
}

/// Removes the runs that a training on more clips has taken the place of, `run.1` and so on.
fn purge_earlier(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let earlier = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("run."));
    earlier.for_each(|entry| purge(&entry.path()));
}

/// The step and the loss in the last whole line of a log.
fn last_step(log: &Path) -> Option<(u64, Option<f64>)> {
    let mut file = fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(4096)))
        .ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let whole = text.get(..text.rfind('\n')?)?;
    let line: serde_json::Value = serde_json::from_str(whole.rsplit('\n').next()?).ok()?;
    Some((
        line.get("step")?.as_u64()?,
        line.get("loss").and_then(serde_json::Value::as_f64),
    ))
}

/// Writes a trained run as a ZIP: a folder that `predict --checkpoint` reads.
///
/// # Errors
/// A file cannot be read, or the archive not be written.
pub(crate) fn archive(folder: &Path, to: impl Write) -> io::Result<()> {
    let mut files = Vec::new();
    list(folder, Path::new("run"), &mut files);
    let mut archive = ZipWriter::new_stream(to);
    for (path, name) in files {
        let mut file = fs::File::open(&path)?;
        // Parameters do not become smaller.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(file.metadata()?.len() > u64::from(u32::MAX));
        archive.start_file(name, options)?;
        io::copy(&mut file, &mut archive)?;
    }
    archive.finish()?;
    Ok(())
}

/// The files of a run, but for features, which can be computed anew.
fn list(folder: &Path, name: &Path, files: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != "features" => {
                list(&path, &name, files);
            }
            Ok(kind) if kind.is_file() => files.push((path, name.to_string_lossy().into_owned())),
            _ => {}
        }
    }
}
