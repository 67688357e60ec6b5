//! Checkpoints from a hub, through the cache that every Hugging Face library shares.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::checkpoint::{FOLDERS, hash_file, hex, shards};
use crate::tokenizer::OPENAI_VOCABULARY;
use crate::{Error, Result};

/// Small files worth having beside the weights.
const COMPANIONS: [&str; 5] = [
    "preprocessor_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    OPENAI_VOCABULARY,
];

/// Where the hub is, where its cache lies, and whether the network may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: String,
    /// The folder of all cached repositories.
    pub cache: PathBuf,
    /// The user's token, for repositories that want one.
    pub token: Option<String>,
    /// Whether only the cache may be asked.
    pub offline: bool,
}

impl Hub {
    /// The hub as Hugging Face's own variables describe it: `HF_ENDPOINT`, `HF_HUB_CACHE`,
    /// `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")))
            .unwrap_or_default();
        let cache = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
        let token = text("HF_TOKEN")
            .or_else(|| std::fs::read_to_string(home.join("token")).ok())
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let yes = ["1", "true", "yes", "on"];
        Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache,
            token,
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|value| yes.contains(&value.to_ascii_lowercase().as_str())),
        }
    }

    /// Whether `text` has the form of an id: `org/name`, or `org/name@revision`.
    pub fn is_id(text: &str) -> bool {
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
        repository.split('/').count() == 2
            && repository.split('/').all(part)
            && revision.split('/').all(part)
    }

    /// The folder that holds the checkpoint `id`: from the cache where it is whole there, else
    /// fetched. The hub is not asked for anything newer than what is cached.
    ///
    /// Every file's content is compared with the hash that names it in the cache.
    ///
    /// # Errors
    /// [`Error::NotCached`] where it is not cached and cannot be fetched, with what to run;
    /// [`Error::Hash`] for a file whose content is not what the hub promised.
    pub fn snapshot(&self, id: &str) -> Result<PathBuf> {
        let not_cached = |reason: String| Error::NotCached {
            id: id.into(),
            cache: self.cache.clone(),
            reason,
        };
        if !Self::is_id(id) {
            return Err(not_cached(
                "not an id of the form org/name[@revision]".into(),
            ));
        }
        let (repository, revision) = id.split_once('@').unwrap_or((id, "main"));
        let repo = |revision: &str| {
            Repo::with_revision(repository.into(), RepoType::Model, revision.into())
        };
        let cache = Cache::new(self.cache.clone());
        let cached = revision_folder(&cache, &repo(revision));
        if let Some(files) = cached.and_then(|folder| whole(&folder)) {
            return verified(files, false);
        }
        if self.offline {
            return Err(not_cached("HF_HUB_OFFLINE is set".into()));
        }

        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(true)
            .with_retries(2)
            .build()
            .map_err(|e| not_cached(e.to_string()))?;
        let listing = api
            .repo(repo(revision))
            .info()
            .map_err(|e| not_cached(format!("{} does not answer: {e}", self.endpoint)))?;
        if !is_hex(&listing.sha, 40) {
            return Err(not_cached("the hub names no commit".into()));
        }
        let names: Vec<&str> = listing
            .siblings
            .iter()
            .map(|sibling| sibling.rfilename.as_str())
            .collect();
        let has = |name: &str| names.contains(&name);
        let Some((config, weights)) = FOLDERS.iter().find_map(|(config, weights)| {
            let weights = weights.iter().find(|name| has(name))?;
            has(config).then_some((*config, *weights))
        }) else {
            return Err(not_cached("the repository holds no CLIP checkpoint".into()));
        };
        // All files from one commit, whatever happens to the branch meanwhile.
        let commit = api.repo(repo(&listing.sha));
        let fetch = |name: &str| {
            fetch(&api, &commit, name).map_err(|reason| not_cached(format!("{name}: {reason}")))
        };
        // The weights last: what is small and wrong shows first.
        let mut files = vec![fetch(config)?];
        for name in COMPANIONS.into_iter().filter(|name| has(name)) {
            files.push(fetch(name)?);
        }
        let weights = fetch(weights)?;
        if weights
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            for shard in shards(&weights)? {
                let name = shard.file_name().unwrap_or_default().to_string_lossy();
                files.push(fetch(&name)?);
            }
        }
        files.push(weights);
        let folder = verified(files, true)?;
        // The revision points at the snapshot only once it is whole.
        cache
            .repo(repo(revision))
            .create_ref(&listing.sha)
            .map_err(|source| Error::Io {
                op: "write a reference in",
                path: self.cache.clone(),
                source,
            })?;
        Ok(folder)
    }
}

