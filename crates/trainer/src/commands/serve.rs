//! `trainer serve`: recognise over HTTP.

use anyhow::Result;
use cli::serve::Arguments;
use trainer::runtime;
use trainer::threads::{threads, use_threads};

use super::{demo, exit};

pub(crate) fn run(arguments: Arguments) -> Result<u8> {
    use_threads(threads(arguments.threads.map(usize::from)))?;
    let mut checkpoints = arguments.checkpoints;
    if checkpoints.is_empty() {
        let backbone = demo::committed();
        eprintln!("note: no --checkpoint is given: the built-in demo's backbone is served");
        checkpoints.push(backbone.display().to_string());
    }
    let options = ::serve::Options {
        checkpoints,
        listen: arguments.listen,
        token: arguments.token,
        runs: arguments.runs.unwrap_or_else(|| {
            let data = dirs::data_local_dir().unwrap_or_else(std::env::temp_dir);
            data.join("seeing-in-flowing/runs")
        }),
        device: runtime::resolve(arguments.device)?,
    };
    ::serve::serve(&options, |line| eprintln!("{line}"))?;
    Ok(exit::DONE)
}
