//! Decoding: 8 uniform frames of a video, on one worker, beside the Python libraries and
//! beside decoding alone, which nothing exact can beat while all frames have to be decoded.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::turns::{Contender, Turns, take_turns};
use super::{Bench, Result, output, reference_data};
use crate::{Error, places, workspace};

const OURS: [(&str, &str); 4] = [
    ("this project, count known", "known"),
    ("this project", "unknown"),
    ("decoding alone, to the last frame wanted", "alone-to-last"),
    ("decoding alone, to the end", "alone"),
];
const PEERS: [(&str, &str); 4] = [
    ("OpenCV", "opencv"),
    ("decord", "decord"),
    ("PyAV", "pyav"),
    ("torchcodec", "torchcodec"),
];

/// About as many videos of a short list a round decodes, each several times. Each round starts all
/// programs anew.
const TURNS: u32 = 24;

/// Turns of a list in a round, at least.
const LIST_TURNS: u32 = 4;

/// Passes of the stream in a round: each takes a fraction of a second.
const LOADER_TURNS: usize = 4;

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("clips", "decode")?;
    let mut text = String::from(
        "8 uniform frames, RGB, short side 224, centre crop, one worker; medians of processor time, \
         so that a busy machine does little to them, and of its ratio to ours in the same round. \
         Ours resizes as PIL does (bicubic, antialiased), the others with OpenCV's cubic filter. Wrong are frames \
         that the same library does not give when it decodes the whole video in order; all \
         libraries are told the number of frames, ours also works without.\n\n\
         | videos | | videos/s a core | ours (count known) against it | wrong frames |\n\
         |---|---|---|---|---|\n",
    );
    let lists = columns(bench, &program)?;
    for list in &lists {
        column(bench, &program, list, &mut text)?;
    }
    if let Some(list) = lists.first() {
        scaling(bench, &program, list, &mut text)?;
    }
    Ok(text)
}

/// Makes the videos, and answers with the list of each column.
fn columns(bench: &Bench<'_>, program: &Path) -> Result<Vec<PathBuf>> {
    let folder = workspace::target(bench.root).join("bench-decode");
    places::make_folder(&folder)?;
    let shared = reference_data(bench.root).join("ucf8/UCF-101");
    let mut command = Command::new(program);
    command.arg("columns").arg(&folder).stdin(Stdio::null());
    // The stream's paths may not lead upwards.
    match shared.canonicalize() {
        Ok(shared) => drop(command.arg(shared)),
        Err(_) => eprintln!("no clips of UCF-101 at SIF_SHARED or ../shared: made videos only"),
    }
    output(command, "decode columns")?;
    let names = [
        "ucf-original",
        "ucf-b-frames",
        "one-key",
        "gop-12",
        "h264-10s",
    ];
    let lists = names.map(|name| folder.join(name).with_extension("list"));
    Ok(lists.into_iter().filter(|list| list.is_file()).collect())
}

fn column(bench: &Bench<'_>, program: &Path, list: &Path, text: &mut String) -> Result<()> {
    let videos = lines(list)?;
    let mut contenders: Vec<Contender> = OURS
        .iter()
        .map(|(name, mode)| {
            let mut command = Command::new(program);
            command.arg(mode).arg(list);
            contender(name, command)
        })
        .collect();
    let mut wrong = vec![String::new(); contenders.len()];
    for (name, argument) in PEERS {
        let Some(mut check) = bench.peer("decode.py") else {
            continue;
        };
        check.args([argument]).arg(list).arg("check");
        check.stdin(Stdio::null()).stderr(Stdio::inherit());
        let Ok(answer) = output(check, name) else {
            eprintln!("{name} fails on {}", list.display());
            continue;
        };
        wrong.push(answer.trim().replace(' ', " of "));
        if let Some(mut command) = bench.peer("decode.py") {
            command.arg(argument).arg(list);
            contenders.push(contender(name, command));
        }
    }
    // A single video takes some ten milliseconds: more turns take little time and say more.
    let turns = Turns {
        starts: bench.rounds,
        each: (TURNS / videos.max(1)).max(LIST_TURNS) as usize,
    };
    let reached = take_turns(contenders, turns)?;
    let name = list.file_stem().unwrap_or_default().display();
    let [ours, ..] = reached.as_slice() else {
        return Ok(());
    };
    for (one, wrong) in reached.iter().zip(wrong) {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {name} ({videos}) | {} | {:.1} | {:.2} | {wrong} |",
            one.name,
            f64::from(videos) / one.seconds(),
            one.by(ours),
        );
    }
    Ok(())
}

/// One worker and as many as there are cores, over the first column, in time that goes by.
fn scaling(bench: &Bench<'_>, program: &Path, list: &Path, text: &mut String) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = [1, cores];
    let contenders = workers.map(|workers| {
        let mut command = Command::new(program);
        command.args(["stream", &workers.to_string()]).arg(list);
        contender(&workers.to_string(), command)
    });
    let turns = Turns {
        starts: 1,
        each: bench.rounds * LOADER_TURNS,
    };
    let reached = take_turns(contenders.into(), turns)?;
    let videos = f64::from(lines(list)?);
    if let [one, all] = reached.as_slice() {
        let name = list.file_stem().unwrap_or_default().display();
        let _ = writeln!(
            text,
            "\nThe stream on {name}: {:.1} videos/s with 1 worker, {:.1} with {cores}, {:.2} times \
             as many in the same turn.",
            videos / one.seconds(),
            videos / all.seconds(),
            one.by(all),
        );
    }
    Ok(())
}

fn contender(name: &str, command: Command) -> Contender {
    Contender {
        name: name.to_owned(),
        command,
    }
}

fn lines(list: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(list).map_err(Error::io("read", list))?;
    Ok(u32::try_from(text.lines().count()).unwrap_or(u32::MAX))
}
