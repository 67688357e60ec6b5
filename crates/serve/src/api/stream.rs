//! A stream of frames over a WebSocket, answered from a sliding window.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use clips::ClipPixels;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _};
use pixels::{Picture, Resizer, View};
use recogniser::{Labels, Moment, Sliding, Span, StreamWindow, UsedFrame};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::answers::{Answered, labels, nothing_left, span, top};
use super::{App, schema};
use crate::decoders::Decoded;
use crate::engine::{Card, Question, StreamQuestion};
use crate::limits;
use crate::problem::{Outcome, Problem};
use crate::upload::{anonymous_file, failed, query, seal};
use crate::wire::{Job, Task};

#[derive(Serialize)]
struct Window {
    #[serde(flatten)]
    moment: Moment,
    left_out: usize,
}

/// Recognise the action in a stream of frames: a WebSocket.
///
/// Each binary message is a frame. Each answer is a text message; the last one after a problem is
/// that problem. The text message `end` asks for the answer to the rest.
#[utoipa::path(
    get,
    path = "/v1/stream",
    tag = "recognise",
    params(schema::Asked, schema::Windows, schema::Frames),
    responses((status = 101, description = "Text messages follow.", body = schema::Window))
)]
pub(crate) async fn stream(
    State(app): State<App>,
    RawQuery(text): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Outcome<Response> {
    let asking = Asking::read(&app, text.as_deref().unwrap_or_default())?;
    let place = app.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        let detail = format!("{} streams are open, as many as may be", limits::STREAMS);
        Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, detail)
            .help("close one first")
            .retry_after(10)
    })?;
    let upgrade = upgrade
        .protocols(["v1"])
        .max_message_size(limits::FRAME_BYTES)
        .max_frame_size(limits::FRAME_BYTES);
    Ok(upgrade.on_upgrade(|socket| async move {
        follow(socket, app, asking).await;
        drop(place);
    }))
}

/// The question about a stream.
struct Asking {
    card: Card,
    labels: Option<Labels>,
    top: usize,
    window: Span,
    stride: Span,
    fps: Option<f64>,
    /// Width and height of raw frames.
    raw: Option<(usize, usize)>,
}

impl Asking {
    fn read(app: &App, text: &str) -> Outcome<Self> {
        let mut fields = query(text)?;
        let card = app.model(fields.remove("model").as_ref())?;
        if !card.streams {
            let detail = format!("the model {} cannot take frames one by one", card.id);
            return Err(Problem::unprocessable(detail)
                .help("its image tower was trained to see whole clips: ask /v1/timeline"));
        }
        let labels = fields
            .remove("labels")
            .map(|list| labels(&list))
            .transpose()?;
        if labels.is_none() && card.labels.is_empty() {
            return Err(
                Problem::unprocessable(format!("the model {} has no labels", card.id))
                    .help("give them as labels=archery,push ups"),
            );
        }
        let top = top(&mut fields, 1)?;
        let mut time = |name: &str, usual: &str| {
            let time = fields.remove(name);
            span(time.as_deref().unwrap_or(usual))
        };
        let (window, stride) = (time("window", "2s")?, time("stride", "1s")?);
        if window.seconds() > limits::STREAM_WINDOW {
            let detail = format!("a stream's window may have {} s", limits::STREAM_WINDOW);
            return Err(Problem::unprocessable(detail).limit("window"));
        }
        let mut number = |name: &str| {
            let text = fields.remove(name);
            let number =
                text.map(|text| text.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 1e4));
            match number {
                Some(None) => Err(Problem::unprocessable(format!(
                    "{name}: expected a number up to 10000"
                ))),
                number => Ok(number.flatten()),
            }
        };
        let (fps, width, height) = (number("fps")?, number("width")?, number("height")?);
        let raw = match (width, height) {
            (None, None) => None,
            (Some(width), Some(height)) if width.fract() == 0.0 && height.fract() == 0.0 => {
                Some((width as usize, height as usize))
            }
            _ => {
                return Err(Problem::unprocessable(
                    "raw frames have a width and a height in pixels",
                ));
            }
        };
        nothing_left(&mut fields)?;
        Ok(Self {
            card,
            labels,
            top,
            window,
            stride,
            fps,
            raw,
        })
    }
}

/// A frame that waits for its window.
#[derive(Clone)]
struct Frame {
    picture: Waiting,
    _memory: Arc<OwnedSemaphorePermit>,
}

