//! The machine, without which the measurements cannot be interpreted.

use std::fs::read_to_string;
use std::path::Path;

use crate::doctor::proc_field;
use crate::workspace::output_of;

/// The class of the processor: its best vector extension, or the one that oneDNN is limited to.
pub(super) fn class() -> String {
    let flags = proc_field("/proc/cpuinfo", "flags").unwrap_or_default();
    let best = ["amx_bf16", "avx512_bf16", "avx512f", "avx2"]
        .into_iter()
        .find(|name| flags.split(' ').any(|flag| flag == *name))
        .unwrap_or("unknown extension");
    match std::env::var("ONEDNN_MAX_CPU_ISA") {
        Ok(limit) => format!("{best} limited to {limit}"),
        Err(_) => best.into(),
    }
}

/// The precisions that are worth a measurement: a product in bf16 takes minutes on a processor that
/// does not multiply in it.
pub(super) fn precisions() -> &'static [&'static str] {
    let class = class().to_ascii_lowercase();
    let limit = class.split(" limited to ").last().unwrap_or_default();
    match limit.contains("bf16") || limit.contains("amx") {
        true => &["fp32", "bf16"],
        false => &["fp32"],
    }
}

/// Processor, memory, system, load and revision.
pub(crate) fn describe(root: &Path) -> String {
    let processor = proc_field("/proc/cpuinfo", "model name")
        .or_else(|| output_of("sysctl", &["-n", "machdep.cpu.brand_string"]))
        .unwrap_or_else(|| std::env::consts::ARCH.into());
    let extension = class();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = proc_field("/proc/meminfo", "MemTotal")
        .and_then(|total| total.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(String::new, |kib| {
            format!(", {:.0} GiB", kib / f64::from(1 << 20))
        });
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let root = root.display().to_string();
    let revision = output_of("git", &["-C", &root, "describe", "--always", "--dirty"]);
    format!(
        "Machine: {processor}, {cores} cores, best vector extension: {extension}{memory}, \
         {} {}. Load at the start: {load}. Revision: {}.\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        revision.as_deref().unwrap_or("unknown"),
    )
}
