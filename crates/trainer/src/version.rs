//! The answer to `trainer --version`.

use std::fmt::Write as _;

/// The version of libtorch that `tch` is the binding of.
const LIBTORCH: &str = "2.13.0";
/// The target that releases are made for.
const SUPPORTED: &str = "x86_64-unknown-linux-gnu";

/// Versions of the program and of its libraries, the devices they compute on, and the target.
pub(crate) fn text() -> String {
    let mut text = format!(
        "trainer {} ({})\nlibtorch {LIBTORCH}\nFFmpeg {}\ndevices  {}\ntarget   {}",
        env!("CARGO_PKG_VERSION"),
        trainer::run::REVISION,
        video::ffmpeg_version(),
        match tch::utils::has_cuda() {
            true => "CPU, CUDA",
            false => "CPU",
        },
        env!("TRAINER_TARGET"),
    );
    if env!("TRAINER_TARGET") != SUPPORTED {
        // Writing to a string cannot fail.
        let _ = write!(text, " (untried; releases are made for {SUPPORTED})");
    }
    text
}
