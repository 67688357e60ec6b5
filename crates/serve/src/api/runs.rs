//! Runs: teach, follow, use elsewhere, delete.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, BufWriter};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use data::ClassName;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::answers::nothing_left;
use super::{App, schema};
use crate::decoders::Decoded;
use crate::engine::Card;
use crate::limits;
use crate::problem::{Outcome, Problem};
use crate::runs::{self, Clip, Description, Progress, Turn};
use crate::upload::{Upload, Video, shown};
use crate::wire::{Job, Task};

/// All runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct List {
    runs: Vec<RunSchema>,
}

/// A run.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunSchema {
    /// Its id, which is also that of its model.
    id: String,
    /// Its name.
    name: String,
    /// The checkpoint it is trained on.
    model: String,
    /// Its classes.
    classes: Vec<String>,
    /// Its clips.
    clips: Vec<Clip>,
    /// When it was made, in seconds since 1970.
    created: u64,
    /// How far it is.
    progress: Progress,
    /// The result of its training: `result.json` of the run, whose clips have the ids of `clips`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TrainingResult>, nullable = false)]
    result: Option<serde_json::Value>,
}

impl RunSchema {
    fn new(id: String, description: Description, progress: Progress) -> Self {
        let classes: BTreeSet<String> = description
            .clips
            .iter()
            .map(|clip| clip.class.clone())
            .collect();
        Self {
            id,
            name: description.name,
            model: description.model,
            classes: classes.into_iter().collect(),
            clips: description.clips,
            created: description.created,
            progress,
            result: None,
        }
    }
}

/// A deleted run.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// Where a POST restores it.
    undo: String,
    /// For how many seconds.
    seconds: u64,
}

/// The runs.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", responses((status = 200, description = "The runs.", body = List)))]
pub(crate) async fn list(State(app): State<App>) -> Json<List> {
    let runs = app.runs.list().into_iter();
    let runs = runs.map(|(id, description, progress)| RunSchema::new(id, description, progress));
    Json(List {
        runs: runs.collect(),
    })
}

/// Teach classes by clips of each: a run that answers as a model once it is trained.
#[utoipa::path(
    post,
    path = "/v1/runs",
    tag = "runs",
    request_body(content = schema::MakeForm, content_type = "multipart/form-data"),
    responses((status = 202, description = "The run, in training.", body = RunSchema))
)]
pub(crate) async fn make(State(app): State<App>, request: Request) -> Outcome<Response> {
    let turn = turn(&app)?;
    if app.runs.is_full() {
        let detail = format!("{} runs are kept, as many as may be", limits::RUNS);
        let help = "delete some; each is gone ten minutes later";
        return Err(Problem::unprocessable(detail).limit("runs").help(help));
    }
    let mut upload = Upload::read(request, &app.budget, limits::CLIPS).await?;
    let name = upload
        .fields
        .remove("name")
        .map_or_else(|| "my actions".into(), |name| shown(&name));
    let base = base(&app, upload.fields.remove("model").as_ref())?;
    nothing_left(&mut upload.fields)?;
    let clips = classes(upload.videos, &[])?;
    check(&app, &base, &clips).await?;
    let (runs, model) = (app.runs.clone(), base.id.clone());
    let id = blocking(move || runs.make(name, model, &clips)).await?;
    app.runs.train(&id, base.place, turn);
    accepted(&app, &id).await
}

/// Add clips, of new classes or of those it has, and train anew. Features that are known are not
/// computed again.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/clips",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    request_body(content = schema::AddForm, content_type = "multipart/form-data"),
    responses((status = 202, description = "The run, in training.", body = RunSchema))
)]
pub(crate) async fn add(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Outcome<Response> {
    existing(&app, &id)?;
    let turn = turn(&app)?;
    // With the turn nobody else adds clips.
    let description = existing(&app, &id)?;
    let base = base(&app, Some(&description.model))?;
    let left = limits::CLIPS - description.clips.len().min(limits::CLIPS);
    let mut upload = Upload::read(request, &app.budget, left).await?;
    nothing_left(&mut upload.fields)?;
    let clips = classes(upload.videos, &description.clips)?;
    check(&app, &base, &clips).await?;
    let (runs, run) = (app.runs.clone(), id.clone());
    if !blocking(move || runs.add(&run, &clips)).await? {
        return Err(no_run(&id));
    }
    app.runs.train(&id, base.place, turn);
    accepted(&app, &id).await
}

/// A run.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The run.", body = RunSchema))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Outcome<Json<RunSchema>> {
    Ok(Json(run(&app, &id).await?))
}

