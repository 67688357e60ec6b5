//! Streams: frames over a WebSocket, and a video on standard input, window by window.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::Error::Http;
use tungstenite::{Message, WebSocket, connect};
use video::write_clip;

use super::client::Server;
use super::{LABELS, predicted};
use crate::support::{Place, frames, run, text, trainer};

const SIDE: usize = 32;

/// A film of 4.5 s at 10 frames a second.
fn film() -> Vec<video::Frame> {
    let parts = [(0, 25), (1, 20)];
    let part = |(class, count): (usize, usize)| {
        (0..count).map(move |at| frames(class, at / 8)[at % 8].clone())
    };
    parts.into_iter().flat_map(part).collect()
}

type Socket = WebSocket<tungstenite::stream::MaybeTlsStream<std::net::TcpStream>>;

/// A stream; one that the server has not let go of yet is waited for.
fn open(server: &Server, more: &str) -> Socket {
    let labels = LABELS.replace(' ', "%20");
    let address = server.address;
    let url = format!("ws://{address}/v1/stream?labels={labels}&top=3&window=2s&stride=1s{more}");
    let began = Instant::now();
    loop {
        match connect(&url) {
            Ok((socket, _)) => return socket,
            Err(Http(refused)) if refused.status() == 429 && began.elapsed().as_secs() < 30 => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The answers up to the end.
fn answers(socket: &mut Socket) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => all.push(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return all,
            Ok(_) => {}
        }
    }
}

/// Starts and ends of windows, and classes with scores.
fn compare(streamed: &[Value], timeline: &Value) {
    let windows = timeline["windows"].as_array().unwrap();
    assert_eq!(streamed.len(), windows.len(), "{streamed:?}");
    for (one, other) in streamed.iter().zip(windows) {
        assert_eq!(
            (&one["start"], &one["end"]),
            (&other["start"], &other["end"])
        );
        let of = |answer: &Value, key: &str| -> Vec<Value> {
            let all = answer["frames"].as_array().unwrap().iter();
            all.map(|frame| frame[key].clone()).collect()
        };
        assert_eq!(of(one, "index"), of(other, "index"));
        for (one, other) in one["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .zip(other["predictions"].as_array().unwrap())
        {
            assert_eq!(one["label"], other["label"]);
            let (one, other) = (
                one["score"].as_f64().unwrap(),
                other["score"].as_f64().unwrap(),
            );
            // Frames encoded one window earlier, in another batch.
            assert!((one - other).abs() < 1e-4, "{one} {other}");
        }
        assert_eq!(one["left_out"], 0);
    }
}

#[test]
fn a_stream_of_raw_frames_is_answered_as_a_timeline() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    // As the video's pictures, which JPEG has changed.
    let path = place.path("film.avi");
    write_clip(&path, &film(), 10).unwrap();
    let mut video = video::Video::open(&path, &video::Limits::default()).unwrap();
    let count = video.count_frames().unwrap().frames;
    let pictures = video.frames(&(0..count).collect::<Vec<_>>()).unwrap();
    let timeline = predicted(
        &path,
        &place,
        &["--window", "2s", "--stride", "1s", "--top", "3"],
    );

    let mut socket = open(&server, &format!("&fps=10&width={SIDE}&height={SIDE}"));
    let mut streamed = Vec::new();
    for (index, picture) in pictures.iter().enumerate() {
        socket.send(Message::binary(picture.rgb.clone())).unwrap();
        // The answer is taken before more comes, so that nothing is left out.
        if index >= 20 && index % 10 == 0 {
            let answer = socket.read().unwrap().into_text().unwrap();
            streamed.push(serde_json::from_str(&answer).unwrap());
        }
    }
    socket.send(Message::text("end")).unwrap();
    streamed.extend(answers(&mut socket));
    compare(&streamed, &timeline);
}

#[test]
fn pictures_are_decoded_and_what_comes_too_fast_is_left_out_and_counted() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let mut jpeg = Vec::new();
    let picture = &frames(1, 0)[0];
    jpeg_encoder::Encoder::new(&mut jpeg, 90)
        .encode(
            &picture.rgb,
            SIDE as u16,
            SIDE as u16,
            jpeg_encoder::ColorType::Rgb,
        )
        .unwrap();
    let mut socket = open(&server, "&fps=10");
    // Ten minutes at once.
    for _ in 0..6000 {
        socket.send(Message::binary(jpeg.clone())).unwrap();
    }
    socket.send(Message::text("end")).unwrap();
    let answers = answers(&mut socket);
    assert!(!answers.is_empty());
    let seen: u64 = answers
        .iter()
        .map(|answer| answer["left_out"].as_u64().unwrap())
        .sum();
    assert!(
        answers.len() < 600 && seen > 0,
        "{} answers, {seen} left out",
        answers.len()
    );
    let best = answers[0]["predictions"].as_array().unwrap();
    assert_eq!(best.len(), 3, "{}", answers[0]);

    for (message, words) in [
        (
            Message::binary(b"no picture".to_vec()),
            "a frame is refused",
        ),
        (Message::text("hello"), "text message"),
    ] {
        let mut socket = open(&server, "&fps=1");
        for _ in 0..4 {
            let _ = socket.send(message.clone());
        }
        let said = self::answers(&mut socket);
        let detail = said.last().unwrap()["detail"].to_string();
        assert!(detail.contains(words), "{detail}");
    }
    let mut socket = open(&server, "&fps=1&width=10&height=10");
    socket.send(Message::binary(vec![0; 7])).unwrap();
    let said = self::answers(&mut socket);
    assert!(
        said[0]["detail"].to_string().contains("300 bytes"),
        "{said:?}"
    );
    let address = server.address;
    let refused = connect(format!("ws://{address}/v1/stream?labels=a,b&window=2")).unwrap_err();
    assert!(refused.to_string().contains("422"), "{refused}");
    let labels: Vec<Socket> = (0..4).map(|_| open(&server, "")).collect();
    let refused = connect(format!("ws://{address}/v1/stream?labels=a,b")).unwrap_err();
    assert!(refused.to_string().contains("429"), "{refused}");
    drop(labels);
}

#[test]
fn a_video_on_standard_input_is_answered_window_by_window() {
    let place = Place::new();
    let path = place.path("film.avi");
    write_clip(&path, &film(), 10).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for window in [
        ["--window", "2s", "--stride", "1s"],
        ["--window", "9s", "--stride", "9s"],
    ] {
        let timeline = predicted(&path, &place, &[&window[..], &["--top", "3"]].concat());
        let mut command = trainer(&["predict", "-", "--json", "--top", "3", "--labels", LABELS]);
        command
            .args(window)
            .arg("--checkpoint")
            .arg(place.backbone());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        compare(&answers, &timeline);
        assert_eq!(answers[0]["video"], "-");
    }
    let mut command = trainer(&["predict", "-", "a.avi", "--labels", LABELS, "--checkpoint"]);
    command.arg(place.backbone());
    let output = run(command);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
