//! Compares a device's numbers with the CPU's, and times it beside plain PyTorch. `run.sh` beside
//! it runs all parts; `docs/gpu.md` describes them.
//!
//! `gpu-check (numbers|resume|memory|ranks|speed) DEVICE FOLDER`: writes `FOLDER/PART.md`. Exit
//! status: 0 success, 1 if a check fails, 2 for invalid arguments, 4 without the device.

mod inputs;
mod numbers;
mod ranks;
mod resume;
mod speed;
mod table;
mod training;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use tch::Device;

const USAGE: &str = "usage: gpu-check (numbers|resume|memory|ranks|speed) (cpu|cuda|cuda:N) FOLDER";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [part, device, folder, rest @ ..] = &words[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let device = match device_named(device) {
        Ok(device) => device,
        Err((code, reason)) => {
            eprintln!("error: {reason}");
            return ExitCode::from(code);
        }
    };
    let known = match rest {
        [] => ["numbers", "resume", "memory", "ranks", "speed"].contains(part),
        rest => ["train", "member"].contains(part) && rest.len() == 2,
    };
    if !known {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let folder = Path::new(folder);
    models::silence_failures();
    let outcome = models::caught(|| match (*part, rest) {
        ("numbers", []) => numbers::run(device, folder),
        ("resume", []) => resume::run(device, folder),
        ("memory", []) => resume::run_out_of_memory(device, folder),
        ("ranks", []) => ranks::run(device, folder),
        ("speed", []) => speed::run(device, folder),
        // A process that `resume` and `memory` start and kill.
        ("train", [system, steps]) => training::run(device, folder, system, steps),
        // One that `ranks` starts.
        ("member", [rank, size]) => ranks::member(device, folder, rank, size),
        _ => bail!("{USAGE}"),
    });
    match outcome.unwrap_or_else(|failure| Err(failure.into())) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let chain = format!("{error:#}");
            match models::Failure::memory(&chain) {
                Some(failure) => eprintln!("error: {failure}"),
                None => eprintln!("error: {chain}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// The device of this name, or an exit status and the reason.
fn device_named(name: &str) -> Result<Device, (u8, String)> {
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    let Some(index) = index else {
        return Err((2, format!("device {name:?}: expected cpu, cuda or cuda:N")));
    };
    let found = tch::Cuda::device_count();
    if (index as i64) < found {
        return Ok(Device::Cuda(index));
    }
    let reason = format!(
        "{name}: libtorch finds {found} GPUs; it needs an NVIDIA driver, and the `lib` folder of a \
         torch with CUDA on LD_LIBRARY_PATH"
    );
    Err((4, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        assert_eq!(device_named("cpu"), Ok(Device::Cpu));
        for (name, code) in [("gpu", 2), ("cuda:x", 2), ("cuda:4096", 4)] {
            assert_eq!(device_named(name).map_err(|(code, _)| code), Err(code));
        }
    }
}