/// Follow a run: server-sent events whose data are its progress, until it is ready or has failed.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/events",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "Events.", body = Progress, content_type = "text/event-stream"))
)]
pub(crate) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Outcome<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let (_, mut progress) = app.runs.get(&id).ok_or_else(|| no_run(&id))?;
    progress.mark_changed();
    let state = Some((progress, app.stopping.clone()));
    let events = stream::unfold(state, |state| async {
        let (mut progress, mut stopping) = state?;
        tokio::select! {
            changed = progress.changed() => changed.ok()?,
            _ = stopping.changed() => return None,
        }
        let now = progress.borrow_and_update().clone();
        let goes_on = matches!(now, Progress::Training { .. });
        let event = Event::default().event("progress").json_data(now).ok()?;
        Some((Ok(event), goes_on.then_some((progress, stopping))))
    });
    Ok(Sse::new(events.boxed()).keep_alive(KeepAlive::default().interval(Duration::from_secs(10))))
}

/// A clip that a run was taught with, as it came.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/clips/{clip}",
    params(
        ("id" = String, Path, description = "The run's id."),
        ("clip" = String, Path, description = "The clip's id."),
    ),
    responses(
        (status = 200, description = "The clip.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such run or clip.", body = Problem),
    )
)]
pub(crate) async fn clip(
    State(app): State<App>,
    Path((id, clip)): Path<(String, String)>,
) -> Outcome<Response> {
    existing(&app, &id)?;
    let path = app.runs.clip(&id, &clip).ok_or_else(|| {
        Problem::not_found(format!("no clip {:?} in the run", shown(&clip)))
            .help("GET /v1/runs/{id} lists its clips")
    })?;
    let bytes =
        blocking(move || Ok(std::fs::read(&path).map_err(disk::Error::of("cannot read", &path))?));
    // A stranger's file: to be saved, not shown as part of this server.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ];
    Ok((headers, bytes.await?).into_response())
}

/// The report of a run's training, a page.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/report",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(crate) async fn report(State(app): State<App>, Path(id): Path<String>) -> Outcome<Response> {
    existing(&app, &id)?;
    let folder = app.runs.folder(&id).ok_or_else(|| no_run(&id))?;
    let page = blocking(move || {
        let path = folder.join("report.html");
        Ok(std::fs::read(&path).map_err(disk::Error::of("cannot read", &path))?)
    });
    let page = page
        .await
        .map_err(|_| Problem::not_found("the run has no report yet"))?;
    let mut response = page.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    // It holds its styles and pictures itself, and no script.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; \
                  frame-ancestors 'self'; sandbox";
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    Ok(response)
}

/// A trained run as a ZIP. `trainer predict --checkpoint run` reads it once it is unpacked; on
/// another machine `--backbone` names the checkpoint.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}/archive",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses(
        (status = 200, description = "The ZIP.", body = schema::Bytes, content_type = "application/zip"),
    )
)]
pub(crate) async fn archive(State(app): State<App>, Path(id): Path<String>) -> Outcome<Response> {
    let (_, progress) = app.runs.get(&id).ok_or_else(|| no_run(&id))?;
    let ready = *progress.borrow() == Progress::Ready;
    let folder = app.runs.folder(&id).filter(|_| ready);
    let folder = folder.ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "the run is not trained").help("follow its events")
    })?;
    let (sender, mut parts) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let to = BufWriter::with_capacity(PART, Parts(sender.clone()));
        if let Err(error) = runs::archive(&folder, to) {
            // The client sees that it is not whole.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"run.zip\"",
        ),
    ];
    let parts = stream::poll_fn(move |context| parts.poll_recv(context));
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// Bytes of a part of a download.
const PART: usize = 256 << 10;

/// Where a thread writes what a client reads.
struct Parts(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(part));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Delete a run. It can be restored for ten minutes.
#[utoipa::path(
    delete,
    path = "/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "How to restore it.", body = Deleted))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Outcome<Json<Deleted>> {
    let (runs, run) = (app.runs.clone(), id.clone());
    match blocking(move || runs.delete(&run)).await? {
        true => Ok(Json(Deleted {
            undo: format!("/v1/runs/{id}/undo"),
            seconds: runs::UNDO,
        })),
        false => Err(no_run(&id)),
    }
}

