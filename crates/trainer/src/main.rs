//! The command line: `trainer <command>`.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    trainer::runtime::keep_freed_memory();
    let arguments = commands::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            // The whole chain in one block, once.
            eprintln!("error: {error:#}");
            ExitCode::from(commands::exit::FAILED)
        }
    }
}
