//! `download-clip` against a hub on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Reply, Request, Server, client, content, git_blob, sha256};
use xtask::Error;
use xtask::hub::{Id, Settings, cached, fetch};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: usize = 200_000;

/// The hub's repository: name, content, whether it is kept as a large file.
fn files() -> Vec<(&'static str, Vec<u8>, bool)> {
    vec![
        ("README.md", b"read me".to_vec(), false),
        ("config.json", b"{\"model_type\":\"clip\"}".to_vec(), false),
        ("vocab.json", b"{}".to_vec(), false),
        ("model.safetensors", content(WEIGHTS), true),
        ("pytorch_model.bin", content(10), true),
    ]
}

/// What a hub answers; `cdn` serves what is large.
fn answer(request: &Request) -> Reply {
    let prefix = format!("/org/clip/resolve/{COMMIT}/");
    let path = request.path.as_str();
    if path == "/api/models/org/clip/revision/main" || path.ends_with("/revision/v1.0") {
        let names: Vec<String> = files()
            .iter()
            .map(|(name, ..)| format!("{{\"rfilename\":\"{name}\"}}"))
            .collect();
        return Reply::ok(format!(
            "{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}",
            names.join(",")
        ));
    }
    let find = |name: &str| files().into_iter().find(|(known, ..)| *known == name);
    if let Some((_, body, large)) = path.strip_prefix(&prefix).and_then(find) {
        if large {
            return Reply::status(302)
                .header("X-Linked-Etag", format!("\"{}\"", sha256(&body)))
                .header("X-Linked-Size", body.len())
                .header("ETag", "\"the redirect's own\"")
                .header(
                    "Location",
                    format!("/cdn/{}", path.rsplit('/').next().unwrap()),
                );
        }
        return Reply::ranged(request, &body).header("ETag", format!("\"{}\"", git_blob(&body)));
    }
    if let Some((_, body, _)) = path.strip_prefix("/cdn/").and_then(find) {
        return Reply::ranged(request, &body);
    }
    Reply::status(404)
}

fn settings(server: &Server, cache: &Path) -> Settings {
    Settings {
        endpoint: server.base.clone(),
        cache: cache.to_path_buf(),
        token: None,
        offline: false,
    }
}

#[test]
fn a_checkpoint_lands_in_the_layout_of_hugging_face() {
    let server = Server::start(|request, _| answer(request));
    let cache = tempfile::tempdir().unwrap();
    let settings = settings(&server, cache.path());
    let id = Id::parse("org/clip").unwrap();
    let snapshot = fetch(&id, &settings, &client()).unwrap();

    let folder = cache.path().join("models--org--clip");
    assert_eq!(snapshot, folder.join("snapshots").join(COMMIT));
    assert_eq!(
        fs::read_to_string(folder.join("refs/main")).unwrap(),
        COMMIT
    );
    for (name, body, large) in files() {
        let path = snapshot.join(name);
        if ["README.md", "pytorch_model.bin"].contains(&name) {
            assert!(!path.exists(), "{name} is not needed");
            continue;
        }
        let hash = if large {
            sha256(&body)
        } else {
            git_blob(&body)
        };
        assert_eq!(
            fs::read_link(&path).unwrap(),
            Path::new("../../blobs").join(&hash)
        );
        assert_eq!(fs::read(&path).unwrap(), body);
    }
    let found = cached(&settings);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id.as_str(), found[0].bytes),
        ("org/clip", WEIGHTS as u64)
    );

    // Once more: everything is verified, nothing is fetched.
    let before = server.requests().len();
    fetch(&id, &settings, &client()).unwrap();
    assert!(
        server.requests()[before..]
            .iter()
            .all(|request| { request.method == "HEAD" || request.path.starts_with("/api/") })
    );

    // Another revision is another name for the same.
    fetch(&Id::parse("org/clip@v1.0").unwrap(), &settings, &client()).unwrap();
    assert_eq!(
        fs::read_to_string(folder.join("refs/v1.0")).unwrap(),
        COMMIT
    );
}

