//! The memory of ActionCLIP's contrast over a large batch; alone in its process, whose peak it
//! reads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use models::action_clip::{ActionClipConfig, Head};
use models::{Clips, ModelConfig, Targets, build};
use support::{Table, clip, stream, tiny_config};
use tch::{Kind, Tensor};

/// The most memory that was resident so far, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() / 1024
}

#[test]
fn a_contrast_makes_nothing_of_the_size_of_videos_by_texts_by_width() {
    const BATCH: i64 = 512;
    const WIDTH: i64 = 512;
    let mut config = tiny_config();
    config.joint_width = WIDTH;
    let published = ActionClipConfig::published();
    let config_of_model = ModelConfig::ActionClip(ActionClipConfig {
        head: Head::Mean,
        ..published
    });
    let backbone = clip(&config, Kind::Float);
    let model = build(&config_of_model, backbone, Arc::new(Table::default())).unwrap();
    let labels = ["wave", "climb"].map(String::from);
    let classifier = model.bind(&labels).unwrap();

    let frames = stream("contrast", &[BATCH, 8, WIDTH], 1.0);
    let clips = Clips::Features(frames.set_requires_grad(true));
    let targets =
        Targets::classes(&Tensor::arange(BATCH, (Kind::Int64, tch::Device::Cpu)).remainder(2));
    let before = peak();
    classifier
        .loss(&clips, &targets)
        .unwrap()
        .backward(1.0)
        .unwrap();
    let grown = peak() - before;
    // One such tensor is 512 MiB.
    assert!(grown < 256, "{grown} MiB more");
}
