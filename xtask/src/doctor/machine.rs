//! Checks of the machine: decoders, processors, folders.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Check;
use crate::places::{Places, free_space};
use crate::progress::bytes;
use crate::setup::libtorch::Libtorch;
use crate::workspace::{self, output_of};

/// The decoders for the videos of the data sets and of users.
const DECODERS: [&str; 9] = [
    "h264",
    "mpeg4",
    "hevc",
    "vp8",
    "vp9",
    "av1",
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
];

pub(super) fn decoders() -> Check {
    let name = "decoders";
    let Some(listing) = output_of("ffmpeg", &["-hide_banner", "-decoders"]) else {
        let text = "unknown without the program ffmpeg (not required)";
        return Check::ok(name, text).data(json!({ "known": false }));
    };
    let missing = missing_decoders(&listing);
    let check = if missing.is_empty() {
        Check::ok(name, DECODERS.join(" "))
    } else {
        let text = format!("missing: {}", missing.join(" "));
        let fix = "videos in these codecs cannot be read; install a full FFmpeg";
        Check::warn(name, text, fix)
    };
    check.data(json!({ "known": true, "missing": missing }))
}

/// The decoders that `ffmpeg -decoders` does not list, in any implementation.
fn missing_decoders(listing: &str) -> Vec<&'static str> {
    // " V....D libdav1d   dav1d AV1 decoder by VideoLAN (codec av1)"
    let has = |codec: &str| {
        listing.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|flags| flags.starts_with('V'))
                && (words.next() == Some(codec) || line.contains(&format!("(codec {codec})")))
        })
    };
    DECODERS.into_iter().filter(|codec| !has(codec)).collect()
}

pub(super) fn cuda(libtorch: Option<&Libtorch>) -> Check {
    let name = "cuda";
    let linked = libtorch.is_some_and(|found| found.cuda);
    let query = [
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ];
    let gpus = output_of("nvidia-smi", &query).unwrap_or_default();
    let gpus: Vec<&str> = gpus.lines().map(str::trim).collect();
    let driver = !gpus.is_empty() || Path::new("/proc/driver/nvidia/version").exists();
    let gpu = gpus.first().unwrap_or(&"an NVIDIA driver");
    let check = match (driver, linked) {
        (true, true) => Check::ok(name, format!("{gpu}; libtorch has CUDA")),
        (true, false) => {
            let text = format!("{gpu}; libtorch supports only the CPU");
            Check::warn(name, text, "cargo xtask setup --cuda")
        }
        (false, true) => Check::warn(
            name,
            "libtorch has CUDA, but there is no NVIDIA driver",
            "install the driver, or cargo xtask setup --cpu",
        ),
        (false, false) => Check::ok(name, "no NVIDIA driver; the CPU is used"),
    };
    check.data(json!({ "driver": driver, "gpus": gpus, "linked": linked }))
}

/// The first value of a field in a file such as `/proc/cpuinfo`.
pub(crate) fn proc_field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

pub(super) fn processor() -> Check {
    let name = "processor";
    let model = proc_field("/proc/cpuinfo", "model name")
        .unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let flags = proc_field("/proc/cpuinfo", "flags").unwrap_or_default();
    let extensions = [
        ("avx2", "avx2", "AVX2"),
        ("avx512f", "avx512", "AVX-512"),
        ("avx512_bf16", "avx512_bf16", "AVX-512 bf16"),
        ("amx_bf16", "amx", "AMX bf16"),
    ];
    let mut data = json!({ "model": model });
    let mut texts = Vec::new();
    for (flag, key, text) in extensions {
        let has = flags.split(' ').any(|word| word == flag);
        data[key] = has.into();
        texts.extend(has.then_some(text));
    }
    let text = match texts.as_slice() {
        [] => model,
        texts => format!("{}; {model}", texts.join(", ")),
    };
    let is_slow = cfg!(target_arch = "x86_64") && data["avx2"] == false && !flags.is_empty();
    let check = if is_slow {
        let text = format!("no AVX2; {text}");
        Check::warn(name, text, "libtorch is slow here; use a newer processor")
    } else {
        Check::ok(name, text)
    };
    check.data(data)
}

pub(super) fn threads() -> Check {
    let name = "threads";
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor"));
    let online = processors.count().max(usable);
    let set = std::env::var("OMP_NUM_THREADS").ok();
    let mut text = usable.to_string();
    if usable < online {
        text += &format!(" usable of {online} (affinity or a container's limit)");
    }
    if let Some(set) = &set {
        text += &format!("; OMP_NUM_THREADS={set}");
    }
    let valid = |set: &String| set.parse().is_ok_and(|set| (1..=usable).contains(&set));
    let check = if set.as_ref().is_none_or(valid) {
        Check::ok(name, text)
    } else {
        let fix = format!("unset OMP_NUM_THREADS, or set it to at most {usable}");
        Check::warn(name, text, fix)
    };
    check.data(json!({ "usable": usable, "online": online, "omp_num_threads": set }))
}

pub(super) fn write_access(root: &Path, places: &Places) -> Check {
    let name = "write access";
    let folders = [
        ("cache", places.cache.clone()),
        ("data", places.data.clone()),
        ("target", workspace::target(root)),
    ];
    let refused = folders.iter().filter_map(|(what, folder)| {
        let reason = tempfile::tempfile_in(nearest(folder)).err()?;
        Some(format!("{what} {}: {reason}", places.short(folder)))
    });
    let refused: Vec<String> = refused.collect();
    let check = if refused.is_empty() {
        Check::ok(name, folders.map(|(what, _)| what).join(", "))
    } else {
        let fix = "change their owner, or set XDG_CACHE_HOME, XDG_DATA_HOME, CARGO_TARGET_DIR";
        Check::fail(name, refused.join("; "), fix)
    };
    check.data(json!({ "refused": refused }))
}

/// The innermost existing folder of a path.
fn nearest(folder: &Path) -> &Path {
    let mut existing = folder.ancestors().filter(|path| path.exists());
    existing.next().unwrap_or(Path::new("/"))
}

/// The space for a set-up and a release build.
const NEEDED: u64 = 6_000_000_000;

pub(super) fn disk(root: &Path, places: &Places) -> Check {
    let name = "disk";
    let folders = [
        ("cache", places.cache.clone()),
        ("target", workspace::target(root)),
    ];
    let mut data = Value::Null;
    let mut texts = Vec::new();
    let mut enough = true;
    for (what, folder) in folders {
        if let Ok(free) = free_space(nearest(&folder)) {
            texts.push(format!("{} free for {what}", bytes(free)));
            data[what] = free.into();
            enough &= free >= NEEDED;
        }
    }
    let check = if enough {
        Check::ok(name, texts.join(", "))
    } else {
        let fix = format!("free some space: setup and build need {}", bytes(NEEDED));
        Check::warn(name, texts.join(", "), fix)
    };
    check.data(data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_field_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cpuinfo");
        fs::write(&file, "processor\t: 0\nmodel name\t: Some CPU: fast\n").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(proc_field(file, "model name").unwrap(), "Some CPU: fast");
        assert_eq!(proc_field(file, "MemTotal"), None);
    }

    #[test]
    fn a_decoder_counts_in_any_implementation() {
        let listing = " V....D h264                 H.264\n V....D libdav1d   dav1d AV1 decoder (codec av1)\n \
                       A....D vp9 sound\n";
        let missing = missing_decoders(listing);
        assert!(!missing.contains(&"h264") && !missing.contains(&"av1"));
        assert!(missing.contains(&"vp9") && missing.contains(&"hevc"));
    }
}
