//! `cargo xtask doctor`: what is there and what is wrong, in one screen, each with its cure.
//!
//! It changes nothing but a probe file that it removes, asks no network, and runs on a
//! machine that has nothing yet.

use std::fs;
use std::path::Path;

use hub::{CLIP, Hub};
use serde::Serialize;
use serde_json::{Value, json};

use crate::places::Places;
use crate::progress::bytes;
use crate::setup::libtorch::{Found, VERSION, of_python};
use crate::setup::system::{Manager, Need};
use crate::setup::{linking, vocabulary};
use crate::workspace::{self, output_of};
use crate::{Error, Result};

/// How the doctor speaks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with something lacking.
    Warn,
    /// Keeps the product from building or running.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How well it is.
    pub status: Status,
    /// What was found, in words.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// What was found, for programs.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self {
            name,
            status,
            detail: detail.into(),
            cure: None,
            data: Value::Null,
        }
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// Prints the findings; says whether nothing has failed.
///
/// # Errors
/// [`Error::Parse`] where the user has no home folder; nothing else is fatal here.
pub fn run(options: &Options) -> Result<bool> {
    let places = Places::of_user()?;
    let root = workspace::root();
    let checks = examine(&root, &places);
    let failed = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .count();
    if options.json {
        let object = json!({ "ok": failed == 0, "checks": checks });
        let text = serde_json::to_string_pretty(&object).map_err(|e| Error::Parse {
            what: "findings".into(),
            reason: e.to_string(),
        })?;
        workspace::print(&text);
    } else {
        workspace::print(&table(&checks));
    }
    Ok(failed == 0)
}

/// Looks at everything.
#[must_use]
pub fn examine(root: &Path, places: &Places) -> Vec<Check> {
    let mut checks = vec![rust()];
    checks.extend(Need::ALL.map(need));
    checks.push(decoders());
    let libtorch = found(root);
    checks.push(torch(root, places, &libtorch));
    checks.push(flags(root, &libtorch));
    checks.push(binary(root, places));
    checks.push(cuda(libtorch.as_ref().ok()));
    checks.push(processor());
    checks.push(threads());
    checks.push(folders(root, places));
    checks.push(disk(root, places));
    checks.push(vocabulary_there(places));
    checks.push(weights(places));
    checks
}

fn rust() -> Check {
    match output_of("rustc", &["--version"]) {
        Some(version) => {
            let text = version.trim_start_matches("rustc ").to_string();
            let least = env!("CARGO_PKG_RUST_VERSION");
            let status = if at_least(&text, least) {
                Status::Ok
            } else {
                Status::Fail
            };
            let check = Check::new("rust", status, text.clone()).data(json!({ "version": text }));
            if status == Status::Ok {
                check
            } else {
                check.cure(format!("rustup install {least}"))
            }
        }
        None => Check::new("rust", Status::Fail, "no rustc on the PATH")
            .cure("install Rust from rustup.rs"),
    }
}

/// Whether `version` (1.95.0, with anything after) is `least` or later.
fn at_least(version: &str, least: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.split(|c: char| !c.is_ascii_digit())
            .map_while(|part| part.parse().ok())
            .take(3)
            .collect()
    };
    numbers(version) >= numbers(least)
}

fn need(need: Need) -> Check {
    let name = match need {
        Need::Compiler => "c++",
        Need::PkgConfig => "pkg-config",
        Need::Libclang => "libclang",
        Need::Ffmpeg => "ffmpeg libs",
    };
    match need.probe() {
        Ok(detail) => {
            let data = json!({ "found": detail });
            let detail = match need {
                Need::Ffmpeg => detail
                    .split(", ")
                    .map(|part| part.trim_start_matches("lib"))
                    .collect::<Vec<_>>()
                    .join(", "),
                _ => detail,
            };
            Check::new(name, Status::Ok, detail).data(data)
        }
        Err(why) => Check::new(name, Status::Fail, why).cure(format!(
            "cargo xtask setup; or {}",
            manager().command(&[need])
        )),
    }
}

