//! Runs that clients teach: their clips, their training, and what came of it.
//!
//! Each lies in a folder whose name is the server's own. Names that clients give are content, never
//! paths.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

use crate::decoders::myself;
use crate::engine::{Engine, Origin};
use crate::upload::Video;
use crate::{Error, Result};

/// The name of the command that is the training process.
pub const TRAIN_WORKER: &str = "train-worker";
/// Seconds in which a deleted run can be restored.
pub(crate) const UNDO: u64 = 600;
/// Time between two looks at a training's log.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a run beside its clips; a file in its folder.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Description {
    /// Its name, for people.
    pub(crate) name: String,
    /// The checkpoint it is trained on, a model's id.
    pub(crate) model: String,
    /// Its clips, in the order in which they came.
    pub(crate) clips: Vec<Clip>,
    /// When it was made, in seconds since 1970.
    pub(crate) created: u64,
    /// When it was deleted, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<u64>,
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
}

/// The right to train.
pub(crate) struct Turn(OwnedSemaphorePermit);

impl Runs {
    /// Reads the runs in `root`, which is made if need be, and purges what was deleted long ago.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(crate) fn open(root: &Path, engine: Engine) -> Result<Self> {
        private_folder(root)?;
        let mut runs = BTreeMap::new();
        let entries = fs::read_dir(root).map_err(disk::Error::of("cannot read", root))?;
        for folder in entries.flatten().map(|entry| entry.path()) {
            let Some((id, description)) = read(&folder) else {
                continue;
            };
            if description
                .deleted
                .is_some_and(|deleted| deleted + UNDO < now())
            {
                purge(&folder);
                continue;
            }
            let progress = match description.deleted {
                Some(_) => Progress::Deleted,
                None => trained(&folder),
            };
            let run = Run {
                description,
                progress: watch::Sender::new(progress),
                training: None,
            };
            runs.insert(id, run);
        }
        Ok(Self {
            root: root.into(),
            runs: Arc::new(Mutex::new(runs)),
            places: Arc::new(Semaphore::new(1)),
            engine,
        })
    }

    /// Makes the trained runs models, one after another.
    pub(crate) async fn load(&self) {
        let ready: Vec<String> = {
            let runs = self.all();
            let ready = runs
                .iter()
                .filter(|(_, run)| *run.progress.borrow() == Progress::Ready);
            ready.map(|(id, _)| id.clone()).collect()
        };
        for id in ready {
            self.publish(&id).await;
        }
    }

    /// The right to train, if nothing else is trained.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.places.clone().try_acquire_owned().ok().map(Turn)
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

    /// One run, deleted or not.
    pub(crate) fn get(&self, id: &str) -> Option<(Description, watch::Receiver<Progress>)> {
        let runs = self.all();
        let run = runs.get(id)?;
        Some((run.description.clone(), run.progress.subscribe()))
    }

    /// The folder of what a run's training wrote.
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
            .prefix("run-")
            .rand_bytes(16)
            .tempdir_in(&self.root)
            .map_err(disk::Error::of("cannot make a folder in", &self.root))?;
        let mut description = Description {
            name,
            model,
            clips: Vec::new(),
            created: now(),
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
        let run = Run {
            description,
            progress: watch::Sender::new(waiting()),
            training: None,
        };
        self.all().insert(id.clone(), run);
        Ok(id)
    }

    /// Adds clips to a run.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn add(&self, id: &str, clips: &[(String, Video)]) -> Result<()> {
        let mut runs = self.all();
        if let Some(run) = runs.get_mut(id) {
            store(&self.root.join(id), &mut run.description, clips)?;
            run.progress.send_replace(waiting());
        }
        Ok(())
    }

    /// Trains a run in a process of its own, in the background.
    pub(crate) fn train(&self, id: &str, weights: String, turn: Turn) {
        let (stop, stopped) = watch::channel(());
        let progress = {
            let mut runs = self.all();
            let Some(run) = runs.get_mut(id) else { return };
            run.training = Some(stop);
            run.progress.clone()
        };
        let (runs, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            let folder = runs.root.join(&id);
            let trained = train(&folder, &weights, &progress, stopped).await;
            turn.end();
            if let Some(run) = runs.all().get_mut(&id) {
                run.training = None;
            }
            if *progress.borrow() == Progress::Deleted {
                return;
            }
            match trained {
                Ok(()) => runs.publish(&id).await,
                Err(reason) => drop(progress.send_replace(Progress::Failed { reason })),
            }
        });
    }

    /// Makes a trained run a model.
    async fn publish(&self, id: &str) {
        let (Some(folder), Some((description, _))) = (self.folder(id), self.get(id)) else {
            return;
        };
        let origin = Origin {
            id: id.to_owned(),
            name: description.name,
            place: folder.display().to_string(),
        };
        let progress = match self.engine.add(origin).await {
            Ok(()) => Progress::Ready,
            Err(error) => Progress::Failed {
                reason: error.to_string(),
            },
        };
        if let Some(run) = self.all().get(id) {
            run.progress.send_replace(progress);
        }
    }

    /// Deletes a run, and ends its training. `false` if there is none.
    ///
    /// # Errors
    /// Its description cannot be written.
    pub(crate) fn delete(&self, id: &str) -> Result<bool> {
        let mut runs = self.all();
        let Some(run) = runs
            .get_mut(id)
            .filter(|run| run.description.deleted.is_none())
        else {
            return Ok(false);
        };
        run.description.deleted = Some(now());
        describe(&self.root.join(id), &run.description)?;
        run.progress.send_replace(Progress::Deleted);
        run.training = None;
        drop(runs);
        self.engine.remove(id);
        let (runs, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(UNDO)).await;
            let mut all = runs.all();
            let over = |run: &Run| run.description.deleted.is_some_and(|at| at + UNDO <= now());
            if all.get(&id).is_some_and(over) {
                all.remove(&id);
                purge(&runs.root.join(&id));
            }
        });
        Ok(true)
    }

    /// Restores a deleted run. `false` if there is none.
    ///
    /// # Errors
    /// Its description cannot be written.
    pub(crate) async fn undo(&self, id: &str) -> Result<bool> {
        {
            let mut runs = self.all();
            let Some(run) = runs
                .get_mut(id)
                .filter(|run| run.description.deleted.is_some())
            else {
                return Ok(false);
            };
            run.description.deleted = None;
            describe(&self.root.join(id), &run.description)?;
            run.progress.send_replace(trained(&self.root.join(id)));
        }
        let ready = self
            .get(id)
            .is_some_and(|(_, progress)| *progress.borrow() == Progress::Ready);
        if ready {
            self.publish(id).await;
        }
        Ok(true)
    }

    /// A lock is poisoned by a panic alone, after which the map is as it was.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        self.runs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Turn {
    /// The right to train ends with it.
    fn end(self) {
        drop(self.0);
    }
}

