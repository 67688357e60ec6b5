//! The server under load and abuse, as a Markdown table: its throughput and first answer against
//! those of `predict`, minutes at twice its capacity, slow clients, bad requests, hostile videos.
//! A good request is answered after each.
//!
//! `cargo bench -p trainer --bench serve [-- SECONDS [CHECKPOINT] [VIDEO]...]`, by default 300 seconds of
//! load, with the demo's backbone; damaged copies of the videos are among the hostile ones. With the CLIP
//! in a folder only its speed is measured.
//!
//! `predict` decodes the next clips while the model looks at one, on all processors: its time for a further
//! clip is what throughput is compared with. One request to an idle server has nothing to overlap with, so
//! its time is compared with that of the same steps for one clip after another.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, dead_code)]

#[path = "../../../tests/end_to_end/serve/client.rs"]
mod client;
#[path = "../../../tests/end_to_end/serve/mutant.rs"]
mod mutant;
#[path = "../../../tests/end_to_end/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clip_backbone::Checkpoint;
use clips::{Chosen, VideoFiles};
use recogniser::{DEFAULT_TEMPLATE, Labels, Recogniser, decode_clip, templates};
use tch::Device;
use trainer::threads::{threads, use_threads};
use video::{Frame, write_clip};

use client::{Server, form};
use support::{Place, trainer};

const LABELS: &str = "red square,blue circle,yellow star";
const PATH: &str = "/v1/predict";

/// Answers by status.
type Statuses = BTreeMap<u16, usize>;

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

/// A line of the table.
fn row(name: &str, value: impl Display) {
    println!("| {name} | {value} | |");
}

/// A line with a bar that the value is to keep.
fn bar(name: &str, value: f64, keeps: impl Fn(f64) -> bool, bar: &str) {
    let kept = match keeps(value) {
        true => "",
        false => ", **missed**",
    };
    println!("| {name} | {value:.2} | {bar}{kept} |");
}

/// Asks on several threads for this time, each as often as `pause` says; seconds of each accepted answer, and all statuses.
fn load(
    server: &Server,
    request: &(String, Vec<u8>),
    threads: usize,
    pause: Duration,
    time: Duration,
) -> (Vec<f64>, Statuses) {
    let (took, statuses) = (Mutex::new(Vec::new()), Mutex::new(Statuses::new()));
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
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let seconds = arguments.next().and_then(|argument| argument.parse().ok());
    let seconds: u64 = seconds.unwrap_or(300);
    let (folders, videos): (Vec<PathBuf>, Vec<PathBuf>) =
        arguments.map(PathBuf::from).partition(|path| path.is_dir());
    let place = Place::new();
    let checkpoint = folders.first().cloned().unwrap_or_else(|| place.backbone());
    let clips = clips(&place, if folders.is_empty() { 200 } else { 40 });
    let request = good(&clips[0]);
    println!("| | | bar |\n|---|---|---|");
    let further = predict(&checkpoint, &clips);
    row(
        "`predict`, further clip, ms",
        format!("{:.2}", 1000.0 * further),
    );
    let single = one_after_another(&checkpoint, &clips);
    row(
        "one clip after another, median ms",
        format!("{:.2}", 1000.0 * single),
    );

    let began = Instant::now();
    let threads = threads(None).to_string();
    let server = Server::serving(&checkpoint, &place, &["--threads", &threads]);
    let ready = began.elapsed().as_secs_f64();
    bar("ready after, s", ready, |s| s < 3.0, "< 3");
    for path in clips.iter().cycle().take(clips.len() + 50) {
        let (kind, body) = good(path);
        assert_eq!(server.post(PATH, &kind, &body).status, 200);
    }
    // One at a time, with time between, so that each finds the server idle.
    let pause = Duration::from_millis(200);
    let (alone, _) = load(&server, &request, 1, pause, Duration::from_secs(20));
    let (median, last) = (at(&alone, 0.5), at(&alone, 0.99));
    row("idle, median ms", format!("{:.2}", 1000.0 * median));
    row("idle, 99 % ms", format!("{:.2}", 1000.0 * last));
    bar(
        "idle median by one after another",
        median / single,
        |x| x <= 1.2,
        "<= 1.2",
    );
    row(
        "idle median by `predict`, further clip",
        format!("{:.2}", median / further),
    );
    let threads = std::thread::available_parallelism().unwrap().get() + 1;
    let time = Duration::from_secs(20);
    let (full, _) = load(&server, &request, threads, Duration::ZERO, time);
    let capacity = full.len() as f64 / time.as_secs_f64();
    row("full, clips/s", format!("{capacity:.1}"));
    bar(
        "full by `predict`",
        capacity * further,
        |x| x >= 0.95,
        ">= 0.95",
    );

    let before = held(server.id());
    overload(&server, &request, capacity, seconds, last);
    if !folders.is_empty() {
        return;
    }
    beside_slow_clients(&server, &request, 200);
    let mut statuses = Statuses::new();
    for number in 0..2000 {
        *statuses
            .entry(bad(&server, &request.1, number))
            .or_default() += 1;
        answered(&server, &request, number);
    }
    row(
        "2000 bad requests, statuses (0: none)",
        format!("{statuses:?}"),
    );
    let mut originals = vec![clips[1].clone()];
    originals.extend(videos);
    hostile(&server, &request, &originals, &place);

    std::thread::sleep(Duration::from_secs(25));
    let after = held(server.id());
    row(
        "memory before and after, MiB",
        format!("{:.0}, {:.0}", before.0, after.0),
    );
    bar(
        "memory, after by before",
        after.0 / before.0,
        |x| x < 1.05,
        "< 1.05",
    );
    let files = |held: (f64, usize)| held.1 as f64;
    bar(
        "open files, after less before",
        files(after) - files(before),
        |n| n <= 0.0,
        "0",
    );
    let runs = fs::read_dir(place.path("runs")).unwrap().count();
    bar(
        "files left in the folder of runs",
        runs as f64,
        |n| n == 0.0,
        "0",
    );
    let metrics = server.get("/metrics").text();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("serve_decoders_"))
    {
        if let Some((name, value)) = line.split_once(' ') {
            row(&format!("`{name}`"), value);
        }
    }
    assert!(metrics.contains("\nserve_upload_bytes 0\n"), "{metrics}");
}

