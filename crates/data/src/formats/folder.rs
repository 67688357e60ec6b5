//! A folder of class folders.

use std::fs;
use std::path::{Path, PathBuf};

use super::collect::{At, Collector, check_link, path_id};
use super::content::not_a_video;
use super::parts::{Part, Parts};
use super::registry::{Format, Reader};
use super::{Found, Missing, ReadOptions};
use crate::class_name::ClassName;
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;
use crate::names::{counted, named};

/// Class folders, the layout of most videos of one's own.
pub static FORMAT: Format = Format {
    name: "folder",
    title: "Class folders",
    reader: Reader::Folder(class_folders),
    published: None,
};

/// Names, lower case, that operating systems, network storage and tools leave in folders.
const LEFTOVERS: [&str; 19] = [
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@sharebin",
    "@tmp",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "lost+found",
    "network trash folder",
    "recycler",
    "system volume information",
    "temporary items",
    "thumbs.db",
    "~snapshot",
];

/// Reads `root/<class>/<clip>`, where clips may also lie in `root/<class>/<recording>`, or the same below
/// `root/<part>`, where the parts are `train` or
/// `training`, `val`, `valid` or `validation`, `test` or `testing`, in any case: they give a split
/// named "folders", or, if all three are there, the splits "test" and "val". Classes are in order
/// of their names.
///
/// A clip is a file whose content is a video's, or whose name claims so. Everything else is named
/// in [`Found::notes`], with the reason.
///
/// # Errors
/// No class folder, a class folder without a video (unless missing clips are allowed),
/// names that are not UTF-8, links out of `root`, clips beside the class folders, folders beside the
/// parts, parts inside a class folder, and a single class folder that holds only folders.
pub fn class_folders(dataset: &str, root: &Path, options: ReadOptions) -> Result<Found> {
    let real_root = fs::canonicalize(root).map_err(Error::io("cannot open the folder", root))?;
    let mut folders = Folders {
        root,
        real_root: &real_root,
        follow_links: options.follow_links,
        not_videos: Vec::new(),
        leftovers: Vec::new(),
        recorded: 0,
    };
    let top = folders.list(Path::new(""))?;
    let parents = folders.parents(&top)?;
    let mut clips: Vec<(String, PathBuf, Option<Part>)> = Vec::new();
    let mut classes: Vec<String> = Vec::new();
    for (parent, part) in parents {
        let listed = match part {
            Some(_) => &folders.list(&parent)?,
            None => &top,
        };
        if let Some(video) = listed.videos.first() {
            return Err(Error::Content {
                path: root.join(&parent).join(video),
                what: "lies beside the class folders; expected <class>/<clip>".into(),
            });
        }
        for class in &listed.folders {
            let folder = parent.join(class);
            let inside = folders.list(&folder)?;
            // A single folder that holds only folders is one around the class folders.
            let wraps = inside.videos.is_empty() && listed.folders.len() == 1 && part.is_none();
            let recordings = match wraps {
                true => Vec::new(),
                false => folders.recordings(&folder, &inside.folders)?,
            };
            let none = inside.videos.is_empty() && recordings.is_empty();
            if none && options.missing == Missing::Refuse {
                return Err(Error::Content {
                    path: root.join(&folder),
                    what: match inside.folders.as_slice() {
                        [] => "is a class folder without a video; remove it, or accept it with \
                               `allow_missing`"
                            .into(),
                        deeper => format!(
                            "is a class folder without a video; expected <class>/<clip>, and it \
                             holds only {}: {}",
                            counted(deeper.len(), "folder"),
                            named(deeper)
                        ),
                    },
                });
            }
            let videos = inside.videos.iter().map(|video| folder.join(video));
            for path in videos.chain(recordings) {
                clips.push((class.clone(), path, part));
            }
            classes.push(class.clone());
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
    if clips.is_empty() {
        return Err(folders.no_video(&classes));
    }
    let mut notes = vec![counted(classes.len(), "class folder")];
    if folders.recorded > 0 {
        let clips = counted(folders.recorded, "clip");
        notes.push(format!(
            "{clips} in folders inside class folders: each such folder is a recording"
        ));
    }
    notes.extend(folders.ignored());

    let mut collector = Collector::new(dataset, root, root, options);
    let mut parts = Parts::default();
    for (class, path, part) in clips {
        let id = path_id(&path);
        if let Some(part) = part {
            parts.add(part, id.clone());
        }
        let label = classes.binary_search(&class).unwrap_or_default();
        let at = At {
            list: root,
            line: 0,
        };
        collector.add(VideoEntry::new(id, path, vec![label]), at)?;
    }
    notes.extend(collector.add_parts("folders", parts));
    collector.finish(classes.into_iter().map(ClassName::new).collect(), notes)
}

struct Folders<'a> {
    root: &'a Path,
    real_root: &'a Path,
    follow_links: bool,
    /// Ignored, with the reason.
    not_videos: Vec<(String, &'static str)>,
    /// Ignored: hidden, or left by an operating system.
    leftovers: Vec<String>,
    /// Clips in folders of recordings.
    recorded: usize,
}

struct Listing {
    folders: Vec<String>,
    videos: Vec<String>,
}

impl Folders<'_> {
    /// Says that none of the class folders `classes` holds a video, and where class folders may be
    /// instead.
    fn no_video(&self, classes: &[String]) -> Error {
        let holds_folders = |class: &&String| {
            let entries = fs::read_dir(self.root.join(class)).into_iter().flatten();
            entries.flatten().any(|entry| entry.path().is_dir())
        };
        let wrapper = classes.iter().find(holds_folders);
        let wrapper = wrapper.map_or_else(String::new, |folder| {
            let place = self.root.join(folder);
            format!(
                "; {} may be a folder of class folders itself",
                place.display()
            )
        });
        Error::Content {
            path: self.root.into(),
            what: format!(
                "holds no video in <class>/<clip>; its folders are {}{wrapper}",
                named(classes)
            ),
        }
    }

    /// The folders that hold class folders: the parts, or the root alone.
    fn parents(&mut self, top: &Listing) -> Result<Vec<(PathBuf, Option<Part>)>> {
        let part = |name: &String| Some((PathBuf::from(name), Some(Part::named(name)?)));
        let parts: Vec<_> = top.folders.iter().filter_map(part).collect();
        if !parts.is_empty() && parts.len() == top.folders.len() {
            return Ok(parts);
        }
        // A class may be called "test"; but folders for training and testing that hold only folders
        // are parts.
        let trains = |part: &Option<Part>| *part == Some(Part::Train);
        let mixed = parts.iter().any(|(_, part)| trains(part))
            && parts.iter().any(|(_, part)| !trains(part));
        if mixed {
            let mut hold_clips = false;
            for (part, _) in &parts {
                hold_clips |= !self.list(part)?.videos.is_empty();
            }
            let other = top.folders.iter().find(|name| Part::named(name).is_none());
            if let (false, Some(other)) = (hold_clips, other) {
                return Err(Error::Content {
                    path: self.root.join(other),
                    what: format!(
                        "lies beside the parts {}; expected <part>/<class>/<clip> throughout, or \
                         <class>/<clip>",
                        named(
                            &parts
                                .iter()
                                .map(|(name, _)| path_id(name))
                                .collect::<Vec<_>>()
                        )
                    ),
                });
            }
        }
        Ok(vec![(PathBuf::new(), None)])
    }

    /// The videos in the folders `names` inside a class folder, each of which is a recording.
    fn recordings(&mut self, class: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
        let mut clips = Vec::new();
        for name in names {
            let folder = class.join(name);
            let inside = self.list(&folder)?;
            if inside.videos.is_empty() {
                let reason = "folder inside a class folder, without a video";
                self.not_videos.push((path_id(&folder), reason));
            } else if Part::named(name).is_some() {
                return Err(Error::Content {
                    path: self.root.join(&folder),
                    what: "is a part inside a class folder; expected <part>/<class>/<clip>".into(),
                });
            }
            for deeper in inside.folders {
                let path = path_id(&folder.join(deeper));
                self.not_videos
                    .push((path, "folder inside a recording's folder"));
            }
            clips.extend(inside.videos.iter().map(|video| folder.join(video)));
        }
        self.recorded += clips.len();
        Ok(clips)
    }

    fn list(&mut self, folder: &Path) -> Result<Listing> {
        let full = self.root.join(folder);
        let mut listing = Listing {
            folders: Vec::new(),
            videos: Vec::new(),
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
            if name.starts_with('.') || LEFTOVERS.contains(&name.to_lowercase().as_str()) {
                self.leftovers.push(path_id(&folder.join(&name)));
            } else if path.is_dir() {
                check_link(&path, self.real_root, self.follow_links)?;
                listing.folders.push(name);
            } else if let Some(reason) = not_a_video(&path) {
                self.not_videos.push((path_id(&folder.join(&name)), reason));
            } else {
                check_link(&path, self.real_root, self.follow_links)?;
                listing.videos.push(name);
            }
        }
        listing.folders.sort();
        listing.videos.sort();
        Ok(listing)
    }

    /// Sentences about ignored files and folders.
    fn ignored(self) -> Vec<String> {
        let Self {
            mut not_videos,
            mut leftovers,
            ..
        } = self;
        not_videos.sort();
        not_videos.dedup();
        leftovers.sort();
        leftovers.dedup();
        let mut notes = Vec::new();
        if !not_videos.is_empty() {
            let mut reasons: Vec<&str> = not_videos.iter().map(|(_, reason)| *reason).collect();
            reasons.sort_unstable();
            reasons.dedup();
            for reason in reasons {
                let of_reason = not_videos.iter().filter(|(_, other)| *other == reason);
                let paths: Vec<&str> = of_reason.map(|(path, _)| path.as_str()).collect();
                notes.push(format!("ignored ({reason}): {}", named(&paths)));
            }
        }
        if !leftovers.is_empty() {
            notes.push(format!(
                "ignored (hidden or system files): {}",
                named(&leftovers)
            ));
        }
        notes
    }
}
