//! `trainer serve` over loopback: answers, streams, runs, abuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod client;
mod mutant;
mod needs_chromium;
mod needs_curl;
mod needs_openapi_client;
mod runs;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use video::write_clip;

use self::client::{Server, form};
use crate::support::{CLASSES, Place, frames, succeed, trainer};

const LABELS: &str = "red square,blue circle,yellow star";

/// What `cargo xtask test` has put into its cache.
fn cached(path: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap().join("seeing-in-flowing").join(path)
}

/// Videos of different lengths and shapes.
fn videos(place: &Place) -> Vec<PathBuf> {
    let sizes = [(0, 8), (1, 3), (2, 1), (3, 30)];
    let write = |(class, count): (usize, usize)| {
        let path = place.path(&format!("{}-{count}.avi", CLASSES[class]));
        let all = (0..count).map(|at| frames(class, at / 8)[at % 8].clone());
        write_clip(&path, &all.collect::<Vec<_>>(), 10).unwrap();
        path
    };
    sizes.map(write).into()
}

/// What `predict --json` prints.
fn predicted(video: &Path, place: &Place, more: &[&str]) -> Value {
    let mut command = trainer(&["predict", "--json", "--labels", LABELS]);
    command.arg(video).arg("--checkpoint").arg(place.backbone());
    command.args(more);
    serde_json::from_str(&succeed(command)).unwrap()
}

/// The parts of an answer that do not depend on the file's name.
fn without_names(mut answer: Value) -> Value {
    for name in ["model", "video", "notes"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    answer
}

#[test]
fn answers_are_those_of_predict() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    for video in videos(&place) {
        let bytes = fs::read(&video).unwrap();
        let name = video.file_name().unwrap().to_str().unwrap();
        let expected = without_names(predicted(&video, &place, &[]));
        let labels = [("labels", LABELS)];
        let (kind, body) = form(&labels, &[("video", name, &bytes)]);
        let answer = server.post("/v1/predict", &kind, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["video"], name);
        assert_eq!(answer.json()["model"], "backbone");
        assert_eq!(without_names(answer.json()), expected, "{name}");
        let path = format!("/v1/predict?labels={}", LABELS.replace(' ', "+"));
        let raw = server.post(&path, "video/x-msvideo", &bytes);
        assert_eq!(without_names(raw.json()), expected, "{name}");

        let windows = predicted(&video, &place, &["--window", "1s", "--stride", "500ms"]);
        let fields = [("labels", LABELS), ("window", "1s"), ("stride", "500ms")];
        let (kind, body) = form(&fields, &[("video", name, &bytes)]);
        let answer = server.post("/v1/timeline", &kind, &body);
        assert_eq!(
            without_names(answer.json()),
            without_names(windows),
            "{name}"
        );
    }
}

#[test]
fn videos_that_come_together_are_answered_as_alone() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let videos = videos(&place);
    let expected: Vec<Value> = videos
        .iter()
        .map(|video| predicted(video, &place, &[]))
        .collect();
    let (mut accepted, mut busy) = (0, 0);
    std::thread::scope(|scope| {
        let ask = |at: usize| {
            let (video, server) = (&videos[at % videos.len()], &server);
            let expected = &expected[at % videos.len()];
            scope.spawn(move || {
                let bytes = fs::read(video).unwrap();
                let (kind, body) = form(&[("labels", LABELS)], &[("video", "a.avi", &bytes)]);
                let answer = server.post("/v1/predict", &kind, &body);
                if answer.status == 503 {
                    assert!(answer.header("retry-after").is_some());
                    return false;
                }
                // Clips of a batch may differ from one alone in the last digits.
                let scores = |answer: &Value| -> Vec<(String, f64)> {
                    let all = answer["predictions"].as_array().unwrap().iter();
                    let one = |p: &Value| (p["label"].to_string(), p["score"].as_f64().unwrap());
                    all.map(one).collect()
                };
                for (one, other) in scores(&answer.json()).iter().zip(scores(expected)) {
                    assert!(one.0 == other.0 && (one.1 - other.1).abs() < 1e-4);
                }
                true
            })
        };
        let asked: Vec<_> = (0..24).map(ask).collect();
        for asked in asked {
            match asked.join().unwrap() {
                true => accepted += 1,
                false => busy += 1,
            }
        }
    });
    assert!(
        accepted >= 2 && accepted + busy == 24,
        "{accepted} accepted, {busy} busy"
    );
}

#[test]
fn the_server_says_what_it_is_and_stops_in_order() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    assert_eq!(server.get("/healthz").status, 200);
    let models = server.get("/v1/models").json();
    assert_eq!(models["models"][0]["id"], "backbone");
    assert_eq!(models["models"][0]["labels"], serde_json::json!([]));
    let interface = server.get("/openapi.json").json();
    for path in [
        "/v1/models",
        "/v1/predict",
        "/v1/timeline",
        "/v1/stream",
        "/v1/runs",
    ] {
        assert!(interface["paths"][path].is_object(), "{path}");
    }
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("# TYPE serve_request_seconds histogram"),
        "{metrics}"
    );
    let page = server.get("/");
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.get("/etc/passwd").status, 404);
    assert_eq!(server.request("DELETE", "/v1/models", &[], b"").status, 405);
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
}

/// Rights that the decoding processes have kept, as the kernel tells them.
#[cfg(target_os = "linux")]
#[test]
fn decoding_processes_are_confined() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let workers = server.decoders();
    assert!(!workers.is_empty());
    for worker in workers {
        let status = || fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        // The server answers once one of them is ready; the others may still be starting.
        let began = std::time::Instant::now();
        while !status().contains("Seccomp:\t2") && began.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let status = status();
        let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[26..].split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(limit("Max file size"), "0");
        assert_eq!(limit("Max open files"), "16");
        assert_eq!(limit("Max core file size"), "0");
        assert_eq!(limit("Max processes"), "0");
        assert_ne!(limit("Max address space"), "unlimited");
        // Its socket, and nothing of the server's.
        let files = fs::read_dir(format!("/proc/{worker}/fd"))
            .unwrap()
            .flatten();
        let files = files.filter_map(|file| fs::read_link(file.path()).ok());
        for file in files {
            let file = file.display().to_string();
            assert!(file == "/dev/null" || file.starts_with("socket:"), "{file}");
        }
        let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for variable in environment.split_terminator('\0') {
            let (name, _) = variable.split_once('=').unwrap();
            assert!(
                ["OMP_NUM_THREADS", "LD_LIBRARY_PATH"].contains(&name),
                "{name}"
            );
        }
    }
}

#[test]
fn a_server_that_others_can_reach_wants_a_token() {
    let place = Place::new();
    let mut command = trainer(&["serve", "--listen", "0.0.0.0:0", "--checkpoint"]);
    command.arg(place.backbone());
    crate::support::refused(command, &["token"]);
    let token = place.path("token");
    fs::write(&token, "short\n").unwrap();
    let mut command = trainer(&["serve", "--listen", "0.0.0.0:0", "--token"]);
    command
        .arg(&token)
        .arg("--checkpoint")
        .arg(place.backbone());
    crate::support::refused(command, &["16 to 256"]);
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let server = Server::start(&place, &["--token", token.to_str().unwrap()]);
    let refused = server.get("/v1/models");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(server.get("/readyz").status, 200);
    let bearer = [("Authorization", "Bearer 0123456789abcdef")];
    assert_eq!(
        server.request("GET", "/v1/models", &bearer, b"").status,
        200
    );
}
