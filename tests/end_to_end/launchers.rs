//! `train` on ranks that launchers start, and the shares of job arrays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::Range;
use std::process::Command;

use crate::ranks::{Ranks, SEEING_IN_FLOWING, place, result, train, trained};
use crate::support::{Place, set, succeed, text, trainer};

/// A port of the range that is free now.
fn port(mut range: Range<u16>) -> u16 {
    range
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Runs what `command` makes of a training into a folder, and compares it with one process.
fn as_one_process(run: impl Fn(&Place, &dyn Fn(&str) -> Command)) {
    let place = place();
    let keys = [&SEEING_IN_FLOWING[..], &["train.min_steps=2"]].concat();
    trained(&place, "alone", 1, &keys);
    run(&place, &|out| train(&place, out, &keys));
    for entry in std::fs::read_dir(place.path("")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("by-") {
            assert!(
                result(&entry.path()) == result(&place.path("alone")),
                "{name}"
            );
        }
    }
}

#[test]
fn ranks_meet_by_plain_variables_and_by_those_of_slurm() {
    as_one_process(|_, train| {
        let port_of_rank_0 = port(29_600..29_700).to_string();
        let plain = |_| {
            let mut command = train("by-variables");
            command.envs([
                ("MASTER_ADDR", "127.0.0.1"),
                ("MASTER_PORT", &port_of_rank_0),
            ]);
            command
        };
        for output in Ranks::start(2, plain).ended() {
            assert!(output.status.success(), "{}", text(&output));
        }
        // Slurm's job number names the port.
        let job = (port(15_000..25_000) - 15_000).to_string();
        let slurm = |rank: usize| {
            let mut command = train("by-slurm");
            command.arg("--distributed").envs([
                ("SLURM_JOB_ID", job.as_str()),
                ("SLURM_NODELIST", "localhost"),
                ("SLURM_NTASKS", "2"),
                ("SLURM_LOCALID", &rank.to_string()),
                ("SLURM_PROCID", &rank.to_string()),
            ]);
            command.stdout(std::process::Stdio::piped());
            command.stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        };
        for rank in [slurm(0), slurm(1)] {
            let output = rank.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
    });
}

/// `launcher` with the training as its program.
fn launch(mut launcher: Command, train: &Command) {
    launcher.arg(train.get_program()).args(train.get_args());
    launcher.env("DIST_SILENCE_SECONDS", "3");
    succeed(launcher);
}

mod needs_mpiexec {
    use super::*;

    /// MPICH's, where `cargo xtask setup` puts it.
    fn mpiexec() -> Command {
        let cache = dirs::cache_dir().unwrap();
        Command::new(cache.join("seeing-in-flowing/mpich/bin/mpiexec"))
    }

    #[test]
    #[ignore = "needs MPICH's mpiexec; cargo xtask test runs it"]
    fn mpiexec_starts_two_ranks() {
        as_one_process(|_, train| {
            let mut launcher = mpiexec();
            launcher.args(["-n", "2"]);
            launcher.env("MASTER_PORT", port(29_700..29_800).to_string());
            let mut train = train("by-mpiexec");
            train.arg("--distributed");
            launch(launcher, &train);
        });
    }
}

mod needs_torchrun {
    use super::*;

    #[test]
    #[ignore = "needs a Python with torch in SIF_PYTHON; cargo xtask test runs it"]
    fn torchrun_starts_two_ranks() {
        as_one_process(|_, train| {
            let python = std::env::var_os("SIF_PYTHON").unwrap();
            let mut launcher = Command::new(python);
            launcher.args(["-m", "torch.distributed.run", "--standalone"]);
            launcher.args(["--nproc-per-node", "2", "--no-python"]);
            launch(launcher, &train("by-torchrun"));
        });
    }
}

#[test]
fn shares_of_an_extraction_are_those_of_the_job_array() {
    let place = Place::new();
    // Two shards of 128 clips.
    place.folder("videos/train", &[130, 2]);
    place.folder("videos/val", &[1, 1]);
    let extract = |task: &str| {
        let mut command = trainer(&["extract", "--quiet", "--shard", "auto"]);
        command.arg("--root").arg(place.path("videos"));
        command.arg("--weights").arg(place.backbone());
        let keys = ["protocol.name=closed-set", "data.frames=2", "threads=1"];
        set(&mut command, &keys);
        set(&mut command, &["model.sif.motion.max_step=1"]);
        set(&mut command, &[place.cache()]);
        command.envs([
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
            ("SLURM_ARRAY_TASK_ID", task),
        ]);
        succeed(command)
    };
    let said = extract("1");
    assert!(
        said.contains("train") && said.contains("128 computed now"),
        "{said}"
    );
    let said = extract("2");
    assert!(said.contains(" 4 computed now"), "{said}");
    // Nothing is left.
    assert_eq!(extract("1").matches(" 0 computed now").count(), 2);
}

#[test]
fn shares_of_a_table_are_the_table() {
    let place = Place::new();
    place.ucf(2);
    let table = |share: Option<&str>| -> BTreeSet<String> {
        let mut command = place.command(&["reproduce", "table2"], "ucf");
        command.args(["--paper", "ucf101", "--preset", "best"]);
        command.arg("--out").arg(place.path("table"));
        set(&mut command, &["protocol.split=2"]);
        if let Some(rank) = share {
            command.args(["--share", "auto"]);
            command.envs([("RANK", rank), ("WORLD_SIZE", "2")]);
        }
        let said = succeed(command);
        let rows = said.lines().filter(|line| line.contains(" best "));
        rows.map(String::from).collect()
    };
    let [first, second] = ["0", "1"].map(|rank| table(Some(rank)));
    assert!(!first.is_empty() && !second.is_empty());
    assert!(first.is_disjoint(&second));
    assert_eq!(&first | &second, table(None));
}
