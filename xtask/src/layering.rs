//! The allowed dependencies between crates, as in `docs/ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::workspace::{cargo, output};
use crate::{Error, Result};

const TESTKIT: &str = "testkit";

/// The crates, each with the crates of the workspace that it may depend on outside tests.
const EDGES: &str = "
    random:
    disk:
    hub: disk
    layers:
    parallel:
    dist: parallel
    optim: parallel
    testkit:
    pixels: random
    video: disk pixels
    data: disk random
    clip-backbone: disk hub layers parallel pixels
    motion: layers
    mcb: layers
    prompts: clip-backbone layers parallel
    models: clip-backbone layers mcb motion parallel prompts
    cli: data
    clips: clip-backbone data disk parallel pixels random video
    recogniser: clip-backbone clips data disk models pixels video
    demo: clip-backbone clips data disk optim random video
    serve: clip-backbone clips data disk pixels recogniser video
    trainer: cli clip-backbone clips data demo disk dist mcb models motion optim parallel pixels prompts \
        random recogniser serve video
    gpu-check: clip-backbone disk dist mcb models motion optim parallel prompts testkit
    torture: clip-backbone clips data disk hub models pixels random recogniser serve trainer video testkit
    xtask: cli data disk hub
";

/// The crates that do not depend on libtorch.
const PLAIN: [&str; 9] = [
    "random", "disk", "hub", "pixels", "video", "data", "cli", "xtask", TESTKIT,
];

/// The crates with their allowed dependencies.
fn edges() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let edges = EDGES.lines().filter_map(|line| line.split_once(':'));
    edges.map(|(name, allowed)| (name.trim(), allowed.split_whitespace().collect()))
}

/// The dependencies in the output of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    description: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Metadata {
    /// The names of the crates, in order, and their descriptions.
    pub(crate) fn crates(&self) -> BTreeMap<&str, &str> {
        let packages = self.packages.iter();
        let described = packages.map(|package| {
            let description = package.description.as_deref().unwrap_or_default();
            (package.name.as_str(), description)
        });
        described.collect()
    }
}

/// Reads the packages of the workspace, without the network.
///
/// # Errors
/// Cargo fails or prints something unexpected.
pub fn metadata(root: &Path) -> Result<Metadata> {
    let line = "metadata --no-deps --format-version 1 --offline";
    parse(&output(cargo(root).args(line.split(' ')))?)
}

fn parse(text: &str) -> Result<Metadata> {
    serde_json::from_str(text).map_err(|e| Error::invalid("cargo metadata", e))
}

/// The forbidden dependencies, as messages.
#[must_use]
pub fn violations(metadata: &Metadata) -> Vec<String> {
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut all = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = edges().find(|(known, _)| *known == name) else {
            all.push(format!("{name}: unknown crate; add it to layering.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let in_tests = dependency.kind.as_deref() == Some("dev");
            let is_allowed = match to {
                "tch" | "torch-sys" => !PLAIN.contains(&name),
                // The campaign makes its videos with it.
                "ffmpeg-next" | "ffmpeg-sys-next" => {
                    ["video", "torture"].contains(&name) || in_tests
                }
                TESTKIT if in_tests => true,
                _ if !members.contains(to) => true,
                _ => allowed.contains(&to) || (in_tests && to == name),
            };
            if !is_allowed {
                let kind = if in_tests { " (in tests)" } else { "" };
                all.push(format!("{name} must not depend on {to}{kind}"));
            }
        }
    }
    all
}

/// The dependencies of `xtask`, direct or not, that need a native library, as messages.
///
/// # Errors
/// `cargo tree` fails.
pub fn native_dependencies_of_xtask(root: &Path) -> Result<Vec<String>> {
    let line = "tree -p xtask -e normal,build --prefix none -f {p} --offline";
    let tree = output(cargo(root).args(line.split(' ')))?;
    let native = ["torch-sys", "ffmpeg-sys-next", "bindgen", "clang-sys"];
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let found: BTreeSet<&str> = names.filter(|name| native.contains(name)).collect();
    let message = |name| format!("xtask must run on a bare machine, but depends on {name}");
    Ok(found.into_iter().map(message).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn found(packages: &[(&str, Vec<Value>)]) -> Vec<String> {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| json!({"name": name, "dependencies": dependencies}))
            .collect();
        violations(&parse(&json!({ "packages": packages }).to_string()).unwrap())
    }

    fn on(name: &str) -> Value {
        json!({"name": name, "kind": null})
    }

    fn in_tests(name: &str) -> Value {
        json!({"name": name, "kind": "dev"})
    }

    #[test]
    fn allowed_dependencies_pass() {
        let violations = found(&[
            ("clip-backbone", vec![on("tch"), in_tests("testkit")]),
            ("motion", vec![on("layers"), on("tch"), in_tests("testkit")]),
            ("prompts", vec![on("clip-backbone"), on("layers")]),
            ("mcb", vec![on("layers")]),
            (
                "models",
                vec![on("motion"), on("prompts"), on("mcb"), on("clip-backbone")],
            ),
            ("data", vec![on("random"), on("serde")]),
            ("video", vec![on("ffmpeg-next"), on("pixels")]),
            ("clips", vec![on("video"), on("data"), on("tch")]),
            ("trainer", vec![on("models"), on("data"), on("clap")]),
            ("xtask", vec![on("data"), on("hub")]),
            ("clip-backbone", vec![on("hub"), on("layers")]),
            ("testkit", vec![]),
        ]);
        assert_eq!(violations, [""; 0]);
    }

    #[test]
    fn each_forbidden_dependency_is_found() {
        let members = || {
            edges()
                .map(|(name, _)| (name, Vec::new()))
                .collect::<Vec<_>>()
        };
        for (from, edge) in [
            ("motion", on("mcb")),
            ("motion", on("clip-backbone")),
            ("hub", on("tch")),
            ("layers", on("clip-backbone")),
            ("prompts", on("motion")),
            ("mcb", in_tests("prompts")),
            ("clip-backbone", on("motion")),
            ("clip-backbone", on("data")),
            ("data", on("models")),
            ("data", on("tch")),
            ("data", json!({"name": "tch", "kind": "build"})),
            ("models", on("data")),
            ("models", on("trainer")),
            ("trainer", on("xtask")),
            ("trainer", on("ffmpeg-next")),
            ("trainer", on("testkit")),
            ("recogniser", on("serve")),
            ("serve", on("models")),
            ("xtask", on("trainer")),
            ("xtask", on("tch")),
            ("data", on("ffmpeg-next")),
            ("data", on("video")),
            ("video", on("data")),
            ("pixels", on("video")),
            ("recogniser", on("trainer")),
            ("clips", on("models")),
            ("testkit", on("data")),
        ] {
            let mut packages = members();
            for (name, dependencies) in &mut packages {
                if *name == from {
                    dependencies.push(edge.clone());
                }
            }
            let violations = found(&packages);
            assert_eq!(violations.len(), 1, "{from} -> {edge}: {violations:?}");
            assert!(
                violations[0].starts_with(&format!("{from} must not")),
                "{violations:?}"
            );
        }
    }

    #[test]
    fn an_unknown_crate_is_reported() {
        assert_eq!(found(&[("surprise", vec![])]).len(), 1);
    }
}
