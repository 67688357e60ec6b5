//! The machine's name: without it no figure means anything.

use std::path::Path;

use crate::workspace::output_of;

/// A line for each of processor, memory, system, load and revision.
pub(super) fn describe(root: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = field(&cpuinfo, "model name")
        .map(str::to_owned)
        .or_else(|| output_of("sysctl", &["-n", "machdep.cpu.brand_string"]))
        .unwrap_or_else(|| std::env::consts::ARCH.into());
    let extensions = ["amx_bf16", "avx512_bf16", "avx512f", "avx2"]
        .into_iter()
        .find(|name| cpuinfo.split_whitespace().any(|flag| flag == *name))
        .unwrap_or("none known");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|total| total.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(String::new, |kib| {
            format!(", {:.0} GiB", kib / f64::from(1 << 20))
        });
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let root = root.display().to_string();
    let revision = output_of("git", &["-C", &root, "describe", "--always", "--dirty"]);
    format!(
        "Machine: {processor}, {cores} cores, widest of the extensions that matter: \
         {extensions}{memory}, {} {}. Load when started: {load}. Revision: {}.\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        revision.as_deref().unwrap_or("unknown"),
    )
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_what_follows_its_colon() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\n";
        assert_eq!(field(text, "model name"), Some("Some CPU: fast"));
        assert_eq!(field(text, "MemTotal"), None);
    }
}