/// Seconds of `predict` for one more clip.
fn predict(checkpoint: &Path, clips: &[PathBuf]) -> f64 {
    let took = |count: usize| {
        let mut command = trainer(&["predict", "--json", "--device", "cpu", "--labels", LABELS]);
        command.arg("--checkpoint").arg(checkpoint);
        command.args(&clips[..count]);
        let began = Instant::now();
        support::succeed(command);
        began.elapsed().as_secs_f64()
    };
    took(2);
    // The difference is that of the further clips alone; the median of three.
    let few = clips.len() / 10;
    let turn = |_| (took(clips.len()) - took(few)) / (clips.len() - few) as f64;
    at(&sorted((0..3).map(turn).collect()), 0.5)
}

/// Seconds for a clip that is decoded and answered after the one before: the median.
fn one_after_another(checkpoint: &Path, clips: &[PathBuf]) -> f64 {
    use_threads(threads(None)).unwrap();
    let opened = Checkpoint::open(checkpoint.to_str().unwrap()).unwrap();
    let precision = Chosen::of(&opened, Device::Cpu).unwrap().precision;
    let prompts = templates(&[DEFAULT_TEMPLATE.into()]).unwrap();
    let clip = Recogniser::zero_shot(&opened, prompts, 8, Device::Cpu, precision).unwrap();
    let ready = clip.bind(Some(&Labels::parse(LABELS).unwrap())).unwrap();
    let geometry = clip.preprocess().geometry;
    let files = VideoFiles::default();
    let answer = |path: &PathBuf| {
        let began = Instant::now();
        let decoded = decode_clip(path, || files.open(path), clip.frames(), geometry).unwrap();
        ready.answer(path, &decoded.clip, 5).unwrap();
        began.elapsed().as_secs_f64()
    };
    let took: Vec<f64> = clips.iter().map(answer).collect();
    // The first few find nothing ready.
    at(&sorted(took[clips.len() / 10..].to_vec()), 0.5)
}

