//! The thread that owns the models. Clips that wait together go through an image tower together.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::Duration;

use clip_backbone::Checkpoint;
use clips::{Chosen, ClipPixels};
use crossbeam_channel::{Receiver, Sender, unbounded};
use lru::LruCache;
use pixels::Geometry;
use recogniser::{
    Answer, Backbones, DEFAULT_TEMPLATE, FrameFeatures, Labels, Ready, Recogniser, UsedFrame,
};
use tch::{Device, Tensor};
use tokio::sync::oneshot;

use crate::decoders::Place;
use crate::metrics::Metrics;
use crate::{Error, Result, limits};

/// Clips of one batch.
const TOGETHER: usize = 16;
/// Sets of labels whose texts are kept.
const LABEL_SETS: usize = 32;
/// Frames per clip of a checkpoint without training.
const FRAMES: usize = 8;

/// A model as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The classes of a run; none of a checkpoint.
    pub(crate) labels: Vec<String>,
    /// T.
    pub(crate) frames: usize,
    pub(crate) geometry: Geometry,
    /// The place to give to `predict`.
    pub(crate) place: String,
    /// Whether frames can be encoded one by one.
    pub(crate) streams: bool,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) id: String,
    pub(crate) name: String,
    /// A run's folder, or a checkpoint.
    pub(crate) place: String,
}

/// A clip to answer.
pub(crate) struct Question {
    /// The model.
    pub(crate) model: String,
    /// Other labels than the model's own.
    pub(crate) labels: Option<Labels>,
    pub(crate) top: usize,
    /// The name of the video in the answer.
    pub(crate) video: String,
    pub(crate) clip: ClipPixels,
    /// Held until it is answered, so that few questions wait; a stream has one at a time.
    pub(crate) _place: Option<Place>,
}

/// An answer, and what a user should know.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) notes: Vec<String>,
}

/// A window of a stream to answer.
pub(crate) struct StreamQuestion {
    /// The window's frames in `clip` are those that were not in an earlier question of the stream.
    pub(crate) question: Question,
    /// The stream.
    pub(crate) stream: u64,
    /// Index and time of all frames of the window.
    pub(crate) frames: Vec<UsedFrame>,
}

enum Ask {
    Answer(Question, oneshot::Sender<Result<Answered>>),
    Window(StreamQuestion, oneshot::Sender<Result<Answered>>),
    Forget(u64),
    Change(Change),
}

/// A change of the models.
enum Change {
    Add(Origin, oneshot::Sender<Result<()>>),
    Remove(String),
}

/// The models, from any thread. Their thread ends with the last copy.
#[derive(Clone)]
pub(crate) struct Engine {
    asks: Sender<Ask>,
    cards: Arc<RwLock<Vec<Card>>>,
    /// Time for an answer.
    deadline: Duration,
}

impl Engine {
    /// Starts the thread and loads the models; returns once they are loaded.
    ///
    /// # Errors
    /// A model cannot be loaded.
    pub(crate) fn start(
        origins: Vec<Origin>,
        device: Device,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let (asks, queue) = unbounded();
        let cards = Arc::new(RwLock::new(Vec::new()));
        let engine = Self {
            asks,
            cards: cards.clone(),
            deadline: limits::MODEL,
        };
        let metrics = metrics.clone();
        let (loaded, told) = oneshot::channel();
        let work = move || {
            let mut models = Models::default();
            for origin in &origins {
                if let Err(error) = add(&mut models, &cards, origin, device) {
                    let _ = loaded.send(Err(error));
                    return;
                }
            }
            let _ = loaded.send(Ok(()));
            serve(&queue, models, &cards, device, &metrics);
        };
        let thread = thread::Builder::new().name("models".into()).spawn(work);
        thread.map_err(|source| Error::System {
            what: "cannot start a thread",
            source,
        })?;
        told.blocking_recv().unwrap_or(Err(Error::Stopped))?;
        Ok(engine)
    }

    /// The models.
    pub(crate) fn cards(&self) -> Vec<Card> {
        self.cards
            .read()
            .map(|cards| cards.clone())
            .unwrap_or_default()
    }

    /// Answers a clip.
    ///
    /// # Errors
    /// The labels or the clip do not fit the model, or it takes too long.
    pub(crate) async fn answer(&self, question: Question) -> Result<Answered> {
        self.soon(self.ask(|reply| Ask::Answer(question, reply)))
            .await
    }

