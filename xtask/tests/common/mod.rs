//! What the tests of downloads share.
// Each test binary uses a part of this.
#![allow(unused_imports)]

use std::time::Duration;

use hub::{Client, Patience};
pub(crate) use testkit::server::{Reply, Request, Server, content};

/// A client that does not wait long.
pub(crate) fn client() -> Client {
    Client::new(Patience {
        attempts: 3,
        pause: Duration::from_millis(1),
        silence: Duration::from_millis(500),
    })
}
