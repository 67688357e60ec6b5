//! HTTP requests with retries, through the user's proxy and certificates.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::progress::{Observer, lines};
use crate::{Error, Result};

/// The longest text response read: an index page of a large project is under 1 MB.
const TEXT_LIMIT: u64 = 64 << 20;

/// When to stop retrying.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Consecutive attempts without a byte before giving up.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each.
    pub pause: Duration,
    /// The longest silence within a response.
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
#[derive(Clone)]
pub struct Client {
    through_proxy: Agent,
    direct: Agent,
    patience: Patience,
    observe: Arc<dyn Fn(&str) -> Observer + Send + Sync>,
}

/// A text response.
#[derive(Debug)]
pub struct Text {
    /// The body.
    pub body: String,
    /// The final URL after redirects, the base of relative links.
    pub url: String,
}

/// The headers of a response, redirects not followed.
#[derive(Debug)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    headers: header::HeaderMap,
}

impl Head {
    /// A header's value as text.
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
    /// A client that retries as `patience` says, and reports large transfers through
    /// [`lines`].
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
            observe: Arc::new(lines),
        }
    }

    /// The same client, with transfers reporting to the observer that `observe` makes for each
    /// label.
    #[must_use]
    pub fn with_progress(
        mut self,
        observe: impl Fn(&str) -> Observer + Send + Sync + 'static,
    ) -> Self {
        self.observe = Arc::new(observe);
        self
    }

    /// The text at `url`. `authorization` is not sent to the target of a redirect.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Status`].
    pub fn text(&self, url: &str, accept: &str, authorization: Option<&str>) -> Result<Text> {
        let mut failures = self.failures(url);
        loop {
            let outcome = self.get(url, authorization, &[(header::ACCEPT, accept)]);
            let reason = match outcome {
                Ok(mut response) => match response.status().as_u16() {
                    200 => {
                        let at = ureq::ResponseExt::get_uri(&response).to_string();
                        let body = response.body_mut().with_config().limit(TEXT_LIMIT);
                        match body.read_to_string() {
                            Ok(body) => return Ok(Text { body, url: at }),
                            Err(e) => e.to_string(),
                        }
                    }
                    status if is_transient(status) => format!("status {status}"),
                    status => {
                        return Err(Error::Status {
                            url: url.into(),
                            status,
                        });
                    }
                },
                Err(e) => self.retriable(url, &e)?,
            };
            failures.add(&reason)?;
        }
    }

    /// The headers at `url`, redirects not followed.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn head(&self, url: &str, authorization: Option<&str>) -> Result<Head> {
        let mut failures = self.failures(url);
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
                Ok(response) => match response.status().as_u16() {
                    status if is_transient(status) => format!("status {status}"),
                    status => {
                        let headers = response.headers().clone();
                        return Ok(Head { status, headers });
                    }
                },
                Err(e) => self.retriable(url, &e)?,
            };
            failures.add(&reason)?;
        }
    }

    pub(crate) fn get(
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

    /// The failure in words, unless it is permanent.
    pub(crate) fn retriable(&self, url: &str, error: &ureq::Error) -> Result<String> {
        match is_final(error) {
            true => Err(unreachable(url, &error.to_string())),
            false => Ok(error.to_string()),
        }
    }

    pub(crate) fn failures<'a>(&self, url: &'a str) -> Failures<'a> {
        Failures {
            url,
            patience: self.patience,
            count: 0,
        }
    }

    pub(crate) fn observer(&self, label: &str) -> Observer {
        (self.observe)(label)
    }

    /// The agent for `url`: local servers are reached without a proxy.
    fn agent(&self, url: &str) -> &Agent {
        match ["localhost", "127.0.0.1", "[::1]"].contains(&host_of(url)) {
            true => &self.direct,
            false => &self.through_proxy,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Counts consecutive failures, and pauses between them.
pub(crate) struct Failures<'a> {
    url: &'a str,
    patience: Patience,
    count: u32,
}

impl Failures<'_> {
    pub(crate) fn forget(&mut self) {
        self.count = 0;
    }

    pub(crate) fn add(&mut self, reason: &str) -> Result<()> {
        self.count += 1;
        if self.count >= self.patience.attempts {
            return Err(unreachable(self.url, reason));
        }
        std::thread::sleep(self.patience.pause * 2u32.saturating_pow(self.count - 1));
        Ok(())
    }
}

fn unreachable(url: &str, reason: &str) -> Error {
    Error::Unreachable {
        url: url.into(),
        reason: reason.into(),
    }
}

/// Statuses that may be transient.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Failures that are permanent.
fn is_final(error: &ureq::Error) -> bool {
    use ureq::Error as E;
    if let E::Io(e) = error {
        // A host name that does not resolve has no error kind of its own.
        return e.kind() == std::io::ErrorKind::ConnectionRefused
            || e.to_string().contains("lookup address");
    }
    matches!(
        error,
        E::HostNotFound | E::BadUri(_) | E::Tls(_) | E::Rustls(_) | E::InvalidProxyUrl | E::Http(_)
    )
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

/// The certificates to trust: the file that the environment names, the system's bundle,
/// or the built-in roots if there is neither.
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
}
