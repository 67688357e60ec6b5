//! The server under load and abuse, as a Markdown table: its throughput and first answer against
//! those of `predict`, minutes at twice its capacity, slow clients, bad requests, mutated videos.
//!
//! `cargo bench -p trainer --bench serve [-- SECONDS]`, by default 300 seconds of load, with the
//! demo's backbone.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, dead_code)]

#[path = "../../../tests/end_to_end/serve/client.rs"]
mod client;
#[path = "../../../tests/end_to_end/serve/mutant.rs"]
mod mutant;
#[path = "../../../tests/end_to_end/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use video::{Frame, write_clip};

use client::{Server, form};
use support::{Place, trainer};

const LABELS: &str = "red square,blue circle,yellow star";
const PATH: &str = "/v1/predict";

/// A clip of 3 s, 320 x 240 pixels, as those of action data sets.
fn clips(place: &Place, count: usize) -> Vec<PathBuf> {
    let clip = |number: usize| {
        let path = place.path(&format!("clip-{number}.avi"));
        let frame = |index: usize| Frame {
            index,
            time: 0.0,
            width: 320,
            height: 240,
            rgb: (0..320 * 240 * 3)
                .map(|at| ((at / 40 + index * 7 + number * 31) % 251) as u8)
                .collect(),
        };
        write_clip(&path, &(0..75).map(frame).collect::<Vec<_>>(), 25).unwrap();
        path
    };
    (0..count).map(clip).collect()
}

/// The body of a good request.
fn good(path: &PathBuf) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    form(&[("labels", LABELS)], &[("video", "clip.avi", &bytes)])
}

/// Seconds by share, of sorted ones.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

/// Memory in MiB and open files of a process.
fn held(id: u32) -> (f64, usize) {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (
        kib / 1024.0,
        fs::read_dir(format!("/proc/{id}/fd")).unwrap().count(),
    )
}

fn row(name: &str, value: impl std::fmt::Display) {
    println!("| {name} | {value} |");
}

