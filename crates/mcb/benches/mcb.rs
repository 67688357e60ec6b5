//! The communication block, forward and backward, at the paper's shapes: D = 512, T = 8, s = 4.
#![allow(missing_docs, clippy::expect_used)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mcb::{CommunicationBlock, McbConfig, VideoTokens};
use tch::{Device, Kind, Tensor, nn};

fn communication(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mcb, D = 512");
    group.sample_size(10);
    let float = (Kind::Float, Device::Cpu);
    for (name, config) in [("paper", McbConfig::paper()), ("best", McbConfig::best())] {
        let store = nn::VarStore::new(Device::Cpu);
        let checked = config.check(512).expect("a preset");
        let block = CommunicationBlock::new(&store.root(), &checked).expect("memory");
        for (classes, batch) in [51, 101, 400]
            .into_iter()
            .flat_map(|k| [(k, 1), (k, 4), (k, 32)])
        {
            let random = |rows: i64| Tensor::randn([batch, rows, 512], float);
            let text = random(classes).set_requires_grad(true);
            let (vector, frames, motion) = (random(1).squeeze_dim(1), random(8), random(22));
            let id = BenchmarkId::new(name, format!("K={classes} B={batch}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let video = VideoTokens {
                        vector: &vector,
                        frames: Some(&frames),
                        motion: Some(&motion),
                    };
                    let out = block.forward(&text, &video).expect("a fitting batch");
                    let loss =
                        out.text.square().mean(Kind::Float) + out.video.square().mean(Kind::Float);
                    loss.backward();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, communication);
criterion_main!(benches);
