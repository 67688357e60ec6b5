//! libtorch's failures. tch's plain operators panic with them, with a message of many lines.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};

/// The beginning of the message of a panic in a plain operator of tch.
const PANIC: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"";

/// A failed operation, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Memory ran out.
    Memory {
        /// The bytes asked for, if libtorch says so.
        bytes: Option<u64>,
    },
    /// Another reason, the first line of libtorch's.
    Other(String),
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { bytes: Some(bytes) } => {
                let (amount, unit) = match *bytes {
                    many @ 1_000_000_000.. => (many as f64 / 1e9, "GB"),
                    few => (few as f64 / 1e6, "MB"),
                };
                write!(
                    f,
                    "not enough memory: {amount:.2} {unit} more were asked for"
                )
            }
            Self::Memory { bytes: None } => f.write_str("not enough memory"),
            Self::Other(reason) => write!(f, "libtorch: {reason}"),
        }
    }
}

impl Failure {
    /// The failure in libtorch's own message, if it is one for lack of memory.
    #[must_use]
    pub fn memory(message: &str) -> Option<Self> {
        let lack = [
            "can't allocate memory",
            "out of memory",
            "bad_alloc",
            // oneDNN's, whose primitives are made of code and scratch memory.
            "could not create a primitive",
            "could not create a memory",
        ];
        let lower = message.to_ascii_lowercase();
        lack.iter().any(|words| lower.contains(words)).then(|| {
            let asked = "tried to allocate ";
            let place = lower.find(asked).map(|place| place + asked.len());
            Self::Memory {
                bytes: place.and_then(|place| bytes(message.get(place..)?)),
            }
        })
    }

    /// The failure of a panic, if it is one of tch's.
    fn of_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        let message = text(payload)?.strip_prefix(PANIC)?;
        let message = message.strip_suffix("\")").unwrap_or(message);
        let first = message.split("\\n").next().unwrap_or(message);
        Some(Self::memory(message).unwrap_or_else(|| Self::Other(first.to_owned())))
    }
}

/// The result of `compute`, or the failure of libtorch with which it panicked, on this thread or on
/// one that worked for it. Other panics go on.
///
/// # Errors
/// A [`Failure`].
pub fn caught<R>(compute: impl FnOnce() -> R) -> Result<R, Failure> {
    catch_unwind(AssertUnwindSafe(compute)).map_err(|payload| {
        match Failure::of_panic(payload.as_ref()) {
            Some(failure) => failure,
            None => resume_unwind(payload),
        }
    })
}

/// Leaves the report of such panics to the caller of [`caught`], for programs that run all of their
/// work in it.
pub fn silence_failures() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if Failure::of_panic(info.payload()).is_none() {
            report(info);
        }
    }));
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
}

/// "34359738368 bytes" of the CPU's allocator or "2.00 GiB" of CUDA's.
fn bytes(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()?.trim_matches(['.', ',']) {
        "bytes" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn memory_that_is_not_there_is_a_failure_on_any_thread() {
        silence_failures();
        // 4 EB.
        let ask = || Tensor::zeros([1 << 60], (Kind::Float, Device::Cpu)).size();
        let failure = caught(ask).unwrap_err();
        assert!(matches!(failure, Failure::Memory { bytes: Some(bytes) } if bytes == 4 << 60));
        let said = failure.to_string();
        assert!(
            said.starts_with("not enough memory: 4611686018.43 GB "),
            "{said}"
        );
        parallel::use_threads(2).unwrap();
        let failure = caught(|| parallel::each(Device::Cpu, vec![(), ()], |()| ask()));
        assert!(matches!(failure, Err(Failure::Memory { .. })));
        // The threads still work.
        assert_eq!(parallel::each(Device::Cpu, vec![1, 2], |part| part), [1, 2]);
    }

    #[test]
    fn other_failures_are_the_first_line_and_other_panics_go_on() {
        let ones = |n: i64| Tensor::ones([n], (Kind::Float, Device::Cpu));
        let failure = caught(|| ones(2) + ones(3)).unwrap_err();
        let sentence = failure.to_string();
        assert!(
            sentence.starts_with("libtorch: The size of tensor"),
            "{sentence}"
        );
        assert!(!sentence.contains('\n') && !sentence.contains("\\n"));
        assert_eq!(caught(|| 7), Ok(7));
        let other = catch_unwind(|| caught(|| panic!("a bug")));
        assert_eq!(text(other.unwrap_err().as_ref()), Some("a bug"));
    }

    #[test]
    fn what_was_asked_for_is_read_in_both_forms() {
        let gpu = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of";
        let cuda = Failure::memory(&gpu.replace("Tried", "tried")).unwrap();
        assert_eq!(
            cuda.to_string(),
            "not enough memory: 2.68 GB more were asked for"
        );
        assert_eq!(Failure::memory(gpu).unwrap(), cuda);
        let little = Failure::Memory {
            bytes: Some(1_500_000),
        };
        assert!(little.to_string().contains("1.50 MB"));
        assert_eq!(
            Failure::memory("std::bad_alloc"),
            Some(Failure::Memory { bytes: None })
        );
        assert_eq!(Failure::memory("expected 3 dimensions"), None);
    }
}
