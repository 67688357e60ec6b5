//! Who may ask: the token, and the Host and Origin that a browser states.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use crate::page::is_file;
use crate::problem::{Outcome, Problem};
use crate::{Error, Result};

/// Paths that need no token, beside the page, which holds no data.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];
/// The beginning of the WebSocket subprotocol that carries a token, for browsers cannot set headers.
pub(crate) const BEARER: &str = "bearer.";

/// The rules for requests.
#[derive(Clone)]
pub(crate) struct Guard {
    token: Option<Arc<str>>,
    address: IpAddr,
}

impl Guard {
    /// # Errors
    /// An address that others can reach needs a token.
    pub(crate) fn new(address: SocketAddr, token: Option<&Path>) -> Result<Self> {
        let token = token.map(read_token).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Error::NoToken {
                address: address.to_string(),
            });
        }
        Ok(Self {
            token,
            address: address.ip(),
        })
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Outcome<()> {
        self.check_host(headers)?;
        let Some(token) = &self.token else {
            return Ok(());
        };
        if OPEN.contains(&path) || is_file(path) {
            return Ok(());
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let protocols = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
        let protocol = protocols
            .split(',')
            .find_map(|name| name.trim().strip_prefix(BEARER));
        let given = bearer.or(protocol).unwrap_or_default();
        match bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
            true => Ok(()),
            false => Err(
                Problem::new(StatusCode::UNAUTHORIZED, "the token is missing or another").help(
                    "send the content of the server's --token file as Authorization: Bearer TOKEN",
                ),
            ),
        }
    }

    /// Without a token only names of this machine are answered, so that a page elsewhere cannot
    /// have its own name point here; and a page may only ask where it comes from.
    fn check_host(&self, headers: &HeaderMap) -> Outcome<()> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts
            .next()
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        if hosts.next().is_some() {
            return Err(Problem::bad("more than one Host"));
        }
        let authority: Authority = host
            .parse()
            .map_err(|_| Problem::bad("no Host, or a wrong one"))?;
        if self.token.is_none() && !self.is_here(authority.host()) {
            let detail = format!("Host {host:?} is not a name of this machine");
            return Err(
                Problem::new(StatusCode::FORBIDDEN, detail).help("use 127.0.0.1 or localhost")
            );
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let (_, from) = origin.split_once("://").unwrap_or_default();
            if !from.eq_ignore_ascii_case(host) {
                let detail = format!("Origin {origin:?} is not this server, {host:?}");
                return Err(Problem::new(StatusCode::FORBIDDEN, detail));
            }
        }
        Ok(())
    }

    fn is_here(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|host| host.is_loopback() || host == self.address)
    }
}

pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// One line of a file.
fn read_token(path: &Path) -> Result<Arc<str>> {
    let text = std::fs::read_to_string(path).map_err(disk::Error::of("cannot read", path))?;
    let line = text.trim();
    let wrong = |got: String| Error::Token {
        path: path.into(),
        got,
    };
    if !(16..=256).contains(&line.len()) {
        return Err(wrong(format!("{} characters", line.len())));
    }
    if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("others".into()));
    }
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn checked(token: Option<&str>, path: &str, headers: &[(&'static str, &str)]) -> Option<u16> {
        let guard = Guard {
            token: token.map(Arc::from),
            address: [127, 0, 0, 1].into(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let checked = guard.check(path, &map);
        checked
            .err()
            .map(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn names_of_this_machine_are_answered_and_others_are_not() {
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:80",
            "LOCALHOST",
            "127.0.0.1:9",
        ] {
            assert_eq!(checked(None, "/", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "10.0.0.1",
        ] {
            assert_eq!(checked(None, "/", &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(checked(None, "/", &[]), Some(400));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(checked(None, "/", &twice), Some(400));
    }

    #[test]
    fn a_page_may_only_ask_where_it_comes_from() {
        let from = |origin| checked(None, "/", &[("host", "localhost:80"), ("origin", origin)]);
        assert_eq!(from("http://localhost:80"), None);
        for origin in ["http://evil.example", "http://localhost:81", "null", ""] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
    }

    #[test]
    fn a_token_is_asked_for_wherever_data_are() {
        let token = Some("0123456789abcdef");
        let host = ("host", "box.example");
        assert_eq!(checked(token, "/v1/models", &[host]), Some(401));
        assert_eq!(checked(token, "/metrics", &[host]), Some(401));
        assert_eq!(checked(token, "/", &[host]), None);
        assert_eq!(checked(token, "/js/main.js", &[host]), None);
        assert_eq!(checked(token, "/js/../v1/models", &[host]), Some(401));
        let right = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(checked(token, "/v1/models", &[host, right]), None);
        let wrong = ("authorization", "Bearer 0123456789abcdeg");
        assert_eq!(checked(token, "/v1/models", &[host, wrong]), Some(401));
        let socket = ("sec-websocket-protocol", "v1, bearer.0123456789abcdef");
        assert_eq!(checked(token, "/v1/stream", &[host, socket]), None);
    }
}
