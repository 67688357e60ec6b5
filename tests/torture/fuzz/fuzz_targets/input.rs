//! Runs a target on an input, in a folder of the process.

use torture::blocks::parsers::targets::Target;

pub fn run(target: Target, input: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().unwrap();
    }
    FOLDER.with(|folder| {
        if let Err(words) = target(input, folder.path()) {
            panic!("{words}");
        }
    });
}
