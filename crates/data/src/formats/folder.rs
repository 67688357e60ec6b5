//! A folder of class folders.

use std::fs;
use std::path::{Path, PathBuf};

use super::collect::{At, Collector, check_link, path_id};
use super::registry::{Format, Reader};
use super::{Found, Missing, ReadOptions, VIDEO_EXTENSIONS};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// Class folders, the layout of most videos of one's own.
pub static FORMAT: Format = Format {
    name: "folder",
    title: "Class folders",
    reader: Reader::Folder(class_folders),
    published: None,
};

/// Names of folders that are the parts of a split, with the part: `true` for training.
const PARTS: [(&str, bool); 4] = [
    ("train", true),
    ("val", false),
    ("validation", false),
    ("test", false),
];

/// Reads `root/<class>/<clip>.<ext>`, or `root/{train,val|validation|test}/<class>/...`,
/// which gives a split named "folders". Classes are in order of their names.
///
/// # Errors
/// No class folder, a class folder without a video (unless missing clips are allowed),
/// names that are not UTF-8, links out of `root`, and clips beside the class folders.
pub fn class_folders(dataset: &str, root: &Path, options: ReadOptions) -> Result<Found> {
    let real_root = fs::canonicalize(root).map_err(Error::io("cannot open the folder", root))?;
    let folders = Folders {
        root,
        real_root: &real_root,
        follow_links: options.follow_links,
    };
    let top = folders.list(Path::new(""))?;
    let part = |name: &str| {
        PARTS
            .iter()
            .find(|(part, _)| *part == name)
            .map(|(_, train)| *train)
    };
    let split = !top.folders.is_empty() && top.folders.iter().all(|name| part(name).is_some());

    let mut notes = Vec::new();
    let mut clips: Vec<(String, PathBuf, Option<bool>)> = Vec::new();
    let mut classes: Vec<String> = Vec::new();
    let mut ignored = 0;
    let parents: Vec<(PathBuf, Option<bool>)> = if split {
        top.folders
            .iter()
            .map(|name| (PathBuf::from(name), part(name)))
            .collect()
    } else {
        vec![(PathBuf::new(), None)]
    };
    for (parent, train) in parents {
        let listed = folders.list(&parent)?;
        if let Some(video) = listed.videos.first() {
            return Err(Error::Content {
                path: root.join(&parent).join(video),
                what: "lies beside the class folders; expected <class>/<clip>".into(),
            });
        }
        for class in listed.folders {
            let folder = parent.join(&class);
            let inside = folders.list(&folder)?;
            if inside.videos.is_empty() && options.missing == Missing::Refuse {
                return Err(Error::Content {
                    path: root.join(&folder),
                    what: "is a class folder without a video; remove it, or accept it with \
                           `allow_missing`"
                        .into(),
                });
            }
            ignored += inside.others + inside.folders.len();
            for video in inside.videos {
                clips.push((class.clone(), folder.join(video), train));
            }
            classes.push(class);
        }
    }
    classes.sort();
    classes.dedup();
    if classes.is_empty() {
        return Err(Error::Content {
            path: root.into(),
            what: "holds no class folder; expected <class>/<clip>".into(),
        });
    }
    notes.push(format!("{} class folders", classes.len()));
    if ignored > 0 {
        notes.push(format!(
            "{ignored} files or folders in them are not videos and are not read"
        ));
    }

    // What was listed is there.
    let mut collector = Collector::new(dataset, root, root, options);
    let (mut train_ids, mut test_ids) = (Vec::new(), Vec::new());
    for (class, path, train) in clips {
        let id = path_id(&path);
        match train {
            Some(true) => train_ids.push(id.clone()),
            Some(false) => test_ids.push(id.clone()),
            None => {}
        }
        let label = classes.binary_search(&class).unwrap_or_default();
        let at = At {
            list: root,
            line: 0,
        };
        collector.add(VideoEntry::new(id, path, vec![label]), at)?;
    }
    if split {
        collector.add_split("folders", train_ids, test_ids);
    }
    collector.finish(classes.into_iter().map(ClassName::new).collect(), notes)
}

struct Folders<'a> {
    root: &'a Path,
    real_root: &'a Path,
    follow_links: bool,
}

struct Listing {
    folders: Vec<String>,
    videos: Vec<String>,
    others: usize,
}

impl Folders<'_> {
    fn list(&self, folder: &Path) -> Result<Listing> {
        let full = self.root.join(folder);
        let mut listing = Listing {
            folders: Vec::new(),
            videos: Vec::new(),
            others: 0,
        };
        for entry in fs::read_dir(&full).map_err(Error::io("cannot list", &full))? {
            let entry = entry.map_err(Error::io("cannot list", &full))?;
            let path = entry.path();
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| Error::Content {
                    path: path.clone(),
                    what: "its name is not UTF-8; rename it".into(),
                })?;
            if name.starts_with('.') {
                continue;
            }
            let extension = Path::new(&name)
                .extension()
                .unwrap_or_default()
                .to_string_lossy();
            let video = VIDEO_EXTENSIONS.contains(&extension.to_lowercase().as_str());
            if path.is_dir() {
                check_link(&path, self.real_root, self.follow_links)?;
                listing.folders.push(name);
            } else if video {
                check_link(&path, self.real_root, self.follow_links)?;
                listing.videos.push(name);
            } else {
                listing.others += 1;
            }
        }
        listing.folders.sort();
        listing.videos.sort();
        Ok(listing)
    }
}
