//! Requests and videos that mean harm: each is refused in words, and the next good one answered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use video::{Frame, write_clip};

use super::client::{Response, Server, form};
use super::mutant::mutant;
use super::{LABELS, videos};
use crate::support::{Place, frames};

/// A good request, and its answer.
struct Good {
    kind: String,
    body: Vec<u8>,
    answer: Value,
}

impl Good {
    fn new(place: &Place, server: &Server) -> Self {
        let bytes = std::fs::read(&videos(place)[0]).unwrap();
        let (kind, body) = form(&[("labels", LABELS)], &[("video", "good.avi", &bytes)]);
        let answer = server.post("/v1/predict", &kind, &body).json();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), 3);
        Self { kind, body, answer }
    }

    fn is_answered(&self, server: &Server, after: &str) {
        let began = Instant::now();
        loop {
            let answer = server.post("/v1/predict", &self.kind, &self.body);
            // What was before may still be in work.
            if answer.status == 503 && began.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            assert_eq!(answer.status, 200, "after {after}: {}", answer.text());
            assert_eq!(answer.json(), self.answer, "after {after}");
            return;
        }
    }
}

fn refused(response: &Response, status: u16, words: &str, what: &str) {
    let text = response.text();
    assert_eq!(response.status, status, "{what}: {text}");
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    assert!(
        text.contains(words),
        "{what}: {words} is missing from {text}"
    );
    assert_eq!(response.json()["status"], status, "{what}");
}

#[test]
fn questions_that_cannot_be_answered_are_refused_in_words() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let good = Good::new(&place, &server);
    let bytes = std::fs::read(&videos(&place)[0]).unwrap();
    let video: &[(&str, &str, &[u8])] = &[("video", "a.avi", &bytes)];
    let many = vec!["label"; 1_000_000].join(",");
    let different: Vec<String> = (0..1001).map(|number| format!("label {number}")).collect();
    let (different, long) = (different.join(","), "x".repeat(200));
    let labels = ("labels", LABELS);
    type Fields<'a> = Vec<(&'a str, &'a str)>;
    #[allow(clippy::type_complexity)] // Fields, files, status, reason.
    let cases: [(Fields<'_>, &[(&str, &str, &[u8])], u16, &str); 14] = [
        (vec![], video, 422, "give them as labels="),
        (vec![("labels", "a,,b")], video, 422, "label 2 is empty"),
        (vec![("labels", "a,A")], video, 422, "two spellings"),
        (vec![("labels", &many)], video, 413, "text is longer"),
        (vec![("labels", &different)], video, 422, "1001 labels"),
        (vec![("labels", &long)], video, 422, "200 bytes"),
        (
            vec![labels, ("model", "../../etc")],
            video,
            404,
            "GET /v1/models",
        ),
        (vec![labels, ("top", "0")], video, 422, "top: expected"),
        (vec![labels, ("window", "2s")], video, 400, "window"),
        (vec![labels, ("path", "/etc/passwd")], video, 400, "path"),
        (vec![labels, labels], video, 400, "given twice"),
        (vec![labels], &[], 400, "no video"),
        (vec![labels], &[("video", "a.avi", b"")], 400, "empty"),
        (
            vec![labels],
            &[("video", "a", &bytes), ("video", "b", &bytes)],
            400,
            "more than 1 file",
        ),
    ];
    for (fields, files, status, words) in cases {
        let (kind, body) = form(&fields, files);
        let response = server.post("/v1/predict", &kind, &body);
        refused(&response, status, words, words);
        good.is_answered(&server, words);
    }
    for (window, stride, words) in [
        ("2", "1s", "unit"),
        ("2s", "0s", "unit"),
        ("1ms", "1ms", "1 s"),
    ] {
        let fields = [labels, ("window", window), ("stride", stride)];
        let (kind, body) = form(&fields, video);
        let response = server.post("/v1/timeline", &kind, &body);
        if words == "unit" {
            refused(&response, 422, words, window);
        }
        good.is_answered(&server, window);
    }
}

