//! A disk that forgets: the operations of a program, replayed as a power cut may leave them.
//!
//! What was synced is there. Of everything else any part may be missing: names of a folder that was not
//! synced since, bytes of a file that was not, in any order, and a write may be torn.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::Random;
use crate::trace::{Kind, Op};

/// A file or folder, whatever its names are.
type Node = usize;

/// The case's folder itself.
const ROOT: Node = 0;

/// A change of the disk, in terms of files instead of names.
#[derive(Debug, Clone)]
enum Change {
    /// A name in a folder appears.
    Link(Node, String, Node),
    Unlink(Node, String),
    /// A name moves, whole or not at all.
    Move {
        from: (Node, String),
        to: (Node, String),
        node: Node,
    },
    Write(Node, u64, Vec<u8>),
    Length(Node, u64),
    Sync(Node),
}

impl Change {
    /// The file or folder whose sync makes the change last.
    fn of(&self) -> Node {
        match self {
            Self::Link(node, ..) | Self::Unlink(node, _) => *node,
            Self::Move {
                to: (folder, _), ..
            } => *folder,
            Self::Write(node, ..) | Self::Length(node, _) | Self::Sync(node) => *node,
        }
    }
}

/// The changes that a program made below a folder, in order.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Each with the number of the operation that it came from.
    changes: Vec<(usize, Change)>,
    /// What each node is.
    sorts: Vec<Sort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sort {
    Folder,
    File,
    /// A symbolic link to this place.
    Link(String),
}

/// A folder's entries, a file's bytes, or a link's target.
#[derive(Debug, Clone)]
enum Content {
    Folder(BTreeMap<String, Node>),
    File(Vec<u8>),
    Link(String),
}

/// How much of what was not synced is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Nothing: the program was killed, not the machine.
    Nothing,
    All,
    /// Names stay, bytes do not, as on a journal of names alone.
    Bytes,
    /// Each change with even chances; writes may be torn.
    Any,
}

impl Recording {
    /// The changes of `ops`, which began in `folder`, empty then.
    pub(crate) fn new(ops: &[Op], folder: &Path) -> Self {
        let mut recording = Self {
            changes: Vec::new(),
            sorts: vec![Sort::Folder],
        };
        // The names as the program sees them.
        let mut disk = Disk::new();
        for (number, op) in ops.iter().enumerate() {
            let Some(path) = parts(&op.path, folder) else {
                continue;
            };
            for change in recording.changes_of(op, &path, folder, &disk) {
                disk.apply(&change, &recording.sorts);
                recording.changes.push((number, change));
            }
        }
        recording
    }

    /// The number of operations of the program.
    pub(crate) fn operations(&self) -> usize {
        self.changes.last().map_or(0, |(at, _)| at + 1)
    }

