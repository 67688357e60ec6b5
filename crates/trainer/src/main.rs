//! The command line: `trainer <command>`.

mod commands;

use clap::Parser as _;

fn main() {
    trainer::runtime::keep_freed_memory();
    if let Some(message) = commands::file_like_option(std::env::args_os()) {
        eprintln!("error: {message}");
        trainer::runtime::leave(commands::exit::USAGE);
    }
    let arguments = commands::Arguments::parse();
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
