//! The page: the files of `page/`, embedded.

use axum::extract::Request;
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../page/", $path)))),*]
    };
}

/// Paths without the leading slash, and contents.
const FILES: &[(&str, &[u8])] = files![
    "index.html",
    "icon.svg",
    "css/answers.css",
    "css/base.css",
    "css/controls.css",
    "css/runs.css",
    "js/answer.js",
    "js/api.js",
    "js/bars.js",
    "js/camera.js",
    "js/class-card.js",
    "js/dom.js",
    "js/downloads.js",
    "js/files.js",
    "js/follow.js",
    "js/frames.js",
    "js/labels.js",
    "js/live.js",
    "js/main.js",
    "js/media.js",
    "js/models.js",
    "js/outcome.js",
    "js/question.js",
    "js/recognise.js",
    "js/run-actions.js",
    "js/runs.js",
    "js/teach.js",
    "js/timeline.js",
    "js/token.js",
];

/// The file at a path of a request.
fn find(path: &str) -> Option<(&'static str, &'static [u8])> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let (_, content) = FILES.iter().find(|(known, _)| *known == name)?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    Some((kind, content))
}

/// Whether a path is the page's.
pub(crate) fn is_file(path: &str) -> bool {
    find(path).is_some()
}

/// The response to a request for a file of the page; `None` for any other request.
pub(crate) fn response(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let (kind, content) = find(request.uri().path())?;
    // A server of another version has another page.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Some((headers, content).into_response())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut there = BTreeSet::new();
        for folder in ["", "css/", "js/"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap().flatten() {
                if entry.path().is_file() {
                    there.insert(format!("{folder}{}", entry.file_name().to_str().unwrap()));
                }
            }
        }
        let known: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).into()).collect();
        assert_eq!(known, there);
        assert!(is_file("/") && is_file("/js/main.js"));
        assert!(!is_file("/js/../index.html") && !is_file("js/main.js"));
    }
}
