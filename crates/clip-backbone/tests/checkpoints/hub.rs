//! A hub on the loopback: what is fetched, verified, cached, and refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use clip_backbone::{Checkpoint, Error, Hub, Usage};
use sha2::{Digest, Sha256};
use tch::{Device, Kind};

use crate::writers::{
    HUGGING_FACE_CONFIG, config, embeddings, reference, weights, write_safetensors,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ID: &str = "org/tiny-clip";

/// A file: its content, and the hash the hub gives for it.
type Files = BTreeMap<&'static str, (Vec<u8>, String)>;

/// A hub that serves one repository until the test's end.
struct Loopback {
    endpoint: String,
    requests: Arc<AtomicUsize>,
    files: Arc<Mutex<Files>>,
}

impl Loopback {
    fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = write_safetensors(&scratch.path().join("w"), &weights(&config()));
        let large = fs::read(path).unwrap();
        let small = HUGGING_FACE_CONFIG.as_bytes().to_vec();
        // Git's own name of the small file's content.
        let mut blob = sha1::Sha1::new();
        sha1::Digest::update(&mut blob, format!("blob {}\0", small.len()));
        sha1::Digest::update(&mut blob, &small);
        let files = Files::from([
            ("config.json", (small, hex(&sha1::Digest::finalize(blob)))),
            (
                "model.safetensors",
                (large.clone(), hex(&Sha256::digest(&large))),
            ),
            ("README.md", (vec![], "not fetched".into())),
        ]);
        let files = Arc::new(Mutex::new(files));
        let requests = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (served, counted) = (Arc::clone(&files), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let files = served.lock().unwrap().clone();
                // A client that goes away early is no fault of the hub's.
                let _ = answer(stream, &files);
            }
        });
        Self {
            endpoint,
            requests,
            files,
        }
    }

    fn hub(&self, cache: &std::path::Path) -> Hub {
        Hub {
            endpoint: self.endpoint.clone(),
            cache: cache.into(),
            token: None,
            offline: false,
        }
    }
}

fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut from = 0;
    let mut one = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let (start, end) = range.split_once('-').unwrap();
            from = start.parse().unwrap();
            one = end == "0";
        }
        if line.is_empty() {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    if target.starts_with("/api/models/org/tiny-clip") {
        let names: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({"rfilename": name}))
            .collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": names}).to_string();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let prefix = format!("/{ID}/resolve/{COMMIT}/");
    let file = target
        .strip_prefix(&prefix)
        .and_then(|name| files.get(name));
    let Some((content, hash)) = file else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let end = if one { 1 } else { content.len() };
    let part = &content[from.min(end)..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nETag: \"{hash}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
         Content-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        end - 1,
        content.len(),
        part.len()
    )?;
    stream.write_all(part)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_id_is_fetched_verified_and_then_cached() {
    let server = Loopback::start();
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let checkpoint = Checkpoint::open_from_hub(ID, &hub).unwrap();
    let clip = checkpoint
        .load(Usage::Frozen, Device::Cpu, Kind::Float)
        .unwrap();
    assert_eq!(embeddings(&clip), embeddings(&reference(&config())));
    let promised = server.files.lock().unwrap()["model.safetensors"].1.clone();
    assert_eq!(checkpoint.sha256().unwrap(), promised);
    assert!(!checkpoint.place().join("README.md").exists());

    // From now on nobody is asked, online or not, by branch or by commit.
    let before = server.requests.load(Ordering::SeqCst);
    assert!(before > 0);
    let offline = Hub {
        offline: true,
        ..hub.clone()
    };
    for (hub, id) in [
        (&hub, ID.to_owned()),
        (&offline, format!("{ID}@main")),
        (&offline, format!("{ID}@{COMMIT}")),
    ] {
        let again = Checkpoint::open_from_hub(&id, hub).unwrap();
        assert_eq!(again.config(), checkpoint.config());
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), before);

    // A cached file that has rotted is noticed.
    let weights = checkpoint.place().join("model.safetensors");
    let blob = fs::canonicalize(&weights).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = Checkpoint::open_from_hub(ID, &offline).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");
    assert!(error.to_string().contains("model.safetensors"), "{error}");
}

#[test]
fn content_that_is_not_what_was_promised_is_refused_and_removed() {
    let server = Loopback::start();
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let honest = {
        let mut files = server.files.lock().unwrap();
        let (content, _) = files.get_mut("model.safetensors").unwrap();
        let honest = content.clone();
        content[honest.len() - 1] ^= 1;
        honest
    };
    let error = Checkpoint::open_from_hub(ID, &hub).unwrap_err();
    assert!(matches!(error, Error::Hash { .. }), "{error}");

    // Nothing of it is left: an honest answer afterwards is taken.
    let files = || server.files.lock().unwrap();
    files().get_mut("model.safetensors").unwrap().0 = honest;
    Checkpoint::open_from_hub(ID, &hub).unwrap();
}

#[test]
fn hashes_that_would_leave_the_cache_are_refused() {
    let server = Loopback::start();
    let cache = tempfile::tempdir().unwrap();
    let inner = cache.path().join("a/b");
    for hash in ["../../../../escaped", "", "main", "0123"] {
        server
            .files
            .lock()
            .unwrap()
            .get_mut("config.json")
            .unwrap()
            .1 = hash.into();
        let error = Checkpoint::open_from_hub(ID, &server.hub(&inner)).unwrap_err();
        assert!(matches!(error, Error::NotCached { .. }), "{error}");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
    assert!(!cache.path().join("escaped").exists());
}

#[test]
fn what_is_neither_cached_nor_reachable_says_what_to_run() {
    let cache = tempfile::tempdir().unwrap();
    let server = Loopback::start();
    // A port that nobody listens on any more.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let hub = server.hub(cache.path());
    let cases = [
        (
            "offline",
            ID,
            Hub {
                offline: true,
                ..hub.clone()
            },
            "HF_HUB_OFFLINE",
        ),
        (
            "unreachable",
            ID,
            Hub {
                endpoint: nobody,
                ..hub.clone()
            },
            "does not answer",
        ),
        ("unknown", "org/other", hub.clone(), "does not answer"),
        ("no id", "nonsense", hub.clone(), "org/name"),
    ];
    for (what, id, hub, reason) in cases {
        let error = Checkpoint::open_from_hub(id, &hub).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, Error::NotCached { .. }),
            "{what}: {message}"
        );
        assert!(message.contains(reason), "{what}: {message}");
        let remedy = format!("cargo xtask download-clip {id}");
        assert!(message.contains(&remedy), "{what}: {message}");
    }
}
