//! One way to fetch a file: resumable, verified, and never half there.
//!
//! Bytes go to `<target>.incomplete`, which a later attempt (in this run or the next)
//! continues with a range request. Only content of the promised hash is renamed to the
//! target, so whatever lies there may be trusted.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::Digest as _;
use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::places::{lock_file, make_folder, sync_folder};
use crate::progress::{Meter, bytes};
use crate::{Error, Result};

/// The longest text answer that is read: an index page of a large project is under 1 MB.
const TEXT_LIMIT: u64 = 64 << 20;

/// What is promised of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A SHA-256 in lower-case hex.
    Sha256(String),
    /// A git blob's SHA-1 in lower-case hex, as hubs give for small files.
    GitBlob(String),
    /// Nothing but the connection's own protection; the SHA-256 is reported.
    Nothing,
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Where it is offered.
    pub url: &'a str,
    /// What is promised of its content.
    pub promise: Promise,
    /// Its size where known; a longer or shorter answer is refused.
    pub bytes: Option<u64>,
    /// `Authorization`, where the server wants one. It is not sent to another host.
    pub authorization: Option<&'a str>,
    /// What progress calls it.
    pub label: &'a str,
}

/// A file that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The SHA-256 of its content.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// How many bytes an earlier run had left.
    pub resumed: u64,
}

/// How long to keep trying.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts in a row that bring no byte before giving up.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each.
    pub pause: Duration,
    /// The longest silence within an answer.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
        }
    }
}

/// An HTTP client that honours the user's proxy and certificate variables.
#[derive(Debug)]
pub struct Client {
    through_proxy: Agent,
    direct: Agent,
    patience: Patience,
}

/// A text answer.
#[derive(Debug)]
pub struct Text {
    /// The body.
    pub body: String,
    /// The address that answered, after redirects: what relative links refer to.
    pub url: String,
}

/// The headers of an answer, its redirects not followed.
#[derive(Debug)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    headers: ureq::http::HeaderMap,
}

impl Head {
    /// A header's value as text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Patience::default())
    }
}

impl Client {
    /// A client that tries for as long as `patience` says.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        let agent = |proxied: bool| {
            let mut config = Agent::config_builder()
                .http_status_as_error(false)
                .user_agent(concat!("seeing-in-flowing/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(Duration::from_secs(15)))
                .timeout_per_read(Some(patience.silence))
                .timeout_recv_response(Some(Duration::from_secs(60)))
                .tls_config(TlsConfig::builder().root_certs(trusted()).build());
            if !proxied {
                config = config.proxy(None);
            }
            Agent::new_with_config(config.build())
        };
        Self {
            through_proxy: agent(true),
            direct: agent(false),
            patience,
        }
    }