#[derive(Clone)]
enum Waiting {
    /// A JPEG or PNG.
    Coded(Bytes),
    /// S x S x 3 bytes.
    Ready(Arc<Vec<u8>>),
}

/// The frames between the socket and the answers.
struct Shared {
    windows: Mutex<Sliding<Frame>>,
    arrived: Notify,
}

/// How the frames ended.
enum End {
    /// The client has asked for the rest.
    Asked,
    /// It is gone.
    Gone,
    Problem(Problem),
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

async fn follow(socket: WebSocket, app: App, asking: Asking) {
    let (mut to_client, from_client) = socket.split();
    let windows = Sliding::new(
        asking.window,
        asking.stride,
        asking.card.frames,
        limits::STREAM_FRAMES,
    );
    let shared = Arc::new(Shared {
        windows: Mutex::new(windows),
        arrived: Notify::new(),
    });
    let asking = Arc::new(asking);
    let reader = read(from_client, app.clone(), asking.clone(), shared.clone());
    let mut reader = tokio::spawn(reader);
    let stream = NUMBER.fetch_add(1, Relaxed);
    let mut answers = Answers {
        app: app.clone(),
        asking,
        stream,
        encoded: BTreeSet::new(),
    };
    let mut stopping = app.stopping.clone();
    let close = loop {
        let newest = |windows: &mut Sliding<Frame>| windows.newest_window();
        let window = shared
            .windows
            .lock()
            .ok()
            .and_then(|mut windows| newest(&mut windows));
        let mut ended = None;
        let window = match window {
            Some(window) => Some(window),
            None => tokio::select! {
                () = shared.arrived.notified() => continue,
                _ = stopping.changed() => break (close_code::AWAY, None),
                end = &mut reader => {
                    ended = Some(end.unwrap_or(End::Gone));
                    match ended {
                        Some(End::Asked) => {
                            let last = 1.0 / answers.asking.fps.unwrap_or(25.0);
                            let mut windows = shared.windows.lock().ok();
                            windows.as_mut().and_then(|windows| windows.end(last))
                        }
                        _ => None,
                    }
                }
            },
        };
        if let Some(window) = window {
            app.metrics
                .left_out
                .fetch_add(window.left_out as u64, Relaxed);
            match answers.answer(window).await {
                Ok(text) => {
                    if to_client.send(Message::text(text)).await.is_err() {
                        break (close_code::NORMAL, None);
                    }
                }
                Err(problem) => break (close_code::POLICY, Some(problem)),
            }
        }
        match ended {
            None => {}
            Some(End::Problem(problem)) => break (close_code::POLICY, Some(problem)),
            Some(End::Asked | End::Gone) => break (close_code::NORMAL, None),
        }
    };
    reader.abort();
    app.engine.forget(stream);
    let (code, problem) = close;
    if let Some(problem) = problem {
        let text = serde_json::to_string(&problem).unwrap_or_default();
        let _ = to_client.send(Message::text(text)).await;
    }
    let reason = "".into();
    let _ = to_client
        .send(Message::Close(Some(CloseFrame { code, reason })))
        .await;
}

/// Takes frames off the socket as they come.
async fn read(
    mut socket: SplitStream<WebSocket>,
    app: App,
    asking: Arc<Asking>,
    shared: Arc<Shared>,
) -> End {
    let mut first = None;
    let mut index = 0;
    let mut until = tokio::time::Instant::now() + limits::STREAM_IDLE;
    loop {
        let next = tokio::time::timeout_at(until, socket.next()).await;
        let bytes = match next {
            Err(_) => {
                let seconds = limits::STREAM_IDLE.as_secs();
                return End::Problem(Problem::bad(format!("no frame for {seconds} s")));
            }
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Text(text)))) if text.as_str() == "end" => return End::Asked,
            Ok(Some(Ok(Message::Text(_)))) => {
                return End::Problem(Problem::bad("a text message other than end"));
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(None | Some(Ok(Message::Close(_)) | Err(_))) => return End::Gone,
        };
        until = tokio::time::Instant::now() + limits::STREAM_IDLE;
        let first = *first.get_or_insert_with(Instant::now);
        let time = match asking.fps {
            Some(fps) => index as f64 / fps,
            None => first.elapsed().as_secs_f64(),
        };
        let picture = match asking.raw {
            None => Waiting::Coded(bytes),
            Some(size) => match resized(bytes, size, &asking.card).await {
                Ok(rgb) => Waiting::Ready(Arc::new(rgb)),
                Err(problem) => return End::Problem(problem),
            },
        };
        let size = match &picture {
            Waiting::Coded(bytes) => bytes.len(),
            Waiting::Ready(rgb) => rgb.len(),
        };
        let memory = app.budget.take(size);
        let Ok(mut windows) = shared.windows.lock() else {
            return End::Gone;
        };
        match memory {
            Some(memory) => {
                let _memory = Arc::new(memory);
                windows.push(index, time, Frame { picture, _memory });
            }
            None => windows.leave_out(),
        }
        drop(windows);
        shared.arrived.notify_one();
        index += 1;
    }
}

