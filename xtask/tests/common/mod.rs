//! Helpers for tests of downloads. Each test binary uses some of them.
#![allow(unused_imports)]

use std::time::Duration;

use hub::{Client, Patience};
pub(crate) use testkit::server::{Reply, Request, Server, content};

/// A client with short time-outs.
pub(crate) fn client() -> Client {
    Client::new(Patience {
        attempts: 3,
        pause: Duration::from_millis(1),
        silence: Duration::from_millis(500),
    })
}
