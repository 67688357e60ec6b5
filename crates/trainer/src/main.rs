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
    models::silence_failures();
    let outcome = models::caught(|| commands::run(arguments));
    let code = outcome.unwrap_or_else(|failure| Err(failure.into()));
    let code = code.unwrap_or_else(|error| {
        // The whole error chain on one line, without libtorch's own of several.
        let chain = format!("{error:#}");
        match models::Failure::memory(&chain) {
            Some(failure) => eprintln!("error: {failure}"),
            None => eprintln!("error: {chain}"),
        }
        if let Some(remedy) = commands::remedy(&error) {
            eprintln!("help: {remedy}");
        }
        commands::exit::of(&error)
    });
    trainer::runtime::leave(code)
}
