//! HTTP requests with retries, through the user's proxy and certificates.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

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
        self.retry(url, |_| {
            let request = self.agent(url).get(url).header(header::ACCEPT, accept);
            let mut response = match call(request, url, authorization)? {
                Ok(response) => response,
                Err(reason) => return Ok(Err(reason)),
            };
            if response.status() != 200 {
                return Err(status_error(url, &response));
            }
            let url = ureq::ResponseExt::get_uri(&response).to_string();
            let body = response.body_mut().with_config().limit(TEXT_LIMIT);
            let body = body.read_to_string().map_err(|e| e.to_string());
            Ok(body.map(|body| Text { body, url }))
        })
    }

    /// The headers at `url`, redirects not followed.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn head(&self, url: &str, authorization: Option<&str>) -> Result<Head> {
        self.retry(url, |_| {
            let request = self.agent(url).head(url).config().max_redirects(0);
            let request = request.max_redirects_will_error(false).build();
            let response = call(request, url, authorization)?;
            Ok(response.map(|response| Head {
                status: response.status().as_u16(),
                headers: response.into_parts().0.headers,
            }))
        })
    }

    /// Repeats `attempt`, with pauses, until it succeeds or has failed too often in a row. It may
    /// set the count of its failures back.
    pub(crate) fn retry<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut(&mut u32) -> Result<Attempt<T>>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let reason = match attempt(&mut failures)? {
                Ok(done) => return Ok(done),
                Err(reason) => reason,
            };
            failures += 1;
            if failures >= self.patience.attempts {
                return Err(unreachable(url, reason));
            }
            std::thread::sleep(self.patience.pause * 2u32.saturating_pow(failures - 1));
        }
    }

    pub(crate) fn observer(&self, label: &str) -> Observer {
        (self.observe)(label)
    }

    /// The agent for `url`: local servers are reached without a proxy.
    pub(crate) fn agent(&self, url: &str) -> &Agent {
        let uri = url.parse::<Uri>().ok();
        match uri.as_ref().and_then(Uri::host) {
            Some("localhost" | "127.0.0.1" | "[::1]") => &self.direct,
            _ => &self.through_proxy,
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

/// The result of one attempt, or the reason for another.
pub(crate) type Attempt<T> = std::result::Result<T, String>;

/// Sends `request`. An error is permanent.
pub(crate) fn call(
    request: RequestBuilder<WithoutBody>,
    url: &str,
    authorization: Option<&str>,
) -> Result<Attempt<Response<Body>>> {
    let mut request = request.header(header::ACCEPT_ENCODING, "identity");
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    match request.call() {
        Ok(response) => Ok(match response.status().as_u16() {
            status @ (408 | 425 | 429 | 500 | 502 | 503 | 504) => Err(format!("status {status}")),
            _ => Ok(response),
        }),
        Err(e) if is_permanent(&e) => Err(unreachable(url, e.to_string())),
        Err(e) => Ok(Err(e.to_string())),
    }
}

fn unreachable(url: &str, reason: String) -> Error {
    Error::Unreachable {
        url: url.into(),
        reason,
    }
}

pub(crate) fn status_error(url: &str, response: &Response<Body>) -> Error {
    Error::Status {
        url: url.into(),
        status: response.status().as_u16(),
    }
}

/// Failures that every attempt would meet.
fn is_permanent(error: &ureq::Error) -> bool {
    use ureq::Error as E;
    if let E::Io(e) = error {
        // A host name without an address is an error without a kind of its own.
        return e.kind() == std::io::ErrorKind::ConnectionRefused
            || e.to_string().contains("lookup address");
    }
    matches!(
        error,
        E::HostNotFound | E::BadUri(_) | E::Tls(_) | E::Rustls(_) | E::InvalidProxyUrl | E::Http(_)
    )
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