    /// Writes into `folder` what the program left.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn whole(&self, folder: &Path) -> Result<()> {
        let mut disk = Disk::new();
        for (_, change) in &self.changes {
            disk.apply(change, &self.sorts);
        }
        disk.write(ROOT, folder)
    }

    fn node(&mut self, sort: Sort) -> Node {
        self.sorts.push(sort);
        self.sorts.len() - 1
    }

    /// What an operation changes; nothing if it fails, such as the creation of a folder that is there.
    fn changes_of(&mut self, op: &Op, path: &[String], folder: &Path, disk: &Disk) -> Vec<Change> {
        let place = |path: &[String]| {
            let (name, above) = path.split_last()?;
            Some((disk.find(above)?, name.clone()))
        };
        let there = disk.find(path);
        match (op.kind, there) {
            (Kind::Create, Some(node)) if op.empties && self.sorts[node] == Sort::File => {
                vec![Change::Length(node, 0)]
            }
            (Kind::Create | Kind::Folder | Kind::Link, None) => match place(path) {
                Some((above, name)) => {
                    let node = self.node(match op.kind {
                        Kind::Folder => Sort::Folder,
                        Kind::Link => Sort::Link(String::from_utf8_lossy(&op.bytes).into_owned()),
                        _ => Sort::File,
                    });
                    vec![Change::Link(above, name, node)]
                }
                None => Vec::new(),
            },
            (Kind::Write, Some(node)) => vec![Change::Write(node, op.at, op.bytes.clone())],
            (Kind::Truncate, Some(node)) => vec![Change::Length(node, op.at)],
            (Kind::Sync, Some(node)) => vec![Change::Sync(node)],
            (Kind::SyncAll, _) => (0..self.sorts.len()).map(Change::Sync).collect(),
            (Kind::Remove, Some(_)) => place(path)
                .map(|(above, name)| Change::Unlink(above, name))
                .into_iter()
                .collect(),
            (Kind::Rename, Some(node)) => {
                let to = op.to.as_deref().and_then(|to| parts(to, folder));
                match (place(path), to.and_then(|to| place(&to))) {
                    (Some(from), Some(to)) => vec![Change::Move { from, to, node }],
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Writes into `folder` what a power cut before operation `cut` may leave, and says what was lost.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn image(&self, cut: usize, random: &mut Random, folder: &Path) -> Result<String> {
        let loss = match random.below(10) {
            0 => Loss::Nothing,
            1 | 2 => Loss::All,
            3 | 4 => Loss::Bytes,
            _ => Loss::Any,
        };
        let done: Vec<&Change> = self
            .changes
            .iter()
            .take_while(|(at, _)| *at < cut)
            .map(|(_, c)| c)
            .collect();
        let mut disk = Disk::new();
        let mut lost = 0;
        for (at, change) in done.iter().enumerate() {
            let of = change.of();
            let later = done.iter().skip(at + 1);
            let is_synced = later
                .clone()
                .any(|later| matches!(later, Change::Sync(node) if *node == of));
            let is_bytes = matches!(change, Change::Write(..) | Change::Length(..));
            let keep = match loss {
                _ if is_synced => true,
                Loss::Nothing => true,
                Loss::All => false,
                Loss::Bytes => !is_bytes,
                Loss::Any => random.chance(0.5),
            };
            match (keep, change) {
                (true, _) => disk.apply(change, &self.sorts),
                (false, Change::Write(node, at, bytes)) if matches!(loss, Loss::Any) => {
                    lost += 1;
                    let mut torn = bytes.clone();
                    let end = random.below(bytes.len() + 1);
                    match random.chance(0.5) {
                        true => torn.truncate(end),
                        // The file has its length, the bytes are not written.
                        false => torn.iter_mut().skip(end).for_each(|byte| *byte = 0),
                    }
                    disk.apply(&Change::Write(*node, *at, torn), &self.sorts);
                }
                (false, _) => lost += 1,
            }
        }
        disk.write(ROOT, folder)?;
        Ok(format!(
            "cut before operation {cut}, {loss:?} lost: {lost} changes"
        ))
    }
}

/// The names below `folder`.
fn parts(path: &Path, folder: &Path) -> Option<Vec<String>> {
    let below = path.strip_prefix(folder).ok()?;
    let parts = below.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    Some(parts.collect())
}

/// The content of every node.
struct Disk {
    nodes: BTreeMap<Node, Content>,
}

impl Disk {
    fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Content::Folder(BTreeMap::new()))]),
        }
    }

    fn find(&self, path: &[String]) -> Option<Node> {
        path.iter()
            .try_fold(ROOT, |node, name| match self.nodes.get(&node)? {
                Content::Folder(entries) => entries.get(name).copied(),
                Content::File(_) | Content::Link(_) => None,
            })
    }

    fn content(&mut self, node: Node, sorts: &[Sort]) -> &mut Content {
        self.nodes
            .entry(node)
            .or_insert_with(|| match &sorts[node] {
                Sort::Folder => Content::Folder(BTreeMap::new()),
                Sort::File => Content::File(Vec::new()),
                Sort::Link(target) => Content::Link(target.clone()),
            })
    }

    fn entries(&mut self, node: Node, sorts: &[Sort]) -> &mut BTreeMap<String, Node> {
        match self.content(node, sorts) {
            Content::Folder(entries) => entries,
            _ => panic!("a file has no entries"),
        }
    }

    fn apply(&mut self, change: &Change, sorts: &[Sort]) {
        match change {
            Change::Link(above, name, node) => {
                self.content(*node, sorts);
                self.entries(*above, sorts).insert(name.clone(), *node);
            }
            Change::Unlink(above, name) => {
                self.entries(*above, sorts).remove(name);
            }
            Change::Move { from, to, node } => {
                self.content(*node, sorts);
                self.entries(from.0, sorts).remove(&from.1);
                self.entries(to.0, sorts).insert(to.1.clone(), *node);
            }
            Change::Write(node, at, bytes) => {
                if let Content::File(content) = self.content(*node, sorts) {
                    let (start, end) = (*at as usize, *at as usize + bytes.len());
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    content[start..end].copy_from_slice(bytes);
                }
            }
            Change::Length(node, length) => {
                if let Content::File(content) = self.content(*node, sorts) {
                    content.resize(*length as usize, 0);
                }
            }
            Change::Sync(_) => {}
        }
    }

    fn write(&self, node: Node, place: &Path) -> Result<()> {
        match self.nodes.get(&node) {
            Some(Content::Folder(entries)) => {
                fs::create_dir_all(place)?;
                for (name, node) in entries {
                    self.write(*node, &place.join(name))?;
                }
            }
            Some(Content::File(bytes)) => fs::write(place, bytes)?,
            Some(Content::Link(target)) => std::os::unix::fs::symlink(target, place)?,
            None => {}
        }
        Ok(())
    }
}

/// The path of an operation below `folder`, for comparisons.
pub(crate) fn below(path: &Path, folder: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).to_path_buf()
}