#[test]
fn cut_connections_are_continued() {
    let server = Server::start(|request, before| {
        let reply = answer(request);
        if request.path.starts_with("/cdn/") && before < 8 {
            reply.cut(WEIGHTS / 4)
        } else {
            reply
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let id = Id::parse("org/clip").unwrap();
    let snapshot = fetch(&id, &settings(&server, cache.path()), &client()).unwrap();
    assert_eq!(
        fs::read(snapshot.join("model.safetensors")).unwrap(),
        content(WEIGHTS)
    );
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(Request::range)
        .collect();
    assert!(!ranges.is_empty(), "nothing was resumed");
}

#[test]
fn content_that_the_hub_did_not_promise_never_gets_a_name() {
    for broken in ["config.json", "model.safetensors"] {
        let server = Server::start(move |request, _| {
            let mut reply = answer(request);
            if request.path.ends_with(broken) && request.method == "GET" && reply.status == 200 {
                reply.body[3] ^= 1;
            }
            reply
        });
        let cache = tempfile::tempdir().unwrap();
        let settings = settings(&server, cache.path());
        let error = fetch(&Id::parse("org/clip").unwrap(), &settings, &client()).unwrap_err();
        assert!(matches!(error, Error::Content { .. }), "{error}");
        assert!(error.to_string().contains(broken), "{error}");
        let folder = cache.path().join("models--org--clip");
        assert!(!folder.join("refs/main").exists());
        assert!(!folder.join("snapshots").join(COMMIT).join(broken).exists());
        for blob in fs::read_dir(folder.join("blobs")).unwrap() {
            let path = blob.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let body = fs::read(&path).unwrap();
            assert!(name == sha256(&body) || name == git_blob(&body), "{name}");
        }
        assert!(cached(&settings).is_empty());
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let storage = Arc::new(Server::start(|request, _| answer(request)));
    let elsewhere = storage.base.replace("127.0.0.1", "localhost");
    let server = Server::start(move |request, _| {
        let mut reply = answer(request);
        for (name, value) in &mut reply.headers {
            if name == "Location" {
                *value = format!("{elsewhere}{value}");
            }
        }
        reply
    });
    let cache = tempfile::tempdir().unwrap();
    let settings = Settings {
        token: Some("secret".into()),
        ..settings(&server, cache.path())
    };
    fetch(&Id::parse("org/clip").unwrap(), &settings, &client()).unwrap();
    let token = |request: &Request| request.headers.get("authorization").cloned();
    assert!(
        server
            .requests()
            .iter()
            .all(|r| token(r).as_deref() == Some("Bearer secret"))
    );
    assert!(!storage.requests().is_empty());
    assert!(storage.requests().iter().all(|r| token(r).is_none()));
}

#[test]
fn what_cannot_be_had_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let id = Id::parse("org/clip").unwrap();
    let said = |settings: &Settings| fetch(&id, settings, &client()).unwrap_err().to_string();

    let gone = Server {
        base: "http://127.0.0.1:1".into(),
        seen: Arc::default(),
    };
    let text = said(&settings(&gone, cache.path()));
    for part in ["cannot reach the hub", "HF_ENDPOINT", "--checkpoint"] {
        assert!(text.contains(part), "{text}");
    }
    let offline = Settings {
        offline: true,
        ..settings(&gone, cache.path())
    };
    assert!(said(&offline).contains("HF_HUB_OFFLINE"));

    let refusing = Server::start(|_, _| Reply::status(401));
    assert!(said(&settings(&refusing, cache.path())).contains("HF_TOKEN"));
    let empty = Server::start(|_, _| Reply::status(404));
    assert!(said(&settings(&empty, cache.path())).contains("no such repository"));
    let other = Server::start(|_, _| {
        Reply::ok(format!(
            "{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"a.txt\"}}]}}"
        ))
    });
    assert!(said(&settings(&other, cache.path())).contains("no CLIP checkpoint"));
    // An answer that would name files of its own choosing.
    let hostile = Server::start(|_, _| Reply::ok("{\"sha\":\"../../x\",\"siblings\":[]}"));
    assert!(said(&settings(&hostile, cache.path())).contains("commit hash"));
    let unhashed = Server::start(|request, _| {
        let mut reply = answer(request);
        for (name, value) in &mut reply.headers {
            if name == "ETag" {
                *value = "\"../../evil\"".into();
            }
        }
        reply
    });
    assert!(said(&settings(&unhashed, cache.path())).contains("no hash to verify"));
}

/// The real binary, as a user calls it.
#[test]
fn the_command_prints_the_folder() {
    let server = Server::start(|request, _| answer(request));
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], endpoint: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .env("HF_HOME", home.path())
            .env("HF_ENDPOINT", endpoint)
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .output()
            .unwrap()
    };
    let output = run(&["download-clip", "org/clip"], &server.base);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folder = String::from_utf8(output.stdout).unwrap();
    assert!(Path::new(folder.trim()).join("model.safetensors").is_file());

    let output = run(&["download-clip", "not an id"], &server.base);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("org/name"));
    let output = run(&["downlod-clip"], &server.base);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("download-clip"),
        "a hint"
    );
}
