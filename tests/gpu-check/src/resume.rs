//! A training process that is killed and resumed, and one that runs out of memory.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use tch::{Device, Tensor};

use crate::table::Table;
use crate::training::{EXHAUST, SAVE_EVERY, System, checkpoint, newest};

const STEPS: u64 = 6;
/// The step after which the process is killed: one after a checkpoint.
const KILLED: u64 = SAVE_EVERY + 1;
/// Address space of the process that runs out of memory on a CPU, in KiB.
const CPU_LIMIT: u64 = 16 << 20;

pub(crate) fn run(device: Device, folder: &Path) -> Result<usize> {
    let mut table = Table::create(folder, "resume", "Killed and resumed")?;
    table.line(&format!(
        "{STEPS} steps, towers in bf16, a checkpoint every {SAVE_EVERY}; parameters and the \
         optimiser's state after the last step, bit for bit, against a run in one piece.\n"
    ))?;
    table.columns(&["system", "run", "largest difference", ""])?;
    for system in System::ALL {
        let work = |name: &str| empty(&folder.join(format!("work/{}-{name}", system.name())));
        let whole = work("whole")?;
        train(device, &whole, system, &STEPS.to_string())?;
        let again = work("again")?;
        train(device, &again, system, &STEPS.to_string())?;
        let killed = work("killed")?;
        kill_after(device, &killed, system)?;
        train(device, &killed, system, &STEPS.to_string())?;
        for (name, run) in [("the same again", &again), ("killed and resumed", &killed)] {
            let difference = difference(&checkpoint(&whole, STEPS), &checkpoint(run, STEPS))?;
            let verdict = table.verdict(difference == 0.0);
            table.row(&[
                system.name().into(),
                name.into(),
                format!("{difference:.1e}"),
                verdict,
            ])?;
        }
    }
    remove_work(folder);
    table.finish()
}

pub(crate) fn run_out_of_memory(device: Device, folder: &Path) -> Result<usize> {
    let mut table = Table::create(folder, "memory", "Out of memory")?;
    table.line(
        "Batches grow until one does not fit. The process has to end with one error in words, exit \
         status 1, and the last checkpoint whole: a new process resumes from it.\n",
    )?;
    table.columns(&["system", "ends with", "last checkpoint", ""])?;
    for system in System::ALL {
        let work = empty(&folder.join(format!("work/{}-memory", system.name())))?;
        let output = command(device, &work, system, EXHAUST)?.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words = stderr.lines().find(|line| line.starts_with("error: "));
        let panicked = stderr.lines().find(|line| line.contains("panicked"));
        let saved = newest(&work)?;
        let next = SAVE_EVERY * 2;
        let resumed = train(device, &work, system, &next.to_string());
        let holds = output.status.code() == Some(1)
            && words.is_some()
            && panicked.is_none()
            && saved.as_ref().is_some_and(|(step, _)| *step == SAVE_EVERY)
            && resumed.is_ok();
        let last = match (&saved, &resumed) {
            (None, _) => "none".into(),
            (Some((step, _)), Ok(())) => format!("step {step}, resumed to step {next}"),
            (Some((step, _)), Err(error)) => format!("step {step}: {error:#}"),
        };
        let end = panicked.or(words).unwrap_or("nothing");
        let end = format!("{}: {}", output.status, shortened(end));
        let verdict = table.verdict(holds);
        table.row(&[system.name().into(), end, last, verdict])?;
    }
    remove_work(folder);
    table.finish()
}

fn shortened(line: &str) -> String {
    let line = line.replace('|', "/");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn command(device: Device, work: &Path, system: System, steps: &str) -> Result<Command> {
    let device = match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    };
    let program = std::env::current_exe()?;
    let mut command = match steps {
        // A GPU has a limit of its own; a machine's memory is not to be filled for a check.
        EXHAUST if device == "cpu" => {
            let mut shell = Command::new("sh");
            let limited = format!("ulimit -v {CPU_LIMIT} && exec \"$0\" \"$@\"");
            shell.arg("-c").arg(limited).arg(program);
            shell
        }
        _ => Command::new(program),
    };
    command.args(["train", &device]).arg(work);
    command.args([system.name(), steps]).stdin(Stdio::null());
    Ok(command)
}

fn train(device: Device, work: &Path, system: System, steps: &str) -> Result<()> {
    let output: Output = command(device, work, system, steps)?.output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().next_back().unwrap_or_default();
        bail!(
            "training {} ended with {}: {last}",
            system.name(),
            output.status
        );
    }
    Ok(())
}

/// Kills a training process after the step [`KILLED`].
fn kill_after(device: Device, work: &Path, system: System) -> Result<()> {
    let mut command = command(device, work, system, "1000000")?;
    let mut child: Child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("a pipe")?;
    let wanted = format!("step {KILLED}");
    let reached = BufReader::new(stdout)
        .lines()
        .any(|line| line.is_ok_and(|line| line == wanted));
    child.kill()?;
    let status = child.wait()?;
    match reached {
        true => Ok(()),
        false => bail!("training {} ended before {wanted}: {status}", system.name()),
    }
}

/// The largest difference of two checkpoints' tensors.
fn difference(a: &Path, b: &Path) -> Result<f64> {
    let read = |path: &Path| {
        let tensors = Tensor::read_safetensors(path);
        let mut tensors = tensors.with_context(|| path.display().to_string())?;
        tensors.sort_by(|x, y| x.0.cmp(&y.0));
        anyhow::Ok(tensors)
    };
    let (a, b) = (read(a)?, read(b)?);
    let mut largest = 0.0;
    for ((name, a), (other, b)) in a.iter().zip(&b) {
        if name != other || a.size() != b.size() {
            bail!("{name} {:?} against {other} {:?}", a.size(), b.size());
        }
        if a != b {
            let gap = (a.to_kind(tch::Kind::Double) - b.to_kind(tch::Kind::Double))
                .abs()
                .max();
            largest = f64::max(largest, gap.double_value(&[]));
        }
    }
    Ok(largest)
}

fn empty(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_path_buf())
}

/// Checkpoints of ViT-B/16 with its optimiser are gigabytes.
fn remove_work(folder: &Path) {
    // Remains cost space only.
    let _ = std::fs::remove_dir_all(folder.join("work"));
}
