//! `trainer reproduce`: each table of the paper on drawn data sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Place, refused, run, set, succeed, text, trainer};

/// `trainer reproduce TABLE` on a drawn data set, with trainings of two steps, below `out`.
fn reproduce(place: &Place, table: &str, data: &str, out: &str, keys: &[&str]) -> Command {
    let mut command = place.command(&["reproduce", table], data);
    command.arg("--out").arg(place.path(out));
    set(&mut command, keys);
    command
}

/// Tests on another drawn data set.
fn tested_on(place: &Place, mut command: Command, data: &str, kind: &str) -> Command {
    command.args(["--test-dataset", kind, "--paper", kind, "--test-root"]);
    command.arg(place.path(data).join("videos"));
    command
        .arg("--test-lists")
        .arg(place.path(data).join("lists"));
    command
}

/// A printed row: its name, its column, and the figures after it.
fn row<'a>(table: &'a str, name: &str, column: &str) -> Vec<&'a str> {
    let start = format!("{name:<28} {column:<12} ");
    let line = table.lines().find(|line| line.starts_with(&start));
    let line = line.unwrap_or_else(|| panic!("no {name} in {column}:\n{table}"));
    line[start.len()..].split_whitespace().collect()
}

/// What any table has to keep.
fn well_printed(table: &str) {
    well_printed_with(table, "views 1x1");
}

fn well_printed_with(table: &str, views: &str) {
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let backbone = table.lines().last().unwrap();
    assert_eq!(backbone.len(), "backbone ".len() + 12, "{table}");
    assert!(
        table.contains(views) && table.contains("\n    seeds 0"),
        "{table}"
    );
}

#[test]
fn table_1_prompts_over_the_splits() {
    let place = Place::new();
    place.hmdb(2);
    let mut command = reproduce(&place, "table1", "hmdb", "table1", &[]);
    command.args(["--paper", "hmdb51"]);
    let table = succeed(command);
    well_printed(&table);
    let clip = row(&table, "CLIP, prompt C", "closed-set");
    assert_eq!(
        (clip[0], clip[1], clip[4]),
        ("paper", "41.7", "3"),
        "{table}"
    );
    assert_eq!(row(&table, "MMB + MAP, H = 5", "closed-set").len(), 5);
    for split in 1..=3 {
        assert!(table.contains(&format!("hmdb51 closed-set, split {split}, views 1x1")));
        assert!(table.contains(&format!("hmdb51 zero-shot, split {split}, views 1x1")));
    }
}

#[test]
fn table_2_words_on_the_one_split_asked_for() {
    let place = Place::new();
    place.ucf(2);
    let mut command = reproduce(&place, "table2", "ucf", "table2", &["protocol.split=2"]);
    command.args(["--paper", "ucf101", "--preset", "best"]);
    let table = succeed(command);
    well_printed(&table);
    let words = row(&table, "a common human action of", "closed-set");
    assert_eq!(
        (words[0], words[1], words[4]),
        ("best", "93.9", "1"),
        "{table}"
    );
    assert!(
        table.contains("closed-set, split 2") && !table.contains("split 1"),
        "{table}"
    );
}

#[test]
fn table_4_five_shots_of_kinetics() {
    let place = Place::new();
    place.kinetics(6);
    let mut command = reproduce(
        &place,
        "table4",
        "k400",
        "table4",
        &["protocol.seeds=[0,1]"],
    );
    command.args(["--paper", "kinetics400"]);
    let table = succeed(command);
    well_printed(&table);
    let full = row(&table, "MMB + MAP + MCB", "k = 5");
    assert_eq!((full[1], full[4]), ("61.5", "2"), "{table}");
    assert_eq!(row(&table, "probe on the mean", "k = 5")[1], "-");
    assert!(table.contains("few-shot, split val, 5 shots, views 1x1, names words\n    seeds 0 1"));
}

#[test]
fn table_5_stops_when_asked_and_ends_as_if_it_had_not() {
    let place = Place::new();
    place.ucf(16);
    let keys = ["protocol.seeds=[0,1]"];
    let table5 = |out: &str| {
        let mut command = reproduce(&place, "table5", "ucf", out, &keys);
        command.args(["--paper", "ucf101"]);
        command
    };
    let mut child = table5("stopped").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let fourth = lines.nth(4).unwrap().unwrap();
    assert!(fourth.starts_with("Baseline "), "{fourth}");
    let stop = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.len() < 20, "it went on: {rest:?}");
    let done = |name: &str| {
        let result = place.path("stopped").join(name).join("seed-1/result.json");
        std::fs::metadata(result).unwrap().modified().unwrap()
    };
    let before = done("k-2-baseline-paper");

    let table = succeed(table5("stopped"));
    well_printed(&table);
    assert_eq!(done("k-2-baseline-paper"), before, "it was run again");
    for (k, paper) in [(2, "82.4"), (4, "85.8"), (8, "89.1"), (16, "91.6")] {
        let column = format!("k = {k}");
        let full = row(&table, "MMB + MAP + MCB", &column);
        assert_eq!((full[1], full[4]), (paper, "2"), "{table}");
        let note = format!("ucf101 few-shot, split 1, {k} shots, views 1x1, names words");
        assert!(table.contains(&note), "{table}");
    }
    assert_eq!(succeed(table5("straight")), table);
}

