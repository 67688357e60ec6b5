//! The command line: `trainer <command>`.

mod commands;
mod messages;

use clap::{CommandFactory as _, FromArgMatches as _};

fn main() {
    trainer::runtime::keep_freed_memory();
    if let Some(message) = commands::file_like_option(std::env::args_os()) {
        eprintln!("error: {message}");
        trainer::runtime::leave(commands::exit::USAGE);
    }
    let matches = commands::Arguments::command().get_matches();
    let arguments = commands::Arguments::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    messages::install(&matches);
    let code = commands::run(arguments).unwrap_or_else(|error| {
        // The whole error chain on one line.
        eprintln!("error: {error:#}");
        if let Some(remedy) = commands::remedy(&error) {
            eprintln!("help: {remedy}");
        }
        commands::exit::FAILED
    });
    trainer::runtime::leave(code)
}
