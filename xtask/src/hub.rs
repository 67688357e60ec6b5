//! `cargo xtask download-clip`: a checkpoint from a hub into the user's Hugging Face cache.
//!
//! The layout is the one every Hugging Face library reads:
//! `models--org--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file> -> blob}`.
//! A blob is named by its content's hash, and gets its name only after that was verified.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::download::{Client, Promise, Wanted};
use crate::places::{lock, make_folder, write_whole};
use crate::progress::bytes;
use crate::workspace;
use crate::{Error, Result};

/// The checkpoint that everything here is shown with.
pub const DEFAULT: &str = "openai/clip-vit-base-patch16";

/// What the user may ask of the download.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The hub's id of the checkpoint, with a revision where it is not `main`
    #[arg(value_name = "ORG/NAME[@REVISION]", default_value = DEFAULT)]
    pub id: String,
}

/// Small files that a CLIP checkpoint may have, all of which are taken.
const SMALL: [&str; 10] = [
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "bpe_simple_vocab_16e6.txt.gz",
];

/// Weights, each with the configuration that reads it, in the order in which
/// `clip-backbone` looks for them.
const WEIGHTS: [(&str, &str); 4] = [
    ("model.safetensors", "config.json"),
    ("pytorch_model.bin", "config.json"),
    ("open_clip_model.safetensors", "open_clip_config.json"),
    ("open_clip_pytorch_model.bin", "open_clip_config.json"),
];

/// Fetches the checkpoint and prints the folder it lies in.
///
/// # Errors
/// [`Error::Hub`] with what to do, and whatever the download meets.
pub fn run(options: &Options) -> Result<()> {
    let settings = Settings::from(|name| std::env::var_os(name))?;
    let id = Id::parse(&options.id)?;
    let folder = fetch(&id, &settings, &Client::default())?;
    workspace::print(&folder.display().to_string());
    Ok(())
}

/// A checkpoint's id: `org/name`, and a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    repository: String,
    revision: String,
}

impl Id {
    /// Reads `org/name` or `org/name@revision`.
    ///
    /// # Errors
    /// [`Error::Hub`] for what cannot be an id.
    pub fn parse(text: &str) -> Result<Self> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && !part.contains("--")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let fine = repository.split('/').count() == 2
            && repository.split('/').all(part)
            && revision.split('/').all(part);
        if !fine {
            return Err(Error::Hub {
                id: text.into(),
                reason: format!("not an id of the form org/name[@revision], like {DEFAULT}"),
            });
        }
        Ok(Self {
            repository: repository.into(),
            revision: revision.into(),
        })
    }
}

/// Where the hub is and where its cache lies, from Hugging Face's own variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The hub's address.
    pub endpoint: String,
    /// The cache of all checkpoints.
    pub cache: PathBuf,
    /// The user's token.
    pub token: Option<String>,
    /// Whether the network may not be used.
    pub offline: bool,
}

impl Settings {
    /// Reads the variables through `var`.
    ///
    /// # Errors
    /// [`Error::Parse`] where there is no home to put a cache in.
    pub fn from(var: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")))
            .ok_or_else(|| Error::Parse {
                what: "HF_HOME".into(),
                reason: "unset, and so is HOME".into(),
            })?;
        let cache = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = text("HF_TOKEN")
            .or_else(|| fs::read_to_string(token_file).ok())
            .map(|token| token.trim().to_string())
            .filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let yes = |value: String| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token,
            offline: text("HF_HUB_OFFLINE").is_some_and(yes),
        })
    }
}

