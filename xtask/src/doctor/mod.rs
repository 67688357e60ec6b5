//! `cargo xtask doctor`: checks the installation and suggests fixes, on one screen.
//!
//! It needs no network, runs on a bare machine, and changes nothing but temporary files.

mod build;
mod machine;
mod table;

use std::path::Path;

use hub::{CLIP, Hub};
use serde::Serialize;
use serde_json::{Value, json};

use crate::places::Places;
use crate::progress::bytes;
use crate::setup::system::Dependency;
use crate::setup::vocabulary;
use crate::{Error, Result, workspace};

pub(crate) use machine::proc_field;

/// Options of the doctor.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// Works with a limitation.
    Warn,
    /// The trainer does not build or run.
    Fail,
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// The result for users.
    detail: String,
    /// The suggested fix; none if the status is ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// The result for programs.
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            fix: None,
            data: Value::Null,
        }
    }

    fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            fix: Some(fix.into()),
            ..Self::ok(name, detail)
        }
    }

    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, detail, fix)
        }
    }

    fn data(self, data: Value) -> Self {
        Self { data, ..self }
    }
}

/// Prints the results, and returns whether no check failed.
///
/// # Errors
/// The user has no home folder.
pub fn run(options: &Options) -> Result<bool> {
    let checks = examine(&workspace::root(), &Places::of_user()?);
    let ok = checks.iter().all(|check| check.status != Status::Fail);
    let text = if options.json {
        serde_json::to_string_pretty(&json!({ "ok": ok, "checks": checks }))
            .map_err(|e| Error::invalid("results", e))?
    } else {
        table::render(&checks)
    };
    workspace::print(&text);
    Ok(ok)
}

fn examine(root: &Path, places: &Places) -> Vec<Check> {
    let libtorch = build::active_libtorch(root);
    let mut checks = vec![build::rust()];
    checks.extend(Dependency::ALL.map(build::dependency));
    checks.extend([
        machine::decoders(),
        build::libtorch(places, &libtorch),
        build::link_flags(root, &libtorch),
        build::binary(root, places),
        machine::cuda(libtorch.as_ref().ok()),
        machine::processor(),
        machine::threads(),
        machine::write_access(root, places),
        machine::disk(root, places),
        vocabulary(places),
        weights(places),
    ]);
    checks
}

fn vocabulary(places: &Places) -> Check {
    let name = "vocabulary";
    let path = vocabulary::path(places);
    let check = if vocabulary::is_present(places) {
        Check::ok(name, places.short(&path))
    } else if path.exists() {
        Check::warn(name, "not OpenAI's file", "cargo xtask setup")
    } else {
        Check::warn(name, "missing", "cargo xtask setup")
    };
    check.data(json!({ "path": path }))
}

fn weights(places: &Places) -> Check {
    let name = "weights";
    let fix = "cargo xtask download-clip, or pass --checkpoint PATH";
    let hub = match Hub::from_env() {
        Ok(hub) => hub,
        Err(e) => return Check::warn(name, e.to_string(), fix),
    };
    let cached = hub.list(&CLIP);
    let describe = |one: &hub::Cached| format!("{} ({})", one.repository, bytes(one.bytes));
    let check = if cached.is_empty() {
        let text = format!("no CLIP checkpoint in {}", places.short(&hub.cache));
        Check::warn(name, text, fix)
    } else {
        let text: Vec<String> = cached.iter().map(describe).collect();
        Check::ok(name, text.join(", "))
    };
    let entry = |one: &hub::Cached| json!({ "id": one.repository, "bytes": one.bytes });
    let list: Vec<Value> = cached.iter().map(entry).collect();
    check.data(json!({ "cache": hub.cache, "checkpoints": list }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_home_is_described_and_left_empty() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::inside(home.path());
        let root = home.path().join("clone");
        let checks = examine(&root, &places);
        let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(of("link flags").status, Status::Fail);
        assert_eq!(of("vocabulary").status, Status::Warn);
        assert_eq!(of("write access").status, Status::Ok);
        for check in &checks {
            assert_eq!(check.status == Status::Ok, check.fix.is_none(), "{check:?}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