/// The folder of the snapshot that a cached revision points at.
fn revision_folder(cache: &Cache, repo: &Repo) -> Option<PathBuf> {
    let reference = cache
        .path()
        .join(repo.folder_name())
        .join("refs")
        .join(repo.revision());
    let commit = std::fs::read_to_string(reference).ok();
    // A revision may be a commit itself.
    let commit = commit.unwrap_or_else(|| repo.revision().into());
    let commit = commit.trim();
    is_hex(commit, 40).then(|| {
        cache
            .path()
            .join(repo.folder_name())
            .join("snapshots")
            .join(commit)
    })
}

/// Configuration, weights and what lies beside them, where all of a checkpoint is cached.
fn whole(folder: &Path) -> Option<Vec<PathBuf>> {
    let here = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    let (config, weights) = FOLDERS.iter().find_map(|(config, weights)| {
        let config = here(config)?;
        Some((config, weights.iter().find_map(|name| here(name))?))
    })?;
    let mut files = vec![config];
    files.extend(COMPANIONS.iter().filter_map(|name| here(name)));
    if weights
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let shards = shards(&weights).ok()?;
        if !shards.iter().all(|shard| shard.is_file()) {
            return None;
        }
        files.extend(shards);
    }
    files.push(weights);
    Some(files)
}

/// Fetches one file into the cache.
fn fetch(api: &Api, repo: &ApiRepo, name: &str) -> std::result::Result<PathBuf, String> {
    // The hub's answer becomes a path in the cache, so it is looked at first.
    let promised = api.metadata(&repo.url(name)).map_err(|e| e.to_string())?;
    let (hash, commit) = (promised.etag(), promised.commit_hash());
    if !(is_hex(hash, 64) || is_hex(hash, 40)) || !is_hex(commit, 40) {
        return Err(format!("no hash to verify it with, but {hash:?}"));
    }
    repo.get(name).map_err(|e| e.to_string())
}

/// Compares each file with the hash in its blob's name and gives their folder. A fresh file
/// that fails is removed, so that nobody takes it for the real one.
fn verified(files: Vec<PathBuf>, fresh: bool) -> Result<PathBuf> {
    let mut folder = PathBuf::new();
    for file in files {
        let fault = |source| Error::Io {
            op: "resolve",
            path: file.clone(),
            source,
        };
        let blob = std::fs::canonicalize(&file).map_err(fault)?;
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        // Git names small files by SHA-1 of a header and the content; large ones lie outside
        // git by SHA-256. Where the cache holds plain copies there is no name to compare with.
        let got = if is_hex(&name, 64) {
            let mut hash = Sha256::new();
            hash_file(&blob, |bytes| hash.update(bytes))?;
            hex(&hash.finalize())
        } else if is_hex(&name, 40) {
            let length = std::fs::metadata(&blob).map_err(fault)?.len();
            let mut hash = Sha1::new();
            hash.update(format!("blob {length}\0"));
            hash_file(&blob, |bytes| hash.update(bytes))?;
            hex(&hash.finalize())
        } else {
            name.to_string()
        };
        if got != name {
            if fresh {
                let _ = std::fs::remove_file(&file);
                let _ = std::fs::remove_file(&blob);
            }
            return Err(Error::Hash {
                path: file,
                expected: name.into_owned(),
                got,
            });
        }
        folder = file.parent().map(Path::to_owned).unwrap_or_default();
    }
    Ok(folder)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn ids_are_told_from_paths_and_tricks() {
        for id in [
            "openai/clip-vit-base-patch16",
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K@main",
            "a/b@refs/pr/1",
        ] {
            assert!(Hub::is_id(id), "{id}");
        }
        for path in [
            "",
            "a",
            "a/",
            "/a/b",
            "./a/b",
            "../b/c",
            "a/../b",
            "a/b/c",
            "a--b/c",
            "a/b@",
            "a/b c",
            "-a/b",
            "a/b@../../x",
            "a\\b/c",
        ] {
            assert!(!Hub::is_id(path), "{path}");
        }
    }

    #[test]
    fn hugging_face_s_variables_are_honoured() {
        let hub = |pairs: &[(&str, &str)]| {
            Hub::from_variables(|name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        let plain = hub(&[("HOME", "/h")]);
        assert_eq!(plain.cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(!plain.offline && plain.token.is_none());
        assert_eq!(
            hub(&[("HOME", "/h"), ("HF_HOME", "/f")]).cache,
            Path::new("/f/hub")
        );
        let all = hub(&[
            ("HF_HOME", "/f"),
            ("HF_HUB_CACHE", "/c"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "TRUE"),
        ]);
        assert_eq!(all.cache, Path::new("/c"));
        assert_eq!(all.endpoint, "http://mirror");
        assert_eq!(all.token.as_deref(), Some("secret"));
        assert!(all.offline);
    }
}