/// Brings the checkpoint into the cache and gives the folder of its snapshot.
///
/// # Errors
/// [`Error::Hub`] where the repository is no CLIP checkpoint or the hub cannot be asked;
/// [`Error::Content`] for a file whose hash is not the hub's; nothing of it is kept.
pub fn fetch(id: &Id, settings: &Settings, client: &Client) -> Result<PathBuf> {
    let hub_error = |reason: String| Error::Hub {
        id: id.repository.clone(),
        reason,
    };
    if settings.offline {
        return Err(hub_error(
            "HF_HUB_OFFLINE is set; unset it to download, or pass --checkpoint a local path".into(),
        ));
    }
    let bearer = settings
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    let bearer = bearer.as_deref();
    let listing = listing(id, settings, client, bearer)?;
    let files = wanted_files(&listing.names()).map_err(hub_error)?;

    let folder = settings
        .cache
        .join(format!("models--{}", id.repository.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(&listing.sha);
    let blobs = folder.join("blobs");
    make_folder(&blobs)?;
    make_folder(&snapshot)?;
    let _lock = lock(&folder.join(".download.lock"))?;
    for file in files {
        let url = format!(
            "{}/{}/resolve/{}/{file}",
            settings.endpoint, id.repository, listing.sha
        );
        let promised = promised(&url, client, bearer)?;
        let blob = blobs.join(&promised.etag);
        let wanted = Wanted {
            url: &url,
            promise: promised.promise,
            bytes: promised.bytes,
            authorization: bearer,
            label: file,
        };
        let before = blob.is_file();
        let fetched = client.file(&wanted, &blob)?;
        if before {
            eprintln!("{file}: {} already here", bytes(fetched.bytes));
        }
        point(&snapshot.join(file), &blob, &promised.etag)?;
    }
    // The revision points at the snapshot only once it is whole.
    write_whole(
        &folder.join("refs").join(&id.revision),
        listing.sha.as_bytes(),
    )?;
    Ok(snapshot)
}

#[derive(Debug, Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    fn names(&self) -> Vec<&str> {
        self.siblings
            .iter()
            .map(|sibling| sibling.rfilename.as_str())
            .collect()
    }
}

fn listing(id: &Id, settings: &Settings, client: &Client, bearer: Option<&str>) -> Result<Listing> {
    let revision = id.revision.replace('/', "%2F");
    let url = format!(
        "{}/api/models/{}/revision/{revision}",
        settings.endpoint, id.repository
    );
    let answer = client.text(&url, "application/json", bearer).map_err(|e| {
        let reason = match &e {
            Error::Unreachable { .. } => format!(
                "cannot reach the hub: {e}. Check the network and the proxy variables, name a \
                 mirror in HF_ENDPOINT, or copy the checkpoint here and pass --checkpoint its path"
            ),
            Error::Status {
                status: 401 | 403, ..
            } => {
                format!("{e}. The id may be misspelt, or the repository wants HF_TOKEN")
            }
            Error::Status { status: 404, .. } => {
                format!("the hub has no such repository or revision ({e})")
            }
            _ => e.to_string(),
        };
        Error::Hub {
            id: id.repository.clone(),
            reason,
        }
    })?;
    let listing: Listing = serde_json::from_str(&answer.body).map_err(|e| Error::Parse {
        what: url.clone(),
        reason: e.to_string(),
    })?;
    if !is_hex(&listing.sha, 40) {
        return Err(Error::Parse {
            what: url,
            reason: "no commit hash in the answer".into(),
        });
    }
    Ok(listing)
}

/// The files to take of those that the repository has.
fn wanted_files(names: &[&str]) -> std::result::Result<Vec<&'static str>, String> {
    let has = |name: &str| names.contains(&name);
    let Some((weights, _)) = WEIGHTS
        .into_iter()
        .find(|(weights, config)| has(weights) && has(config))
    else {
        return Err(
            "holds no CLIP checkpoint: neither config.json with model.safetensors or \
                    pytorch_model.bin, nor open_clip_config.json with its weights"
                .into(),
        );
    };
    // The weights last: what is small and wrong shows first.
    Ok(SMALL
        .into_iter()
        .filter(|name| has(name))
        .chain([weights])
        .collect())
}

/// What the hub promises of a file.
struct Promised {
    etag: String,
    promise: Promise,
    bytes: Option<u64>,
}

