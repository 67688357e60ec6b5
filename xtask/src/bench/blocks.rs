//! The motion and communication blocks, measured by criterion.

use std::path::Path;
use std::process::{Command, Stdio};

use super::turns::whole_process;
use super::{Bench, Result};
use crate::{Error, workspace};

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let mut text = String::from(
        "Forward and backward, fp32, T = 8, D = 512, s = 4; criterion's medians.\n\n\
         | block | preset | shape | ms |\n|---|---|---|---|\n",
    );
    let mut peaks = Vec::new();
    for name in ["motion", "mcb"] {
        let mut command = Command::new(bench.program(name, name)?);
        let home = workspace::target(bench.root).join("criterion");
        command
            .args(["--bench", "--noplot"])
            .env("CRITERION_HOME", &home)
            .stderr(Stdio::null());
        let (_, peak) = whole_process(command)?;
        for (preset, shape, milliseconds) in medians(&home, name)? {
            text += &format!("| {name} | {preset} | {shape} | {milliseconds:.2} |\n");
        }
        peaks.push(format!("{name} {peak:.2} GiB"));
    }
    let peaks = peaks.join(", ");
    text += &format!("\nPeak memory of a process that runs all shapes: {peaks}.\n");
    Ok(text)
}

/// Function, parameter and median milliseconds in the groups whose name starts with `name`.
fn medians(home: &Path, name: &str) -> Result<Vec<(String, String, f64)>> {
    let mut found = Vec::new();
    let mut folders = vec![home.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(Error::io("cannot read", &folder))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.file_name().is_some_and(|last| last == "new") {
                let id = json(&path.join("benchmark.json"))?;
                let of = |key: &str| id[key].as_str().unwrap_or_default().to_owned();
                if of("group_id").starts_with(name) {
                    let estimates = json(&path.join("estimates.json"))?;
                    let nanoseconds = estimates["median"]["point_estimate"].as_f64();
                    let milliseconds = nanoseconds.unwrap_or(f64::NAN) / 1e6;
                    found.push((of("function_id"), of("value_str"), milliseconds));
                }
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort_by_key(|(preset, shape, _)| (preset.clone(), numbers(shape)));
    Ok(found)
}

/// The numbers in a shape, to sort B = 4 before B = 32.
fn numbers(shape: &str) -> Vec<u64> {
    shape
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn json(path: &Path) -> Result<serde_json::Value> {
    let bytes = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::invalid(path.display(), error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn medians_are_sorted_by_shape() {
        let folder = tempfile::tempdir().unwrap();
        for (shape, median) in [("B=32", 2e6), ("B=4", 1e6)] {
            let place = folder.path().join("motion block").join(shape).join("new");
            std::fs::create_dir_all(&place).unwrap();
            let id = format!(
                r#"{{"group_id":"motion block","function_id":"best","value_str":"{shape}"}}"#
            );
            std::fs::write(place.join("benchmark.json"), id).unwrap();
            let estimates = format!(r#"{{"median":{{"point_estimate":{median}}}}}"#);
            std::fs::write(place.join("estimates.json"), estimates).unwrap();
        }
        let row = |shape: &str, ms: f64| ("best".to_owned(), shape.to_owned(), ms);
        let found = medians(folder.path(), "motion").unwrap();
        assert_eq!(found, [row("B=4", 1.0), row("B=32", 2.0)]);
        assert_eq!(medians(folder.path(), "mcb").unwrap(), []);
    }
}
