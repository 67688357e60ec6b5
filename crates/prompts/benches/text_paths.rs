//! The four text paths, forward and backward, at K = 51, 101, 400 and B = 1, 4, 32.
//!
//! The two paths that carry whole sequences are left out where a single step would take
//! minutes.
#![allow(missing_docs)]

mod support;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use prompts::TextPath;
use tch::Kind;

fn text_paths(criterion: &mut Criterion) {
    support::keep_memory();
    let mut group = criterion.benchmark_group("text, ViT-B/16, H = 5");
    group.sample_size(10);
    for kind in [Kind::Float, Kind::BFloat16] {
        let clip = support::tower(kind);
        for (classes, batch) in [51, 101, 400]
            .into_iter()
            .flat_map(|k| [(k, 1), (k, 4), (k, 32)])
        {
            for (path, most) in [
                (TextPath::Literal, 400),
                (TextPath::CutAtEos, 1600),
                (TextPath::SharedPrefix, i64::MAX),
                (TextPath::Packed, i64::MAX),
            ] {
                if classes as i64 * batch > most {
                    continue;
                }
                let encoder = support::encoder(&clip, classes, path);
                let id = BenchmarkId::new(
                    format!("{path:?} {kind:?}"),
                    format!("K={classes} B={batch}"),
                );
                group.bench_function(id, |bencher| {
                    bencher.iter(|| support::step(&clip, &encoder, batch));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, text_paths);
criterion_main!(benches);
