//! The number of threads.

use crate::Result;

/// The threads of a process: `asked`, else the variable `OMP_NUM_THREADS`, else the processors that
/// the process may use: within its CPU affinity and the CPU quota of its control group.
#[must_use]
pub fn threads(asked: Option<usize>) -> usize {
    let variable = || of_openmp(&std::env::var("OMP_NUM_THREADS").ok()?);
    let usable = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.or_else(variable).unwrap_or_else(usable)
}

/// Uses `threads` threads for decoding and computing together.
///
/// # Errors
/// [`crate::Error::Threads`] if they cannot be started.
pub fn use_threads(threads: usize) -> Result<()> {
    Ok(parallel::use_threads(threads)?)
}

/// The first of OpenMP's numbers, one for each level of nesting.
fn of_openmp(value: &str) -> Option<usize> {
    let first = value.split(',').next()?.trim().parse().ok()?;
    (first > 0).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmp_numbers_are_read_as_openmp_does() {
        assert_eq!(of_openmp("3"), Some(3));
        assert_eq!(of_openmp(" 4,2"), Some(4));
        for wrong in ["", "0", "-1", "many"] {
            assert_eq!(of_openmp(wrong), None, "{wrong}");
        }
        assert_eq!(threads(Some(7)), 7);
        assert!(threads(None) > 0);
    }
}
