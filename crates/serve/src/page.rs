//! The page, embedded.

use axum::response::{Html, IntoResponse, Response};

pub(crate) async fn index() -> Html<&'static str> {
    Html(include_str!("../page/index.html"))
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../page/page.css"))
}

pub(crate) async fn script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../page/page.js"),
    )
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([("content-type", kind)], text).into_response()
}