/// Twice the capacity: only accepted, or told to come again, and the accepted soon.
fn overload(server: &Server, request: &(String, Vec<u8>), capacity: f64, seconds: u64, alone: f64) {
    let clients = 16;
    let pause = Duration::from_secs_f64(f64::from(clients) / (2.0 * capacity));
    let time = Duration::from_secs(seconds);
    let (took, statuses) = load(server, request, clients as usize, pause, time);
    let asked = statuses.values().sum::<usize>() as f64 / time.as_secs_f64();
    row(
        &format!("{seconds} s overloaded, asked by full"),
        format!("{:.2}", asked / capacity),
    );
    row("statuses", format!("{statuses:?}"));
    row(
        "accepted, 99 % ms",
        format!("{:.2}", 1000.0 * at(&took, 0.99)),
    );
    bar(
        "accepted 99 % by idle 99 %",
        at(&took, 0.99) / alone,
        |x| x <= 3.0,
        "<= 3",
    );
    let is_expected = |status: &u16| [200, 429, 503].contains(status);
    assert!(statuses.keys().all(is_expected), "{statuses:?}");
}

/// Clients that send a byte now and then; the good are answered meanwhile.
fn beside_slow_clients(server: &Server, request: &(String, Vec<u8>), count: usize) {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nContent-Type: video/mp4\r\n\
         Content-Length: 100000\r\n\r\n",
        server.address
    );
    let connect = |_| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..count).map(connect).collect();
    let mut took = Vec::new();
    for number in 0..60 {
        for stream in &mut slow {
            let _ = stream.write_all(b"x");
        }
        took.push(answered(server, request, number));
        std::thread::sleep(Duration::from_millis(500));
    }
    let name = format!("beside {count} slow clients, 99 % ms");
    row(&name, format!("{:.2}", 1000.0 * at(&sorted(took), 0.99)));
}

/// Damaged videos, and files that name another one.
fn hostile(server: &Server, request: &(String, Vec<u8>), originals: &[PathBuf], place: &Place) {
    const SECRET: &str = "the content of another file";
    let secret = place.path("secret");
    fs::write(&secret, SECRET).unwrap();
    let secret = secret.display();
    let disguised = [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n"),
        format!("ffconcat version 1.0\nfile {secret}\n"),
        format!("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na={secret}\n"),
        format!("<svg xmlns:xlink='x'><image xlink:href='file://{secret}'/></svg>"),
    ];
    let originals: Vec<Vec<u8>> = originals
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    let mut statuses = Statuses::new();
    let mut slowest = 0.0_f64;
    for number in 0..300 {
        let bytes = match disguised.get(number) {
            Some(text) => text.clone().into_bytes(),
            None => mutant::mutant(&originals[number % originals.len()], number as u64),
        };
        let (kind, body) = form(&[("labels", LABELS)], &[("video", "x.mp4", &bytes)]);
        let asked = Instant::now();
        let response = server.post([PATH, "/v1/timeline"][number % 2], &kind, &body);
        slowest = slowest.max(asked.elapsed().as_secs_f64());
        assert!(
            [200, 415, 422].contains(&response.status),
            "{number}: {}",
            response.text()
        );
        assert!(!response.text().contains(SECRET), "{number}");
        *statuses.entry(response.status).or_default() += 1;
        answered(server, request, number);
    }
    row("300 hostile videos, statuses", format!("{statuses:?}"));
    bar("slowest of them, s", slowest, |s| s < 16.0, "< 16");
}

/// Seconds until a good request is answered, `number` after something else.
fn answered(server: &Server, request: &(String, Vec<u8>), number: usize) -> f64 {
    let asked = Instant::now();
    loop {
        let response = server.post(PATH, &request.0, &request.1);
        // What was before may still be in work.
        if response.status == 503 && asked.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        assert_eq!(response.status, 200, "after {number}: {}", response.text());
        return asked.elapsed().as_secs_f64();
    }
}

/// One of many kinds of bad requests; the status of its answer, 0 without one.
fn bad(server: &Server, good: &[u8], number: usize) -> u16 {
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
            return 0;
        }
    };
    // A chunk that never comes is waited for as long as any; its client goes.
    if number % 10 == 4 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let _ = stream.write_all(&bytes);
        return 0;
    }
    let status = server.raw(&bytes).map_or(0, |response| response.status);
    assert!(
        status == 0 || (400..600).contains(&status),
        "{number}: {status}"
    );
    status
}
