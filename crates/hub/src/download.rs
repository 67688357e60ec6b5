//! Fetching a file: resumed, verified, and never left partial.
//!
//! Bytes go to `<target>.incomplete`, which a later attempt (in this run or the next)
//! continues with a range request. Only content with the expected hash is renamed to the
//! target, so a file at the target can be trusted.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;
use ureq::Body;
use ureq::http::{Response, header};

use crate::cache::{lock_file, make_folder, sync_folder};
use crate::client::{Attempt, Client, call, status_error};
use crate::hash::{Hashing, git_blob, sha256_of};
use crate::progress::{Event, Observer, bytes};
use crate::{Error, Result};

/// The expected hash of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A SHA-256 in lower-case hex.
    Sha256(String),
    /// A git blob's SHA-1 in lower-case hex, as hubs provide for small files.
    GitBlob(String),
    /// None, only the connection's own protection; the SHA-256 is reported.
    Nothing,
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Its URL.
    pub url: &'a str,
    /// The expected hash of its content.
    pub promise: Promise,
    /// Its size if known; a longer or shorter response is rejected.
    pub bytes: Option<u64>,
    /// `Authorization`, if the server needs one. It is not sent to the target of a redirect.
    pub authorization: Option<&'a str>,
    /// Its name in progress reports.
    pub label: &'a str,
}

impl Client {
    /// Fetches `wanted` to `target`, continuing an interrupted run, and gives the SHA-256 of its
    /// content.
    ///
    /// If two processes want the same target, the second waits and finds it complete.
    ///
    /// # Errors
    /// [`Error::Content`] if the size or hash is not the expected one (nothing of it is kept),
    /// [`Error::Unreachable`] and [`Error::Status`] from the server, [`Error::Io`] from the disk.
    pub fn file(&self, wanted: &Wanted<'_>, target: &Path) -> Result<String> {
        let folder = target.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut observe = self.observer(wanted.label);
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(".incomplete");
        let part = target.with_file_name(name);
        let mut partial = Partial::open(&part, &mut observe)?;
        if let Some(sha256) = present(wanted, target)? {
            let _ = fs::remove_file(&part);
            observe(Event::Note("already downloaded"));
            return Ok(sha256);
        }
        let mut resumed = partial.length > 0;
        observe(Event::Start {
            total: wanted.bytes,
            here: partial.length,
        });
        loop {
            self.retry(wanted.url, |failures| {
                let before = partial.length;
                let attempt = self.transfer(wanted, &mut partial, &mut observe)?;
                if let Err(reason) = &attempt {
                    if partial.length > before {
                        *failures = 0;
                    }
                    let next = match partial.length {
                        0 => "retrying".to_owned(),
                        length => format!("resuming at {}", bytes(length)),
                    };
                    observe(Event::Note(&format!("{reason}; {next}")));
                }
                Ok(attempt)
            })?;
            let sha256 = partial.digest();
            let Some((expected, got)) = wanted.promise.broken_by(&sha256, &part)? else {
                partial.file.sync_all().map_err(Error::io("sync", &part))?;
                fs::rename(&part, target).map_err(Error::io("rename to", target))?;
                sync_folder(folder);
                observe(Event::Done);
                return Ok(sha256);
            };
            partial.restart()?;
            observe(Event::At(0));
            // The part left by an earlier run may be wrong: retry once from the start.
            if !std::mem::take(&mut resumed) {
                let _ = fs::remove_file(&part);
                return Err(Error::Content {
                    what: wanted.url.into(),
                    expected,
                    got,
                });
            }
        }
    }

