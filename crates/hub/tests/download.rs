//! Downloads against a server that cuts, lies and refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{client, sha256};
use hub::{Error, Event, Promise, Wanted};
use testkit::server::{Reply, Server, content};

const LENGTH: usize = 300_000;

fn fetch(
    server: &Server,
    promise: &str,
    bytes: Option<u64>,
    target: &Path,
) -> Result<String, Error> {
    let url = format!("{}/file", server.base);
    let wanted = Wanted {
        url: &url,
        promise: Promise::Sha256(promise.into()),
        bytes,
        authorization: None,
        label: "file",
    };
    client().file(&wanted, target)
}

fn part(target: &Path) -> PathBuf {
    target.with_file_name(format!(
        "{}.incomplete",
        target.file_name().unwrap().display()
    ))
}

#[test]
fn a_file_comes_whole_and_is_not_fetched_twice() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let answer = body.clone();
    let server = Server::start(move |request, _| Reply::ranged(request, &answer));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/file");
    let fetched = fetch(&server, &hash, Some(LENGTH as u64), &target).unwrap();
    assert_eq!(fetched, hash);
    assert_eq!(fs::read(&target).unwrap(), body);
    assert!(!part(&target).exists());
    fetch(&server, &hash, None, &target).unwrap();
    assert_eq!(server.requests().len(), 1, "the second time it was there");
    // Rot is noticed, and mended.
    fs::write(&target, b"rotten").unwrap();
    fetch(&server, &hash, None, &target).unwrap();
    assert_eq!(fs::read(&target).unwrap(), body);
}

#[test]
fn a_cut_anywhere_is_continued_within_the_run() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    for tenth in 0..10 {
        let answer = body.clone();
        let server = Server::start(move |request, before| {
            let reply = Reply::ranged(request, &answer);
            if before == 0 {
                reply.cut(LENGTH * tenth / 10)
            } else {
                reply
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fetch(&server, &hash, None, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), body);
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            requests[1].range().is_some(),
            tenth > 0,
            "cut at {tenth}/10"
        );
    }
}

#[test]
fn many_cuts_with_progress_between_are_no_failure() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let answer = body.clone();
    let server = Server::start(move |request, _| Reply::ranged(request, &answer).cut(LENGTH / 20));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    fetch(&server, &hash, None, &target).unwrap();
    assert_eq!(fs::read(&target).unwrap(), body);
    assert!(server.requests().len() >= 20);
}

#[test]
fn an_interrupted_run_is_continued_by_the_next() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let answer = body.clone();
    let server = Server::start(move |request, _| Reply::ranged(request, &answer));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    fs::write(part(&target), &body[..100_000]).unwrap();
    fetch(&server, &hash, None, &target).unwrap();
    assert_eq!(server.requests()[0].range(), Some(100_000));
    assert_eq!(fs::read(&target).unwrap(), body);
}

#[test]
fn a_bad_beginning_is_thrown_away_and_all_fetched_anew() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let longer = [body.clone(), vec![1; 10]].concat();
    for left in [vec![0; 100_000], vec![0; LENGTH], longer] {
        let answer = body.clone();
        let server = Server::start(move |request, _| Reply::ranged(request, &answer));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(part(&target), left).unwrap();
        fetch(&server, &hash, Some(LENGTH as u64), &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), body);
    }
}

#[test]
fn a_server_without_ranges_or_with_the_wrong_one_is_started_over() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    for wrong in [false, true] {
        let answer = body.clone();
        let server = Server::start(move |request, _| match request.range() {
            Some(start) if wrong => Reply {
                status: 206,
                ..Reply::ok(&answer[start + 1..])
            }
            .header(
                "Content-Range",
                format!("bytes {}-{}/{LENGTH}", start + 1, LENGTH - 1),
            ),
            _ => Reply::ok(&*answer),
        });
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(part(&target), &body[..1000]).unwrap();
        fetch(&server, &hash, None, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), body);
    }
}

