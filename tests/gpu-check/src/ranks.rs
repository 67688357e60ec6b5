//! Groups of processes that exchange tensors of the device: one alone, and two that share it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use dist::{Limits, Rendezvous, Signals, World, join, sum_in_order};
use parallel::in_tree;
use tch::{Device, Kind, Tensor};

use crate::table::Table;

/// The summands, shared out over the processes.
const LANES: usize = 4;
/// Numbers in each: about the parameters that Seeing in Flowing trains.
const NUMBERS: i64 = 8_500_000;
const ROUNDS: usize = 7;

pub(crate) fn run(device: Device, folder: &Path) -> Result<usize> {
    let mut table = Table::create(folder, "ranks", "Ranks")?;
    table.line(&format!(
        "{NUMBERS} numbers of fp32 on the device, in {LANES} lanes: the sum in a fixed order against the \
         same computed by one process, bit for bit, and the engine's own against it. Two processes share \
         the device, which NCCL refuses, so they exchange by Gloo through the host.\n"
    ))?;
    table.columns(&[
        "processes",
        "engine",
        "fixed order, ms",
        "its own, ms",
        "fixed order",
        "its own, relative",
        "",
    ])?;
    for size in [1, 2] {
        let engine = match device {
            Device::Cuda(_) if cfg!(feature = "nccl") && size == 1 => "NCCL",
            _ => "Gloo",
        };
        let rows = members(device, folder, size)?;
        for row in rows {
            let [fixed, own, equal, relative] = &row.split(' ').collect::<Vec<_>>()[..] else {
                bail!("a process of {size} printed {row:?}");
            };
            let holds = *equal == "equal" && relative.parse::<f64>()? < 1e-6;
            let verdict = table.verdict(holds);
            table.row(&[
                size.to_string(),
                engine.into(),
                (*fixed).into(),
                (*own).into(),
                (*equal).into(),
                (*relative).into(),
                verdict,
            ])?;
        }
    }
    table.finish()
}

/// Starts the processes of a group and returns what each prints.
fn members(device: Device, folder: &Path, size: usize) -> Result<Vec<String>> {
    let device = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    };
    let place = folder.join(format!("group-of-{size}"));
    let _ = std::fs::remove_file(&place);
    let start = |rank: usize| -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["member", &device]).arg(&place);
        command.args([rank.to_string(), size.to_string()]);
        Ok(command.stdout(Stdio::piped()).spawn()?)
    };
    let members = (0..size).map(start).collect::<Result<Vec<Child>>>()?;
    let ends = members.into_iter().map(Child::wait_with_output);
    let ends = ends.collect::<std::io::Result<Vec<_>>>()?;
    let _ = std::fs::remove_file(&place);
    let rows = ends.into_iter().map(|output| {
        let line = String::from_utf8(output.stdout)?.trim().to_owned();
        match output.status.success() {
            true => Ok(line),
            false => bail!("a process of {size} ended with {}: {line}", output.status),
        }
    });
    rows.collect()
}

/// One process of a group; prints its times, and whether the sums are right.
pub(crate) fn member(device: Device, place: &Path, rank: &str, size: &str) -> Result<usize> {
    let (rank, size): (usize, usize) = (rank.parse()?, size.parse()?);
    let world = World {
        rank,
        size,
        local_rank: rank,
        rendezvous: Some(Rendezvous::File(place.into())),
        prefix: "gpu-check".into(),
    };
    let signals = Signals {
        stopping: Box::new(|| false),
        stop: Box::new(|| {}),
        end: Box::new(|error| {
            println!("{error}");
            std::process::exit(1);
        }),
    };
    let limits = Limits {
        join: Duration::from_secs(40),
        ..Limits::default()
    };
    let group = join(&world, limits, signals)?;
    let lanes: Vec<Tensor> = (0..LANES).map(|lane| summand(lane, device)).collect();
    let add = |lanes: &[Tensor]| {
        let numbered = lanes.iter().map(Tensor::shallow_clone).enumerate();
        in_tree(numbered.collect(), |a: Tensor, b| a + b).context("a lane")
    };
    let whole = add(&lanes)?;
    let each = LANES / size;
    let own = add(lanes.get(rank * each..(rank + 1) * each).context("lanes")?)?;
    let fixed = || -> Result<Tensor> {
        if size > 1 {
            return Ok(sum_in_order(group.as_ref(), &own, &vec![true; size])?);
        }
        // A sum of one is no exchange; its two exchanges are.
        let parts = group.all_to_all(&own.view([1, -1]))?;
        Ok(group.all_gather(&parts.view([-1]))?.view([-1]))
    };
    let (fixed_ms, fixed) = timed(device, fixed)?;
    let (own_ms, engines) = timed(device, || Ok(group.sum(&own)?))?;
    let equal = match fixed == whole {
        true => "equal",
        false => "differs",
    };
    let norm = |tensor: &Tensor| tensor.to_kind(Kind::Double).norm().double_value(&[]);
    let relative = norm(&(engines - &whole)) / norm(&whole);
    println!("{fixed_ms:.1} {own_ms:.1} {equal} {relative:.1e}");
    group.leave()?;
    Ok(0)
}

/// Numbers of both signs and several magnitudes, which round at most additions.
fn summand(lane: usize, device: Device) -> Tensor {
    let places = Tensor::arange(NUMBERS, (Kind::Double, Device::Cpu)) + lane as i64 * 7919;
    let numbers = (places * 0.7).sin() * 10f64.powi(lane as i32 % 3);
    numbers.to_kind(Kind::Float).to_device(device)
}

/// The median time in ms of some calls, and the last result.
fn timed(device: Device, call: impl Fn() -> Result<Tensor>) -> Result<(f64, Tensor)> {
    let wait = || {
        if let Device::Cuda(index) = device {
            tch::Cuda::synchronize(index as i64);
        }
    };
    let mut last = call()?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        wait();
        let began = Instant::now();
        last = call()?;
        wait();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times.get(ROUNDS / 2).copied().unwrap_or(0.0), last))
}
