//! Which crate may depend on which: `docs/ARCHITECTURE.md`'s edges, checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;

use crate::workspace::cargo;
use crate::{Error, Result};

const TESTKIT: &str = "testkit";

/// The crates, each with the crates of the workspace that it may depend on, tests aside.
const EDGES: [(&str, &[&str]); 19] = [
    ("random", &[]),
    ("disk", &[]),
    ("hub", &["disk"]),
    ("layers", &[]),
    ("optim", &[]),
    (TESTKIT, &[]),
    ("pixels", &["random"]),
    ("video", &["disk", "pixels"]),
    ("data", &["disk", "random"]),
    ("clip-backbone", &["disk", "hub", "layers", "pixels"]),
    ("motion", &["layers"]),
    ("mcb", &["layers"]),
    ("prompts", &["clip-backbone", "layers"]),
    (
        "models",
        &["clip-backbone", "layers", "mcb", "motion", "prompts"],
    ),
    (
        "clips",
        &["clip-backbone", "data", "disk", "pixels", "random", "video"],
    ),
    (
        "recogniser",
        &[
            "clip-backbone",
            "clips",
            "data",
            "disk",
            "models",
            "pixels",
            "video",
        ],
    ),
    (
        "demo",
        &[
            "clip-backbone",
            "clips",
            "data",
            "disk",
            "optim",
            "random",
            "video",
        ],
    ),
    (
        "trainer",
        &[
            "clip-backbone",
            "clips",
            "data",
            "demo",
            "disk",
            "mcb",
            "models",
            "motion",
            "optim",
            "pixels",
            "prompts",
            "random",
            "recogniser",
            "video",
        ],
    ),
    ("xtask", &["data", "disk", "hub"]),
];

/// Crates without tensors.
const PLAIN: [&str; 8] = [
    "random", "disk", "hub", "pixels", "video", "data", "xtask", TESTKIT,
];

fn allowed(package: &str) -> Option<&'static [&'static str]> {
    let edges = EDGES.iter().find(|(name, _)| *name == package);
    edges.map(|(_, allowed)| *allowed)
}

/// The parts of `cargo metadata` that say who depends on whom.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Reads the workspace's own packages, without touching the network.
///
/// # Errors
/// [`Error::Program`] where cargo fails, [`Error::Parse`] where it answers otherwise.
pub fn metadata(root: &Path) -> Result<Metadata> {
    let text = stdout(
        root,
        &[
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ],
    )?;
    parse(&text)
}

/// Reads `cargo metadata`'s answer.
///
/// # Errors
/// [`Error::Parse`].
pub fn parse(text: &str) -> Result<Metadata> {
    serde_json::from_str(text).map_err(|e| Error::Parse {
        what: "cargo metadata".into(),
        reason: e.to_string(),
    })
}

/// Every edge that must not be, in words.
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
        let Some(allowed) = allowed(name) else {
            all.push(format!(
                "{name}: not a known crate; say in layering.rs what it may use"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let in_tests = dependency.kind.as_deref() == Some("dev");
            let fine = match to {
                "tch" | "torch-sys" => !PLAIN.contains(&name),
                "ffmpeg-next" | "ffmpeg-sys-next" => name == "video" || in_tests,
                TESTKIT => in_tests,
                _ if !members.contains(to) => true,
                _ => allowed.contains(&to) || (in_tests && to == name),
            };
            if !fine {
                let kind = if in_tests { " (in tests)" } else { "" };
                all.push(format!("{name} must not depend on {to}{kind}"));
            }
        }
    }
    all
}

/// What `xtask` itself would need beyond a bare machine, through any of its dependencies.
///
/// # Errors
/// [`Error::Program`] where `cargo tree` fails.
pub fn native_needs_of_xtask(root: &Path) -> Result<Vec<String>> {
    let tree = stdout(
        root,
        &[
            "tree",
            "-p",
            "xtask",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "-f",
            "{p}",
            "--offline",
        ],
    )?;
    let heavy = ["torch-sys", "ffmpeg-sys-next", "bindgen", "clang-sys"];
    let found: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    Ok(heavy
        .into_iter()
        .filter(|name| found.contains(name))
        .map(|name| format!("xtask must start on a bare machine, and it depends on {name}"))
        .collect())
}

fn stdout(root: &Path, arguments: &[&str]) -> Result<String> {
    let program = || format!("cargo {}", arguments.first().unwrap_or(&""));
    let output = cargo(root)
        .args(arguments)
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| Error::Program {
            program: program(),
            reason: e.to_string(),
        })?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Error::Program {
            program: program(),
            reason,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
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
    fn the_edges_wanted_are_fine() {
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
    fn each_forbidden_edge_is_caught() {
        let members = || EDGES.map(|(name, _)| (name, Vec::<Value>::new()));
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
    fn an_unknown_crate_asks_for_its_rules() {
        assert_eq!(found(&[("surprise", vec![])]).len(), 1);
    }
}
