//! What a run writes while it trains, and how it ends when it is asked to, or has to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    FEW_FRAMES, Place, QUICK, checkpoint, json, last, run, set, succeed, text, trainer, wait_for,
};

/// A training of `steps` steps on drawn clips, into `out`.
fn train(place: &Place, out: &str, keys: &[&str]) -> Command {
    if !place.path("videos").exists() {
        place.folder("videos/train", &[3, 3]);
        place.folder("videos/val", &[1, 1]);
    }
    let mut command = trainer(&["train", "--root"]);
    command.arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path(out));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    set(
        &mut command,
        &[
            "protocol.name=closed-set",
            "protocol.seeds=[0]",
            "train.judge_steps=false",
        ],
    );
    set(&mut command, &[place.cache()]);
    set(&mut command, keys);
    command
}

/// Steps of `log.jsonl`, each line read by itself.
fn steps(run: &Path) -> Vec<Value> {
    let log = fs::read_to_string(run.join("seed-0/log.jsonl")).unwrap();
    assert!(log.ends_with('\n'));
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn event_files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("seed-0")).unwrap().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("events.out.tfevents."))
        .collect();
    files.sort();
    files
}

/// CRC-32C, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// The records of an event file, whose lengths and bytes have to match their checksums. One cut
/// short at the end is passed over, as TensorBoard does.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let masked = |bytes: &[u8]| {
        let crc = crc(bytes);
        crc.rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
    };
    let mut rest = bytes;
    let mut found = Vec::new();
    while rest.len() > 12 {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]));
        if rest.len() < 16 + length {
            break;
        }
        let data = &rest[12..12 + length];
        assert_eq!(rest[12 + length..16 + length], masked(data));
        found.push(data);
        rest = &rest[16 + length..];
    }
    found
}

/// One field of a protocol buffer message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message by number.
fn fields(mut message: &[u8]) -> BTreeMap<u64, Field<'_>> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = BTreeMap::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let width = match key & 7 {
            0 => {
                found.insert(key >> 3, Field::Number(varint(&mut message)));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = message.split_at(width);
        found.insert(key >> 3, Field::Bytes(value));
        message = rest;
    }
    found
}

fn bytes<'a>(fields: &BTreeMap<u64, Field<'a>>, number: u64) -> Option<&'a [u8]> {
    match fields.get(&number)? {
        Field::Bytes(bytes) => Some(bytes),
        Field::Number(_) => None,
    }
}

fn number(fields: &BTreeMap<u64, Field<'_>>, number: u64) -> Option<u64> {
    match fields.get(&number)? {
        Field::Number(value) => Some(*value),
        Field::Bytes(_) => None,
    }
}

/// The curves of event files as TensorBoard shows them: a session that starts at a step takes
/// back what earlier ones wrote from there on.
fn curves(files: &[PathBuf]) -> BTreeMap<String, BTreeMap<u64, f32>> {
    let mut curves: BTreeMap<String, BTreeMap<u64, f32>> = BTreeMap::new();
    for file in files {
        let content = fs::read(file).unwrap();
        let records = records(&content);
        let version = fields(records[0]);
        assert_eq!(bytes(&version, 3), Some(&b"brain.Event:2"[..]));
        for record in &records[1..] {
            let event = fields(record);
            assert_eq!(bytes(&event, 1).unwrap().len(), 8, "wall time");
            let step = number(&event, 2).unwrap();
            if let Some(session) = bytes(&event, 7) {
                assert_eq!(number(&fields(session), 1), Some(1), "START");
                for curve in curves.values_mut() {
                    curve.retain(|known, _| *known < step);
                }
                continue;
            }
            let summary = fields(bytes(&event, 5).unwrap());
            let value = fields(bytes(&summary, 1).unwrap());
            let tag = String::from_utf8(bytes(&value, 1).unwrap().to_vec()).unwrap();
            let scalar = f32::from_le_bytes(bytes(&value, 2).unwrap().try_into().unwrap());
            let before = curves.entry(tag.clone()).or_default().insert(step, scalar);
            assert!(before.is_none(), "{tag} has step {step} twice");
        }
    }
    curves
}

