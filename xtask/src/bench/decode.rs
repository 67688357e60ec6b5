//! Decoding: 8 uniform frames of a video on one worker, compared with Python libraries and with
//! decoding alone, the lower bound as long as all frames must be decoded.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::turns::{Contender, Turns, take_turns};
use super::{Bench, Result, reference_data};
use crate::workspace::output;
use crate::{Error, places, workspace};

const OURS: [(&str, &str); 4] = [
    ("this project, count known", "known"),
    ("this project", "unknown"),
    (
        "decoding alone, to the last selected frame",
        "alone-to-last",
    ),
    ("decoding alone, to the end", "alone"),
];
const PEERS: [(&str, &str); 4] = [
    ("OpenCV", "opencv"),
    ("decord", "decord"),
    ("PyAV", "pyav"),
    ("torchcodec", "torchcodec"),
];

/// The approximate number of videos decoded per round, each of a short list several times. Each
/// round starts all programs anew.
const TURNS: u32 = 24;

/// The minimum number of turns of a list in a round.
const LIST_TURNS: u32 = 4;

/// The passes of the stream in a round, each a fraction of a second.
const LOADER_TURNS: usize = 4;

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let program = bench.program("clips", "decode")?;
    let mut text = String::from(
        "8 uniform frames, RGB, short side 224, centre crop, one worker; medians of processor time, \
         which a busy machine affects little, and of its ratio to ours in the same round. \
         Ours resizes as PIL does (bicubic, antialiased), the others with OpenCV's cubic filter. A frame is wrong \
         if the same library gives another one when it decodes the whole video in order. All \
         libraries get the number of frames; ours also works without it.\n\n\
         | videos | | videos/s per core | ours (count known) relative to it | wrong frames |\n\
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

/// Creates the videos and returns the list of each column.
fn columns(bench: &Bench<'_>, program: &Path) -> Result<Vec<PathBuf>> {
    let folder = workspace::target(bench.root).join("bench-decode");
    places::make_folder(&folder)?;
    let shared = reference_data(bench.root).join("ucf8/UCF-101");
    let mut command = Command::new(program);
    command.arg("columns").arg(&folder);
    // The stream does not accept paths with `..`.
    match shared.canonicalize() {
        Ok(shared) => drop(command.arg(shared)),
        Err(_) => {
            eprintln!("no clips of UCF-101 at SIF_SHARED or ../shared: only generated videos")
        }
    }
    output(&mut command)?;
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
            Contender::new(name, command)
        })
        .collect();
    let mut wrong = vec![String::new(); contenders.len()];
    for (name, argument) in PEERS {
        let Some(mut check) = bench.peer("decode.py") else {
            continue;
        };
        check.arg(argument).arg(list).arg("check");
        let Ok(answer) = output(check.stderr(Stdio::inherit())) else {
            eprintln!("{name} fails on {}", list.display());
            continue;
        };
        wrong.push(answer.trim().replace(' ', " of "));
        if let Some(mut command) = bench.peer("decode.py") {
            command.arg(argument).arg(list);
            contenders.push(Contender::new(name, command));
        }
    }
    // A short list takes some ten milliseconds: more turns are cheap and more precise.
    let turns = Turns {
        starts: bench.rounds,
        each: (TURNS / videos.max(1)).max(LIST_TURNS) as usize,
    };
    let timings = take_turns(contenders, turns)?;
    let name = list.file_stem().unwrap_or_default().display();
    let [ours, ..] = timings.as_slice() else {
        return Ok(());
    };
    for (one, wrong) in timings.iter().zip(wrong) {
        *text += &format!(
            "| {name} ({videos}) | {} | {:.1} | {:.2} | {wrong} |\n",
            one.name,
            f64::from(videos) / one.seconds(),
            one.ratio_to(ours),
        );
    }
    Ok(())
}

/// The wall time of one worker and of one per core, on the first column.
fn scaling(bench: &Bench<'_>, program: &Path, list: &Path, text: &mut String) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = [1, cores];
    let contenders = workers.map(|workers| {
        let mut command = Command::new(program);
        command.args(["stream", &workers.to_string()]).arg(list);
        Contender::new(&workers.to_string(), command)
    });
    let turns = Turns {
        starts: 1,
        each: bench.rounds * LOADER_TURNS,
    };
    let timings = take_turns(contenders.into(), turns)?;
    let videos = f64::from(lines(list)?);
    if let [one, all] = timings.as_slice() {
        let name = list.file_stem().unwrap_or_default().display();
        *text += &format!(
            "\nThe stream on {name}: {:.1} videos/s with 1 worker, {:.1} with {cores}, a ratio of {:.2} \
             in the same turn.\n",
            videos / one.seconds(),
            videos / all.seconds(),
            one.ratio_to(all),
        );
    }
    Ok(())
}

fn lines(list: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(list).map_err(Error::io("cannot read", list))?;
    Ok(u32::try_from(text.lines().count()).unwrap_or(u32::MAX))
}
