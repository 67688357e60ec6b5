//! One contender in the image tower's comparison: encodes a batch of frames for every line on
//! stdin and prints the seconds it took, so that other implementations can take turns with it
//! (`cargo xtask bench image`).
//!
//! `cargo bench -p clip-backbone --bench image_tower -- (default|whole|literal|matmul) (fp32|bf16) BATCH`
//!
//! `whole` computes the batch in one part, with all of libtorch's threads. `matmul` is the limit: the largest product of a layer, `[197 B, 768] x [768, 3072]`, twelve
//! times over.
#![allow(unsafe_code, clippy::expect_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use clip_backbone::Config;
use tch::{Device, Kind, Tensor};
use testkit::turns::take_turns;

fn main() {
    keep_memory();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let kind = if has("bf16") {
        Kind::BFloat16
    } else {
        Kind::Float
    };
    let batch = words.iter().find_map(|word| word.parse().ok()).unwrap_or(8);
    if has("matmul") {
        let a = Tensor::randn([197 * batch, 768], (kind, Device::Cpu));
        let b = Tensor::randn([768, 3072], (kind, Device::Cpu));
        return take_turns(|| (0..12).for_each(|_| drop(a.matmul(&b))));
    }
    if !has("whole") {
        let threads = std::thread::available_parallelism().expect("a number");
        parallel::use_threads(threads.get()).expect("threads");
    }
    let clip = support::clip(&config(), kind);
    let pixels = Tensor::randn([batch, 3, 224, 224], (kind, Device::Cpu));
    if has("literal") {
        let literal = || drop(clip.vision.forward_literal(&pixels).expect("a batch"));
        take_turns(|| parallel::whole(Device::Cpu, || tch::no_grad(literal)));
    } else {
        take_turns(|| tch::no_grad(|| drop(clip.vision.forward(&pixels).expect("a batch"))));
    }
}

/// ViT-B/16's image tower, beside a text tower too small to take time.
fn config() -> Config {
    let mut config = Config::vit_b_16();
    let t = &mut config.text;
    (t.vocabulary, t.width, t.layers, t.heads, t.mlp_width) = (512, 64, 1, 1, 64);
    config
}

/// Keeps glibc from returning large blocks to the system after every use, as the binary
/// does.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt takes two integers and is called before any other thread exists.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}
