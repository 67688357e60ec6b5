//! One training step of the text side: ViT-B/16's text tower with generated weights, H = 5,
//! label lengths as in the paper's data sets.
#![allow(dead_code, unreachable_pub, unsafe_code, clippy::expect_used)]

#[path = "../../tests/support/mod.rs"]
mod generated;

use clip_backbone::ClipModel;
use prompts::{ClassTokens, TextEncoder, TextEncoding, TextPath};
use tch::{Device, Kind, Tensor};

/// H
pub const VECTORS: i64 = 5;

/// Keeps glibc from returning large blocks to the system after every use: outputs above
/// 32 MB would otherwise be mapped and faulted in again on every call.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt takes two integers and is called before any other thread exists.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}

/// The frozen tower.
pub fn tower(kind: Kind) -> ClipModel {
    generated::clip(&generated::b16_text_config(), kind)
}

/// K classes whose labels have as many tokens in total as those of HMDB-51, UCF-101 and
/// Kinetics-400: packed at H = 5 a video costs 182, 420 and 1,750 tokens.
pub fn classes(count: usize) -> ClassTokens {
    let total = match count {
        51 => 74,
        101 => 212,
        400 => 944,
        _ => 2 * count,
    };
    // As in real label lists: many short ones, few of twice the mean and more.
    let mean = total / count;
    let mut lengths: Vec<usize> = (0..count)
        .map(|class| match class % 8 {
            0..=3 => mean.max(1),
            4..=6 => mean.saturating_sub(1).max(1),
            _ => mean + 2,
        })
        .collect();
    let mut class = 0;
    while lengths.iter().sum::<usize>() < total {
        lengths[class % count] += 1;
        class += 3;
    }
    while lengths.iter().sum::<usize>() > total {
        if lengths[class % count] > 1 {
            lengths[class % count] -= 1;
        }
        class += 3;
    }
    let labels = lengths.into_iter().enumerate().map(|(class, length)| {
        let ids = (0..length).map(|i| (1000 + class * 37 + i * 11) as i64);
        (format!("class {class}"), ids.collect())
    });
    ClassTokens::from_ids(labels, 49406, 269, 49407).expect("classes")
}

/// A task on a tower.
pub fn encoder(clip: &ClipModel, classes: usize, path: TextPath) -> TextEncoder {
    let encoding = TextEncoding {
        path,
        ..TextEncoding::default()
    };
    TextEncoder::new(&clip.text, &self::classes(classes), VECTORS, encoding).expect("a task")
}

/// Forward and backward for a batch of videos.
pub fn step(clip: &ClipModel, encoder: &TextEncoder, batch: i64) {
    let width = clip.text.config().width;
    let prompts = Tensor::randn([batch, VECTORS, width], (Kind::Float, Device::Cpu));
    let prompts = prompts.set_requires_grad(true);
    let text = encoder
        .encode(&clip.text, &prompts)
        .expect("a fitting batch");
    let loss = text.features.square().mean(Kind::Float);
    text.backward(&loss).expect("a scalar");
}
