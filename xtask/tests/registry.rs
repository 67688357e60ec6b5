//! Wheels from a local index.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Reply, Server, client};
use disk::sha256;
use xtask::Error;
use xtask::registry::{Registry, Wheel};

/// An index with one wheel; its page is HTML with a relative link.
fn index(body: &'static [u8], hash: Option<&str>) -> Server {
    let fragment = hash
        .map(|hash| format!("#sha256={hash}"))
        .unwrap_or_default();
    Server::start(move |request, _| match request.path.as_str() {
        "/simple/a-b/" => Reply::ok(format!(
            "<a href=\"../../files/a_b-1-py3-none-any.whl{fragment}\">a</a>"
        )),
        "/files/a_b-1-py3-none-any.whl" => Reply::ranged(request, body),
        _ => Reply::status(404),
    })
}

const BODY: &[u8] = b"a small wheel";

fn wheel(hash: &str) -> Wheel {
    Wheel {
        file: "a_b-1-py3-none-any.whl".into(),
        sha256: hash.into(),
        bytes: BODY.len() as u64,
    }
}

#[test]
fn a_wheel_is_fetched_from_the_index() {
    let hash = sha256(BODY);
    let folder = tempfile::tempdir().unwrap();
    for offered in [Some(hash.as_str()), None] {
        let server = index(BODY, offered);
        let registry = Registry::at(&format!("{}/simple/", server.base), client());
        let path = registry.fetch(&wheel(&hash), folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), BODY);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_wheel_other_than_the_pin_is_refused() {
    let hash = sha256(BODY);
    let folder = tempfile::tempdir().unwrap();
    // The index states the hash of another file, or sends another file.
    let server = index(BODY, Some(&sha256(b"other")));
    let registry = Registry::at(&format!("{}/simple", server.base), client());
    let error = registry.fetch(&wheel(&hash), folder.path()).unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Content { .. })),
        "{error}"
    );
    let server = index(b"other wheel..", Some(&hash));
    let registry = Registry::at(&format!("{}/simple", server.base), client());
    let error = registry.fetch(&wheel(&hash), folder.path()).unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Content { .. })),
        "{error}"
    );
    // It has only other files, or no such project.
    let other = Wheel {
        file: "a_b-2-py3-none-any.whl".into(),
        ..wheel(&hash)
    };
    let error = registry.fetch(&other, folder.path()).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let other = Wheel {
        file: "c-1-py3-none-any.whl".into(),
        ..wheel(&hash)
    };
    let error = registry.fetch(&other, folder.path()).unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Status { status: 404, .. })),
        "{error}"
    );
    assert!(
        fs::read_dir(folder.path())
            .unwrap()
            .all(|entry| { entry.unwrap().metadata().unwrap().len() == 0 })
    );
}
