//! Wheels out of the Python package index that this machine is set up for.
//!
//! The index is the one pip would ask: `PIP_INDEX_URL`, pip's configuration files, or the
//! public default. Files are pinned by name and hash, so that the index is trusted with
//! nothing but delivery. Where the index cannot be reached directly but pip can reach it
//! (a proxy or a credential helper of its own), pip fetches, and the same hash decides.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hub::{Client, Promise, Wanted, sha256_of};

use crate::places::make_folder;
use crate::{Error, Result, progress};

/// What pip asks where nobody says otherwise.
const PUBLIC: &str = "https://pypi.org/simple";

/// A wheel pinned by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The package, in the index's normalised spelling.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// The file's SHA-256.
    pub sha256: &'static str,
    /// The file's size.
    pub bytes: u64,
}

/// Where wheels come from.
#[derive(Debug)]
pub struct Registry {
    indexes: Vec<String>,
    client: Client,
    pip: bool,
}

impl Registry {
    /// The registry pip is set up for on this machine.
    #[must_use]
    pub fn of_user() -> Self {
        let indexes = indexes(
            |name| std::env::var_os(name),
            |path| fs::read_to_string(path).ok(),
        );
        Self {
            indexes,
            client: Client::default().with_progress(progress::observe),
            pip: true,
        }
    }

    /// A registry at `index`, with no pip to fall back on.
    #[must_use]
    pub fn at(index: &str, client: Client) -> Self {
        Self {
            indexes: vec![index.to_string()],
            client,
            pip: false,
        }
    }

    /// Brings `wheel` into `folder` and gives its path.
    ///
    /// # Errors
    /// [`hub::Error::Content`] where the hash differs, [`Error::Wheel`] where neither way works,
    /// and the direct way's error where there is no pip to try.
    pub fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
        let target = folder.join(wheel.file);
        let direct = match self.fetch_directly(wheel, &target) {
            Ok(()) => return Ok(target),
            // Wrong content and a full disk are not pip's to mend.
            Err(e @ Error::Hub(hub::Error::Content { .. } | hub::Error::Io { .. })) => {
                return Err(e);
            }
            Err(e) => e,
        };
        if !self.pip {
            return Err(direct);
        }
        eprintln!("{direct}; trying pip");
        match pip_download(wheel, folder, &target) {
            Ok(()) => Ok(target),
            Err(e @ Error::Hub(hub::Error::Content { .. })) => Err(e),
            Err(pip) => Err(Error::Wheel {
                file: wheel.file.into(),
                direct: direct.to_string(),
                pip: pip.to_string(),
            }),
        }
    }

    fn fetch_directly(&self, wheel: &Wheel, target: &Path) -> Result<()> {
        let mut last = None;
        for index in &self.indexes {
            match self.offer(index, wheel) {
                Ok(url) => {
                    let authorization = basic(index).filter(|_| same_host(index, &url));
                    let wanted = Wanted {
                        url: &url,
                        promise: Promise::Sha256(wheel.sha256.into()),
                        bytes: Some(wheel.bytes),
                        authorization: authorization.as_deref(),
                        label: &format!("{} {}", wheel.package, wheel.version),
                    };
                    self.client.file(&wanted, target)?;
                    return Ok(());
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| Error::NotOffered {
            index: "pip's configuration (no index)".into(),
            file: wheel.file.into(),
        }))
    }

    /// Where `index` offers the wheel.
    fn offer(&self, index: &str, wheel: &Wheel) -> Result<String> {
        let page = format!(
            "{}/{}/",
            without_user(index).trim_end_matches('/'),
            wheel.package
        );
        let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
        let answer = self.client.text(&page, accept, basic(index).as_deref())?;
        let offers = if answer.body.trim_start().starts_with('{') {
            from_json(&answer.body, &page)?
        } else {
            from_html(&answer.body)
        };
        let offer = offers
            .into_iter()
            .find(|offer| offer.file == wheel.file)
            .ok_or_else(|| Error::NotOffered {
                index: page.clone(),
                file: wheel.file.into(),
            })?;
        if let Some(sha256) = offer.sha256.filter(|sha256| sha256 != wheel.sha256) {
            return Err(hub::Error::Content {
                what: format!("{} at {page}", wheel.file),
                expected: format!("sha256 {}", wheel.sha256),
                got: sha256,
            }
            .into());
        }
        Ok(absolute(&offer.url, &answer.url))
    }
}