    /// Answers a window of a stream.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(crate) async fn window(&self, question: StreamQuestion) -> Result<Answered> {
        self.soon(self.ask(|reply| Ask::Window(question, reply)))
            .await
    }

    /// Releases a stream's features.
    pub(crate) fn forget(&self, stream: u64) {
        let _ = self.asks.send(Ask::Forget(stream));
    }

    /// Loads another model, or the same anew.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub(crate) async fn add(&self, origin: Origin) -> Result<()> {
        self.ask(|reply| Ask::Change(Change::Add(origin, reply)))
            .await
    }

    /// Removes a model.
    pub(crate) fn remove(&self, id: &str) {
        retain(&self.cards, |card| card.id != id);
        let _ = self.asks.send(Ask::Change(Change::Remove(id.to_owned())));
    }

    /// The answer, if it comes before the deadline; what is computed later is dropped.
    async fn soon(&self, answer: impl Future<Output = Result<Answered>>) -> Result<Answered> {
        let late = |_| Err(Error::Late(self.deadline));
        tokio::time::timeout(self.deadline, answer)
            .await
            .unwrap_or_else(late)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T>>) -> Ask) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).map_err(|_| Error::Stopped)?;
        // Without an answer computing it has failed.
        answer.await.unwrap_or(Err(Error::Failed))
    }
}

fn retain(cards: &RwLock<Vec<Card>>, keep: impl Fn(&Card) -> bool) {
    if let Ok(mut cards) = cards.write() {
        cards.retain(keep);
    }
}

/// The models, and the backbones that they share.
#[derive(Default)]
struct Models {
    by_id: BTreeMap<String, Recogniser>,
    backbones: Backbones,
}

/// Answers until nobody can ask any more. Encoded labels borrow from the models, so that a change
/// of the models begins anew without them, and so does a failure of libtorch, a panic, which costs
/// those who wait their answer.
fn serve(
    queue: &Receiver<Ask>,
    mut models: Models,
    cards: &RwLock<Vec<Card>>,
    device: Device,
    metrics: &Metrics,
) {
    let mut streams = BTreeMap::new();
    loop {
        let work = || {
            let change = answer_until_change(queue, &models, &mut streams, metrics)?;
            match change {
                Change::Add(origin, reply) => {
                    let _ = reply.send(add(&mut models, cards, &origin, device));
                }
                Change::Remove(id) => {
                    models.by_id.remove(&id);
                    retain(cards, |card| card.id != id);
                }
            }
            let Models { by_id, backbones } = &mut models;
            backbones.keep(|used| by_id.values().any(|model| model.backbone() == Some(used)));
            Some(())
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Some(())) => {}
            Ok(None) => return,
            Err(_) => tracing::error!("an answer failed; see above"),
        }
    }
}

/// The encoded frames of each stream.
type Streams = BTreeMap<u64, FrameFeatures>;

fn add(
    models: &mut Models,
    cards: &RwLock<Vec<Card>>,
    origin: &Origin,
    device: Device,
) -> Result<()> {
    let model = open(&origin.place, device, &mut models.backbones)?;
    let card = Card {
        id: origin.id.clone(),
        name: origin.name.clone(),
        labels: model.class_names().to_vec(),
        frames: model.frames(),
        geometry: model.preprocess().geometry,
        place: origin.place.clone(),
        streams: model.is_frozen(),
    };
    models.by_id.insert(origin.id.clone(), model);
    if let Ok(mut cards) = cards.write() {
        // The first answers those who name none.
        match cards.iter_mut().find(|other| other.id == card.id) {
            Some(known) => *known = card,
            None => cards.push(card),
        }
    }
    Ok(())
}

/// A run, or a checkpoint without training.
fn open(place: &str, device: Device, backbones: &mut Backbones) -> Result<Recogniser> {
    let path = Path::new(place);
    if let Some(folder) = recogniser::find_trained(path) {
        return Ok(Recogniser::of_run_sharing(
            backbones, &folder, None, None, None, device,
        )?);
    }
    recogniser::expect_not_run(path)?;
    let checkpoint = Checkpoint::open(place).map_err(recogniser::Error::from)?;
    let templates = recogniser::templates(&[DEFAULT_TEMPLATE.into()])?;
    let Chosen { precision, reason } =
        Chosen::of(&checkpoint, device).map_err(recogniser::Error::from)?;
    tracing::info!("{place}: {reason}");
    let backbone = backbones.of(checkpoint, path, precision, device)?;
    Ok(Recogniser::zero_shot_on(backbone, templates, FRAMES)?)
}

/// A model with labels, and these.
type Bound = (String, Option<Vec<String>>);