/// The curves say what the lines of the log say, step by step.
fn assert_alike(run: &Path) {
    let curves = curves(&event_files(run));
    let steps = steps(run);
    for (key, tag) in [
        ("loss", "train/loss"),
        ("learning_rate", "train/learning_rate"),
        ("gradient_norm", "train/gradient_norm"),
        ("top1", "train/top1"),
    ] {
        let curve: Vec<(u64, f32)> = curves[tag].iter().map(|(k, v)| (*k, *v)).collect();
        let lines: Vec<(u64, f32)> = steps
            .iter()
            .map(|step| {
                (
                    step["step"].as_u64().unwrap(),
                    step[key].as_f64().unwrap() as f32,
                )
            })
            .collect();
        // A mean of two lanes can lie between two numbers of fp32, and its decimals on either side.
        assert_eq!(curve.len(), lines.len(), "{tag}");
        for ((step, drawn), (line, written)) in curve.iter().zip(&lines) {
            assert_eq!(step, line, "{tag}");
            let gap = (drawn - written).abs();
            assert!(gap <= written.abs() * f32::EPSILON, "{tag}, step {step}");
        }
    }
    assert!(
        curves["speed/clips_per_second"]
            .values()
            .all(|rate| *rate > 0.0)
    );
    assert_eq!(curves.len(), 5);
}

#[test]
fn lines_and_curves_of_every_step() {
    let place = Place::new();
    succeed(train(&place, "run", &["train.min_steps=12"]));
    let steps = steps(&place.path("run"));
    let numbers: Vec<u64> = steps
        .iter()
        .map(|step| step["step"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    for step in &steps {
        assert!(
            step["loss"].as_f64().unwrap() > 0.0 && step["learning_rate"].is_f64(),
            "{step}"
        );
        assert!(step["epoch"].as_u64().unwrap() == (step["step"].as_u64().unwrap() - 1) / 2);
    }
    assert_alike(&place.path("run"));
}

#[test]
fn a_run_killed_between_checkpoints_has_each_step_once_in_its_curves() {
    let place = Place::new();
    let keys = ["train.min_steps=200", "train.save_every=70"];
    let mut child = train(&place, "run", &keys)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = place.path("run/seed-0/log.jsonl");
    let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    wait_for(&mut child, || lines() > 80);
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(train(&place, "run", &keys));
    assert_eq!(event_files(&place.path("run")).len(), 2);
    assert_alike(&place.path("run"));
}

#[test]
fn ctrl_c_and_a_disk_without_room_leave_a_whole_checkpoint() {
    let place = Place::new();
    let keys = ["train.min_steps=150", "train.save_every=60"];
    succeed(train(&place, "straight", &keys));

    let mut child = train(&place, "run", &keys)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = place.path("run/seed-0/log.jsonl");
    wait_for(&mut child, || {
        fs::metadata(&log).is_ok_and(|log| log.len() > 0)
    });
    let stop = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(
        text(&output).contains("stopped; the same command resumes"),
        "{}",
        text(&output)
    );
    let stopped = checkpoint(&place.path("run"));
    let step = json(&stopped.join("manifest.json"))["step"]
        .as_u64()
        .unwrap();
    assert!((1..150).contains(&step), "{step}");
    assert_eq!(
        steps(&place.path("run")).len() as u64,
        step,
        "nothing done is lost"
    );

    // No file may grow beyond 8 KiB: the next checkpoint cannot be written.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]);
    let go_on = train(&place, "run", &keys);
    limited.arg(go_on.get_program()).args(go_on.get_args());
    let full = run(limited);
    let said = text(&full);
    assert_eq!(full.status.code(), Some(3), "{said}");
    assert!(
        said.contains("error: cannot write") && said.contains("run/"),
        "{said}"
    );
    assert_eq!(
        checkpoint(&place.path("run")),
        stopped,
        "the last good one is the last"
    );

    // With room again it ends as one that was never stopped.
    succeed(train(&place, "run", &keys));
    assert_eq!(last(&place.path("run")), last(&place.path("straight")));
    assert_alike(&place.path("run"));
}