/// A file that an index page names.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    file: String,
    url: String,
    sha256: Option<String>,
}

/// The JSON form of an index page (PEP 691).
fn from_json(body: &str, page: &str) -> Result<Vec<Offer>> {
    #[derive(serde::Deserialize)]
    struct Page {
        files: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
    }
    let parsed: Page = serde_json::from_str(body).map_err(|e| Error::Parse {
        what: page.into(),
        reason: e.to_string(),
    })?;
    Ok(parsed
        .files
        .into_iter()
        .map(|mut item| Offer {
            file: item.filename,
            url: item.url,
            sha256: item.hashes.remove("sha256"),
        })
        .collect())
}

/// The HTML form of an index page (PEP 503): one anchor a file.
fn from_html(body: &str) -> Vec<Offer> {
    let mut offers = Vec::new();
    for anchor in body.split("<a ").skip(1) {
        let tag = anchor.split('>').next().unwrap_or_default();
        let Some(rest) = tag.split("href=").nth(1) else {
            continue;
        };
        let quote = if rest.starts_with('\'') { '\'' } else { '"' };
        let Some(href) = rest.trim_start_matches(quote).split(quote).next() else {
            continue;
        };
        let href = href.replace("&amp;", "&");
        let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
        let file = url
            .split('?')
            .next()
            .unwrap_or(url)
            .rsplit('/')
            .next()
            .unwrap_or_default();
        offers.push(Offer {
            file: file.replace("%2B", "+").replace("%2b", "+"),
            url: url.to_string(),
            sha256: fragment
                .strip_prefix("sha256=")
                .map(|hash| hash.to_ascii_lowercase()),
        });
    }
    offers
}

