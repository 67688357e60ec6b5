//! Selection of a repository's files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result};

/// The longest index of shards read; that of a large language model is under 1 MB.
const INDEX_LIMIT: u64 = 64 << 20;

/// The files that make up a model in a repository's top folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Its name in messages: "CLIP checkpoint".
    pub name: &'static str,
    /// A configuration and the weights that it describes, in order of preference. Weights named
    /// `*.index.json` list the shards that hold them.
    pub layouts: &'static [(&'static str, &'static [&'static str])],
    /// Small files that are optional.
    pub companions: &'static [&'static str],
}

/// A CLIP checkpoint in the layouts of Hugging Face and `open_clip`.
pub const CLIP: Selection = Selection {
    name: "CLIP checkpoint",
    layouts: &[
        (
            "config.json",
            &[
                "model.safetensors",
                "model.safetensors.index.json",
                "pytorch_model.bin",
                "pytorch_model.bin.index.json",
            ],
        ),
        (
            "open_clip_config.json",
            &["open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
        ),
    ],
    companions: &[
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "bpe_simple_vocab_16e6.txt.gz",
        // Of an exported run.
        "seeing_in_flowing.json",
        "trained.safetensors",
    ],
};

impl Selection {
    /// The files of the first layout whose configuration and weights `has` finds, in the order in
    /// which they are fetched. The weights come last, so that errors in small files show first.
    pub(crate) fn files(&self, has: impl Fn(&str) -> bool) -> Option<Vec<&'static str>> {
        let (config, weights) = self.layouts.iter().find_map(|(config, weights)| {
            let weights = weights.iter().find(|name| has(name))?;
            has(config).then_some((*config, *weights))
        })?;
        let companions = self.companions.iter().copied().filter(|name| has(name));
        let mut files = vec![config];
        files.extend(companions.chain([weights]));
        Some(files)
    }

    /// The layouts, for messages.
    pub(crate) fn describe(&self) -> String {
        let layouts = self.layouts.iter();
        let layouts: Vec<String> = layouts
            .map(|(config, weights)| format!("{config} with {}", weights.join(" or ")))
            .collect();
        layouts.join(", or ")
    }

    /// The paths of all files in `folder`, if the model is complete.
    pub(crate) fn whole(&self, folder: &Path) -> Option<Vec<PathBuf>> {
        let names = self.files(|name| folder.join(name).is_file())?;
        let mut files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let weights = folder.join(names.last()?);
        if is_index(&weights) {
            files.extend(shards(&weights).ok()?.iter().map(|name| folder.join(name)));
        }
        files.iter().all(|file| file.is_file()).then_some(files)
    }
}

/// Whether a weight file is an index of shards.
pub(crate) fn is_index(weights: &Path) -> bool {
    weights.to_string_lossy().ends_with(".index.json")
}

/// The files that the index at `path` names, each a plain name in the index's folder.
pub(crate) fn shards(path: &Path) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let wrong = |reason: String| Error::Answer {
        from: path.display().to_string(),
        reason,
    };
    let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if length > INDEX_LIMIT {
        return Err(wrong(format!(
            "{length} bytes; expected an index of shards"
        )));
    }
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let plain = |name: &str| {
        Path::new(name).file_name() == Some(std::ffi::OsStr::new(name)) && !name.contains('\\')
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(wrong(format!(
            "weight_map names {name:?}; expected a file in the same folder"
        ))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_of_weights_is_taken() {
        let files = |names: &[&str]| CLIP.files(|name| names.contains(&name));
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
        // Weights without the configuration that describes them cannot be used.
        assert!(files(&["model.safetensors", "open_clip_config.json"]).is_none());
        assert!(files(&[]).is_none());
    }

    #[test]
    fn an_index_names_files_beside_it_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            shards(&path)
        };
        let two = r#"{"metadata": {}, "weight_map": {"a": "2", "b": "1", "c": "1"}}"#;
        assert_eq!(read(two).unwrap(), ["1", "2"].map(String::from).into());
        for name in ["../x", "/x", "a/b", "..", "", "a\\\\b"] {
            let text = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains("same folder"), "{name:?}: {error}");
        }
        for text in ["", "{}", r#"{"weight_map": {"a": 1}}"#] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, Error::Answer { .. }), "{text}: {error}");
        }
    }
}
