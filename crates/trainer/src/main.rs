//! The command line: `trainer <command>`.
#![deny(clippy::print_stdout)]

/// Prints a line of the result. A standard output that is full or gone is an error of the command.
macro_rules! say {
    () => { say_part!("\n") };
    ($format:literal $($rest:tt)*) => { say_part!("{}\n", format_args!($format $($rest)*)) };
}

/// The same without an end of the line.
macro_rules! say_part {
    ($($text:tt)*) => {{
        use anyhow::Context as _;
        use std::io::Write as _;
        std::io::stdout()
            .write_fmt(format_args!($($text)*))
            .context("cannot write to standard output")?
    }};
}

/// Says something beside the result. Where nobody listens, nothing is lost.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod commands;
mod messages;
mod version;

use clap::FromArgMatches as _;
use cli::Arguments;

#[global_allocator]
static ALLOCATOR: trainer::memory::OrEnd = trainer::memory::OrEnd;

fn main() {
    trainer::memory::tell_lack();
    trainer::runtime::keep_freed_memory();
    let arguments: Vec<_> = std::env::args_os().collect();
    let matches = cli::parse(&arguments, version::text);
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    messages::install(&matches);
    models::silence_failures();
    let outcome = models::caught(|| commands::run(arguments));
    let code = outcome.unwrap_or_else(|failure| Err(failure.into()));
    let code = code.unwrap_or_else(|error| {
        // The whole error chain on one line, without libtorch's own of several.
        let chain = format!("{error:#}");
        match models::Failure::memory(&chain) {
            Some(failure) => eprintln!("error: {failure}"),
            None => eprintln!("error: {}", data::message(&chain)),
        }
        if let Some(remedy) = commands::remedy(&error) {
            eprintln!("help: {remedy}");
        }
        commands::exit::of(&error)
    });
    trainer::runtime::leave(code)
}