    /// The agent for `url`: a proxy has no business with this machine's own servers.
    fn agent(&self, url: &str) -> &Agent {
        let host = host_of(url);
        if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
            &self.direct
        } else {
            &self.through_proxy
        }
    }

    /// The text at `url`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Status`] with the address.
    pub fn text(&self, url: &str, accept: &str, authorization: Option<&str>) -> Result<Text> {
        let mut failures = Failures::new(self.patience);
        loop {
            let outcome = self.get(url, authorization, &[(header::ACCEPT, accept)]);
            let reason = match outcome {
                Ok(mut response) => {
                    let status = response.status().as_u16();
                    if status == 200 {
                        let at = ureq::ResponseExt::get_uri(&response).to_string();
                        match response
                            .body_mut()
                            .with_config()
                            .limit(TEXT_LIMIT)
                            .read_to_string()
                        {
                            Ok(body) => return Ok(Text { body, url: at }),
                            Err(e) => e.to_string(),
                        }
                    } else if is_passing(status) {
                        format!("status {status}")
                    } else {
                        return Err(status_error(url, status));
                    }
                }
                Err(e) if is_final(&e) => return Err(unreachable(url, &e.to_string())),
                Err(e) => e.to_string(),
            };
            failures.add(url, &reason)?;
        }
    }

    /// The headers at `url`, with no redirect followed.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where nobody answers.
    pub fn head(&self, url: &str, authorization: Option<&str>) -> Result<Head> {
        let mut failures = Failures::new(self.patience);
        loop {
            let mut request = self
                .agent(url)
                .head(url)
                .config()
                .max_redirects(0)
                .max_redirects_will_error(false)
                .build()
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let reason = match request.call() {
                Ok(response) if is_passing(response.status().as_u16()) => {
                    format!("status {}", response.status().as_u16())
                }
                Ok(response) => {
                    return Ok(Head {
                        status: response.status().as_u16(),
                        headers: response.headers().clone(),
                    });
                }
                Err(e) if is_final(&e) => return Err(unreachable(url, &e.to_string())),
                Err(e) => e.to_string(),
            };
            failures.add(url, &reason)?;
        }
    }

    /// Fetches `wanted` to `target`, continuing what an interrupted run has left.
    ///
    /// Two processes may want the same target: the second waits and finds it done.
    ///
    /// # Errors
    /// [`Error::Content`] where what came breaks the promise (nothing of it is kept),
    /// [`Error::Unreachable`] and [`Error::Status`] from the server, [`Error::Io`] from the disk.
    pub fn file(&self, wanted: &Wanted<'_>, target: &Path) -> Result<Fetched> {
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        let part = incomplete(target);
        let mut partial = Partial::open(&part)?;
        if let Some(fetched) = present(wanted, target)? {
            let _ = fs::remove_file(&part);
            return Ok(fetched);
        }
        let left = partial.length;
        let mut resumed = left;
        let mut meter = Meter::start(wanted.label, wanted.bytes, left);
        let mut failures = Failures::new(self.patience);
        loop {
            let before = partial.length;
            match self.transfer(wanted, &mut partial, &mut meter)? {
                Transfer::Done => {}
                Transfer::Broken(reason) => {
                    if partial.length > before {
                        failures.forget();
                    }
                    failures.add(wanted.url, &reason)?;
                    let next = match partial.length {
                        0 => "trying again".to_string(),
                        length => format!("going on at {}", bytes(length)),
                    };
                    meter.note(&format!("{}: {reason}; {next}", wanted.label));
                    continue;
                }
            }
            let sha256 = partial.digest();
            if let Some((expected, got)) = wanted.promise.broken_by(&sha256, &part) {
                partial.restart()?;
                meter.set(0);
                if resumed > 0 {
                    // What an earlier run left may be at fault: once more, from nothing.
                    resumed = 0;
                    continue;
                }
                let _ = fs::remove_file(&part);
                return Err(Error::Content {
                    what: wanted.url.into(),
                    expected,
                    got,
                });
            }
            partial.file.sync_all().map_err(Error::io("sync", &part))?;
            fs::rename(&part, target).map_err(Error::io("rename to", target))?;
            if let Some(folder) = target.parent() {
                sync_folder(folder);
            }
            meter.finish();
            return Ok(Fetched {
                sha256,
                bytes: partial.length,
                resumed: left,
            });
        }
    }

    /// One request, appended to `partial` as far as it comes.
    fn transfer(
        &self,
        wanted: &Wanted<'_>,
        partial: &mut Partial,
        meter: &mut Meter,
    ) -> Result<Transfer> {
        let url = wanted.url;
        let offset = partial.length;
        if offset > 0 && wanted.bytes == Some(offset) {
            return Ok(Transfer::Done);
        }
        let range = format!("bytes={offset}-");
        let ranged: &[(header::HeaderName, &str)] = if offset > 0 {
            &[(header::RANGE, &range)]
        } else {
            &[]
        };
        let mut response = match self.get(url, wanted.authorization, ranged) {
            Ok(response) => response,
            Err(e) if is_final(&e) => return Err(unreachable(url, &e.to_string())),
            Err(e) => return Ok(Transfer::Broken(e.to_string())),
        };
        match response.status().as_u16() {
            206 if offset > 0 && range_start(&response) == Some(offset) => {}
            200 => partial.restart()?,
            // The range lies beyond the file, or is not the one asked for: what is here
            // is not the beginning of it.
            206 | 416 if offset > 0 => {
                partial.restart()?;
                meter.set(0);
                return Ok(Transfer::Broken("the server cannot continue".into()));
            }
            status if is_passing(status) => {
                return Ok(Transfer::Broken(format!("status {status}")));
            }
            status => return Err(status_error(url, status)),
        }
        meter.set(partial.length);
        let length = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let end = length.map(|length| partial.length + length);
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
        let limit = wanted.bytes.or(end).unwrap_or(u64::MAX);
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    partial.append(buffer.get(..count).unwrap_or_default())?;
                    meter.advance(count as u64);
                    if partial.length > limit {
                        partial.restart()?;
                        return Err(Error::Content {
                            what: url.into(),
                            expected: format!("{limit} bytes"),
                            got: "more".into(),
                        });
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Ok(Transfer::Broken(e.to_string())),
            }
        }
        let whole = wanted
            .bytes
            .or(end)
            .is_none_or(|expected| expected == partial.length);
        Ok(if whole {
            Transfer::Done
        } else {
            Transfer::Broken("the connection was cut".into())
        })
    }

    fn get(
        &self,
        url: &str,
        authorization: Option<&str>,
        headers: &[(header::HeaderName, &str)],
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let mut request = self
            .agent(url)
            .get(url)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.call()
    }
}

enum Transfer {
    Done,
    Broken(String),
}

/// The bytes that have come so far, and their running hash.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    sha256: sha2::Sha256,
}

impl Partial {
    /// Opens and locks the partial file, and hashes what an earlier run has left in it.
    fn open(path: &Path) -> Result<Self> {
        let mut file = loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .map_err(Error::io("open", path))?;
            lock_file(&file, path)?;
            // Whoever held the lock before may have renamed the file we opened to its
            // target: then that name is no longer ours to write to.
            if same_file(&file, path) {
                break file;
            }
        };
        let mut sha256 = sha2::Sha256::new();
        let length = std::io::copy(&mut file, &mut HashWriter(&mut sha256))
            .map_err(Error::io("read", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            length,
            sha256,
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
            .map_err(Error::io("truncate", &self.path))?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Error::io("truncate", &self.path))?;
        self.length = 0;
        self.sha256 = sha2::Sha256::new();
        Ok(())
    }

