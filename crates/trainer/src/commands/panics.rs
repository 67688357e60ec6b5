//! What the user sees of a panic: libtorch's refusals inside a model arrive as such.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use anyhow::Result;

use super::exit;

/// Runs a command, and says in one block why it failed, be it by an error or by a panic.
/// With `RUST_BACKTRACE` set, Rust says of a panic all it knows.
pub(crate) fn reported(command: impl FnOnce() -> Result<u8>) -> u8 {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        set_hook(Box::new(|panic| eprintln!("error: {}", words(panic))));
    }
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            // The whole chain at once.
            eprintln!("error: {error:#}");
            exit::FAILED
        }
        Err(_) => exit::FAILED,
    }
}

fn words(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(ToString::to_string);
    said(panic.payload_as_str().unwrap_or("a panic"), place)
}

/// The first line of a panic's `message`, or what to do where it speaks of memory.
fn said(message: &str, place: Option<String>) -> String {
    // As CUDA and the processor's allocator have it.
    let without_memory = ["out of memory", "can't allocate memory"];
    if without_memory.iter().any(|words| message.contains(words)) {
        return "no memory is left on the device: a smaller train.batch, smaller pieces of it \
                (a larger train.accumulate) or fewer frames need less"
            .into();
    }
    // Errors of libtorch are quoted, with their line ends.
    let first = message.split("\\n").next().unwrap_or(message);
    let first = first.lines().next().unwrap_or(first);
    let place = place.unwrap_or_else(|| "unknown".into());
    format!("{first} ({place}); this is a fault of the program: RUST_BACKTRACE=1 says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_missing_is_told_from_faults() {
        for refusal in [
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. Tried\\nat\")",
            "Torch(\"[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory\")",
        ] {
            let text = said(refusal, Some("a.rs:1:2".into()));
            assert!(text.contains("train.accumulate") && !text.contains("a.rs"));
        }
        let text = said(
            "Torch(\"sizes differ\\nframe 1\\nframe 2\")",
            Some("a.rs:1:2".into()),
        );
        assert!(text.starts_with("Torch(\"sizes differ (a.rs:1:2)"));
        assert!(!text.contains("frame"));
    }

    #[test]
    fn a_panic_ends_as_a_failure() {
        assert_eq!(reported(|| Ok(exit::PARTIAL)), exit::PARTIAL);
        assert_eq!(reported(|| anyhow::bail!("no")), exit::FAILED);
        let refused = || -> Result<u8> {
            let tensor = tch::Tensor::zeros([2, 3], tch::kind::FLOAT_CPU);
            let _ = tensor.matmul(&tensor);
            Ok(exit::DONE)
        };
        assert_eq!(reported(refused), exit::FAILED);
    }
}