#[test]
fn table_6_from_kinetics_by_lists_and_by_halves() {
    let place = Place::new();
    place.kinetics(2);
    place.hmdb(2);
    let command = || {
        tested_on(
            &place,
            reproduce(&place, "table6", "k400", "table6", &[]),
            "hmdb",
            "hmdb51",
        )
    };
    let table = succeed(command());
    well_printed(&table);
    let lists = row(&table, "MMB + MAP + MCB", "test lists");
    assert_eq!((lists[1], lists[4]), ("50.1", "3"), "{table}");
    assert_eq!(
        row(&table, "MMB + MAP + MCB", "10 halves")[4],
        "10",
        "{table}"
    );
    assert_eq!(row(&table, "CLIP, frozen", "10 halves")[4], "10", "{table}");
    assert!(
        table.contains("hmdb51 zero-shot-halves, split 1"),
        "{table}"
    );
    assert!(
        table.contains("seeds 0 1 2 3 4 5 6 7 8 9; in 10 halves"),
        "{table}"
    );
    // Trained once for both.
    let trained = std::fs::read_dir(place.path("table6")).unwrap().count();
    assert_eq!(trained, 2, "one folder a row");
    assert_eq!(succeed(command()), table, "again, from the results");
}

#[test]
fn table_7_split_by_split_in_both_directions() {
    let place = Place::new();
    place.hmdb(2);
    place.ucf(2);
    for (from, to, kind, paper) in [
        ("hmdb", "ucf", "ucf101", "62.7"),
        ("ucf", "hmdb", "hmdb51", "38.4"),
    ] {
        let command = reproduce(&place, "table7", from, from, &[]);
        let table = succeed(tested_on(&place, command, to, kind));
        well_printed(&table);
        let full = row(&table, "MMB + MAP + MCB", "test lists");
        assert_eq!((full[1], full[4]), (paper, "3"), "{table}");
        for split in 1..=3 {
            assert!(
                table.contains(&format!("{kind} zero-shot, split {split}")),
                "{table}"
            );
        }
    }
    let without = run(reproduce(&place, "table7", "hmdb", "none", &[]));
    assert_eq!(without.status.code(), Some(3));
    assert!(text(&without).contains("--test-root"), "{}", text(&without));
}

#[test]
fn table_8_closed_set_over_the_splits() {
    let place = Place::new();
    place.ucf(2);
    let mut command = reproduce(&place, "table8", "ucf", "table8", &[]);
    command.args(["--paper", "ucf101", "--preset", "both"]);
    let table = succeed(command);
    well_printed_with(&table, "views 4x3");
    for (name, paper) in [
        ("CLIP, frozen", "-"),
        ("probe on the mean", "-"),
        ("MMB + MAP + MCB", "96.3"),
    ] {
        let cells = row(&table, name, "closed-set");
        assert_eq!((cells[1], cells[4]), (paper, "3"), "{table}");
    }
    assert_eq!(table.matches("MMB + MAP + MCB ").count(), 2, "both presets");
    assert_eq!(
        table.matches("probe on the mean ").count(),
        1,
        "it has none"
    );
}

#[test]
fn figure_3_with_every_number_of_frames_vectors_and_steps() {
    let place = Place::new();
    place.hmdb(2);
    // The grid sets frames and steps itself.
    let mut command = place.command_with_frames_of_its_own(&["reproduce", "fig3"], "hmdb");
    command.arg("--out").arg(place.path("fig3"));
    set(&mut command, &["protocol.split=1"]);
    let table = succeed(command);
    well_printed(&table);
    for (name, column) in [
        ("CLIP, frozen", "(a) blocks"),
        ("MMB + MAP + MCB", "(a) blocks"),
        ("T = 4", "(b) frames"),
        ("T = 32", "(b) frames"),
        ("H = 3", "(c) vectors"),
        ("s = 1", "(d) step"),
        ("s = 5", "(d) step"),
    ] {
        assert_eq!(row(&table, name, column)[1], "-", "{table}");
    }
}

#[test]
fn a_single_row_is_listed_printed_and_trained_by_its_name() {
    let name = "table5/ucf101/k-2-mmb-map-mcb";
    let list = succeed(trainer(&["config"]));
    let mut lines = list.lines();
    assert!(lines.any(|line| line.starts_with(name) && line.ends_with(" 82.4")));
    let toml = succeed(trainer(&["config", name, "--set", "seed=3"]));
    assert!(
        toml.starts_with(&format!("# trainer train --row {name} ")),
        "{toml}"
    );
    for line in [
        "seed = 3",
        "shots = 2",
        "layout = \"ucf101\"",
        "row = \"full\"",
    ] {
        assert!(toml.lines().any(|other| other == line), "{line}: {toml}");
    }
    let place = Place::new();
    place.ucf(2);
    let mut command = place.command(&["train", "--row", name], "ucf");
    command.arg("--out").arg(place.path("row"));
    set(&mut command, &["protocol.seeds=[0]"]);
    assert!(succeed(command).contains("2 shots"));
    let unknown = trainer(&["train", "--row", "table5/ucf101/k-3-mmb"]);
    refused(
        unknown,
        &[
            "--row: expected",
            "got table5/ucf101/k-3-mmb",
            "`trainer config` lists them",
        ],
    );
}
