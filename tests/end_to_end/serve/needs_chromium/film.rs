//! Videos that a browser can play: drawn and encoded by the browser itself, put into WebM here.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::browser::Browser;

/// Milliseconds from one frame to the next, and frames of a cluster.
const STEP: usize = 100;
const CLUSTER: usize = 10;

/// Class, number and frames of each part of a film.
pub(crate) type Parts = Vec<(usize, usize, usize)>;

/// Writes films at their paths, at 10 frames a second.
pub(crate) fn draw(browser: &Browser, films: &[(PathBuf, Parts)]) {
    let parts: Vec<&Parts> = films.iter().map(|(_, parts)| parts).collect();
    let script = include_str!("film.js");
    let drawn = browser.script(&format!("const films = {};\n{script}", json!(parts)));
    let drawn = drawn.as_array().unwrap_or_else(|| panic!("{drawn}"));
    for ((path, _), frames) in films.iter().zip(drawn) {
        write(path, frames.as_array().unwrap());
    }
}

fn write(path: &Path, frames: &[Value]) {
    let head = element(
        0x1A45_DFA3,
        &[
            number(0x4286, 1),
            number(0x42F7, 1),
            number(0x42F2, 4),
            number(0x42F3, 8),
            element(0x4282, b"webm"),
            number(0x4287, 2),
            number(0x4285, 2),
        ]
        .concat(),
    );
    let length = ((frames.len() * STEP) as f64).to_be_bytes();
    let info = element(
        0x1549_A966,
        &[number(0x002A_D7B1, 1_000_000), element(0x4489, &length)].concat(),
    );
    let size = element(0xE0, &[number(0xB0, 160), number(0xBA, 120)].concat());
    let track = element(
        0xAE,
        &[
            number(0xD7, 1),
            number(0x73C5, 1),
            number(0x83, 1),
            element(0x86, b"V_VP8"),
            size,
        ]
        .concat(),
    );
    let tracks = element(0x1654_AE6B, &track);
    let mut body = [info, tracks].concat();
    let mut cues = Vec::new();
    for (at, frames) in frames.chunks(CLUSTER).enumerate() {
        let begins = (at * CLUSTER * STEP) as u64;
        let place = element(
            0xB7,
            &[number(0xF7, 1), number(0xF1, body.len() as u64)].concat(),
        );
        cues.extend(element(0xBB, &[number(0xB3, begins), place].concat()));
        let mut cluster = number(0xE7, begins);
        for (within, frame) in frames.iter().enumerate() {
            let flags = if frame[0] == true { 0x80 } else { 0 };
            let [high, low] = ((within * STEP) as u16).to_be_bytes();
            let mut block = vec![0x81, high, low, flags];
            block.extend(BASE64_STANDARD.decode(frame[1].as_str().unwrap()).unwrap());
            cluster.extend(element(0xA3, &block));
        }
        body.extend(element(0x1F43_B675, &cluster));
    }
    body.extend(element(0x1C53_BB6B, &cues));
    let film = [head, element(0x1853_8067, &body)].concat();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, film).unwrap();
}

/// An element of EBML: its id, its length in eight bytes, its content.
fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let mut bytes: Vec<u8> = id.into_iter().skip_while(|byte| *byte == 0).collect();
    bytes.extend((content.len() as u64 | 1 << 56).to_be_bytes());
    bytes.extend(content);
    bytes
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}
