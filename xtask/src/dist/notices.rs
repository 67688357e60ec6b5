//! The licences and notices of everything in a release.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::crates::Crate;
use crate::archive::zip::unpack;
use crate::places::{Places, empty_folder, make_folder, write_whole};
use crate::registry::Registry;
use crate::setup::wheels::pins;
use crate::{Error, Result};

/// Debian's packages with the run-time libraries of GCC, whose terms have an exception for programs.
pub(super) const GCC: [&str; 2] = ["libstdc++6", "libgcc-s1"];

/// Whether a file's name is that of a licence or notice.
fn is_notice(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let starts = [
        "licen",
        "copying",
        "notice",
        "unlicense",
        "copyright",
        "eula",
        "thirdparty",
    ];
    starts.iter().any(|start| name.starts_with(start))
}

/// Writes the licences of `crates` to one file, each text once.
pub(super) fn of_crates(crates: &[Crate], to: &Path) -> Result<()> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::from("The crates in these programs, and their licences.\n\n");
    for one in crates {
        let name = format!("{} {}", one.name, one.version);
        let terms = one.license.as_deref().unwrap_or("see its text");
        let place = one.repository.as_deref().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{name}: {terms} {place}");
        let entries = fs::read_dir(one.folder()).map_err(Error::io("cannot list", one.folder()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_file() && is_notice(&entry.file_name().to_string_lossy()) {
                let text = fs::read(&path).map_err(Error::io("cannot read", &path))?;
                let text = String::from_utf8_lossy(&text).trim().replace('\r', "");
                texts.entry(text).or_default().push(name.clone());
            }
        }
    }
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    for (text, names) in texts {
        let _ = write!(
            list,
            "\n{}\n{}\n\n{text}\n",
            "-".repeat(72),
            names.join(", ")
        );
    }
    write_whole(to, list.as_bytes()).map(drop)
}

/// Copies the licences and notices of the wheels that libtorch was unpacked from, each below its
/// package's name. They are kept in the cache: the wheels are large.
pub(super) fn of_libtorch(to: &Path) -> Result<()> {
    let places = Places::of_user()?;
    let pins = pins("linux", "x86_64")?;
    let wheels = pins.map_or_else(Vec::new, |pins| pins.cpu);
    let registry = Registry::of_user();
    for wheel in wheels {
        let kept = places.cache.join("licences").join(&wheel.file);
        if !kept.is_dir() {
            let path = registry.fetch(&wheel, &places.cache.join("downloads"))?;
            let unpacked = kept.with_extension("unpacking");
            empty_folder(&unpacked)?;
            let label = format!("licences of {}", wheel.package());
            unpack(&path, &unpacked, &label, |name| {
                let (folder, file) = name.split_once(".dist-info/")?;
                let name = file.strip_prefix("licenses/").unwrap_or(file);
                let last = Path::new(name).file_name()?.to_str()?;
                (!folder.contains('/') && is_notice(last)).then(|| name.to_owned())
            })?;
            fs::rename(&unpacked, &kept).map_err(Error::io("cannot rename to", &kept))?;
            // The archive is larger than what is kept of it.
            let _ = fs::remove_file(path);
        }
        let own = to.join(wheel.package());
        for file in super::pack::files(&kept)? {
            copy(&kept.join(&file), &own.join(file))?;
        }
    }
    Ok(())
}

/// Copies Debian's notices of the run-time libraries of GCC.
pub(super) fn of_gcc(to: &Path) -> Result<()> {
    for package in GCC {
        let from = PathBuf::from(format!("/usr/share/doc/{package}/copyright"));
        copy(&from, &to.join(package))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to.parent().unwrap_or(to))?;
    fs::copy(from, to)
        .map_err(Error::io("cannot copy", from))
        .map(drop)
}
