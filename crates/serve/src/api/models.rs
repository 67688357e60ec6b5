//! The models, and the state of the server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use crate::problem::Problem;

/// The models that can be asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Models {
    /// The first one answers requests that name none.
    models: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
struct Model {
    /// Its id, the value of `model` in requests.
    id: String,
    /// Its name, for people.
    name: String,
    /// Its own labels; none of a checkpoint without training, which needs them in each request.
    labels: Vec<String>,
    /// Frames per video or window.
    frames: usize,
    /// Whether /v1/stream takes it.
    streams: bool,
}

/// The models that can be asked.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "recognise",
    responses((status = 200, description = "The models.", body = Models))
)]
pub(crate) async fn models(State(app): State<App>) -> Json<Models> {
    let models = app.engine.cards().into_iter().map(|card| Model {
        id: card.id,
        name: card.name,
        labels: card.labels,
        frames: card.frames,
        streams: card.streams,
    });
    Json(Models {
        models: models.collect(),
    })
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "server",
    responses((status = 200, description = "It lives.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether videos can be answered.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    responses((status = 200, description = "They can.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    match app.decoders.ready() {
        0 => Problem::busy("no decoding process is ready").into_response(),
        _ => (StatusCode::OK, "ready\n").into_response(),
    }
}

/// Counters in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, description = "The counters.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let unconfined = app.metrics.unconfined().map_or(0, |missing| missing.len());
    let gauges = [
        (
            "serve_decoders_ready",
            "Decoding processes that have started.",
            app.decoders.ready() as f64,
        ),
        (
            "serve_upload_bytes",
            "Memory that uploads take.",
            app.budget.used() as f64,
        ),
        (
            "serve_models",
            "Models loaded.",
            app.engine.cards().len() as f64,
        ),
        (
            "serve_confinement_missing",
            "Kinds of confinement that the kernel lacks.",
            unconfined as f64,
        ),
    ];
    let kind = [("content-type", "text/plain; version=0.0.4")];
    (kind, app.metrics.text(&gauges)).into_response()
}