#[test]
fn bodies_and_headers_that_mean_harm_do_none() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let good = Good::new(&place, &server);
    let host = format!("Host: {}\r\nConnection: close\r\n", server.address);
    let post = |rest: &str| format!("POST /v1/predict?labels=a,b HTTP/1.1\r\n{host}{rest}");
    let video = "Content-Type: video/mp4\r\n";

    let silent = (TcpStream::connect(server.address).unwrap(), Instant::now());
    let names = [
        "../../../etc/passwd",
        "..\\..\\x",
        "/dev/zero",
        "a\0b",
        "%2e%2e%2f",
        "x".repeat(5000).as_str(),
    ]
    .map(str::to_owned);
    for name in names {
        let (kind, body) = form(
            &[("labels", LABELS)],
            &[("video", &name, b"no video at all")],
        );
        let response = server.post("/v1/predict", &kind, &body);
        assert!(
            [400, 415].contains(&response.status),
            "{name}: {}",
            response.text()
        );
        good.is_answered(&server, &name);
    }
    let declared = post(&format!("{video}Content-Length: 99999999999\r\n\r\n"));
    refused(
        &server.raw(declared.as_bytes()).unwrap(),
        413,
        "32 MiB",
        "a length beyond the limit",
    );
    let gzip = post(&format!(
        "{video}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    ));
    refused(
        &server.raw(gzip.as_bytes()).unwrap(),
        415,
        "gzip",
        "a gzip body",
    );
    let kind = post("Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc");
    refused(
        &server.raw(kind.as_bytes()).unwrap(),
        415,
        "multipart/form-data",
        "text",
    );
    good.is_answered(&server, "lengths and codings");

    // One chunk after another, more than is allowed.
    let mut bomb = post(&format!("{video}Transfer-Encoding: chunked\r\n\r\n")).into_bytes();
    for _ in 0..40 {
        bomb.extend(b"100000\r\n");
        bomb.extend(vec![0; 1 << 20]);
        bomb.extend(b"\r\n");
    }
    if let Some(response) = server.raw(&bomb) {
        refused(&response, 413, "32 MiB", "a chunked bomb");
    }
    good.is_answered(&server, "a chunked bomb");

    let flood: String = (0..2000)
        .map(|n| format!("X-{n}: {}\r\n", "y".repeat(100)))
        .collect();
    for bytes in [
        post(&format!("{flood}\r\n")),
        post(&format!("X: {}\r\n\r\n", "z".repeat(1 << 20))),
        post(&format!(
            "{video}Content-Length: 10\r\nContent-Length: 20\r\n\r\n"
        )),
        post(&format!("{video}Content-Length: -1\r\n\r\n")),
        post(&format!(
            "{video}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
        )),
        "GET / HTTP/9.9\r\n\r\n".into(),
        "\x16\x03\x01\x02\x00".into(),
        format!("GET /../../etc/passwd HTTP/1.1\r\n{host}\r\n"),
        format!("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n{host}\r\n"),
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(),
        format!("GET / HTTP/1.1\r\n{host}Origin: http://evil.example\r\n\r\n"),
        post("Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc"),
        post("Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\n--x\r\n"),
    ] {
        let what: String = bytes.chars().take(80).collect();
        if let Some(response) = server.raw(bytes.as_bytes()) {
            assert!(
                (400..600).contains(&response.status),
                "{what}: {}",
                response.status
            );
            assert!(!response.text().contains("root:"), "{what}");
        }
        good.is_answered(&server, &what);
    }
    // A part's header that does not end.
    let head = "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 30000000\r\n\r\n--x\r\nX: ";
    let endless = [post(head).into_bytes(), vec![b'y'; 2 << 20]].concat();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(&endless);
    let mut said = [0; 4096];
    let count = stream.read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..count]).into_owned();
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("part is longer"),
        "{said}"
    );
    drop(stream);
    // A client that sends all of a body that is refused still sees why.
    let large = post(&format!("{video}Content-Length: 36700160\r\n\r\n"));
    let large = server.raw(&[large.into_bytes(), vec![0; 35 << 20]].concat());
    refused(&large.unwrap(), 413, "32 MiB", "a large body");
    let kind = post("Content-Type: text/plain\r\nContent-Length: 8388608\r\n\r\n");
    let kind = server.raw(&[kind.into_bytes(), vec![0; 8 << 20]].concat());
    refused(&kind.unwrap(), 415, "multipart/form-data", "a large text");
    good.is_answered(&server, "large bodies");
    // Refusals of the framework are problems, too.
    for (method, path, status) in [
        ("GET", "/v1/runs/%ff", 400),
        ("GET", "/v1/stream?labels=a,b", 400),
        ("GET", "/nothing", 404),
        ("PUT", "/v1/predict", 405),
    ] {
        let response = server.request(method, path, &[], b"");
        refused(&response, status, "title", path);
        assert_eq!(response.header("allow").is_some(), status == 405, "{path}");
    }
    // Clients that vanish in the middle of an upload, and in the middle of an answer.
    for cut in [0, 50, 400, good.body.len() / 2, good.body.len()] {
        let head = format!(
            "POST /v1/predict HTTP/1.1\r\n{host}Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
            good.kind,
            good.body.len()
        );
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&good.body[..cut]).unwrap();
        drop(stream);
        good.is_answered(&server, "a client that vanished");
    }
    // A connection without a request is not kept.
    let (mut stream, since) = silent;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert!(
        since.elapsed() < Duration::from_secs(60),
        "{:?}",
        since.elapsed()
    );
    // Nothing is kept of any of them.
    let began = Instant::now();
    loop {
        let metrics = server.get("/metrics").text();
        let held = metrics
            .lines()
            .find(|line| line.starts_with("serve_upload_bytes "))
            .unwrap();
        if held == "serve_upload_bytes 0" {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{held}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_decoding_process_that_dies_is_replaced() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let good = Good::new(&place, &server);
    for worker in server.decoders() {
        let killed = std::process::Command::new("kill")
            .args(["-KILL", &worker.to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
    // Those that find their process dead say so; after them all is as before.
    let began = Instant::now();
    while server.post("/v1/predict", &good.kind, &good.body).status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "not replaced");
    }
    std::thread::sleep(Duration::from_secs(2));
    good.is_answered(&server, "a process was killed");
}

#[test]
fn hostile_videos_are_refused_or_answered_and_never_in_the_way() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let good = Good::new(&place, &server);
    let original = std::fs::read(&videos(&place)[3]).unwrap();
    let mut crafted: Vec<(String, Vec<u8>, u16, &str)> = vec![
        (
            "text".into(),
            b"this is no video".to_vec(),
            415,
            "not a video",
        ),
        (
            "a playlist".into(),
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n".to_vec(),
            415,
            "playlist",
        ),
        (
            "a script".into(),
            b"ffconcat version 1.0\nfile /etc/passwd\n".to_vec(),
            415,
            "playlist",
        ),
        ("a bare Y4M".into(), y4m(), 415, "formats"),
    ];
    let small = |count: usize, width: usize, height: usize| {
        let path = place.path("crafted.avi");
        let frame = |index: usize| Frame {
            index,
            time: 0.0,
            width,
            height,
            rgb: vec![128; width * height * 3],
        };
        write_clip(&path, &(0..count).map(frame).collect::<Vec<_>>(), 25).unwrap();
        std::fs::read(&path).unwrap()
    };
    crafted.push((
        "many pictures".into(),
        small(20_001, 16, 16),
        422,
        "--max-packets 20001",
    ));
    crafted.push((
        "a large picture".into(),
        small(1, 4096, 2200),
        422,
        "--max-pixels",
    ));
    for (what, bytes, status, words) in &crafted {
        let (kind, body) = form(&[("labels", LABELS)], &[("video", "x.mp4", bytes)]);
        let response = server.post("/v1/predict", &kind, &body);
        refused(&response, *status, words, what);
        if !["text", "a playlist", "a script"].contains(&what.as_str()) {
            assert!(response.text().contains("trainer predict FILE"), "{what}");
        }
        assert!(!response.text().contains("root:"), "{what}");
        good.is_answered(&server, what);
    }
    for number in 0..60 {
        let bytes = mutant(&original, number);
        let (kind, body) = form(&[("labels", LABELS)], &[("video", "x.avi", &bytes)]);
        let path = ["/v1/predict", "/v1/timeline"][number as usize % 2];
        let response = server.post(path, &kind, &body);
        let what = format!("mutant {number}");
        assert!(
            [200, 415, 422].contains(&response.status),
            "{what}: {}",
            response.text()
        );
        good.is_answered(&server, &what);
    }
}

/// An uncompressed video, in a container that the server does not open.
fn y4m() -> Vec<u8> {
    let mut bytes = b"YUV4MPEG2 W16 H16 F25:1 C420\n".to_vec();
    for frame in frames(0, 0).iter().take(3) {
        bytes.extend(b"FRAME\n");
        bytes.extend(vec![frame.index as u8; 16 * 16 * 3 / 2]);
    }
    bytes
}
