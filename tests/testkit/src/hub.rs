//! The answers of a model hub with one repository.

use crate::server::{Reply, Request};

/// The repository's id.
pub const ID: &str = "org/clip";
/// The commit that its revisions `main` and `v1.0` point at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository.
#[derive(Debug, Clone)]
pub struct HubFile {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub body: Vec<u8>,
    /// Its hash. A file of 64 digits is large: the hub redirects to its storage, `/cdn`.
    pub hash: String,
}

/// The answer of a hub with `files`.
#[must_use]
pub fn answer(request: &Request, files: &[HubFile]) -> Reply {
    let path = request.path.as_str();
    let api = format!("/api/models/{ID}/revision/");
    if let Some("main" | "v1.0" | COMMIT) = path.strip_prefix(&api) {
        let names: Vec<String> = files
            .iter()
            .map(|file| format!("{{\"rfilename\":\"{}\"}}", file.name))
            .collect();
        let names = names.join(",");
        return Reply::ok(format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{names}]}}"));
    }
    let find = |prefix: &str| {
        let name = path.strip_prefix(prefix)?;
        files.iter().find(|file| file.name == name)
    };
    if let Some(file) = find(&format!("/{ID}/resolve/{COMMIT}/")) {
        let quoted = format!("\"{}\"", file.hash);
        if file.hash.len() != 64 {
            return Reply::ranged(request, &file.body).header("ETag", quoted);
        }
        return Reply::status(302)
            .header("X-Linked-Etag", quoted)
            .header("X-Linked-Size", file.body.len())
            .header("ETag", "\"the redirect's own\"")
            .header("Location", format!("/cdn/{}", file.name));
    }
    match find("/cdn/") {
        Some(file) => Reply::ranged(request, &file.body),
        None => Reply::status(404),
    }
}