#[test]
fn wrong_content_is_refused_and_leaves_nothing() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let mut flipped = body.clone();
    flipped[LENGTH / 2] ^= 1;
    let page = b"<html>log in first</html>".to_vec();
    for wrong in [
        flipped,
        body[..LENGTH - 1].to_vec(),
        [&body[..], b"x"].concat(),
        page,
        vec![],
    ] {
        let server = Server::start(move |request, _| {
            Reply::ranged(request, &wrong).header("Content-Type", "text/html")
        });
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        for bytes in [None, Some(LENGTH as u64)] {
            let error = fetch(&server, &hash, bytes, &target).unwrap_err();
            assert!(matches!(error, Error::Content { .. }), "{error}");
            assert!(error.to_string().contains("/file"), "{error}");
        }
        assert!(!target.exists());
        assert_eq!(
            fs::metadata(part(&target)).map_or(0, |metadata| metadata.len()),
            0
        );
    }
}

#[test]
fn statuses_are_named_and_passing_ones_outlived() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    for status in [401, 403, 404, 410] {
        let server = Server::start(move |_, _| Reply::status(status));
        let error = fetch(&server, "", None, &target).unwrap_err();
        assert!(
            matches!(error, Error::Status { status: s, .. } if s == status),
            "{error}"
        );
        assert_eq!(
            server.requests().len(),
            1,
            "{status} does not pass by itself"
        );
    }
    let server = Server::start(|_, _| Reply::status(503));
    assert!(matches!(
        fetch(&server, "", None, &target),
        Err(Error::Unreachable { .. })
    ));
    assert_eq!(server.requests().len(), 3);
    let body = content(1000);
    let hash = sha256(&body);
    let server = Server::start(move |_, before| match before {
        0 | 1 => Reply::status(503),
        _ => Reply::ok(&*body),
    });
    fetch(&server, &hash, None, &target).unwrap();
}

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::start(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(5));
        Reply::ok("late")
    });
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&server, "", None, &folder.path().join("file")).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn nobody_there_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = Server {
        base,
        seen: std::sync::Arc::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&server, "", None, &folder.path().join("file")).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn two_at_once_share_one_download() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let answer = body.clone();
    let server = Server::start(move |request, _| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Reply::ranged(request, &answer)
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    let fine = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                fetch(&server, &hash, None, &target).unwrap();
                assert_eq!(fs::read(&target).unwrap(), body);
                fine.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(fine.into_inner(), 4);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no leftovers"
    );
}

#[test]
fn an_observer_sees_the_transfer_from_its_start_to_its_end() {
    let body = content(LENGTH);
    let hash = sha256(&body);
    let server = Server::start(move |request, before| {
        let reply = Reply::ranged(request, &body);
        match before {
            0 => reply.cut(LENGTH / 2),
            _ => reply,
        }
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let client = client().with_progress(move |label| {
        let (log, label) = (Arc::clone(&log), label.to_owned());
        Box::new(move |event| log.lock().unwrap().push(format!("{label}: {event:?}")))
    });
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/file", server.base);
    let wanted = Wanted {
        url: &url,
        promise: Promise::Sha256(hash),
        bytes: Some(LENGTH as u64),
        authorization: None,
        label: "the file",
    };
    client.file(&wanted, &folder.path().join("file")).unwrap();
    let seen = seen.lock().unwrap();
    let start = Event::Start {
        total: Some(LENGTH as u64),
        here: 0,
    };
    assert_eq!(seen.first().unwrap(), &format!("the file: {start:?}"));
    assert_eq!(
        seen.iter().filter(|line| line.contains("resuming")).count(),
        1
    );
    let end = [
        format!("the file: {:?}", Event::At(LENGTH as u64)),
        format!("the file: {:?}", Event::Done),
    ];
    assert_eq!(seen[seen.len() - 2..], end);
}
