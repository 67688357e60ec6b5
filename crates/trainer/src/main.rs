//! The command line: `trainer <command>`.

mod commands;

use clap::Parser as _;

fn main() {
    trainer::runtime::keep_freed_memory();
    let arguments = commands::Arguments::parse();
    let code = commands::panics::reported(|| commands::run(arguments));
    trainer::runtime::leave(code)
}