/// Answers clips until the models are to change; `None` if nobody asks any more.
fn answer_until_change(
    queue: &Receiver<Ask>,
    models: &Models,
    streams: &mut Streams,
    metrics: &Metrics,
) -> Option<Change> {
    let size = NonZeroUsize::new(LABEL_SETS)?;
    let mut ready: LruCache<Bound, Ready<'_>> = LruCache::new(size);
    loop {
        let asks = std::iter::once(queue.recv().ok()?).chain(queue.try_iter().take(TOGETHER - 1));
        let mut change = None;
        let mut clips: BTreeMap<(String, usize), Vec<_>> = BTreeMap::new();
        for ask in asks {
            match ask {
                // The other end is gone with its client.
                Ask::Answer(_, reply) if reply.is_closed() => {}
                Ask::Answer(question, reply) => {
                    let key = (question.model.clone(), question.clip.rgb.len());
                    clips.entry(key).or_default().push((question, reply));
                }
                Ask::Window(question, reply) => {
                    let answered = answer_window(models, question, streams, &mut ready, metrics);
                    let _ = reply.send(answered);
                }
                Ask::Forget(stream) => drop(streams.remove(&stream)),
                // What was asked later waits for it.
                Ask::Change(asked) => {
                    change = Some(asked);
                    break;
                }
            }
        }
        for ((model, _), asked) in clips {
            match models.by_id.get(&model) {
                Some(model) => answer_together(model, asked, &mut ready, metrics),
                None => {
                    for (_, reply) in asked {
                        let _ = reply.send(Err(Error::NoModel(model.clone())));
                    }
                }
            }
        }
        if change.is_some() {
            return change;
        }
    }
}

type Asked = (Question, oneshot::Sender<Result<Answered>>);

/// Encodes the frames of all clips at once, and scores each against its labels.
fn answer_together<'m>(
    model: &'m Recogniser,
    asked: Vec<Asked>,
    ready: &mut LruCache<Bound, Ready<'m>>,
    metrics: &Metrics,
) {
    let clips: Vec<&ClipPixels> = asked.iter().map(|(question, _)| &question.clip).collect();
    metrics.batches.fetch_add(1, Relaxed);
    metrics.clips.fetch_add(clips.len() as u64, Relaxed);
    let together = model.features(&clips);
    let mut alone = together.is_err();
    let features = together.ok().flatten();
    // Nothing frozen to share, or one clip that does not fit: each for itself.
    alone |= features.is_none();
    for (place, (question, reply)) in asked.into_iter().enumerate() {
        let row = match (&features, alone) {
            (Some(features), false) => Some(features.narrow(0, place as i64, 1)),
            _ => None,
        };
        let _ = reply.send(answer_one(model, question, row, ready, metrics));
    }
}

fn answer_window<'m>(
    models: &'m Models,
    asked: StreamQuestion,
    streams: &mut Streams,
    ready: &mut LruCache<Bound, Ready<'m>>,
    metrics: &Metrics,
) -> Result<Answered> {
    let StreamQuestion {
        mut question,
        stream,
        frames,
    } = asked;
    let unknown = || Error::NoModel(question.model.clone());
    let model = models.by_id.get(&question.model).ok_or_else(unknown)?;
    let (indices, times): (Vec<usize>, Vec<f64>) =
        frames.iter().map(|frame| (frame.index, frame.time)).unzip();
    let encoded = streams.entry(stream).or_default();
    let features = encoded.window(model, &indices, &question.clip)?;
    question.clip = ClipPixels {
        frames: frames.len(),
        rgb: Vec::new(),
        indices,
        times,
        ..question.clip
    };
    answer_one(model, question, features, ready, metrics)
}

fn answer_one<'m>(
    model: &'m Recogniser,
    question: Question,
    features: Option<Tensor>,
    ready: &mut LruCache<Bound, Ready<'m>>,
    metrics: &Metrics,
) -> Result<Answered> {
    let names = question
        .labels
        .as_ref()
        .map(|labels| labels.names().to_vec());
    let key = (question.model, names);
    if ready.contains(&key) {
        metrics.label_hits.fetch_add(1, Relaxed);
    } else {
        metrics.label_sets.fetch_add(1, Relaxed);
    }
    let labels = question.labels.as_ref();
    let ready = ready.try_get_or_insert(key, || model.bind(labels))?;
    let video = PathBuf::from(question.video);
    let answer = ready.answer_with(&video, &question.clip, features, question.top)?;
    Ok(Answered {
        answer,
        notes: ready.notes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_answer_that_takes_too_long_is_not_waited_for_and_later_ones_are_given() {
        let (asks, queue) = unbounded();
        let engine = Engine {
            asks,
            cards: Arc::default(),
            deadline: Duration::from_millis(20),
        };
        let question = || Question {
            model: "slow".into(),
            labels: None,
            top: 1,
            video: "clip".into(),
            clip: ClipPixels {
                frames: 0,
                size: 0,
                rgb: Vec::new(),
                indices: Vec::new(),
                times: Vec::new(),
                frame_count: 0,
            },
            _place: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let late = runtime.block_on(engine.answer(question()));
        assert!(matches!(late, Err(Error::Late(_))), "{late:?}");
        assert!(matches!(queue.recv().unwrap(), Ask::Answer(_, reply) if reply.is_closed()));
        let models = thread::spawn(move || {
            let Ask::Answer(_, reply) = queue.recv().unwrap() else {
                return;
            };
            let _ = reply.send(Err(Error::NoModel("slow".into())));
        });
        let answer = runtime.block_on(engine.answer(question()));
        assert!(matches!(answer, Err(Error::NoModel(_))), "{answer:?}");
        models.join().unwrap();
    }
}
