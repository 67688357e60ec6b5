//! The crates that are compiled into the released programs, from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::workspace::{cargo, output};
use crate::{Error, Result};

/// A crate.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Crate {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) repository: Option<String>,
    manifest_path: PathBuf,
    /// `None` for those of this workspace.
    source: Option<String>,
}

impl Crate {
    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// `None` for those that are linked in.
    kind: Option<String>,
}

/// The crates of others that are linked into the packages `programs`, by name and version.
///
/// # Errors
/// cargo fails.
pub(super) fn linked(root: &Path, programs: &[&str], target: &str) -> Result<Vec<Crate>> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version=1", "--offline", "--locked"]);
    let text = output(command.args(["--filter-platform", target]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|e| Error::invalid("cargo metadata", e))?;
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let own = metadata
        .packages
        .iter()
        .filter(|one| programs.contains(&one.name.as_str()));
    let mut waiting: Vec<&str> = own.map(|one| one.id.as_str()).collect();
    let mut linked = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if linked.insert(id)
            && let Some(node) = nodes.get(id)
        {
            let is_linked =
                |one: &&Dependency| one.dep_kinds.iter().any(|kind| kind.kind.is_none());
            waiting.extend(
                node.deps
                    .iter()
                    .filter(is_linked)
                    .map(|one| one.pkg.as_str()),
            );
        }
    }
    let is_of_others = |one: &&Crate| linked.contains(one.id.as_str()) && one.source.is_some();
    let mut all: Vec<Crate> = metadata
        .packages
        .iter()
        .filter(is_of_others)
        .cloned()
        .collect();
    all.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(all)
}
