//! What a process that computes with libtorch settles at its start and its end.

use std::io::{self, Write as _};

/// Keeps freed blocks of memory instead of handing them back to the system.
///
/// glibc maps every block above 32 MiB anew and unmaps it when freed, so that each large
/// product of a transformer pays for page faults; with both thresholds raised a bf16 product
/// of 6304 x 768 x 3072 takes half the time. Small blocks are joined with their neighbours as soon
/// as they are free: FFmpeg leaves thousands a video, which glibc would put together whenever a
/// larger one is wanted. Does nothing where the C library is another.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::keep();
}

/// Ends the process at once. What libtorch would tidy up first (it takes its operators off a list,
/// one by one) goes with the process anyway, and takes a tenth of a second.
pub fn leave(code: u8) -> ! {
    // Nobody is left to tell of a failure.
    let _ = io::stdout().flush();
    // Only the C library leaves without the destructors of others.
    #[cfg(unix)]
    #[allow(unsafe_code)]
    // SAFETY: takes a number and does not return.
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

/// Hands freed memory back to the system and forgets the most the process has held, so that
/// [`peak_memory`] speaks of what comes. Does nothing where there is no Linux with glibc.
pub fn watch_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        glibc::trim();
        // Linux takes 5 for "reset the peak"; where it cannot, the peak is the process's.
        if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
            tracing::debug!(%error, "the memory peak cannot be reset");
        }
    }
}

/// The most memory the process has held since [`watch_memory`], in bytes; `None` if the
/// system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    // The allocator can only be spoken to through the C library.
    #![allow(unsafe_code)]

    const KEEP: libc::c_int = 1 << 30;

    pub(super) fn trim() {
        // SAFETY: malloc_trim takes a number and frees only what nobody holds; it locks.
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

/// Where to compute, as a user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// One GPU.
    Cuda(usize),
}

/// A device that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Not a device's name.
    #[error("device {0:?}: expected auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// The GPU is not there, or libtorch cannot see it.
    #[error(
        "cuda:{index}: libtorch sees {devices} GPUs; `cargo xtask doctor` says why, \
         `cargo xtask setup --cuda` fetches a libtorch with CUDA"
    )]
    NoGpu {
        /// The GPU asked for.
        index: usize,
        /// How many there are.
        devices: i64,
    },
}

impl std::str::FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(text.into())),
        }
    }
}

impl DeviceChoice {
    /// The device, or an error: a GPU asked for by name is never replaced by the processor.
    ///
    /// # Errors
    /// [`DeviceError::NoGpu`] if the GPU is not there.
    pub fn resolve(self) -> Result<tch::Device, DeviceError> {
        let devices = tch::Cuda::device_count();
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Auto if devices > 0 => Ok(tch::Device::Cuda(0)),
            Self::Auto => Ok(tch::Device::Cpu),
            Self::Cuda(index) if (index as i64) < devices => Ok(tch::Device::Cuda(index)),
            Self::Cuda(index) => Err(DeviceError::NoGpu { index, devices }),
        }
    }
}

/// The terminal's width, 80 where it cannot be told.
#[must_use]
pub fn terminal_columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(terminal_size::Width(w), _)| usize::from(w))
}

/// `cpu` or `cuda:N`; a device that is not there is an error, never another one.
///
/// # Errors
/// [`crate::Error::Value`].
pub fn device(name: &str) -> crate::Result<tch::Device> {
    let Some(index) = name.strip_prefix("cuda:") else {
        return Ok(tch::Device::Cpu);
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