/// The package manager whose command suits this machine.
fn manager() -> Manager {
    if cfg!(target_os = "macos") {
        Manager::Brew
    } else if output_of("dnf", &["--version"]).is_some() {
        Manager::Dnf
    } else {
        Manager::Apt
    }
}

/// The decoders that the data sets and users' videos want.
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

fn decoders() -> Check {
    let name = "decoders";
    let Some(listing) = output_of("ffmpeg", &["-hide_banner", "-decoders"]) else {
        return Check::new(
            name,
            Status::Ok,
            "unknown: no ffmpeg program to ask (none is needed)",
        )
        .data(json!({ "known": false }));
    };
    let missing = missing_decoders(&listing);
    let data = json!({ "known": true, "missing": missing });
    if missing.is_empty() {
        return Check::new(name, Status::Ok, DECODERS.join(" ")).data(data);
    }
    Check::new(
        name,
        Status::Warn,
        format!("missing: {}", missing.join(" ")),
    )
    .cure("videos in these codecs cannot be read; install a full FFmpeg")
    .data(data)
}

/// The wanted decoders that `ffmpeg -decoders` does not list, under any implementation.
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

/// The libtorch that a build would use.
fn found(root: &Path) -> Result<Found> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return of_python();
    }
    let named = std::env::var_os("LIBTORCH").filter(|value| !value.is_empty());
    match named
        .map(Into::into)
        .or_else(|| linking::read(root).map(|linking| linking.libtorch))
    {
        Some(libtorch) => Found::at(&libtorch),
        None => Err(Error::Libtorch {
            place: "none".into(),
            reason: "not set up".into(),
        }),
    }
}

fn torch(root: &Path, places: &Places, libtorch: &Result<Found>) -> Check {
    let name = "libtorch";
    let cure = "cargo xtask setup";
    match libtorch {
        Ok(found) => {
            let data = json!({
                "path": found.libtorch, "version": found.version,
                "wanted": VERSION, "cuda": found.cuda,
            });
            let text = format!("{}, {}", found.describe(), places.short(&found.libtorch));
            if !found.fits() {
                return Check::new(name, Status::Fail, format!("{text}; tch wants {VERSION}"))
                    .cure(format!("unset LIBTORCH and run {cure}"))
                    .data(data);
            }
            if found.version.is_none() {
                return Check::new(name, Status::Warn, format!("{text}; tch wants {VERSION}"))
                    .cure(format!("make sure it is {VERSION}: no file there says so"))
                    .data(data);
            }
            Check::new(name, Status::Ok, text).data(data)
        }
        Err(e) if linking::read(root).is_none() => Check::new(name, Status::Fail, e.to_string())
            .cure(cure)
            .data(json!({ "path": null })),
        Err(e) => Check::new(name, Status::Fail, e.to_string()).cure(cure),
    }
}

fn flags(root: &Path, libtorch: &Result<Found>) -> Check {
    let name = "link flags";
    let cure = "cargo xtask setup";
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            return Check::new(
                name,
                Status::Warn,
                format!("{variable} replaces the workspace's"),
            )
            .cure(format!(
                "unset {variable}, or add -C link-arg=-Wl,-rpath,LIBTORCH/lib to it"
            ));
        }
    }
    match (linking::read(root), libtorch) {
        (None, _) => Check::new(
            name,
            Status::Fail,
            "no .cargo/libtorch.toml: binaries would not start",
        )
        .cure(cure),
        (Some(written), Ok(found)) if written.libtorch != found.libtorch => Check::new(
            name,
            Status::Warn,
            "written for another libtorch than the one in use",
        )
        .cure(cure),
        (Some(written), Ok(found))
            if written.linker.is_some() != found.cuda
                || written
                    .linker
                    .as_ref()
                    .is_some_and(|linker| !linker.is_file()) =>
        {
            Check::new(
                name,
                Status::Warn,
                "CUDA's libraries and the flags disagree",
            )
            .cure(cure)
        }
        (Some(_), _) => Check::new(name, Status::Ok, ".cargo/libtorch.toml"),
    }
}