/// A raw frame in the model's geometry.
async fn resized(bytes: Bytes, (width, height): (usize, usize), card: &Card) -> Outcome<Vec<u8>> {
    let geometry = card.geometry;
    let expected = width * height * 3;
    if bytes.len() != expected {
        let detail = format!(
            "a raw frame of {width}x{height} has {expected} bytes, got {}",
            bytes.len()
        );
        return Err(Problem::bad(detail));
    }
    let resize = move || {
        let picture = Picture::new(width, height, bytes.into())?;
        let view = geometry.view(&mut Resizer::new(), &picture, View::CENTRE)?;
        Ok::<_, pixels::Error>(view.into_rgb())
    };
    let view = tokio::task::spawn_blocking(resize).await;
    let view = view.map_err(|_| Problem::busy("resizing was stopped"))?;
    view.map_err(|error| Problem::unprocessable(error.to_string()))
}

/// Answers windows one after another.
struct Answers {
    app: App,
    asking: Arc<Asking>,
    stream: u64,
    /// Frames that were encoded.
    encoded: BTreeSet<usize>,
}

impl Answers {
    async fn answer(&mut self, window: StreamWindow<Frame>) -> Outcome<String> {
        let asking = self.asking.clone();
        let frames: Vec<UsedFrame> = window.frames.iter().map(|(used, _)| *used).collect();
        let first = frames.first().map_or(0, |frame| frame.index);
        self.encoded = self.encoded.split_off(&first);
        let size = asking.card.geometry.size;
        let mut fresh = ClipPixels {
            frames: 0,
            size,
            rgb: Vec::new(),
            indices: Vec::new(),
            times: Vec::new(),
            frame_count: 0,
        };
        for (used, frame) in &window.frames {
            if !self.encoded.insert(used.index) {
                continue;
            }
            match &frame.picture {
                Waiting::Ready(rgb) => fresh.rgb.extend_from_slice(rgb),
                Waiting::Coded(bytes) => fresh.rgb.extend(self.decode(bytes).await?),
            }
            fresh.frames += 1;
            fresh.indices.push(used.index);
            fresh.times.push(used.time);
        }
        let question = Question {
            model: asking.card.id.clone(),
            labels: asking.labels.clone(),
            top: asking.top,
            video: "stream".into(),
            clip: fresh,
            _place: None,
        };
        let answered = self.app.engine.window(StreamQuestion {
            question,
            stream: self.stream,
            frames,
        });
        let answered = answered.await?;
        let moment = Moment::new(window.start, window.end, answered.answer);
        let left_out = window.left_out;
        let answer = Answered::new(&asking.card, Window { moment, left_out }, answered.notes);
        serde_json::to_string(&answer).map_err(|error| Problem::busy(error.to_string()))
    }

    /// Decodes a picture in a decoding process.
    async fn decode(&self, bytes: &[u8]) -> Outcome<Vec<u8>> {
        let in_memory = || {
            let mut file = anonymous_file()?;
            file.write_all(bytes)?;
            seal(&file)?;
            Ok(file)
        };
        let file = in_memory().map_err(failed("cannot write a file in memory"))?;
        let (file, job) = (
            Arc::new(file),
            Job::new(Task::Picture, self.asking.card.geometry),
        );
        let mut results = loop {
            match self.app.decoders.decode(file.clone(), job.clone(), None) {
                Ok(results) => break results,
                // Meanwhile frames are left out.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        match results.recv().await {
            Some(Ok(Decoded::Clip(decoded))) => Ok(decoded.clip.rgb),
            Some(Err(refusal)) => Err(Problem::unprocessable(format!(
                "a frame is refused: {}",
                refusal.reason
            ))
            .help("send each frame as a JPEG or PNG, or raw with width and height")),
            Some(Ok(Decoded::Window(_))) | None => Err(Problem::busy("decoding was stopped")),
        }
    }
}