    /// One request; whatever arrives is appended to `partial`.
    fn transfer(
        &self,
        wanted: &Wanted<'_>,
        partial: &mut Partial,
        observe: &mut Observer,
    ) -> Result<Attempt<()>> {
        let url = wanted.url;
        let offset = partial.length;
        let mut request = self.agent(url).get(url);
        if offset > 0 {
            if wanted.bytes == Some(offset) {
                return Ok(Ok(()));
            }
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let mut response = match call(request, url, wanted.authorization)? {
            Ok(response) => response,
            Err(reason) => return Ok(Err(reason)),
        };
        match response.status().as_u16() {
            206 if offset > 0 && range_start(&response) == Some(offset) => {}
            200 => partial.restart()?,
            // The range lies beyond the file, or is not the one asked for: what is here
            // is not the beginning of it.
            206 | 416 if offset > 0 => {
                partial.restart()?;
                observe(Event::At(0));
                return Ok(Err("the server cannot resume".into()));
            }
            _ => return Err(status_error(url, &response)),
        }
        observe(Event::At(partial.length));
        let length = text_of(&response, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let end = length.map(|length: u64| partial.length + length);
        if let (Some(expected), Some(got)) = (wanted.bytes, end)
            && expected != got
        {
            partial.restart()?;
            return Err(Error::Content {
                what: url.into(),
                expected: format!("{expected} bytes"),
                got: format!("{got} bytes{}", kind_of(&response)),
            });
        }
        let expected = wanted.bytes.or(end);
        let limit = expected.unwrap_or(u64::MAX);
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    partial.append(buffer.get(..count).unwrap_or_default())?;
                    observe(Event::At(partial.length));
                    if partial.length > limit {
                        partial.restart()?;
                        return Err(Error::Content {
                            what: url.into(),
                            expected: format!("{limit} bytes"),
                            got: "more".into(),
                        });
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Ok(Err(e.to_string())),
            }
        }
        Ok(match expected {
            Some(expected) if expected != partial.length => Err("the connection was cut".into()),
            _ => Ok(()),
        })
    }
}

/// The bytes received so far, and their running hash.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    sha256: sha2::Sha256,
}

impl Partial {
    /// Opens and locks the partial file, and hashes the bytes left by an earlier run.
    fn open(path: &Path, observe: &mut Observer) -> Result<Self> {
        let mut file = loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .map_err(Error::io("open", path))?;
            lock_file(&file, path, observe)?;
            // Whoever held the lock before may have renamed the file we opened to its
            // target: then that name is no longer ours to write to.
            if same_file(&file, path) {
                break file;
            }
        };
        let mut sha256 = Hashing(sha2::Sha256::new());
        let length = io::copy(&mut file, &mut sha256).map_err(Error::io("read", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
            sha256: sha256.0,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.path))?;
        self.sha256.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io("truncate", &self.path))?;
        self.length = 0;
        self.sha256 = sha2::Sha256::new();
        Ok(())
    }

    fn digest(&self) -> String {
        disk::hex(self.sha256.clone().finalize())
    }
}

impl Promise {
    /// The expected and the actual hash of the file at `path`, if they differ.
    fn broken_by(&self, sha256: &str, path: &Path) -> Result<Option<(String, String)>> {
        let (name, expected, got) = match self {
            Self::Nothing => return Ok(None),
            Self::Sha256(expected) => ("sha256", expected, sha256.to_owned()),
            Self::GitBlob(expected) => ("git blob", expected, git_blob(path)?),
        };
        Ok((*expected != got).then(|| (format!("{name} {expected}"), got)))
    }
}

/// The SHA-256 of the file at the target, if it is the expected one.
fn present(wanted: &Wanted<'_>, target: &Path) -> Result<Option<String>> {
    let same_size = |file: &fs::Metadata| wanted.bytes.is_none_or(|bytes| bytes == file.len());
    let there = fs::metadata(target).is_ok_and(|file| file.is_file() && same_size(&file));
    if !there || wanted.promise == Promise::Nothing {
        return Ok(None);
    }
    let sha256 = sha256_of(target)?;
    let broken = wanted.promise.broken_by(&sha256, target)?;
    Ok(broken.is_none().then_some(sha256))
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

fn text_of(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = text_of(response, header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split('-').next()?.parse().ok()
}

/// HTML in place of a file indicates a portal or an error page.
fn kind_of(response: &Response<Body>) -> &'static str {
    match text_of(response, header::CONTENT_TYPE) {
        Some(kind) if kind.starts_with("text/html") => " of HTML (a portal or an error page?)",
        _ => "",
    }
}
