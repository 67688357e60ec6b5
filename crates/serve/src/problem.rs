//! Refused requests, as `application/problem+json` (RFC 9457) with what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Error;
use crate::wire::{Refusal, RefusalKind};

/// Why a request is refused, and what to do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The reason.
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    help: Option<String>,
    /// The limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<String>,
    /// Seconds until another attempt makes sense.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// Its content type.
pub(crate) const PROBLEM: &str = "application/problem+json";

pub(crate) type Outcome<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            help: None,
            limit: None,
            retry_after: None,
        }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .help("try again after the seconds of Retry-After, with fewer requests at once")
            .retry_after(1)
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    /// Says what it is about.
    pub(crate) fn of(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A file that was not decoded; `predict` names the checkpoint of the question.
    pub(crate) fn of_refusal(refusal: &Refusal, predict: &str) -> Self {
        let status = match refusal.kind {
            RefusalKind::Format => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            RefusalKind::Content | RefusalKind::Crash => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut problem = Self::new(status, format!("the video is refused: {}", refusal.reason));
        if let Some(limit) = &refusal.limit {
            let switch = refusal.switch.iter().map(|switch| format!(" {switch}"));
            let switch: String = switch.collect();
            problem = problem.limit(limit).help(format!(
                "the server's limits are for files from anyone; for a file that you trust: \
                 {predict}{switch}"
            ));
        }
        problem
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let with_causes = || {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(": ");
                text.push_str(&error.to_string());
                cause = error.source();
            }
            text
        };
        match &error {
            Error::NoModel(_) => {
                Self::not_found(error.to_string()).help("GET /v1/models lists the models")
            }
            Error::Stopped => Self::busy(error.to_string()),
            Error::Late(_) => Self::busy(error.to_string()).limit("time"),
            Error::Recogniser(recogniser::Error::NoLabels { .. }) => {
                Self::unprocessable("the model has no labels of its own")
                    .help("give them as labels=archery,push ups")
            }
            Error::Recogniser(
                recogniser::Error::EmptyLabel { .. }
                | recogniser::Error::RepeatedLabel { .. }
                | recogniser::Error::NoAnswer { .. }
                | recogniser::Error::NoSpan(_)
                | recogniser::Error::Model(_),
            ) => Self::unprocessable(with_causes()),
            _ => {
                tracing::error!("{}", with_causes());
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "the server failed").help("its log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