/// Restore a run that was deleted.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/undo",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The run.", body = RunSchema))
)]
pub(crate) async fn undo(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Outcome<Json<RunSchema>> {
    let (runs, restored) = (app.runs.clone(), id.clone());
    if !blocking(move || runs.undo(&restored)).await? {
        return Err(no_run(&id));
    }
    app.runs.restored(&id).await;
    Ok(Json(run(&app, &id).await?))
}

fn no_run(id: &str) -> Problem {
    Problem::not_found(format!("no run {:?}", shown(id))).help("GET /v1/runs lists the runs")
}

/// A run that is not deleted.
fn existing(app: &App, id: &str) -> Outcome<Description> {
    let found = app.runs.get(id).ok_or_else(|| no_run(id))?;
    Ok(found.0)
}

async fn run(app: &App, id: &str) -> Outcome<RunSchema> {
    let (description, progress) = app.runs.get(id).ok_or_else(|| no_run(id))?;
    let progress = progress.borrow().clone();
    let mut run = RunSchema::new(id.to_owned(), description, progress);
    if let (Progress::Ready, Some(folder)) = (&run.progress, app.runs.folder(id)) {
        let result = move || Ok(std::fs::read(folder.join("seed-0/result.json")).ok());
        let bytes = blocking(result).await?;
        run.result = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    }
    Ok(run)
}

async fn accepted(app: &App, id: &str) -> Outcome<Response> {
    let place = [(header::LOCATION, format!("/v1/runs/{id}"))];
    Ok((StatusCode::ACCEPTED, place, Json(run(app, id).await?)).into_response())
}

fn turn(app: &App) -> Outcome<Turn> {
    app.runs.turn().ok_or_else(|| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "another run is being trained",
        )
        .help("follow it at /v1/runs/{id}/events, and try again when it has ended")
        .retry_after(10)
    })
}

/// The checkpoint to train on: one without labels of its own.
fn base(app: &App, id: Option<&String>) -> Outcome<Card> {
    let card = match id {
        Some(id) => app.model(Some(id))?,
        None => {
            let cards = app.engine.cards().into_iter();
            let found = cards.into_iter().find(|card| card.labels.is_empty());
            found.ok_or_else(|| {
                Problem::unprocessable("no CLIP checkpoint is served to train on")
                    .help("start the server with --checkpoint CLIP as well")
            })?
        }
    };
    match card.labels.is_empty() {
        true => Ok(card),
        false => Err(
            Problem::unprocessable(format!("the model {} is a trained run", card.id))
                .help("name a CLIP checkpoint as model"),
        ),
    }
}

/// The clips with their classes, of which there are two or more with those there are.
fn classes(videos: Vec<Video>, there: &[Clip]) -> Outcome<Vec<(String, Video)>> {
    let mut names: Vec<String> = there.iter().map(|clip| clip.class.clone()).collect();
    let mut clips = Vec::new();
    for video in videos {
        let class = video.field.trim().to_owned();
        if class.is_empty() || class.len() > limits::LABEL || class.chars().any(char::is_control) {
            return Err(Problem::unprocessable(format!(
                "a class is the name of a file's field: 1 to {} bytes, got {:?}",
                limits::LABEL,
                shown(&class)
            )));
        }
        // Two spellings of a class are one, in the first spelling.
        let key = ClassName::new(&class).key();
        let known = names
            .iter()
            .find(|name| ClassName::new(name.as_str()).key() == key);
        let class = known.cloned().unwrap_or(class);
        names.push(class.clone());
        clips.push((class, video));
    }
    let distinct: BTreeSet<&String> = names.iter().collect();
    if clips.is_empty() || distinct.len() < 2 {
        return Err(
            Problem::unprocessable("expected clips of two classes or more")
                .help("the name of each file's field is its class: -F 'push ups=@a.mp4'"),
        );
    }
    if distinct.len() > limits::CLASSES {
        let detail = format!(
            "{} classes; a run may have {}",
            distinct.len(),
            limits::CLASSES
        );
        return Err(Problem::unprocessable(detail).limit("classes"));
    }
    Ok(clips)
}

/// Decodes every clip once, so that a run is only made of clips that can be.
async fn check(app: &App, base: &Card, clips: &[(String, Video)]) -> Outcome<()> {
    for (class, video) in clips {
        let job = Job::new(
            Task::Clip {
                frames: base.frames,
            },
            base.geometry,
        );
        let mut results = loop {
            match app.decoders.decode(video.file.clone(), job.clone(), None) {
                Ok(results) => break results,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        match results.recv().await {
            Some(Ok(Decoded::Clip(_))) => {}
            Some(Err(refusal)) => {
                let predict = format!("trainer fit FOLDER --weights {:?}", base.place);
                let problem = Problem::of_refusal(&refusal, &predict);
                return Err(problem.of(&format!("{} of {class:?}", video.name)));
            }
            Some(Ok(Decoded::Window(_))) | None => {
                return Err(Problem::busy("decoding was stopped"));
            }
        }
    }
    Ok(())
}

/// Work on the disk, off the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> crate::Result<T> + Send + 'static,
) -> Outcome<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Problem::busy("the work was stopped"))??)
}
