//! Wheels from the Python package index that pip is configured for: `PIP_INDEX_URL`, pip's
//! configuration files, or the public index.
//!
//! Files are pinned by name and hash, so the index is trusted with delivery only. If the index
//! cannot be reached directly, pip downloads the file, because it may have a proxy or credentials
//! of its own, and the hash is verified again.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hub::{Client, Promise, Wanted, sha256_of};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::places::make_folder;
use crate::workspace::output;
use crate::{Error, Result, progress};

/// The default index of pip.
const PUBLIC: &str = "https://pypi.org/simple";

/// A wheel pinned by its content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The file name: package, version and tags.
    pub file: String,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// The size of the file.
    pub bytes: u64,
}

impl Wheel {
    /// The package, in the normalised spelling of an index.
    pub(crate) fn package(&self) -> String {
        let package = self.file.split('-').next().unwrap_or_default();
        package.replace('_', "-")
    }

    pub(crate) fn version(&self) -> &str {
        self.file.split('-').nth(1).unwrap_or_default()
    }
}

/// Package indexes to fetch wheels from.
#[derive(Debug)]
pub struct Registry {
    indexes: Vec<String>,
    client: Client,
    pip: bool,
}

impl Registry {
    /// The indexes that pip is configured for.
    pub(crate) fn of_user() -> Self {
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

    /// A single index, without pip as a fallback.
    #[must_use]
    pub fn at(index: &str, client: Client) -> Self {
        Self {
            indexes: vec![index.to_string()],
            client,
            pip: false,
        }
    }

    /// Fetches `wheel` into `folder` and returns its path.
    ///
    /// # Errors
    /// [`hub::Error::Content`] for a different hash; otherwise the error of the direct download
    /// and, if tried, of pip.
    pub fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
        let target = folder.join(&wheel.file);
        let direct = match self.fetch_directly(wheel, &target) {
            Ok(()) => return Ok(target),
            // pip would not help with wrong content or a full disk.
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
            Err(pip) => Err(Error::invalid(
                format!("cannot fetch {}", wheel.file),
                format!("{direct}; {pip}"),
            )),
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
                        promise: Promise::Sha256(wheel.sha256.clone()),
                        bytes: Some(wheel.bytes),
                        authorization: authorization.as_deref(),
                        label: &format!("{} {}", wheel.package(), wheel.version()),
                    };
                    self.client.file(&wanted, target)?;
                    return Ok(());
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::invalid("pip's configuration", "no index with an http or https URL")
        }))
    }

    /// The URL of the wheel in `index`.
    fn offer(&self, index: &str, wheel: &Wheel) -> Result<String> {
        let base = without_user(index);
        let page = format!("{}/{}/", base.trim_end_matches('/'), wheel.package());
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
            .ok_or_else(|| Error::invalid(&page, format!("does not list {}", wheel.file)))?;
        if let Some(sha256) = offer.sha256 {
            check_hash(&format!("{} at {page}", wheel.file), &wheel.sha256, sha256)?;
        }
        Ok(absolute(&offer.url, &answer.url))
    }
}

/// A file on an index page.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    file: String,
    url: String,
    sha256: Option<String>,
}

/// Parses an index page in JSON (PEP 691).
fn from_json(body: &str, page: &str) -> Result<Vec<Offer>> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
    }
    let parsed: Page = serde_json::from_str(body).map_err(|e| Error::invalid(page, e))?;
    let offers = parsed.files.into_iter().map(|mut item| Offer {
        file: item.filename,
        url: item.url,
        sha256: item.hashes.remove("sha256"),
    });
    Ok(offers.collect())
}

/// Parses an index page in HTML (PEP 503): one anchor per file.
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
        let path = url.split('?').next().unwrap_or(url);
        let file = path.rsplit('/').next().unwrap_or(path);
        offers.push(Offer {
            file: percent_decode_str(file).decode_utf8_lossy().into_owned(),
            url: url.to_string(),
            sha256: fragment
                .strip_prefix("sha256=")
                .map(|hash| hash.to_ascii_lowercase()),
        });
    }
    offers
}

