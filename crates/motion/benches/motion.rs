//! The motion modelling block, forward and backward, at the paper's shapes: T = 8, D = 512.
#![allow(missing_docs, clippy::expect_used)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use motion::{MotionConfig, MotionModellingBlock};
use tch::{Device, Kind, Tensor, nn};

fn motion_block(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("motion block, T = 8, D = 512, s = 4");
    group.sample_size(10);
    for (name, config) in [
        ("paper", MotionConfig::paper()),
        ("best", MotionConfig::best()),
    ] {
        let store = nn::VarStore::new(Device::Cpu);
        let checked = config.check(8, 512).expect("a preset");
        let block = MotionModellingBlock::new(&store.root(), &checked).expect("memory");
        for batch in [1, 4, 32] {
            let frames = Tensor::randn([batch, 8, 512], (Kind::Float, Device::Cpu));
            group.bench_function(BenchmarkId::new(name, format!("B={batch}")), |bencher| {
                bencher.iter(|| {
                    let out = block.forward(&frames, true).expect("a fitting batch");
                    out.video.square().mean(Kind::Float).backward();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, motion_block);
criterion_main!(benches);