/// Asks for a file's hash. The hub gives it before it redirects to its storage; a renamed
/// repository redirects within the hub first, which is followed.
fn promised(url: &str, client: &Client, bearer: Option<&str>) -> Result<Promised> {
    let mut at = url.to_string();
    for _ in 0..5 {
        let head = client.head(&at, bearer)?;
        let linked = head.get("x-linked-etag");
        let inside = head
            .get("location")
            .filter(|to| to.starts_with('/') && !to.starts_with("//"));
        if linked.is_none()
            && (300..400).contains(&head.status)
            && let Some(path) = inside
        {
            let origin: String = at.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            at = format!("{origin}{path}");
            continue;
        }
        if head.status >= 400 {
            return Err(Error::Status {
                url: at,
                status: head.status,
                hint: String::new(),
            });
        }
        let size = if linked.is_some() {
            "x-linked-size"
        } else {
            "content-length"
        };
        let bytes = head.get(size).and_then(|value| value.parse().ok());
        let etag = linked.or_else(|| head.get("etag")).unwrap_or_default();
        let etag = etag
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_ascii_lowercase();
        let promise = if is_hex(&etag, 64) {
            Promise::Sha256(etag.clone())
        } else if is_hex(&etag, 40) {
            Promise::GitBlob(etag.clone())
        } else {
            return Err(Error::Parse {
                what: at,
                reason: format!("the hub gives no hash to verify with (etag {etag:?})"),
            });
        };
        return Ok(Promised {
            etag,
            promise,
            bytes,
        });
    }
    Err(Error::Parse {
        what: url.into(),
        reason: "redirected too often".into(),
    })
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Makes `file` in a snapshot lead to its blob.
fn point(file: &Path, blob: &Path, etag: &str) -> Result<()> {
    let target = Path::new("../../blobs").join(etag);
    if fs::read_link(file).is_ok_and(|old| old == target) {
        return Ok(());
    }
    if fs::symlink_metadata(file).is_ok() {
        fs::remove_file(file).map_err(Error::io("replace", file))?;
    }
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(&target, file);
    #[cfg(not(unix))]
    let made: std::io::Result<()> = Err(std::io::ErrorKind::Unsupported.into());
    // Not every file system has links; a copy serves as well.
    made.or_else(|_| fs::copy(blob, file).map(drop))
        .map_err(Error::io("link", file))
}

/// A checkpoint that lies in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its id.
    pub id: String,
    /// The size of its weights.
    pub bytes: u64,
}

/// The CLIP checkpoints in the cache whose weights are whole.
#[must_use]
pub fn cached(settings: &Settings) -> Vec<Cached> {
    let Ok(entries) = fs::read_dir(&settings.cache) else {
        return Vec::new();
    };
    let mut all: Vec<Cached> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_prefix("models--")?.replace("--", "/");
            let bytes = fs::read_dir(entry.path().join("snapshots"))
                .ok()?
                .flatten()
                .flat_map(|snapshot| {
                    WEIGHTS.into_iter().filter_map(move |(weights, config)| {
                        let folder = snapshot.path();
                        folder.join(config).is_file().then_some(())?;
                        fs::metadata(folder.join(weights))
                            .ok()
                            .map(|metadata| metadata.len())
                    })
                })
                .max()?;
            Some(Cached { id, bytes })
        })
        .collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn ids() {
        let id = Id::parse("org/name").unwrap();
        assert_eq!(
            (id.repository.as_str(), id.revision.as_str()),
            ("org/name", "main")
        );
        assert_eq!(
            Id::parse("org/name@refs/pr/1").unwrap().revision,
            "refs/pr/1"
        );
        for text in [
            "",
            "name",
            "a/b/c",
            "../x",
            "org/..",
            "org/na me",
            "org/n@",
            "org/n@../x",
            "/x",
        ] {
            assert!(Id::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_cache_is_where_hugging_face_puts_it() {
        let settings = |pairs: &[(&str, &str)]| {
            Settings::from(|name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.into())
            })
            .unwrap()
        };
        let home = ("HOME", "/h");
        assert_eq!(
            settings(&[home]).cache,
            Path::new("/h/.cache/huggingface/hub")
        );
        assert_eq!(settings(&[home]).endpoint, "https://huggingface.co");
        assert_eq!(
            settings(&[home, ("XDG_CACHE_HOME", "/x")]).cache,
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(
            settings(&[home, ("HF_HOME", "/hf")]).cache,
            Path::new("/hf/hub")
        );
        assert_eq!(
            settings(&[home, ("HF_HUB_CACHE", "/c")]).cache,
            Path::new("/c")
        );
        assert_eq!(
            settings(&[home, ("HF_ENDPOINT", "http://m/")]).endpoint,
            "http://m"
        );
        assert!(settings(&[home, ("HF_HUB_OFFLINE", "1")]).offline);
        assert!(!settings(&[home, ("HF_HUB_OFFLINE", "0")]).offline);
    }

    #[test]
    fn one_set_of_weights_is_taken() {
        let files = |names: &[&str]| wanted_files(names);
        assert_eq!(
            files(&[
                "pytorch_model.bin",
                "model.safetensors",
                "config.json",
                "README.md",
                "vocab.json"
            ])
            .unwrap(),
            ["config.json", "vocab.json", "model.safetensors"]
        );
        assert_eq!(
            files(&["open_clip_config.json", "open_clip_pytorch_model.bin"]).unwrap(),
            ["open_clip_config.json", "open_clip_pytorch_model.bin"]
        );
        // Weights without the configuration that reads them are no use.
        assert!(files(&["model.safetensors", "open_clip_config.json"]).is_err());
        assert!(files(&[]).is_err());
    }
}
