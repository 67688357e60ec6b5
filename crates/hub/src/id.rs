//! A repository's id on the hub.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// `org/name`, or `org/name@revision` with a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    repository: String,
    revision: String,
}

impl Id {
    /// The repository: `org/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The revision; `main` if the id has none.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        // Both become paths in the cache.
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && !part.contains("--")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let valid = repository.split('/').count() == 2
            && repository.split('/').all(part)
            && revision.split('/').all(part);
        match valid {
            true => Ok(Self {
                repository: repository.into(),
                revision: revision.into(),
            }),
            false => Err(Error::Id(text.into())),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => f.write_str(&self.repository),
            revision => write!(f, "{}@{revision}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinguished_from_paths_and_attacks() {
        for (repository, revision) in [
            ("openai/clip-vit-base-patch16", "main"),
            ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "v1.0"),
            ("a/b", "refs/pr/1"),
        ] {
            let id: Id = format!("{repository}@{revision}").parse().unwrap();
            assert_eq!((id.repository(), id.revision()), (repository, revision));
            assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        }
        let attacks = "a a/ /a /a/b ./a/b ../b ../b/c a/.. a/../b a/b/c a--b/c a/b@ -a/b a/b@../x \
                       a/b@../../x a\\b/c";
        for text in attacks.split(' ').chain(["", "a/b c"]) {
            let error = text.parse::<Id>().unwrap_err();
            assert!(error.to_string().contains("org/name"), "{error}");
        }
    }
}
