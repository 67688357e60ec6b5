//! The hub's address and cache folder, from Hugging Face's environment variables.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::{Client, Error, Result};

/// A hub of model repositories, and its local cache.
#[derive(Clone)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: String,
    /// The folder of all cached repositories.
    pub cache: PathBuf,
    /// The user's token, for repositories that need one. It is sent only to the endpoint.
    pub token: Option<String>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// The HTTP client.
    pub client: Client,
}

impl Hub {
    /// The hub that Hugging Face's variables describe; the README lists them.
    ///
    /// # Errors
    /// [`Error::NoCache`] if no variable gives a location for the cache.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")));
        let inside = |name: &str| home.as_ref().map(|home| home.join(name));
        let token = text("HF_TOKEN").or_else(|| {
            fs::read_to_string(path("HF_TOKEN_PATH").or_else(|| inside("token"))?).ok()
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let yes = ["1", "true", "yes", "on"];
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache: path("HF_HUB_CACHE")
                .or_else(|| inside("hub"))
                .ok_or(Error::NoCache)?,
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|value| yes.contains(&value.to_ascii_lowercase().as_str())),
            client: Client::default(),
        })
    }
}

/// Without the token, which must not be logged.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn hub(pairs: &[(&str, &str)]) -> Result<Hub> {
        Hub::from_variables(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn hugging_face_s_variables_are_honoured() {
        let home = ("HOME", "/h");
        let plain = hub(&[home]).unwrap();
        assert_eq!(plain.cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert!(!plain.offline && plain.token.is_none());
        for (variable, cache) in [
            (("XDG_CACHE_HOME", "/x"), "/x/huggingface/hub"),
            (("HF_HOME", "/f"), "/f/hub"),
            (("HF_HUB_CACHE", "/c"), "/c"),
        ] {
            assert_eq!(hub(&[home, variable]).unwrap().cache, Path::new(cache));
        }
        for (value, offline) in [("1", true), ("TRUE", true), ("0", false), ("", false)] {
            let hub = hub(&[home, ("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(hub.offline, offline, "{value:?}");
        }
        let all = hub(&[
            ("HF_HUB_CACHE", "/c"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_TOKEN", " secret\n"),
        ])
        .unwrap();
        assert_eq!(all.cache, Path::new("/c"));
        assert_eq!(all.endpoint, "http://mirror");
        assert_eq!(all.token.as_deref(), Some("secret"));
        assert!(!format!("{all:?}").contains("secret"));
        assert!(matches!(hub(&[]), Err(Error::NoCache)));
    }

    #[test]
    fn a_token_may_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        fs::write(folder.path().join("token"), "usual\n").unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "named\n").unwrap();
        let named = ("HF_TOKEN_PATH", other.to_str().unwrap());
        let token = |pairs: &[(&str, &str)]| hub(pairs).unwrap().token.unwrap();
        assert_eq!(token(&[home]), "usual");
        assert_eq!(token(&[home, named]), "named");
        assert_eq!(token(&[home, named, ("HF_TOKEN", "given")]), "given");
    }
}
