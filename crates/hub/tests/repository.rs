//! Repositories of a hub on this machine: fetched, verified, cached, and refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use common::{WEIGHTS, client, git_blob, sha256, sharded, whole};
use hub::{CLIP, Error, Hub, Id};
use tempfile::TempDir;
use testkit::hub::{COMMIT, HubFile, ID, answer};
use testkit::server::{Reply, Request, Server, content};

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn serve(files: Vec<HubFile>) -> Server {
    Server::start(move |request, _| answer(request, &files))
}

fn hub_at(endpoint: &str, cache: &TempDir) -> Hub {
    Hub {
        endpoint: endpoint.into(),
        cache: cache.path().into(),
        token: None,
        offline: false,
        client: client(),
    }
}

/// An address that nobody listens at any more.
fn nobody() -> String {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", closed.local_addr().unwrap())
}

#[test]
fn a_checkpoint_lands_in_the_layout_of_hugging_face() {
    let server = serve(whole());
    let cache = tempfile::tempdir().unwrap();
    let hub = hub_at(&server.base, &cache);
    let snapshot = hub.fetch(&id(ID), &CLIP).unwrap();

    let folder = cache.path().join("models--org--clip");
    assert_eq!(snapshot, folder.join("snapshots").join(COMMIT));
    let reference = |name: &str| fs::read_to_string(folder.join("refs").join(name)).unwrap();
    assert_eq!(reference("main"), COMMIT);
    for HubFile { name, body, hash } in whole() {
        let path = snapshot.join(name);
        if ["README.md", "pytorch_model.bin"].contains(&name) {
            assert!(!path.exists(), "{name} is not needed");
            continue;
        }
        assert_eq!(
            fs::read_link(&path).unwrap(),
            Path::new("../../blobs").join(hash)
        );
        assert_eq!(fs::read(&path).unwrap(), body);
    }
    let small = "{\"model_type\":\"clip\"}{}".len();
    let [found] = &hub.list(&CLIP)[..] else {
        panic!("{:?}", hub.list(&CLIP));
    };
    assert_eq!(
        (found.repository.as_str(), found.bytes),
        (ID, (WEIGHTS + small) as u64)
    );

    // Once more: everything is verified, nothing is fetched.
    let before = server.requests().len();
    hub.fetch(&id(ID), &CLIP).unwrap();
    assert!(
        server.requests()[before..]
            .iter()
            .all(|request| request.method == "HEAD" || request.path.starts_with("/api/"))
    );

    // Another revision is another name for the same; a commit needs no name.
    hub.fetch(&id("org/clip@v1.0"), &CLIP).unwrap();
    assert_eq!(reference("v1.0"), COMMIT);
    hub.fetch(&id(&format!("{ID}@{COMMIT}")), &CLIP).unwrap();
    assert!(!folder.join("refs").join(COMMIT).exists());
}

#[test]
fn all_shards_of_an_index_are_fetched() {
    for index in [
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ] {
        let server = serve(sharded(index));
        let cache = tempfile::tempdir().unwrap();
        let hub = hub_at(&server.base, &cache);
        let folder = hub.snapshot(&id(ID), &CLIP).unwrap();
        assert_eq!(fs::read(folder.join("1-of-2")).unwrap(), content(WEIGHTS));
        assert_eq!(fs::read(folder.join("2-of-2")).unwrap(), content(1_000));
        assert!(
            !folder.join("3-of-2").exists(),
            "the index does not name it"
        );
        assert_eq!(hub.list(&CLIP).len(), 1);

        // Without one of them it is not there.
        fs::remove_file(folder.join("2-of-2")).unwrap();
        assert!(hub.list(&CLIP).is_empty());
        assert_eq!(hub.cached(&id(ID), &CLIP).unwrap(), None);
        hub.snapshot(&id(ID), &CLIP).unwrap();
        assert!(folder.join("2-of-2").exists());
    }
}

#[test]
fn what_is_cached_is_used_without_asking() {
    let server = serve(whole());
    let cache = tempfile::tempdir().unwrap();
    let hub = hub_at(&server.base, &cache);
    let folder = hub.snapshot(&id(ID), &CLIP).unwrap();
    let before = server.requests().len();
    assert!(before > 0);
    let offline = Hub {
        offline: true,
        ..hub.clone()
    };
    let by_commit = format!("{ID}@{COMMIT}");
    for (hub, text) in [
        (&hub, ID),
        (&offline, "org/clip@main"),
        (&offline, &by_commit),
    ] {
        assert_eq!(hub.snapshot(&id(text), &CLIP).unwrap(), folder);
    }
    assert_eq!(offline.fetch(&id(ID), &CLIP).unwrap(), folder);
    assert_eq!(server.requests().len(), before);

    // A cached file that has rotted is noticed, and mended on demand.
    let blob = fs::canonicalize(folder.join("model.safetensors")).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[WEIGHTS - 1] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = offline.snapshot(&id(ID), &CLIP).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    hub.fetch(&id(ID), &CLIP).unwrap();
    offline.snapshot(&id(ID), &CLIP).unwrap();
}

