//! What the tests of the hub share.
// Each test binary uses a part of this.
#![allow(dead_code)]

use std::time::Duration;

pub(crate) use disk::sha256;
use hub::{Client, Patience};
use sha1::Digest as _;
use testkit::hub::HubFile;
use testkit::server::content;

/// The length of the large file of weights.
pub(crate) const WEIGHTS: usize = 200_000;

/// A client that does not wait long.
pub(crate) fn client() -> Client {
    Client::new(Patience {
        attempts: 3,
        pause: Duration::from_millis(1),
        silence: Duration::from_millis(500),
    })
}

/// A repository with weights in one file of each kind.
pub(crate) fn whole() -> Vec<HubFile> {
    vec![
        small("README.md", b"read me"),
        small("config.json", b"{\"model_type\":\"clip\"}"),
        small("vocab.json", b"{}"),
        large("model.safetensors", content(WEIGHTS)),
        large("pytorch_model.bin", content(10)),
    ]
}

/// A repository with weights in two shards, whose index is `index`.
pub(crate) fn sharded(index: &'static str) -> Vec<HubFile> {
    vec![
        small("config.json", b"{\"model_type\":\"clip\"}"),
        small(
            index,
            b"{\"weight_map\": {\"a\": \"1-of-2\", \"b\": \"2-of-2\", \"c\": \"1-of-2\"}}",
        ),
        large("1-of-2", content(WEIGHTS)),
        large("2-of-2", content(1_000)),
        large("3-of-2", content(10)),
    ]
}

fn small(name: &'static str, body: &[u8]) -> HubFile {
    HubFile {
        name,
        hash: git_blob(body),
        body: body.to_vec(),
    }
}

fn large(name: &'static str, body: Vec<u8>) -> HubFile {
    HubFile {
        name,
        hash: sha256(&body),
        body,
    }
}

/// The name git gives to content.
pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    disk::hex(hash.finalize())
}
