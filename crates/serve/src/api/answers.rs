//! Answers for uploaded videos: whole ones, and their windows.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Json;
use axum::extract::{Request, State};
use recogniser::{Answer, Cut, Labels, Moment, Span, Timeline, WindowEvent};
use serde::Serialize;

use super::{App, schema};
use crate::decoders::{Decoded, Place, Results};
use crate::engine::{Card, Question};
use crate::limits;
use crate::problem::{Outcome, Problem};
use crate::upload::{Upload, Video, shown};
use crate::wire::{Job, Task};

/// An answer with its model: the one place where answers become JSON.
#[derive(Serialize)]
pub(crate) struct Answered<A> {
    model: String,
    #[serde(flatten)]
    answer: A,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl<A> Answered<A> {
    pub(crate) fn new(card: &Card, answer: A, notes: Vec<String>) -> Self {
        Self {
            model: card.id.clone(),
            answer,
            notes,
        }
    }
}

/// Recognise the action in a video.
#[utoipa::path(
    post,
    path = "/v1/predict",
    tag = "recognise",
    params(schema::Asked),
    request_body(content(
        (schema::PredictForm = "multipart/form-data"),
        (schema::Bytes = "application/octet-stream"),
    )),
    responses((status = 200, description = "The answer.", body = schema::Answer))
)]
pub(crate) async fn predict(
    State(app): State<App>,
    request: Request,
) -> Outcome<Json<Answered<Answer>>> {
    // What has no place now is refused before it is read; the place is taken after that.
    drop(app.place()?);
    let upload = Upload::read(request, &app.budget, 1).await?;
    let (mut asking, mut rest) = Asking::read(&app, upload, 5)?;
    nothing_left(&mut rest)?;
    asking.place = Some(app.place()?);
    let frames = asking.card.frames;
    let mut results = asking.decode(&app, Task::Clip { frames })?;
    let decoded = match results.recv().await {
        Some(Ok(Decoded::Clip(decoded))) => decoded,
        Some(Err(refusal)) => return Err(Problem::of_refusal(&refusal, &asking.predict(""))),
        Some(Ok(Decoded::Window(_))) | None => return Err(Problem::busy("decoding was stopped")),
    };
    let answered = app.engine.answer(asking.question(decoded.clip)).await?;
    let answer = Answer {
        note: decoded.note,
        ..answered.answer
    };
    Ok(Json(Answered::new(&asking.card, answer, answered.notes)))
}

/// Recognise the action in each window of a video.
#[utoipa::path(
    post,
    path = "/v1/timeline",
    tag = "recognise",
    params(schema::Asked, schema::Windows),
    request_body(content(
        (schema::TimelineForm = "multipart/form-data"),
        (schema::Bytes = "application/octet-stream"),
    )),
    responses((status = 200, description = "The answers.", body = schema::Timeline))
)]
pub(crate) async fn timeline(
    State(app): State<App>,
    request: Request,
) -> Outcome<Json<Answered<Timeline>>> {
    // What has no place now is refused before it is read; the place is taken after that.
    drop(app.place()?);
    let upload = Upload::read(request, &app.budget, 1).await?;
    let (mut asking, mut rest) = Asking::read(&app, upload, 1)?;
    let window = rest.remove("window").unwrap_or_else(|| "2s".into());
    let stride = rest.remove("stride").unwrap_or_else(|| window.clone());
    nothing_left(&mut rest)?;
    let frames = asking.card.frames;
    let cut = Cut {
        window: span(&window)?,
        stride: span(&stride)?,
        frames,
        top: asking.top,
    };
    asking.place = Some(app.place()?);
    let predict = asking.predict(&format!(" --window {window} --stride {stride}"));
    let mut results = asking.decode(
        &app,
        Task::Windows {
            frames,
            window,
            stride,
        },
    )?;
    let mut timeline = Timeline::new(Path::new(&asking.video.name), &cut);
    let mut notes = Vec::new();
    let mut ended = false;
    let mut count = 0;
    while let Some(result) = results.recv().await {
        let event = match result {
            Ok(Decoded::Window(event)) => event,
            Ok(Decoded::Clip(_)) => return Err(Problem::busy("decoding was stopped")),
            Err(refusal) => return Err(Problem::of_refusal(&refusal, &predict)),
        };
        ended |= matches!(event, WindowEvent::End(_));
        let mut moment = None;
        if let WindowEvent::Part(part) = &event {
            count += 1;
            let of = part.of.max(count);
            if of > limits::WINDOWS {
                let detail = format!("{of} windows; a timeline may have {}", limits::WINDOWS);
                return Err(Problem::unprocessable(detail)
                    .limit("windows")
                    .help(format!(
                        "a longer stride, or for a file that you trust: {predict}"
                    )));
            }
            let answered = app
                .engine
                .answer(asking.question(part.clip.clone()))
                .await?;
            notes = answered.notes;
            moment = Some(Moment::new(part.start, part.end, answered.answer));
        }
        timeline.take(event, |_| {
            moment.ok_or_else(|| Problem::busy("decoding was stopped"))
        })?;
    }
    if !ended {
        return Err(Problem::busy("decoding was stopped"));
    }
    Ok(Json(Answered::new(&asking.card, timeline, notes)))
}