/// Resolves `link` on the page at `base`.
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

/// The indexes of pip, in its order.
fn indexes(
    var: impl Fn(&str) -> Option<OsString>,
    read: impl Fn(&Path) -> Option<String>,
) -> Vec<String> {
    let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
    // Later files override earlier ones.
    let mut files: Vec<PathBuf> = vec!["/etc/pip.conf".into()];
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

/// The value of an option in the sections of a pip configuration file that affect downloads.
fn option(content: &str, name: &str) -> Option<String> {
    let mut applies = false;
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
            applies = ["global", "install", "download"].contains(&section.trim());
            continued = false;
        } else if line.starts_with([' ', '\t']) && continued {
            if let Some(value) = &mut value {
                value.push(' ');
                value.push_str(text);
            }
        } else if let Some((key, text)) = text.split_once('=') {
            continued = applies && key.trim().replace('_', "-") == name;
            if continued {
                value = Some(text.trim().to_string());
            }
        }
    }
    value.filter(|value| !value.is_empty())
}

/// The `Authorization` header for the user and password in a URL.
fn basic(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let decoded: Vec<u8> = percent_decode_str(&format!("{user}:{password}")).collect();
    Some(format!("Basic {}", BASE64_STANDARD.encode(decoded)))
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

/// # Errors
/// [`hub::Error::Content`] if the hash of `what` is not the expected one.
pub(crate) fn check_hash(what: &str, expected: &str, got: String) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Hub(hub::Error::Content {
        what: what.into(),
        expected: format!("sha256 {expected}"),
        got,
    }))
}

fn pip_download(wheel: &Wheel, folder: &Path, target: &Path) -> Result<()> {
    make_folder(folder)?;
    let into = tempfile::Builder::new()
        .prefix(".pip-")
        .tempdir_in(folder)
        .map_err(Error::io("cannot create a folder in", folder))?;
    let mut pip = Command::new(python());
    pip.args(pip_arguments(wheel))
        .arg("--dest")
        .arg(into.path());
    pip.stdout(std::io::stderr()).stderr(Stdio::inherit());
    output(&mut pip)?;
    let file = into.path().join(&wheel.file);
    let what = format!("{} from pip", wheel.file);
    check_hash(&what, &wheel.sha256, sha256_of(&file)?)?;
    fs::rename(&file, target).map_err(Error::io("cannot rename to", target))
}

/// Arguments that make pip choose the pinned file on any version of Python.
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
    arguments.push(format!("{}=={}", wheel.package(), wheel.version()));
    arguments
}

/// The active Python, found in the same way as by `torch-sys`.
pub(crate) fn python() -> &'static str {
    match std::env::var_os("VIRTUAL_ENV") {
        Some(_) => "python",
        None => "python3",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HASH: &str = "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7";

    #[test]
    fn both_formats_of_an_index_page_are_read() {
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
    fn the_index_is_that_of_pip() {
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
    fn credentials_are_sent_in_a_header_to_the_index_only() {
        let url = "https://user:pa%40ss@host/simple";
        assert_eq!(basic(url).unwrap(), "Basic dXNlcjpwYUBzcw==");
        assert_eq!(without_user(url), "https://host/simple");
        assert_eq!(basic("https://host/simple/a@b"), None);
        assert!(same_host(url, "https://HOST/files/f"));
        assert!(!same_host(url, "https://other/f"));
        assert_eq!(basic("https://me@host/simple").unwrap(), "Basic bWU6");
    }

    #[test]
    fn pip_downloads_for_the_platform_of_the_pin() {
        let wheel = Wheel {
            file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl".into(),
            sha256: HASH.into(),
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
            file: "open_clip_torch-3.3.0-py3-none-any.whl".into(),
            ..wheel
        };
        assert!(!pip_arguments(&any).contains(&"--platform".to_string()));
    }
}
