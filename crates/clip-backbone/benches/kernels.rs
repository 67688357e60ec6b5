//! The gain of each half of the kernels over the path without it: twelve blocks of ViT-B/16's image
//! tower with neither half, with the products, with the attention, and with both, taking turns.
//!
//! `cargo bench -p clip-backbone --bench kernels -- (fp32|bf16) BATCH ROUNDS`
//!
//! It runs on every supported processor, whatever `is_preferred` says. Prints the median
//! seconds of each way, and its ratio to neither.
#![allow(clippy::expect_used)]

// The products that the kernels are compared with, from the library itself.
#[allow(dead_code, unused_imports)]
#[path = "../src/packed.rs"]
mod packed;

use std::time::Instant;

use kernels::Epilogue;
use layers::{attend_flat, join_heads, split_heads};
use packed::PackedWeight;
use tch::{Device, Kind, Tensor};

const WIDTH: i64 = 768;
const HEADS: i64 = 12;
const TOKENS: i64 = 197;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kind = match words.iter().any(|word| word == "bf16") {
        true => Kind::BFloat16,
        false => Kind::Float,
    };
    let mut numbers = words.iter().filter_map(|word| word.parse::<usize>().ok());
    let (batch, rounds) = (numbers.next().unwrap_or(8), numbers.next().unwrap_or(15));
    assert!(kernels::is_supported(), "needs AVX-512 with bf16");

    let blocks: Vec<Block> = (0..12).map(|_| Block::new(kind)).collect();
    let x = Tensor::randn([batch as i64, TOKENS, WIDTH], (kind, Device::Cpu));
    let ways = [(false, false), (true, false), (false, true), (true, true)];
    let mut seconds = ways.map(|_| Vec::new());
    let _guard = tch::no_grad_guard();
    // The first round packs weights and wakes threads.
    for round in 0..=rounds {
        for ((products, attention), seconds) in ways.into_iter().zip(&mut seconds) {
            let start = Instant::now();
            let first = blocks[0].forward(&x, products, attention);
            let rest = blocks[1..].iter();
            drop(rest.fold(first, |x, block| block.forward(&x, products, attention)));
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let medians = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    });
    let names = ["neither", "products", "attention", "both"];
    for (name, median) in names.iter().zip(medians) {
        println!("{name:9} {median:.4} s  {:.3}", median / medians[0]);
    }
}

struct Block {
    norm: Tensor,
    qkv: Map,
    out: Map,
    fc1: Map,
    fc2: Map,
}

impl Block {
    fn new(kind: Kind) -> Self {
        Self {
            norm: Tensor::ones([WIDTH], (kind, Device::Cpu)),
            qkv: Map::new(kind, WIDTH, 3 * WIDTH),
            out: Map::new(kind, WIDTH, WIDTH),
            fc1: Map::new(kind, WIDTH, 4 * WIDTH),
            fc2: Map::new(kind, 4 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: &Tensor, products: bool, attention: bool) -> Tensor {
        let norm = |x: &Tensor| x.layer_norm([WIDTH], Some(&self.norm), None, 1e-5, false);
        let qkv = self.qkv.forward(&norm(x), Epilogue::Identity, products);
        let mixed = match attention {
            true => kernels::attention(&qkv, HEADS).expect("a supported shape"),
            false => plain_attention(&qkv),
        };
        let x = self.out.forward(&mixed, Epilogue::Add(x), products);
        let hidden = self.fc1.forward(&norm(&x), Epilogue::Silu, products);
        self.fc2.forward(&hidden, Epilogue::Add(&x), products)
    }
}

struct Map {
    weight: Tensor,
    bias: Tensor,
    packed: Option<PackedWeight>,
}

impl Map {
    fn new(kind: Kind, inputs: i64, outputs: i64) -> Self {
        let options = (kind, Device::Cpu);
        let weight = Tensor::randn([outputs, inputs], options) * (inputs as f64).powf(-0.5);
        Self {
            packed: PackedWeight::new(&weight),
            bias: Tensor::zeros([outputs], options),
            weight,
        }
    }

    fn forward(&self, x: &Tensor, epilogue: Epilogue<'_>, kernel: bool) -> Tensor {
        let bias = Some(&self.bias);
        match (&self.packed, kernel) {
            (Some(packed), false) => packed.product(x, bias, epilogue),
            _ => kernels::product(x, &self.weight, bias, epilogue),
        }
        .expect("a supported shape")
    }
}

/// The attention of a tower without kernels.
fn plain_attention(qkv: &Tensor) -> Tensor {
    let part = |i: i64| split_heads(&qkv.narrow(2, i * WIDTH, WIDTH), HEADS);
    let (q, k, v) = (part(0), part(1), part(2)); // (B, h, L, d)
    join_heads(&match q.kind() {
        Kind::BFloat16 => {
            let flat = |x: &Tensor| x.reshape([-1, TOKENS, WIDTH / HEADS]);
            attend_flat(&flat(&q), &flat(&k), &flat(&v), None).view_as(&q)
        }
        _ => Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        ),
    })
}
