//! The campaign's program. Its only argument is its settings as JSON, from `cargo xtask torture`.

use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [first, kind, slot] = &arguments[..]
        && first == torture::child::ARGUMENT
    {
        return match torture::child::run(kind, slot.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let outcome = std::env::args()
        .nth(1)
        .context("run `cargo xtask torture`")
        .and_then(|text| Ok(serde_json::from_str(&text)?))
        .and_then(|settings| torture::run(&settings));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
