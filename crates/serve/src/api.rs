//! The routes.

mod answers;
mod models;
mod runs;
mod schema;
mod state;
mod stream;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;

pub(crate) use state::App;

use self::schema::Common;
use crate::guard::{Guard, guard};
use crate::page;
use crate::problem::{PROBLEM, Problem};
use crate::upload::{drain, shown};

/// What pages of this server may load: nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The interface.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "trainer serve",
        description = "Recognise human actions in video with CLIP. Errors are \
                       application/problem+json with the keys title, status, detail and, where \
                       there is something to do, help."
    ),
    paths(
        answers::predict,
        answers::timeline,
        stream::stream,
        runs::list,
        runs::make,
        runs::add,
        runs::get,
        runs::events,
        runs::clip,
        runs::report,
        runs::archive,
        runs::delete,
        runs::undo,
        models::models,
        models::healthz,
        models::readyz,
        models::metrics,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
    security((), ("token" = [])),
)]
struct Interface;

/// All routes, guarded.
pub(crate) fn router(app: App, rules: Guard) -> Router {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=()",
        ),
    ];
    let mut router = Router::new()
        .route("/healthz", get(models::healthz))
        .route("/readyz", get(models::readyz))
        .route("/metrics", get(models::metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/models", get(models::models))
        .route("/v1/predict", post(answers::predict))
        .route("/v1/timeline", post(answers::timeline))
        .route("/v1/stream", get(stream::stream))
        .route("/v1/runs", get(runs::list).post(runs::make))
        .route("/v1/runs/{id}", get(runs::get).delete(runs::delete))
        .route("/v1/runs/{id}/clips", post(runs::add))
        .route("/v1/runs/{id}/clips/{clip}", get(runs::clip))
        .route("/v1/runs/{id}/events", get(runs::events))
        .route("/v1/runs/{id}/report", get(runs::report))
        .route("/v1/runs/{id}/archive", get(runs::archive))
        .route("/v1/runs/{id}/undo", post(runs::undo))
        .fallback(page_or_nothing)
        .method_not_allowed_fallback(another_method)
        // Uploads count their bytes themselves; nothing else reads a body.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(rules, guard))
        .layer(from_fn(drain))
        .layer(CatchPanicLayer::custom(|_| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(status, "the server failed").into_response()
        }))
        .layer(map_response(in_words))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        router = router.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    router
}

async fn openapi() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, Interface::openapi().to_json().unwrap_or_default()).into_response()
}

/// The page's files, and nothing else.
async fn page_or_nothing(request: Request) -> Response {
    page::response(&request).unwrap_or_else(|| {
        Problem::not_found("there is nothing here")
            .help("/openapi.json lists the interface")
            .into_response()
    })
}

async fn another_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has other methods",
    )
    .help("/openapi.json lists the interface")
}

/// Turns refusals that are not this crate's, such as those of a path that is not UTF-8, into
/// problems.
async fn in_words(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind == PROBLEM);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let reason = to_bytes(body, 1024).await.unwrap_or_default();
    let reason = shown(&String::from_utf8_lossy(&reason));
    let mut response = Problem::new(status, reason).into_response();
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Counts requests and their time.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = std::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other".to_owned(), |route| route.as_str().to_owned());
    let response = next.run(request).await;
    app.metrics
        .request(&route, response.status().as_u16(), began.elapsed());
    response
}
