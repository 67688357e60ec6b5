//! The shapes of requests and answers, for /openapi.json alone: answers are the types of `recogniser`
//! and `trainer`, of which this names what clients use.
#![allow(dead_code)]

use std::collections::HashMap;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, ResponseBuilder};
use utoipa::{IntoParams, Modify, ToSchema};

use crate::problem::PROBLEM;

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(super) struct Bytes(Vec<u8>);

/// A form with a video.
#[derive(ToSchema)]
pub(super) struct PredictForm {
    /// The video.
    #[schema(value_type = String, format = Binary)]
    video: Vec<u8>,
    /// As in the query.
    #[schema(nullable = false)]
    model: Option<String>,
    /// As in the query.
    #[schema(nullable = false)]
    labels: Option<String>,
    /// As in the query.
    #[schema(nullable = false, minimum = 1)]
    top: Option<u16>,
}

/// A form with a video, for its windows.
#[derive(ToSchema)]
pub(super) struct TimelineForm {
    /// The video.
    #[schema(value_type = String, format = Binary)]
    video: Vec<u8>,
    /// As in the query.
    #[schema(nullable = false)]
    model: Option<String>,
    /// As in the query.
    #[schema(nullable = false)]
    labels: Option<String>,
    /// As in the query.
    #[schema(nullable = false, minimum = 1)]
    top: Option<u16>,
    /// As in the query.
    #[schema(nullable = false)]
    window: Option<String>,
    /// As in the query.
    #[schema(nullable = false)]
    stride: Option<String>,
}

/// Clips of a new run: beside the fields below each field is a class, and its file is a clip. A field
/// may come several times; a client that cannot repeat one adds the other clips to the run.
#[derive(ToSchema)]
pub(super) struct MakeForm {
    /// The run's name, for people.
    #[schema(nullable = false)]
    name: Option<String>,
    /// The id of the checkpoint that it is trained on; by default the first one of /v1/models that
    /// has no labels of its own.
    #[schema(nullable = false)]
    model: Option<String>,
    #[serde(flatten)]
    classes: HashMap<String, Bytes>,
}

/// Clips for a run: each field is a class, and its file is a clip. A field may come several times.
#[derive(ToSchema)]
pub(super) struct AddForm {
    #[serde(flatten)]
    classes: HashMap<String, Bytes>,
}

/// What is asked of a video; in the query or as fields of the form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The id of a model; by default the first of /v1/models.
    #[param(nullable = false)]
    model: Option<String>,
    /// The classes, separated by commas, one with a comma in double quotes; needed by a model that
    /// has none of its own. At most 1,000 of 128 bytes.
    #[param(nullable = false)]
    labels: Option<String>,
    /// Number of classes in an answer; by default 5 per video, 1 per window.
    #[param(nullable = false, minimum = 1)]
    top: Option<u16>,
}

/// The windows that are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Windows {
    /// Length of a window, such as `2s` or `500ms`; by default 2s.
    #[param(nullable = false)]
    window: Option<String>,
    /// Time from the start of a window to that of the next; by default the window's length, 1s for a
    /// stream.
    #[param(nullable = false)]
    stride: Option<String>,
}

/// The frames that a stream brings.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Frames {
    /// Frames per second. Without it a frame is shown when it arrives.
    #[param(nullable = false)]
    fps: Option<f64>,
    /// Width of raw frames, 8-bit RGB; without it frames are JPEG or PNG pictures.
    #[param(nullable = false)]
    width: Option<u32>,
    /// Height of raw frames.
    #[param(nullable = false)]
    height: Option<u32>,
}

/// One class and its probability.
#[derive(ToSchema)]
struct Scored {
    /// Probability, 0 to 1; the sum over all labels is 1. It is calibrated by the temperature of a
    /// run that was cross-validated.
    score: f64,
    /// The class.
    label: String,
}

/// One of the frames that the model saw.
#[derive(ToSchema)]
struct UsedFrame {
    /// Its index in decoding order, from 0.
    index: u64,
    /// When it is shown, in seconds from the first frame.
    time: f64,
}

/// Whether a video or a window shows one of the classes; there for a run that was cross-validated, if
/// it is asked about its own classes.
#[derive(ToSchema)]
struct Belonging {
    /// Whether `belonging` reaches the `threshold`; otherwise it shows none of the classes.
    #[schema(nullable = false)]
    known: Option<bool>,
    /// The score of belonging to the classes, -1 to 1.
    #[schema(nullable = false)]
    belonging: Option<f64>,
    /// The threshold, chosen so that a given share of clips of the classes is below it.
    #[schema(nullable = false)]
    threshold: Option<f64>,
}

/// The answer for a video, as `trainer predict --json` prints it, with the model.
#[derive(ToSchema)]
pub(super) struct Answer {
    /// The model's id.
    model: String,
    /// The client's name of the video.
    video: String,
    /// The most probable classes, best first.
    predictions: Vec<Scored>,
    #[serde(flatten)]
    belonging: Belonging,
    /// The frames the model saw.
    frames: Vec<UsedFrame>,
    /// Frames in the file.
    frame_count: u64,
    /// Which stream was decoded, if the file has several videos, and whether it is cut off.
    #[schema(nullable = false)]
    note: Option<String>,
    /// What a user should know of the model and the labels.
    #[schema(nullable = false)]
    notes: Option<Vec<String>>,
}