/// A video and the question about it.
struct Asking {
    card: Card,
    labels: Option<Labels>,
    top: usize,
    video: Video,
    place: Option<Place>,
}

impl Asking {
    /// Reads the fields that all questions have, and returns the others.
    fn read(app: &App, upload: Upload, top: usize) -> Outcome<(Self, BTreeMap<String, String>)> {
        let Upload { videos, mut fields } = upload;
        let card = app.model(fields.remove("model").as_ref())?;
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
        let top = self::top(&mut fields, top)?;
        let mut videos = videos.into_iter();
        let video = videos.next().filter(|video| video.field == "video");
        let video = video.ok_or_else(|| {
            Problem::bad("there is no video").help("the form's field of the file is called video")
        })?;
        let asking = Self {
            card,
            labels,
            top,
            video,
            place: None,
        };
        Ok((asking, fields))
    }

    fn decode(&self, app: &App, task: Task) -> Outcome<Results> {
        let job = Job::new(task, self.card.geometry);
        let file = self.video.file.clone();
        let results = app.decoders.decode(file, job, self.place.clone());
        results.map_err(|_| Problem::busy("too many videos wait"))
    }

    fn question(&self, clip: clips::ClipPixels) -> Question {
        Question {
            model: self.card.id.clone(),
            labels: self.labels.clone(),
            top: self.top,
            video: self.video.name.clone(),
            clip,
            _place: self.place.clone(),
        }
    }

    /// The command that answers the same, with these switches.
    fn predict(&self, switches: &str) -> String {
        let labels = match self.labels {
            Some(_) => " --labels …",
            None => "",
        };
        let place = &self.card.place;
        format!("trainer predict FILE --checkpoint {place:?}{labels}{switches}")
    }
}

/// The number of classes in an answer.
pub(crate) fn top(fields: &mut BTreeMap<String, String>, usual: usize) -> Outcome<usize> {
    let Some(text) = fields.remove("top") else {
        return Ok(usual);
    };
    match text.parse::<u16>() {
        Ok(top) if top > 0 => Ok(top.into()),
        _ => {
            let text = shown(&text);
            Err(Problem::unprocessable(format!(
                "top: expected 1 to 65535, got {text}"
            )))
        }
    }
}

/// Labels within the limits.
pub(crate) fn labels(list: &str) -> Outcome<Labels> {
    let labels = Labels::parse(list).map_err(crate::Error::from)?;
    let names = labels.names();
    if names.len() > limits::LABELS {
        let detail = format!(
            "{} labels; a request may have {}",
            names.len(),
            limits::LABELS
        );
        return Err(Problem::unprocessable(detail).limit("labels"));
    }
    if let Some(long) = names.iter().find(|name| name.len() > limits::LABEL) {
        let detail = format!(
            "a label of {} bytes; one may have {}",
            long.len(),
            limits::LABEL
        );
        return Err(Problem::unprocessable(detail).limit("label"));
    }
    Ok(labels)
}

pub(crate) fn span(text: &str) -> Outcome<Span> {
    text.parse()
        .map_err(|error: data::Error| Problem::unprocessable(error.to_string()))
}

/// Refuses fields that nothing has asked for.
pub(crate) fn nothing_left(fields: &mut BTreeMap<String, String>) -> Outcome<()> {
    match fields.pop_first() {
        None => Ok(()),
        Some((name, _)) => Err(Problem::bad(format!(
            "{:?} is not a field of this request",
            shown(&name)
        ))
        .help("/openapi.json lists the fields")),
    }
}