    fn digest(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }
}

impl Promise {
    /// The promised and the actual hash of the file at `path`, where they differ.
    fn broken_by(&self, sha256: &str, path: &Path) -> Option<(String, String)> {
        let (name, expected, got) = match self {
            Self::Nothing => return None,
            Self::Sha256(expected) => ("sha256", expected, sha256.to_string()),
            Self::GitBlob(expected) => (
                "git blob",
                expected,
                git_blob(path).unwrap_or_else(|e| e.to_string()),
            ),
        };
        (*expected != got).then(|| (format!("{name} {expected}"), got))
    }
}

/// What lies at the target already, where it is what is promised.
fn present(wanted: &Wanted<'_>, target: &Path) -> Result<Option<Fetched>> {
    let Ok(metadata) = fs::metadata(target) else {
        return Ok(None);
    };
    if wanted.promise == Promise::Nothing
        || !metadata.is_file()
        || wanted.bytes.is_some_and(|bytes| bytes != metadata.len())
    {
        return Ok(None);
    }
    let sha256 = sha256_of(target)?;
    let broken = wanted.promise.broken_by(&sha256, target);
    Ok(broken.is_none().then_some(Fetched {
        sha256,
        bytes: metadata.len(),
        resumed: 0,
    }))
}

/// The SHA-256 of a file, in hex.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hash = sha2::Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(Error::io("read", path))?;
    Ok(hex(&hash.finalize()))
}

/// The SHA-1 that git gives a file's content, in hex.
fn git_blob(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {length}\0"));
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(Error::io("read", path))?;
    Ok(hex(&hash.finalize()))
}

struct HashWriter<'a, D>(&'a mut D);

impl<D: sha2::Digest> std::io::Write for HashWriter<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Counts failures in a row, and pauses between them.
struct Failures {
    patience: Patience,
    count: u32,
}

impl Failures {
    fn new(patience: Patience) -> Self {
        Self { patience, count: 0 }
    }

    fn forget(&mut self) {
        self.count = 0;
    }

    fn add(&mut self, url: &str, reason: &str) -> Result<()> {
        self.count += 1;
        if self.count >= self.patience.attempts {
            return Err(unreachable(url, reason));
        }
        std::thread::sleep(self.patience.pause * 2u32.saturating_pow(self.count - 1));
        Ok(())
    }
}

fn incomplete(target: &Path) -> PathBuf {
    let mut name: OsString = target.file_name().unwrap_or_default().to_os_string();
    name.push(".incomplete");
    target.with_file_name(name)
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

/// The host of an address, without port and user.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

/// A page of text where a file was wanted is the mark of a portal or an error page.
fn kind_of(response: &Response<Body>) -> &'static str {
    let html = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html"));
    if html {
        " of HTML (a portal or an error page?)"
    } else {
        ""
    }
}

/// Statuses that may pass by themselves.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Failures that trying again does not mend.
fn is_final(error: &ureq::Error) -> bool {
    use ureq::Error as E;
    if let E::Io(e) = error {
        // A name that nobody knows is an error without a kind of its own.
        return e.kind() == std::io::ErrorKind::ConnectionRefused
            || e.to_string().contains("lookup address");
    }
    matches!(
        error,
        E::HostNotFound | E::BadUri(_) | E::Tls(_) | E::Rustls(_) | E::InvalidProxyUrl | E::Http(_)
    )
}

fn unreachable(url: &str, reason: &str) -> Error {
    Error::Unreachable {
        url: url.into(),
        reason: reason.into(),
    }
}

fn status_error(url: &str, status: u16) -> Error {
    let hint = match status {
        401 | 403 => " (no access; a token may be needed)",
        404 | 410 => " (no such file)",
        _ => "",
    };
    Error::Status {
        url: url.into(),
        status,
        hint: hint.into(),
    }
}

/// The certificates to trust: the file that the environment names, the system's bundle,
/// or the built-in roots where there is neither.
fn trusted() -> RootCerts {
    let named = [
        "PIP_CERT",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ]
    .into_iter()
    .filter_map(|name| std::env::var_os(name).map(PathBuf::from));
    let of_system = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]
    .into_iter()
    .map(PathBuf::from);
    for path in named.chain(of_system) {
        let Ok(text) = fs::read(&path) else { continue };
        let certificates: Vec<Certificate<'static>> = parse_pem(&text)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if !certificates.is_empty() {
            return RootCerts::Specific(Arc::new(certificates));
        }
    }
    RootCerts::WebPki
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn hosts() {
        for (url, host) in [
            ("http://127.0.0.1:8080/a", "127.0.0.1"),
            ("https://me:secret@example.org/a@b", "example.org"),
            ("http://[::1]:80/", "[::1]"),
            ("http://localhost", "localhost"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn the_hash_git_gives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "hello\n").unwrap();
        // `printf 'hello\n' | git hash-object --stdin`
        assert_eq!(
            git_blob(&path).unwrap(),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }
}