/// `link` as seen from the page at `base`.
fn absolute(link: &str, base: &str) -> String {
    if link.contains("://") {
        return link.to_string();
    }
    let Some((scheme, rest)) = base.split_once("://") else {
        return link.to_string();
    };
    if let Some(rest) = link.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if link.starts_with('/') {
        return format!("{scheme}://{host}{link}");
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{scheme}://{host}/{}", parts.join("/"))
}

/// The indexes pip would ask, the first one first.
fn indexes(
    var: impl Fn(&str) -> Option<OsString>,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<String> {
    let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
    let mut files: Vec<PathBuf> = Vec::new();
    // The later a file stands here, the more it counts.
    files.push("/etc/pip.conf".into());
    if let Some(home) = text("HOME") {
        files.push(Path::new(&home).join(".pip/pip.conf"));
        if cfg!(target_os = "macos") {
            files.push(Path::new(&home).join("Library/Application Support/pip/pip.conf"));
        }
        let config = text("XDG_CONFIG_HOME").map_or(Path::new(&home).join(".config"), Into::into);
        files.push(config.join("pip/pip.conf"));
    }
    if let Some(environment) = text("VIRTUAL_ENV") {
        files.push(Path::new(&environment).join("pip.conf"));
    }
    if let Some(named) = text("PIP_CONFIG_FILE") {
        files.push(named.into());
    }
    let mut main = None;
    let mut extra = None;
    for content in files.iter().filter_map(|path| read(path)) {
        main = option(&content, "index-url").or(main);
        extra = option(&content, "extra-index-url").or(extra);
    }
    let main = text("PIP_INDEX_URL")
        .or(main)
        .unwrap_or_else(|| PUBLIC.into());
    let extra = text("PIP_EXTRA_INDEX_URL").or(extra).unwrap_or_default();
    std::iter::once(main.trim().to_string())
        .chain(extra.split_whitespace().map(str::to_string))
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .collect()
}

/// An option of pip's INI files, in the sections that speak of downloading.
fn option(content: &str, name: &str) -> Option<String> {
    let mut counts = false;
    let mut value: Option<String> = None;
    let mut continued = false;
    for line in content.lines() {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            counts = ["global", "install", "download"].contains(&section.trim());
            continued = false;
        } else if line.starts_with([' ', '\t']) && continued {
            if let Some(value) = &mut value {
                value.push(' ');
                value.push_str(text);
            }
        } else if let Some((key, text)) = text.split_once('=') {
            continued = counts && key.trim().replace('_', "-") == name;
            if continued {
                value = Some(text.trim().to_string());
            }
        }
    }
    value.filter(|value| !value.is_empty())
}

/// The `Authorization` for a user and password in an index's address.
fn basic(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let user = if user.contains(':') {
        user.to_string()
    } else {
        format!("{user}:")
    };
    Some(format!("Basic {}", base64(&percent_decoded(&user))))
}

fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

fn same_host(one: &str, other: &str) -> bool {
    let host = |url: &str| {
        let url = without_user(url);
        url.split('/').nth(2).map(str::to_ascii_lowercase)
    };
    host(one) == host(other)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
            } else {
                let digit = (word >> (18 - 6 * place)) & 63;
                text.push(
                    DIGITS
                        .get(digit as usize)
                        .map_or('=', |digit| char::from(*digit)),
                );
            }
        }
    }
    text
}

/// Lets pip fetch the wheel: it may know a way that we do not.
fn pip_download(wheel: &Wheel, folder: &Path, target: &Path) -> Result<()> {
    make_folder(folder)?;
    let into = tempfile::Builder::new()
        .prefix(".pip-")
        .tempdir_in(folder)
        .map_err(Error::io("create in", folder))?;
    let program = python();
    let mut command = Command::new(&program);
    command
        .args(pip_arguments(wheel))
        .arg("--dest")
        .arg(into.path())
        .stdin(Stdio::null())
        // Its talk belongs on stderr, as ours.
        .stdout(Stdio::from(std::io::stderr()));
    let failed = |reason: String| Error::Program {
        program: format!("{program} -m pip"),
        reason,
    };
    let status = command.status().map_err(|e| failed(e.to_string()))?;
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    let came = into.path().join(wheel.file);
    let sha256 = sha256_of(&came)?;
    if sha256 != wheel.sha256 {
        return Err(hub::Error::Content {
            what: format!("{} through pip", wheel.file),
            expected: format!("sha256 {}", wheel.sha256),
            got: sha256,
        }
        .into());
    }
    fs::rename(&came, target).map_err(Error::io("rename to", target))
}

/// What makes pip choose exactly the pinned file, whatever Python it runs on.
fn pip_arguments(wheel: &Wheel) -> Vec<String> {
    let mut arguments: Vec<String> = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        .map(String::from)
        .into();
    let stem = wheel.file.trim_end_matches(".whl");
    let tags: Vec<&str> = stem.rsplitn(4, '-').collect();
    if let [platforms, abi, python, _] = tags[..]
        && platforms != "any"
    {
        for platform in platforms.split('.') {
            arguments.extend(["--platform".into(), platform.into()]);
        }
        if let Some(version) = python.strip_prefix("cp") {
            arguments.extend(["--implementation".into(), "cp".into()]);
            arguments.extend(["--python-version".into(), version.into()]);
            arguments.extend(["--abi".into(), abi.into()]);
        }
    }
    arguments.push(format!("{}=={}", wheel.package, wheel.version));
    arguments
}

