//! Makes room for a new run in the folder of an earlier one.

use std::path::{Path, PathBuf};

use super::lock::lock;
use crate::{Error, Result};

/// Renames the run in `folder` to `FOLDER.N`, with the first N that is free, and returns its new
/// place. Features in `cache`, if that lies within, stay where they are: they hold for the new run,
/// too.
///
/// # Errors
/// [`Error::InUse`] if another process works in it, and [`Error::Disk`].
pub fn set_aside(folder: &Path, cache: &Path) -> Result<PathBuf> {
    let _lock = lock(folder)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let place = (1..u32::MAX)
        .map(|number| folder.with_file_name(format!("{name}.{number}")))
        .find(|place| !place.exists())
        .unwrap_or_else(|| folder.with_extension("old"));
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(Error::file("cannot rename", from))
    };
    rename(folder, &place)?;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let within = absolute(cache);
    if let Ok(within) = within.strip_prefix(absolute(folder))
        && place.join(within).is_dir()
    {
        let back = folder.join(within);
        let parent = back.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(Error::file("cannot create", parent))?;
        rename(&place.join(within), &back)?;
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn runs_are_numbered_and_features_stay() {
        let all = tempfile::tempdir().unwrap();
        let run = all.path().join("my.run");
        for number in 1..3 {
            fs::create_dir_all(run.join("features/set")).unwrap();
            fs::write(run.join("result"), number.to_string()).unwrap();
            let place = set_aside(&run, &run.join("features")).unwrap();
            assert_eq!(place, all.path().join(format!("my.run.{number}")));
            assert!(place.join("result").is_file() && !place.join("features").exists());
            assert!(run.join("features/set").is_dir() && !run.join("result").exists());
        }
        set_aside(&run, &all.path().join("elsewhere")).unwrap();
        assert!(!run.exists());
    }
}