/// Asks until `over` says so, on several threads; seconds of each accepted answer, and all statuses.
fn load(
    server: &Server,
    request: &(String, Vec<u8>),
    threads: usize,
    pause: Duration,
    time: Duration,
) -> (Vec<f64>, BTreeMap<u16, usize>) {
    let (took, statuses) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (took, statuses) = (&took, &statuses);
            scope.spawn(move || {
                let mut next = began + pause.mul_f64(thread as f64 / threads as f64);
                while began.elapsed() < time {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next = Instant::now().max(next + pause);
                    let asked = Instant::now();
                    let status = server.post(PATH, &request.0, &request.1).status;
                    *statuses.lock().unwrap().entry(status).or_default() += 1;
                    if status == 200 {
                        took.lock().unwrap().push(asked.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    (
        sorted(took.into_inner().unwrap()),
        statuses.into_inner().unwrap(),
    )
}

fn main() {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let seconds: u64 = seconds.unwrap_or(300);
    let place = Place::new();
    let clips = clips(&place, 200);
    let request = good(&clips[0]);
    println!("| | |\n|---|---|");

    let mut command = trainer(&["predict", "--json", "--device", "cpu", "--labels", LABELS]);
    command.arg("--checkpoint").arg(place.backbone());
    let rate = |count: usize| {
        let mut command = trainer(&["predict", "--json", "--device", "cpu", "--labels", LABELS]);
        command
            .arg("--checkpoint")
            .arg(place.backbone())
            .args(&clips[..count]);
        let began = Instant::now();
        support::succeed(command);
        began.elapsed().as_secs_f64()
    };
    rate(2);
    // The difference is that of the further clips alone.
    let further = (rate(clips.len()) - rate(20)) / (clips.len() - 20) as f64;
    row("`predict`, clips/s", format!("{:.1}", 1.0 / further));

    let began = Instant::now();
    let server = Server::start(&place, &[]);
    row(
        "ready after, s",
        format!("{:.2}", began.elapsed().as_secs_f64()),
    );
    for path in &clips[..10] {
        let (kind, body) = good(path);
        assert_eq!(server.post(PATH, &kind, &body).status, 200);
    }
    let (alone, _) = load(
        &server,
        &request,
        1,
        Duration::from_millis(200),
        Duration::from_secs(20),
    );
    row("idle, median s", format!("{:.4}", at(&alone, 0.5)));
    row("idle, 99 % s", format!("{:.4}", at(&alone, 0.99)));
    row(
        "idle median by `predict`'s further clip",
        format!("{:.2}", at(&alone, 0.5) / further),
    );
    let time = Duration::from_secs(20);
    let threads = std::thread::available_parallelism().unwrap().get() + 1;
    let began = Instant::now();
    let (busy, _) = load(&server, &request, threads, Duration::ZERO, time);
    let capacity = busy.len() as f64 / began.elapsed().as_secs_f64();
    row("full, clips/s", format!("{capacity:.1}"));
    row("full by `predict`", format!("{:.2}", capacity * further));

    let before = held(server.id());
    let pause = Duration::from_secs_f64(16.0 / (2.0 * capacity));
    let (took, statuses) = load(&server, &request, 16, pause, Duration::from_secs(seconds));
    row(
        &format!("{seconds} s at twice that, statuses"),
        format!("{statuses:?}"),
    );
    row("accepted, 99 % s", format!("{:.4}", at(&took, 0.99)));
    row(
        "accepted 99 % by idle 99 %",
        format!("{:.2}", at(&took, 0.99) / at(&alone, 0.99)),
    );
    let is_expected = |status: &u16| [200, 429, 503].contains(status);
    assert!(statuses.keys().all(is_expected), "{statuses:?}");

    // Two hundred clients that send a byte now and then; the good are answered meanwhile.
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: video/mp4\r\nContent-Length: 100000\r\n\r\n",
        server.address
    );
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let mut beside = Vec::new();
    for _ in 0..60 {
        for stream in &mut slow {
            let _ = stream.write_all(b"x");
        }
        let asked = Instant::now();
        assert_eq!(server.post(PATH, &request.0, &request.1).status, 200);
        beside.push(asked.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(500));
    }
    row(
        "beside 200 slow clients, 99 % s",
        format!("{:.4}", at(&sorted(beside), 0.99)),
    );
    drop(slow);

    let (refused, good_after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for number in 0..2000 {
        bad(&server, &request.1, number);
        refused.fetch_add(1, Relaxed);
        if number % 10 == 0 {
            assert_eq!(
                server.post(PATH, &request.0, &request.1).status,
                200,
                "after {number}"
            );
            good_after.fetch_add(1, Relaxed);
        }
    }
    row(
        "bad requests",
        format!(
            "{}, {} good ones among them",
            refused.into_inner(),
            good_after.into_inner()
        ),
    );

    let original = fs::read(&clips[1]).unwrap();
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for number in 0..300 {
        let bytes = mutant::mutant(&original, number);
        let (kind, body) = form(&[("labels", LABELS)], &[("video", "x.avi", &bytes)]);
        *statuses
            .entry(server.post(PATH, &kind, &body).status)
            .or_default() += 1;
        assert_eq!(
            server.post(PATH, &request.0, &request.1).status,
            200,
            "after mutant {number}"
        );
    }
    row("300 mutated videos, statuses", format!("{statuses:?}"));
    std::thread::sleep(Duration::from_secs(2));
    let after = held(server.id());
    row(
        "memory before and after, MiB",
        format!("{:.0}, {:.0}", before.0, after.0),
    );
    row(
        "open files before and after",
        format!("{}, {}", before.1, after.1),
    );
    let metrics = server.get("/metrics").text();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("serve_") && !line.contains('{'))
    {
        if let Some((name, value)) = line.split_once(' ') {
            row(&format!("`{name}`"), value);
        }
    }
}

/// One of many kinds of bad requests; the client goes without waiting.
fn bad(server: &Server, good: &[u8], number: usize) {
    let host = format!("Host: {}\r\nConnection: close\r\n", server.address);
    let post = |rest: &str| format!("POST {PATH}?labels=a,b HTTP/1.1\r\n{host}{rest}").into_bytes();
    let video = "Content-Type: video/mp4\r\n";
    let length = good.len() * (number % 7) / 7;
    let bytes = match number % 10 {
        0 => format!("GET /../../{number}/etc/passwd HTTP/1.1\r\n{host}\r\n").into_bytes(),
        1 => post(&format!("{video}Content-Length: 99999999999\r\n\r\n")),
        2 => post(&format!(
            "{video}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        )),
        3 => post(&format!("{}\r\n", "X-A: b\r\n".repeat(20 * (number % 200)))),
        4 => post(&format!(
            "{video}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            usize::MAX
        )),
        5 => post(&format!("{video}Content-Length: 5\r\n\r\nnone!")),
        6 => {
            let labels = vec!["label"; 200 * number].join(",");
            let (kind, body) = form(&[("labels", &labels)], &[("video", "../../x", b"abc")]);
            let head = format!(
                "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            [post(&head), body].concat()
        }
        7 => b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        8 => format!("GET / HTTP/1.1\r\nHost: evil{number}.example\r\n\r\n").into_bytes(),
        _ => {
            let head = format!(
                "Content-Type: video/mp4\r\nContent-Length: {}\r\n\r\n",
                good.len()
            );
            let mut stream = TcpStream::connect(server.address).unwrap();
            let _ = stream.write_all(&[post(&head), good[..length].to_vec()].concat());
            return;
        }
    };
    if let Some(response) = server.raw(&bytes) {
        assert!(
            (400..600).contains(&response.status),
            "{number}: {}",
            response.status
        );
    }
}