#[test]
fn a_cache_that_another_tool_has_filled_is_used() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub {
        offline: true,
        ..hub_at(&nobody(), &cache)
    };
    let folder = cache.path().join("models--org--clip");
    let snapshot = folder.join("snapshots").join(COMMIT);
    for place in [&snapshot, &folder.join("refs"), &folder.join("blobs")] {
        fs::create_dir_all(place).unwrap();
    }
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    fs::write(snapshot.join("config.json"), "{}").unwrap();
    assert_eq!(hub.cached(&id(ID), &CLIP).unwrap(), None, "half of it");
    // A link to a blob, and plain copies where the file system has no links.
    let body = content(100);
    let blob = folder.join("blobs").join(sha256(&body));
    fs::write(&blob, &body).unwrap();
    std::os::unix::fs::symlink(&blob, snapshot.join("pytorch_model.bin")).unwrap();
    assert_eq!(hub.snapshot(&id(ID), &CLIP).unwrap(), snapshot);
    fs::write(&blob, "rotten").unwrap();
    let error = hub.snapshot(&id(ID), &CLIP).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn cut_connections_are_continued() {
    let server = Server::start(|request, before| {
        let reply = answer(request, &whole());
        if request.path.starts_with("/cdn/") && before < 8 {
            reply.cut(WEIGHTS / 4)
        } else {
            reply
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = hub_at(&server.base, &cache);
    let snapshot = hub.fetch(&id(ID), &CLIP).unwrap();
    assert_eq!(
        fs::read(snapshot.join("model.safetensors")).unwrap(),
        content(WEIGHTS)
    );
    let requests = server.requests();
    assert!(
        requests.iter().any(|request| request.range().is_some()),
        "nothing was resumed"
    );
}

#[test]
fn content_that_the_hub_did_not_promise_never_gets_a_name() {
    for broken in ["config.json", "model.safetensors"] {
        let server = Server::start(move |request, _| {
            let mut reply = answer(request, &whole());
            if request.path.ends_with(broken) && request.method == "GET" && reply.status == 200 {
                reply.body[3] ^= 1;
            }
            reply
        });
        let cache = tempfile::tempdir().unwrap();
        let hub = hub_at(&server.base, &cache);
        let error = hub.snapshot(&id(ID), &CLIP).unwrap_err();
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
        assert!(hub.list(&CLIP).is_empty());

        // An honest answer after that is taken.
        let honest = serve(whole());
        let hub = hub_at(&honest.base, &cache);
        hub.snapshot(&id(ID), &CLIP).unwrap();
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let storage = serve(whole());
    let elsewhere = storage.base.replace("127.0.0.1", "localhost");
    // The repository was renamed: the hub redirects within itself first.
    let server = Server::start(move |request, _| {
        if let Some(file) = request.path.strip_prefix("/org/old/") {
            return Reply::status(307).header("Location", format!("/{ID}/{file}"));
        }
        let asked = Request {
            path: request.path.replace("org/old", ID),
            ..request.clone()
        };
        let mut reply = answer(&asked, &whole());
        for (name, value) in &mut reply.headers {
            if name == "Location" {
                *value = format!("{elsewhere}{value}");
            }
        }
        reply
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub {
        token: Some("secret".into()),
        ..hub_at(&server.base, &cache)
    };
    hub.fetch(&id("org/old"), &CLIP).unwrap();
    let token = |request: &Request| request.headers.get("authorization").cloned();
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.path.contains(ID)));
    assert!(
        requests
            .iter()
            .all(|request| token(request).as_deref() == Some("Bearer secret"))
    );
    assert!(!storage.requests().is_empty());
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| token(request).is_none())
    );
}

#[test]
fn what_cannot_be_had_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let refused = |hub: &Hub, parts: &[&str]| {
        let error = hub.snapshot(&id(ID), &CLIP).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!("{error}: {}", source.unwrap_or_default());
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("xtask"), "{text}");
        error
    };
    let unreachable = hub_at(&nobody(), &cache);
    let error = refused(
        &unreachable,
        &[ID, "HF_ENDPOINT", "folder", &unreachable.endpoint],
    );
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    let offline = Hub {
        offline: true,
        ..unreachable
    };
    let place = cache.path().display().to_string();
    let error = refused(&offline, &[ID, "HF_HUB_OFFLINE", &place]);
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");

    for (status, part) in [(401, "HF_TOKEN"), (404, "no such repository")] {
        let server = Server::start(move |_, _| Reply::status(status));
        let error = refused(&hub_at(&server.base, &cache), &[ID, part]);
        assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    }
    let mut other = whole();
    other.retain(|file| file.name == "README.md");
    refused(
        &hub_at(&serve(other).base, &cache),
        &[ID, "does not contain a CLIP checkpoint", "config.json"],
    );
    // Answers that would name folders and files of their own choosing.
    let hostile = Server::start(|_, _| Reply::ok("{\"sha\":\"../../x\",\"siblings\":[]}"));
    refused(&hub_at(&hostile.base, &cache), &["commit hash"]);
    let mut shards = sharded("model.safetensors.index.json");
    shards[1].body = b"{\"weight_map\": {\"a\": \"../../../x\"}}".to_vec();
    shards[1].hash = git_blob(&shards[1].body);
    refused(
        &hub_at(&serve(shards).base, &cache),
        &["same folder", "index.json"],
    );
}

#[test]
fn hashes_that_would_leave_the_cache_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    for hash in ["../../../../escaped", "", "main", "0123"] {
        let mut files = whole();
        files[1].hash = hash.into();
        let server = serve(files);
        let hub = Hub {
            cache: cache.path().join("a/b"),
            ..hub_at(&server.base, &cache)
        };
        let error = hub.snapshot(&id(ID), &CLIP).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
        assert!(error.to_string().contains("no hash to verify"), "{error}");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
    assert!(!cache.path().join("escaped").exists());
}
