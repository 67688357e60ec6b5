//! Process settings for computing with libtorch: memory, devices, exit.

use std::io::{self, Write as _};

use cli::DeviceChoice;

/// Keeps freed blocks of memory instead of returning them to the system.
///
/// glibc maps every block above 32 MiB anew and unmaps it when freed, so that each large
/// product of a transformer pays for page faults; with both thresholds raised a bf16 product
/// of 6304 x 768 x 3072 takes half the time. Small blocks are merged with their neighbours when
/// freed: FFmpeg leaves thousands per video, which glibc would merge whenever a
/// larger one is allocated. Does nothing with another C library.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::keep();
}

/// Ends the process at once. libtorch's own clean-up (it deregisters its operators one by one)
/// has no effect on an ending process, and takes a tenth of a second.
pub fn leave(code: u8) -> ! {
    // A failure can no longer be reported.
    let _ = io::stdout().flush();
    // Only the C library exits without running the destructors of others.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    // SAFETY: takes a number and does not return.
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

/// Returns freed memory to the system and resets the peak of the process's memory, so that
/// [`peak_memory`] covers the time from here on. Does nothing except on Linux with glibc.
pub fn watch_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        glibc::trim();
        // Linux takes 5 for "reset the peak"; if it cannot, the peak is the whole process's.
        if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
            tracing::debug!(%error, "cannot reset the memory peak");
        }
    }
}

/// The peak memory of the process since [`watch_memory`], in bytes; `None` if the
/// system does not report it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    // The allocator is only accessible through the C library.
    #![allow(unsafe_code)]

    const KEEP: libc::c_int = 1 << 30;

    pub(super) fn trim() {
        // SAFETY: malloc_trim takes a number and frees only unused memory; it locks.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    pub(super) fn keep() {
        // SAFETY: mallopt takes two integers and changes the allocator's own settings; it is
        // called before other threads exist.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEEP);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEEP);
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
}

/// A GPU that does not exist, or that libtorch cannot see.
#[derive(Debug, thiserror::Error)]
#[error(
    "cuda:{index}: libtorch sees {devices} GPUs; `cargo xtask doctor` says why, \
     `cargo xtask setup --cuda` fetches a libtorch with CUDA"
)]
pub struct NoGpu {
    /// The requested GPU.
    index: usize,
    /// The number of GPUs.
    devices: i64,
}

/// The device of a choice: a GPU named explicitly is never replaced by the CPU.
///
/// # Errors
/// [`NoGpu`] if the GPU does not exist.
pub fn resolve(choice: DeviceChoice) -> Result<tch::Device, NoGpu> {
    let devices = tch::Cuda::device_count();
    match choice {
        DeviceChoice::Cpu => Ok(tch::Device::Cpu),
        DeviceChoice::Auto if devices > 0 => Ok(tch::Device::Cuda(0)),
        DeviceChoice::Auto => Ok(tch::Device::Cpu),
        DeviceChoice::Cuda(index) if (index as i64) < devices => Ok(tch::Device::Cuda(index)),
        DeviceChoice::Cuda(index) => Err(NoGpu { index, devices }),
    }
}

/// The terminal's width, 80 if unknown.
#[must_use]
pub fn terminal_columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(w), _)| usize::from(w))
}

/// `cpu`, `cuda:N`, or `cuda` for the first GPU; a missing device is an error, never replaced.
///
/// # Errors
/// [`crate::Error::Value`].
pub fn device(name: &str) -> crate::Result<tch::Device> {
    let index = match name {
        "cuda" => "0",
        other => match other.strip_prefix("cuda:") {
            Some(index) => index,
            None => return Ok(tch::Device::Cpu),
        },
    };
    let count = tch::Cuda::device_count();
    match index.parse::<usize>() {
        Ok(index) if (index as i64) < count => Ok(tch::Device::Cuda(index)),
        _ => Err(crate::Error::Value {
            key: "device".into(),
            expected: format!(
                "cpu, or one of the {count} GPUs that libtorch sees; `cargo xtask doctor` says why \
                 not more, `cargo xtask setup --cuda` fetches a libtorch with CUDA"
            ),
            got: name.into(),
        }),
    }
}
