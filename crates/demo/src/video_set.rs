//! The scenes as video files: `<root>/{train,test}/<class>/<number>.avi`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use disk::TemporaryFolder;
use serde::{Deserialize, Serialize};
use video::write_clip;

use super::motion::Motion;
use super::scenes::{RATE, Scene};
use crate::{Error, Result};

/// The settings of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The version of the drawing; another one requires new files.
    version: u32,
    /// Seed of the scenes.
    pub seed: u64,
    /// Training clips per class.
    pub train: usize,
    /// Test clips per class.
    pub test: usize,
}

impl Recipe {
    /// Files written by this version of the program.
    #[must_use]
    pub fn new(seed: u64, train: usize, test: usize) -> Self {
        Self {
            version: 1,
            seed,
            train,
            test,
        }
    }

    fn clips(&self) -> usize {
        Motion::ALL.len() * (self.train + self.test)
    }
}

/// Whether the set was found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Every file existed, unchanged.
    Found,
    /// The files were drawn and encoded.
    Written,
}

/// The list of the files, next to the parts.
const LIST: &str = "scenes.json";

/// Recipe and SHA-256 of every file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    recipe: Recipe,
    files: BTreeMap<String, String>,
}

/// The default folder of the videos: `seeing-in-flowing/demo` in the user's
/// cache, or in the folder for temporary files if the system has none.
#[must_use]
pub fn default_root() -> PathBuf {
    dirs::cache_dir()
        .unwrap_or_else(std::env::temp_dir)
        .join("seeing-in-flowing/demo")
}

/// Ensures that `root` holds the videos of `recipe`, each with its original
/// hash. `progress` is called with the number of clips done and in all.
///
/// # Errors
/// The folder has other content, which is left unchanged, or a file cannot be written. A set
/// is complete or absent.
pub fn make(root: &Path, recipe: &Recipe, mut progress: impl FnMut(usize, usize)) -> Result<Made> {
    let old = read_list(root);
    if old
        .as_ref()
        .is_some_and(|list| is_whole(root, list, recipe))
    {
        return Ok(Made::Found);
    }
    let taken = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if taken && old.is_none() {
        return Err(Error::Content {
            path: root.into(),
            reason: "expected an empty folder, or videos of the demo; got other files".into(),
        });
    }
    let whole = TemporaryFolder::of(root)?;
    write(whole.path(), recipe, &mut progress)?;
    if root.exists() {
        fs::remove_dir_all(root).map_err(disk::Error::of("cannot replace", root))?;
    }
    whole.persist(root)?;
    Ok(Made::Written)
}

fn write(root: &Path, recipe: &Recipe, progress: &mut impl FnMut(usize, usize)) -> Result<()> {
    let mut files = BTreeMap::new();
    for (part, clips) in [("train", recipe.train), ("test", recipe.test)] {
        for motion in Motion::ALL {
            let folder = format!("{part}/{}", motion.name());
            let path = root.join(&folder);
            fs::create_dir_all(&path).map_err(disk::Error::of("cannot create", &path))?;
            for number in 0..clips {
                let file = format!("{folder}/{number:03}.avi");
                let path = root.join(&file);
                let frames = Scene::new(recipe.seed, part, motion, number).frames();
                write_clip(&path, &frames, RATE)?;
                files.insert(file, hash(&path)?);
                progress(files.len(), recipe.clips());
            }
        }
    }
    let list = List {
        recipe: *recipe,
        files,
    };
    let path = root.join(LIST);
    let text = serde_json::to_vec_pretty(&list).map_err(|error| Error::Content {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    Ok(disk::write(&path, &text)?)
}

/// The list, if the folder holds a set of this demo, of any recipe.
fn read_list(root: &Path) -> Option<List> {
    serde_json::from_slice(&fs::read(root.join(LIST)).ok()?).ok()
}

fn is_whole(root: &Path, list: &List, recipe: &Recipe) -> bool {
    list.recipe == *recipe
        && list.files.len() == recipe.clips()
        && list
            .files
            .iter()
            .all(|(file, sha256)| hash(&root.join(file)).is_ok_and(|found| found == *sha256))
}

fn hash(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(disk::Error::of("cannot read", path))?;
    Ok(disk::sha256(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use data::formats::{ReadOptions, class_folders};

    use super::*;

    #[test]
    fn a_set_is_written_once_and_again_where_a_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("demo");
        let recipe = Recipe::new(0, 2, 1);
        let mut told = 0;
        let made = make(&root, &recipe, |done, all| {
            told = done;
            assert_eq!(all, 30);
        });
        assert_eq!(made.unwrap(), Made::Written);
        assert_eq!(told, 30);
        let found = class_folders("demo", &root, ReadOptions::default()).unwrap();
        let manifest = found.manifest;
        assert_eq!(manifest.classes().len(), Motion::ALL.len());
        let split = manifest.split("folders").unwrap();
        assert_eq!((split.train.len(), split.test.len()), (20, 10));

        assert_eq!(make(&root, &recipe, |_, _| ()).unwrap(), Made::Found);
        let clip = root.join("test/growing/000.avi");
        let whole = fs::read(&clip).unwrap();
        fs::write(&clip, b"damaged").unwrap();
        assert_eq!(make(&root, &recipe, |_, _| ()).unwrap(), Made::Written);
        assert_eq!(fs::read(&clip).unwrap(), whole);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("diary.txt"), "mine").unwrap();
        let error = make(folder.path(), &Recipe::new(0, 1, 1), |_, _| ()).unwrap_err();
        assert!(error.to_string().contains("other files"), "{error}");
        assert!(folder.path().join("diary.txt").exists());
    }
}