/// What `ldd` says of the built product.
fn binary(root: &Path, places: &Places) -> Check {
    let name = "binary";
    let target = workspace::target(root);
    let newest = ["release", "debug"]
        .into_iter()
        .map(|profile| target.join(profile).join("trainer"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max();
    let Some((_, path)) = newest else {
        return Check::new(name, Status::Ok, "not built yet").data(json!({ "built": false }));
    };
    let short = path
        .strip_prefix(root)
        .map_or_else(|_| places.short(&path), |path| path.display().to_string());
    let Some(listing) = output_of("ldd", &[&path.to_string_lossy()]) else {
        return Check::new(name, Status::Ok, short).data(json!({ "built": true }));
    };
    let missing: Vec<&str> = listing
        .lines()
        .filter(|line| line.contains("not found"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let cuda = listing.contains("libtorch_cuda.so");
    let data = json!({ "built": true, "path": path, "missing": missing, "cuda_linked": cuda });
    if missing.is_empty() {
        let linked = if cuda { "CUDA linked" } else { "CPU" };
        return Check::new(
            name,
            Status::Ok,
            format!("{short} finds its libraries, {linked}"),
        )
        .data(data);
    }
    Check::new(
        name,
        Status::Fail,
        format!("{short} does not find {}", missing.join(", ")),
    )
    .cure("cargo xtask setup, then build again")
    .data(data)
}

fn cuda(libtorch: Option<&Found>) -> Check {
    let name = "cuda";
    let linked = libtorch.is_some_and(|found| found.cuda);
    let query = [
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ];
    let gpus: Vec<String> = output_of("nvidia-smi", &query)
        .map(|text| text.lines().map(|line| line.trim().to_string()).collect())
        .unwrap_or_default();
    let driver = !gpus.is_empty() || Path::new("/proc/driver/nvidia/version").exists();
    let data = json!({ "driver": driver, "gpus": gpus, "linked": linked });
    let seen = gpus.first().cloned().unwrap_or_else(|| "a driver".into());
    match (driver, linked) {
        (true, true) => Check::new(name, Status::Ok, format!("{seen}; libtorch has CUDA")),
        (true, false) => Check::new(
            name,
            Status::Warn,
            format!("{seen}; libtorch is for the CPU alone"),
        )
        .cure("cargo xtask setup --cuda"),
        (false, true) => Check::new(
            name,
            Status::Warn,
            "libtorch has CUDA, and no driver is seen",
        )
        .cure("install NVIDIA's driver, or cargo xtask setup --cpu"),
        (false, false) => Check::new(name, Status::Ok, "no NVIDIA driver; the CPU is used"),
    }
    .data(data)
}

fn processor() -> Check {
    let name = "processor";
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_string())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let features = field("flags").unwrap_or_default();
    let has = |feature: &str| features.split(' ').any(|word| word == feature);
    let (avx2, avx512, bf16, amx) = (
        has("avx2"),
        has("avx512f"),
        has("avx512_bf16"),
        has("amx_bf16"),
    );
    let list: Vec<&str> = [
        (avx2, "AVX2"),
        (avx512, "AVX-512"),
        (bf16, "AVX-512 bf16"),
        (amx, "AMX bf16"),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect();
    let data =
        json!({ "model": model, "avx2": avx2, "avx512": avx512, "avx512_bf16": bf16, "amx": amx });
    let slow = std::env::consts::ARCH == "x86_64" && !avx2 && !features.is_empty();
    let text = if list.is_empty() {
        model
    } else {
        format!("{}; {model}", list.join(", "))
    };
    if slow {
        return Check::new(name, Status::Warn, format!("no AVX2; {text}"))
            .cure("libtorch works, but slowly; use a newer processor")
            .data(data);
    }
    Check::new(name, Status::Ok, text).data(data)
}

fn threads() -> Check {
    let name = "threads";
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let online = fs::read_to_string("/proc/cpuinfo")
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("processor"))
                .count()
        })
        .unwrap_or(usable)
        .max(1);
    let set = std::env::var("OMP_NUM_THREADS").ok();
    let data = json!({ "usable": usable, "online": online, "omp_num_threads": set });
    let text = if usable < online {
        format!("{usable} usable of {online} (affinity or a container's limit)")
    } else {
        format!("{usable}")
    };
    match set.as_deref().map(|set| (set, set.parse::<usize>())) {
        Some((set, Ok(count))) if count <= usable && count > 0 => {
            Check::new(name, Status::Ok, format!("{text}; OMP_NUM_THREADS={set}"))
        }
        Some((set, _)) => Check::new(name, Status::Warn, format!("{text}; OMP_NUM_THREADS={set}"))
            .cure(format!(
                "unset OMP_NUM_THREADS, or set it to {usable} or fewer"
            )),
        None => Check::new(name, Status::Ok, text),
    }
    .data(data)
}

fn folders(root: &Path, places: &Places) -> Check {
    let name = "write access";
    let target = workspace::target(root);
    let folders = [
        ("cache", places.cache.clone()),
        ("data", places.data.clone()),
        ("target", target),
    ];
    let refused: Vec<String> = folders
        .iter()
        .filter_map(|(what, folder)| {
            let reason = writable(folder).err()?;
            Some(format!("{what} {}: {reason}", places.short(folder)))
        })
        .collect();
    let data = json!({ "refused": refused });
    if refused.is_empty() {
        let text: Vec<&str> = folders.iter().map(|(what, _)| *what).collect();
        return Check::new(name, Status::Ok, text.join(", ")).data(data);
    }
    Check::new(name, Status::Fail, refused.join("; "))
        .cure("make them yours, or set XDG_CACHE_HOME, XDG_DATA_HOME, CARGO_TARGET_DIR")
        .data(data)
}

/// Tries to write in `folder`, or in the nearest folder above it that exists.
fn writable(folder: &Path) -> std::io::Result<()> {
    let there = existing(folder);
    tempfile::Builder::new()
        .prefix(".doctor-")
        .tempfile_in(there)
        .map(drop)
}

fn existing(folder: &Path) -> &Path {
    folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

/// Below this a set-up and a release build do not fit.
const LITTLE: u64 = 6_000_000_000;

fn disk(root: &Path, places: &Places) -> Check {
    let name = "disk";
    let folders = [
        ("cache", places.cache.clone()),
        ("target", workspace::target(root)),
    ];
    let free: Vec<(&str, u64)> = folders
        .iter()
        .filter_map(|(what, folder)| Some((*what, free(existing(folder))?)))
        .collect();
    let text: Vec<String> = free
        .iter()
        .map(|(what, count)| format!("{} free for {what}", bytes(*count)))
        .collect();
    let data = Value::Object(
        free.iter()
            .map(|(what, count)| ((*what).into(), json!(count)))
            .collect(),
    );
    let status = if free.iter().any(|(_, count)| *count < LITTLE) {
        Status::Warn
    } else {
        Status::Ok
    };
    let check = Check::new(name, status, text.join(", ")).data(data);
    if status == Status::Ok {
        check
    } else {
        check.cure("a set-up and a build want 6 GB: make room")
    }
}

fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn vocabulary_there(places: &Places) -> Check {
    let name = "vocabulary";
    let path = vocabulary::path(places);
    let data = json!({ "path": path });
    if vocabulary::present(places) {
        return Check::new(name, Status::Ok, places.short(&path)).data(data);
    }
    let detail = if path.exists() {
        "not the file OpenAI published"
    } else {
        "not there"
    };
    Check::new(name, Status::Warn, detail)
        .cure("cargo xtask setup")
        .data(data)
}

fn weights(places: &Places) -> Check {
    let name = "weights";
    let cure = "cargo xtask download-clip, or pass --checkpoint a path";
    let hub = match Hub::from_env() {
        Ok(hub) => hub,
        Err(e) => return Check::new(name, Status::Warn, e.to_string()).cure(cure),
    };
    let cached = hub.list(&CLIP);
    let list: Vec<Value> = cached
        .iter()
        .map(|one| json!({ "id": one.repository, "bytes": one.bytes }))
        .collect();
    let data = json!({ "cache": hub.cache, "checkpoints": list });
    if cached.is_empty() {
        let text = format!("no CLIP checkpoint in {}", places.short(&hub.cache));
        return Check::new(name, Status::Warn, text).cure(cure).data(data);
    }
    let text: Vec<String> = cached
        .iter()
        .map(|one| format!("{} ({})", one.repository, bytes(one.bytes)))
        .collect();
    Check::new(name, Status::Ok, text.join(", ")).data(data)
}

/// The screen's width.
const WIDTH: usize = 80;
const INDENT: usize = 20;

/// The findings as a table that fits the screen.
#[must_use]
pub fn table(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        let head = format!("{status:<5} {:<13} ", check.name);
        // What is well takes one line; what is not says everything.
        if check.status == Status::Ok {
            lines.push(format!("{head}{}", clipped(&check.detail, WIDTH - INDENT)));
            continue;
        }
        let cure = check.cure.as_ref().map(|cure| format!("-> {cure}"));
        let mut head = head;
        for text in std::iter::once(&check.detail).chain(&cure) {
            for line in wrapped(text, WIDTH - INDENT) {
                lines.push(format!("{head}{line}"));
                head = " ".repeat(INDENT);
            }
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (ok, warn, fail) = (count(Status::Ok), count(Status::Warn), count(Status::Fail));
    lines.push(format!("{ok} ok, {warn} to know, {fail} wrong"));
    lines.join("\n")
}

fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    text.chars().take(width - 3).chain("...".chars()).collect()
}

/// `text` in lines of at most `width`; a longer word keeps its own line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_table_fits_a_screen() {
        let long = "word ".repeat(40);
        let checks = [
            Check::new("libtorch", Status::Ok, long.clone()),
            Check::new("write access", Status::Fail, long.clone()).cure(long),
            Check::new("disk", Status::Warn, "little").cure("make room"),
        ];
        let text = table(&checks);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line:?}");
        }
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .starts_with("FAIL  write access  word")
        );
        assert!(text.contains("-> make room"));
        assert!(text.ends_with("1 ok, 1 to know, 1 wrong"));
    }

    #[test]
    fn a_decoder_counts_under_any_implementation() {
        let listing = " V....D h264                 H.264\n V....D libdav1d   dav1d AV1 decoder (codec av1)\n \
                       A....D vp9 sound\n";
        let missing = missing_decoders(listing);
        assert!(!missing.contains(&"h264") && !missing.contains(&"av1"));
        assert!(missing.contains(&"vp9") && missing.contains(&"hevc"));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("1.95.0 (abc 2026)", "1.95"));
        assert!(at_least("1.100.1", "1.95"));
        assert!(!at_least("1.9.0", "1.95"));
    }

    #[test]
    fn a_bare_home_is_described_not_feared() {
        let home = tempfile::tempdir().unwrap();
        let places = Places {
            cache: home.path().join("cache"),
            data: home.path().join("data"),
            home: home.path().into(),
        };
        let root = home.path().join("clone");
        let checks = examine(&root, &places);
        let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(of("link flags").status, Status::Fail);
        assert_eq!(of("vocabulary").status, Status::Warn);
        assert_eq!(of("write access").status, Status::Ok);
        for check in &checks {
            assert_eq!(
                check.status == Status::Ok,
                check.cure.is_none(),
                "{check:?}"
            );
        }
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            0,
            "nothing may be left behind"
        );
    }
}
