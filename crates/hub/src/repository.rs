//! From a repository's id to its files in the cache.

use std::path::PathBuf;

use serde::Deserialize;

use crate::cache::{Place, verify};
use crate::hash::is_hex;
use crate::selection::{is_index, shards};
use crate::{Error, Hub, Id, Promise, Result, Selection, Wanted};

/// Redirects within the hub, such as a renamed repository.
const REDIRECTS: usize = 5;

impl Hub {
    /// The folder that holds `wanted` of the repository `id`: from the cache where it is whole
    /// there, else fetched. The hub is not asked for a newer version than the cached one.
    ///
    /// Every file's content is compared with the hash that names it in the cache.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a cached file with different content, and those of
    /// [`fetch`](Self::fetch).
    pub fn snapshot(&self, id: &Id, wanted: &Selection) -> Result<PathBuf> {
        match self.cached(id, wanted)? {
            Some(folder) => Ok(folder),
            None => self.fetch(id, wanted),
        }
    }

    /// The folder that holds `wanted` of the repository `id`, as it is in the cache.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file whose content does not have the hash that names it.
    pub fn cached(&self, id: &Id, wanted: &Selection) -> Result<Option<PathBuf>> {
        let place = Place::new(&self.cache, id);
        let Some(commit) = place.commit(id.revision()) else {
            return Ok(None);
        };
        let folder = place.snapshot(&commit);
        let Some(files) = wanted.whole(&folder) else {
            return Ok(None);
        };
        files.iter().try_for_each(|file| verify(file))?;
        Ok(Some(folder))
    }

    /// The folder that holds `wanted` of the newest commit of the repository `id`; only files
    /// that are not cached are fetched. Offline, the cached commit is used.
    ///
    /// # Errors
    /// [`Error::Offline`] for a repository that is not cached then; [`Error::Fetch`] where the
    /// hub cannot be asked; [`Error::Repository`] where it has no such files;
    /// [`Error::Content`] for a file whose hash is not the hub's, of which nothing is kept;
    /// [`Error::Answer`] for answers that cannot be used.
    pub fn fetch(&self, id: &Id, wanted: &Selection) -> Result<PathBuf> {
        if self.offline {
            return self.cached(id, wanted)?.ok_or_else(|| Error::Offline {
                id: id.to_string(),
                cache: self.cache.clone(),
            });
        }
        self.fetch_newest(id, wanted).map_err(|error| match error {
            Error::Unreachable { .. } | Error::Status { .. } => Error::Fetch {
                id: id.to_string(),
                source: Box::new(error),
            },
            error => error,
        })
    }

    fn fetch_newest(&self, id: &Id, wanted: &Selection) -> Result<PathBuf> {
        let listing = self.listing(id)?;
        let has = |name: &str| listing.siblings.iter().any(|file| file.rfilename == name);
        let Some(files) = wanted.files(has) else {
            return Err(Error::Repository {
                id: id.to_string(),
                wanted: wanted.name,
                expected: wanted.describe(),
            });
        };
        let place = Place::new(&self.cache, id);
        for name in files {
            let file = self.fetch_file(id, &listing.sha, name, &place)?;
            if is_index(&file) {
                for shard in shards(&file)? {
                    self.fetch_file(id, &listing.sha, &shard, &place)?;
                }
            }
        }
        // The revision points to the snapshot only once that is complete.
        place.set_commit(id.revision(), &listing.sha)?;
        Ok(place.snapshot(&listing.sha))
    }

    fn listing(&self, id: &Id) -> Result<Listing> {
        let revision = id.revision().replace('/', "%2F");
        let repository = id.repository();
        let url = format!(
            "{}/api/models/{repository}/revision/{revision}",
            self.endpoint
        );
        let bearer = self.bearer();
        let answer = self
            .client
            .text(&url, "application/json", bearer.as_deref())?;
        let wrong = |reason: String| Error::Answer { from: url, reason };
        let listing: Listing = match serde_json::from_str(&answer.body) {
            Ok(listing) => listing,
            Err(e) => return Err(wrong(e.to_string())),
        };
        match is_hex(&listing.sha, 40) {
            true => Ok(listing),
            false => Err(wrong("the hub returned no commit hash".into())),
        }
    }

    /// Fetches one file of a commit, so that all come from the same one whatever happens to the
    /// branch meanwhile.
    fn fetch_file(&self, id: &Id, commit: &str, name: &str, place: &Place) -> Result<PathBuf> {
        let url = format!(
            "{}/{}/resolve/{commit}/{name}",
            self.endpoint,
            id.repository()
        );
        let promised = self.promised(url)?;
        let _lock = place.lock(&promised.hash, &mut self.client.observer(name))?;
        let bearer = self.bearer();
        let wanted = Wanted {
            url: &promised.url,
            promise: match promised.hash.len() {
                64 => Promise::Sha256(promised.hash.clone()),
                _ => Promise::GitBlob(promised.hash.clone()),
            },
            bytes: promised.bytes,
            authorization: bearer.as_deref(),
            label: name,
        };
        self.client.file(&wanted, &place.blob(&promised.hash))?;
        place.link(commit, name, &promised.hash)
    }

    /// Asks for a file's hash. The hub gives it before it redirects to its storage; a renamed
    /// repository redirects within the hub first, which is followed.
    fn promised(&self, mut url: String) -> Result<Promised> {
        let bearer = self.bearer();
        for _ in 0..REDIRECTS {
            let head = self.client.head(&url, bearer.as_deref())?;
            let linked = head.get("x-linked-etag");
            let inside = head.get("location").and_then(|to| self.inside(to));
            if linked.is_none()
                && (300..400).contains(&head.status)
                && let Some(inside) = inside
            {
                url = inside;
                continue;
            }
            if head.status >= 400 {
                let status = head.status;
                return Err(Error::Status { url, status });
            }
            let size = match linked {
                Some(_) => "x-linked-size",
                None => "content-length",
            };
            let etag = linked.or_else(|| head.get("etag")).unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            // The hash becomes a path in the cache, so nothing else is accepted.
            let hash = etag.to_ascii_lowercase();
            if !(is_hex(&hash, 64) || is_hex(&hash, 40)) {
                let reason = format!("the hub returned no hash to verify with (etag {etag:?})");
                return Err(Error::Answer { from: url, reason });
            }
            return Ok(Promised {
                bytes: head.get(size).and_then(|value| value.parse().ok()),
                hash,
                url,
            });
        }
        Err(Error::Answer {
            from: url,
            reason: "too many redirects".into(),
        })
    }

    /// The target of a redirect, if it stays on the hub.
    fn inside(&self, location: &str) -> Option<String> {
        let origin: Vec<&str> = self.endpoint.splitn(4, '/').take(3).collect();
        let origin = origin.join("/");
        let path = location.strip_prefix(&origin).unwrap_or(location);
        (path.starts_with('/') && !path.starts_with("//")).then(|| format!("{origin}{path}"))
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }
}

/// The hub's response about a repository.
#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The hub's metadata of a file.
struct Promised {
    /// Its URL, after redirects within the hub.
    url: String,
    hash: String,
    bytes: Option<u64>,
}