fn waiting() -> Progress {
    Progress::Training {
        step: 0,
        loss: None,
        message: String::new(),
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

/// How far the run in a folder is, when it is not being trained.
fn trained(folder: &Path) -> Progress {
    match folder.join("run/seed-0/result.json").is_file() {
        true => Progress::Ready,
        false => Progress::Failed {
            reason: "its training was interrupted: add clips, or teach it anew".into(),
        },
    }
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
            std::io::copy(&mut from, &mut fs::File::create_new(&path)?)
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

/// Trains the run in `folder`; the reason if that fails.
async fn train(
    folder: &Path,
    weights: &str,
    progress: &watch::Sender<Progress>,
    mut stopped: watch::Receiver<()>,
) -> std::result::Result<(), String> {
    let set = |key: &str, path: &Path| format!("{key}={:?}", path.display().to_string());
    let clips = folder.join("clips");
    let program = myself().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg(TRAIN_WORKER)
        .arg(&clips)
        .args(["--weights", weights, "--again", "--out"])
        .arg(folder.join("run"))
        .args(["--set", "data.layout=\"csv\"", "--set", "name=\"served\""])
        .args(["--set", &set("data.lists", &folder.join("list.csv"))])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the training process cannot be started: {error}"))?;
    let Some(stderr) = child.stderr.take() else {
        return Err("the training process says nothing".into());
    };
    let mut lines = BufReader::new(stderr).lines();
    let log = folder.join("run/seed-0/log.jsonl");
    let mut look = tokio::time::interval(LOOK);
    let (mut said, mut failure) = (String::new(), None);
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
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
                return Err("deleted".into());
            }
        }
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    // 1 says that clips were left out, which its result names.
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(failure.unwrap_or_else(|| format!("the training process ended: {status}"))),
    }
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

/// A trained run as a ZIP: a folder that `predict --checkpoint` reads.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn archive(folder: &Path) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    list(folder, Path::new("run"), &mut files);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let broken = |source| Error::System {
        what: "cannot write an archive",
        source,
    };
    for (path, name) in files {
        let bytes = fs::read(&path).map_err(disk::Error::of("cannot read", &path))?;
        archive
            .start_file(name, options)
            .map_err(|error| broken(error.into()))?;
        archive.write_all(&bytes).map_err(broken)?;
    }
    Ok(archive
        .finish()
        .map_err(|error| broken(error.into()))?
        .into_inner())
}

/// The files of a run, but for features, which can be computed anew.
fn list(folder: &Path, name: &Path, files: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        if path.is_dir() {
            if entry.file_name() != "features" {
                list(&path, &name, files);
            }
        } else {
            files.push((path, name.to_string_lossy().into_owned()));
        }
    }
}
