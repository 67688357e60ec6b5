//! Real files: random access equals the sequential decode.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::support::check;

mod needs_shared {
    use super::*;

    /// Every twelfth of the shared videos, or all of them with `SIF_ALL_VIDEOS` set.
    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn shared_videos_are_exact() {
        let mut files = Vec::new();
        collect(&testkit::shared().join("data"), &mut files);
        files.sort();
        let step = if std::env::var_os("SIF_ALL_VIDEOS").is_some() {
            1
        } else {
            12
        };
        let files: Vec<_> = files.into_iter().step_by(step).collect();
        assert!(!files.is_empty());
        let damaged: usize = files
            .par_iter()
            .map(|path| {
                let count = check(path, 3);
                count.corrupt_packets + count.damaged_frames
            })
            .sum();
        eprintln!("{} videos, {damaged} damaged packets", files.len());
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path
            .extension()
            .is_some_and(|kind| ["avi", "mp4", "mkv"].iter().any(|k| kind == *k))
        {
            files.push(path);
        }
    }
}