/// The answer for one window.
#[derive(ToSchema)]
struct Moment {
    /// Seconds from the first frame.
    start: f64,
    /// Seconds from the first frame.
    end: f64,
    /// The most probable classes, best first.
    predictions: Vec<Scored>,
    #[serde(flatten)]
    belonging: Belonging,
    /// The frames the model saw.
    frames: Vec<UsedFrame>,
}

/// The answers for the windows of a video, as `trainer predict --window --json` prints them, with
/// the model.
#[derive(ToSchema)]
pub(super) struct Timeline {
    /// The model's id.
    model: String,
    /// The client's name of the video.
    video: String,
    /// Length of a window in seconds.
    window: f64,
    /// Stride of the windows in seconds.
    stride: f64,
    /// Frames in the file.
    frame_count: u64,
    /// The windows, in order of time.
    windows: Vec<Moment>,
    /// Which stream was decoded, if the file has several videos.
    #[schema(nullable = false)]
    note: Option<String>,
    /// What a user should know of the model and the labels.
    #[schema(nullable = false)]
    notes: Option<Vec<String>>,
}

/// The answer for a window of a stream, a text message.
#[derive(ToSchema)]
pub(super) struct Window {
    /// The model's id.
    model: String,
    #[serde(flatten)]
    moment: Moment,
    /// Frames since the answer before that came faster than they could be answered.
    left_out: u64,
    /// What a user should know of the model and the labels.
    #[schema(nullable = false)]
    notes: Option<Vec<String>>,
}

/// The result of a training: `result.json` of the run. It has more keys than these.
#[derive(ToSchema)]
pub(super) struct TrainingResult {
    /// Clips that it was trained on.
    train_clips: u64,
    /// Clips that could not be decoded and were left out, each with the reason.
    skipped: Vec<Vec<String>>,
    /// Seconds it took.
    seconds: f64,
    /// The estimate of its accuracy, if it was cross-validated.
    #[schema(nullable = false)]
    cross_validation: Option<CrossValidation>,
    /// Its tests; the first one is that of the held-out clips.
    tests: Vec<Test>,
    #[serde(flatten)]
    more: HashMap<String, serde_json::Value>,
}

/// An estimate from clips that were held out once each. It has more keys than these.
#[derive(ToSchema)]
struct CrossValidation {
    /// Number of folds.
    folds: u64,
    /// Clips held out once.
    clips: u64,
    /// The recordings they were cut from.
    recordings: u64,
    /// Lower and upper end of the 95 % interval of the accuracy on new recordings, 0 to 1.
    interval: Vec<f64>,
    /// Logits are divided by it before softmax.
    temperature: f64,
    /// The threshold of belonging.
    threshold: f64,
    /// Clips that the others contradict most, most contradicted first.
    suspects: Vec<Suspect>,
    #[serde(flatten)]
    more: HashMap<String, serde_json::Value>,
}

/// A clip whose own class was not the most probable one while it was held out.
#[derive(ToSchema)]
struct Suspect {
    /// The clip's id.
    id: String,
    /// Its class.
    class: String,
    /// The probability of its class, 0 to 1.
    probability: f64,
    #[serde(flatten)]
    more: HashMap<String, serde_json::Value>,
}

/// The scores of some clips.
#[derive(ToSchema)]
struct Test {
    #[serde(flatten)]
    more: HashMap<String, serde_json::Value>,
}

/// What all operations have in common: the token, and refusals.
pub(super) struct Common;

impl Modify for Common {
    fn modify(&self, interface: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The line of the server's --token file, if it has one.",
            ));
        let components = interface.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
        for (path, item) in &mut interface.paths.paths {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let uploads = operation.request_body.is_some();
                let asks = uploads || path == "/v1/stream";
                let refused = [
                    (true, 400, "The request is not understood."),
                    (true, 401, "The token is missing or another."),
                    (true, 403, "The Host or the Origin is not this server's."),
                    (
                        asks || path.contains('{'),
                        404,
                        "There is no such model or run.",
                    ),
                    (uploads, 408, "The body came too slowly."),
                    (path.ends_with("archive"), 409, "The run is not trained."),
                    (uploads, 413, "The body is too large."),
                    (
                        uploads,
                        415,
                        "Not a video, or not one of the formats and codecs that are opened.",
                    ),
                    (
                        asks,
                        422,
                        "A video, labels or a value that cannot be answered, or a limit.",
                    ),
                    (
                        asks,
                        429,
                        "As many trainings or streams as may be are under way.",
                    ),
                    (true, 500, "The server failed."),
                    (true, 503, "Too much work is under way."),
                ];
                for (_, status, reason) in refused.into_iter().filter(|(is_there, ..)| *is_there) {
                    let content = Content::new(Some(Ref::from_schema_name("Problem")));
                    let response = ResponseBuilder::new()
                        .description(reason)
                        .content(PROBLEM, content);
                    let responses = &mut operation.responses.responses;
                    responses.insert(status.to_string(), response.build().into());
                }
            }
        }
    }
}