/// The Python that is active, as `torch-sys` finds it too.
#[must_use]
pub fn python() -> String {
    if std::env::var_os("VIRTUAL_ENV").is_some() {
        "python"
    } else {
        "python3"
    }
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const HASH: &str = "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7";

    #[test]
    fn both_forms_of_an_index_page_say_the_same() {
        let html = format!(
            "<html><a href=\"../../p/a-1.whl\">x</a><br/>\n<a data-x='1' \
             href=\"https://h/p/b-1%2Bcpu.whl?a=1&amp;b=2#sha256={HASH}\" data-y=\"&gt;=3\">b</a>"
        );
        let offers = from_html(&html);
        let json = format!(
            r#"{{"meta":{{}},"files":[{{"filename":"a-1.whl","url":"../../p/a-1.whl","hashes":{{}}}},
            {{"filename":"b-1+cpu.whl","url":"https://h/p/b-1%2Bcpu.whl?a=1&b=2",
              "hashes":{{"sha256":"{HASH}"}}}}]}}"#
        );
        assert_eq!(offers, from_json(&json, "page").unwrap());
        assert_eq!(offers[1].sha256.as_deref(), Some(HASH));
    }

    #[test]
    fn links_are_relative_to_the_page() {
        let base = "https://host:8/simple/torch/?x=1";
        for (link, url) in [
            ("https://o/f.whl", "https://o/f.whl"),
            ("//o/f.whl", "https://o/f.whl"),
            ("/f.whl", "https://host:8/f.whl"),
            ("f.whl", "https://host:8/simple/torch/f.whl"),
            ("../../p/f.whl", "https://host:8/p/f.whl"),
        ] {
            assert_eq!(absolute(link, base), url);
        }
    }

    #[test]
    fn the_index_is_the_one_pip_would_ask() {
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/h"));
        assert_eq!(indexes(home, |_| None), [PUBLIC]);
        let conf = "[install]\n# a comment\nindex-url = https://mirror/simple\n[global]\n\
                    extra-index-url =\n  https://one/simple\n  https://two/simple\n[list]\nindex-url=https://no";
        let read =
            |path: &Path| (path == Path::new("/h/.config/pip/pip.conf")).then(|| conf.into());
        assert_eq!(
            indexes(home, read),
            [
                "https://mirror/simple",
                "https://one/simple",
                "https://two/simple"
            ]
        );
        let with_variable = |name: &str| match name {
            "PIP_INDEX_URL" => Some("https://variable/simple".into()),
            name => home(name),
        };
        assert_eq!(indexes(with_variable, read)[0], "https://variable/simple");
    }

    #[test]
    fn credentials_go_into_a_header_and_to_the_index_only() {
        let url = "https://user:pa%40ss@host/simple";
        assert_eq!(basic(url).unwrap(), "Basic dXNlcjpwYUBzcw==");
        assert_eq!(without_user(url), "https://host/simple");
        assert_eq!(basic("https://host/simple/a@b"), None);
        assert!(same_host(url, "https://HOST/files/f"));
        assert!(!same_host(url, "https://other/f"));
        assert_eq!(base64(b"martin:secret"), "bWFydGluOnNlY3JldA==");
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"ab"), "YWI=");
    }

    #[test]
    fn pip_is_told_the_platform_of_the_pin() {
        let wheel = Wheel {
            package: "torch",
            version: "2.13.0",
            file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            sha256: HASH,
            bytes: 1,
        };
        let line = pip_arguments(&wheel).join(" ");
        assert!(
            line.ends_with(
                "--platform manylinux_2_28_x86_64 --implementation cp \
                 --python-version 311 --abi cp311 torch==2.13.0"
            ),
            "{line}"
        );
        let any = Wheel {
            file: "open_clip_torch-3.3.0-py3-none-any.whl",
            ..wheel
        };
        assert!(!pip_arguments(&any).contains(&"--platform".to_string()));
    }
}
