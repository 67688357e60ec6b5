//! Which crate may depend on which: `docs/ARCHITECTURE.md`'s edges, checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;

use crate::workspace::cargo;
use crate::{Error, Result};

const BACKBONE: &str = "clip-backbone";
const LAYERS: &str = "layers";
const KERNELS: &str = "kernels";
const BLOCKS: [&str; 3] = ["motion", "prompts", "mcb"];
const TESTKIT: &str = "testkit";

/// What a crate may depend on within the workspace, tests aside; `None` for a crate that
/// is not known here.
fn allowed(package: &str) -> Option<Vec<&'static str>> {
    Some(match package {
        LAYERS | KERNELS | "data" | TESTKIT => vec![],
        "motion" | "mcb" => vec![LAYERS],
        BACKBONE => vec![LAYERS, KERNELS],
        "prompts" => vec![LAYERS, BACKBONE],
        "models" => [&[LAYERS, BACKBONE][..], &BLOCKS].concat(),
        "trainer" => [&[BACKBONE, "models", "data"][..], &BLOCKS].concat(),
        "xtask" => vec!["data"],
        _ => return None,
    })
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
    #[serde(default)]
    features: Vec<String>,
    #[serde(default = "yes")]
    uses_default_features: bool,
}

fn yes() -> bool {
    true
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
                "tch" | "torch-sys" => !["data", "xtask", TESTKIT].contains(&name),
                "ffmpeg-next" | "ffmpeg-sys-next" => name == "data",
                TESTKIT => in_tests,
                _ if !members.contains(to) => true,
                "data" if name == "xtask" => {
                    !dependency.uses_default_features
                        && !dependency
                            .features
                            .iter()
                            .any(|feature| feature == "decode")
                }
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
        json!({"name": name, "kind": null, "features": [], "uses_default_features": true})
    }

    fn in_tests(name: &str) -> Value {
        json!({"name": name, "kind": "dev", "features": [], "uses_default_features": true})
    }

    #[test]
    fn the_edges_wanted_are_fine() {
        let violations = found(&[
            ("layers", vec![on("tch")]),
            ("kernels", vec![on("tch")]),
            (
                "clip-backbone",
                vec![on("layers"), on("kernels"), on("tch"), in_tests("testkit")],
            ),
            ("motion", vec![on("layers"), in_tests("testkit")]),
            ("prompts", vec![on("layers"), on("clip-backbone")]),
            ("mcb", vec![on("layers")]),
            (
                "models",
                vec![on("motion"), on("prompts"), on("mcb"), on("clip-backbone")],
            ),
            ("data", vec![on("ffmpeg-next"), on("serde")]),
            ("trainer", vec![on("models"), on("data"), on("clap")]),
            (
                "xtask",
                vec![json!({"name": "data", "kind": null, "features": [],
                "uses_default_features": false})],
            ),
            ("testkit", vec![]),
        ]);
        assert_eq!(violations, [""; 0]);
    }

    #[test]
    fn each_forbidden_edge_is_caught() {
        let members = || -> Vec<(&str, Vec<Value>)> {
            [
                "layers",
                "kernels",
                "clip-backbone",
                "motion",
                "prompts",
                "mcb",
                "models",
                "data",
                "trainer",
                "xtask",
            ]
            .into_iter()
            .chain(["testkit"])
            .map(|name| (name, vec![]))
            .collect()
        };
        for (from, edge) in [
            ("layers", on("clip-backbone")),
            ("kernels", on("layers")),
            ("motion", on("kernels")),
            ("motion", on("mcb")),
            ("motion", on("clip-backbone")),
            ("mcb", on("clip-backbone")),
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
            ("xtask", on("data")),
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
