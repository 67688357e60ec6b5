//! The layers against their formulas, and the tensors they refuse.
#![allow(clippy::unwrap_used)]

use layers::{
    Activation, Error, FeedForward, LayerNorm, Linear, LinearInit, MultiHeadAttention, NormOrder,
    TransformerLayer, attend, attend_flat, causal_bias, join_heads, split_heads,
};
use tch::{Device, Kind, Tensor, nn};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const WIDTH: i64 = 12;

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// A store of parameters in double precision, and an attention over them.
fn attention(heads: i64) -> (nn::VarStore, MultiHeadAttention) {
    let mut store = nn::VarStore::new(Device::Cpu);
    let init = LinearInit::Uniform;
    let attention = MultiHeadAttention::new(&store.root(), WIDTH, heads, init).unwrap();
    store.double();
    (store, attention)
}

#[test]
fn an_attention_is_the_written_formula_head_by_head() {
    let (store, attention) = attention(3);
    let parameter = |name: &str| store.variables()[name].shallow_clone();
    let (weight, bias) = (parameter("in_proj_weight"), parameter("in_proj_bias"));
    let (queries, tokens) = (
        Tensor::randn([2, 4, WIDTH], DOUBLE),
        Tensor::randn([2, 7, WIDTH], DOUBLE),
    );
    let project = |x: &Tensor, from: i64, head: i64| {
        let start = from * WIDTH + head * 4;
        x.matmul(&weight.narrow(0, start, 4).tr()) + bias.narrow(0, start, 4)
    };
    let literal = |queries: &Tensor, tokens: &Tensor| {
        let heads: Vec<Tensor> = (0..3)
            .map(|head| {
                let q = project(queries, 0, head);
                let (k, v) = (project(tokens, 1, head), project(tokens, 2, head));
                (q.matmul(&k.transpose(1, 2)) / 2.0)
                    .softmax(-1, Kind::Double)
                    .matmul(&v)
            })
            .collect();
        let joined = Tensor::cat(&heads, -1);
        joined.matmul(&parameter("out_proj.weight").tr()) + parameter("out_proj.bias")
    };
    let own = attention.forward(&tokens, 0.0).unwrap();
    assert!(gap(&own, &literal(&tokens, &tokens)) < 1e-12);
    let cross = attention.cross(&queries, &tokens).unwrap();
    assert!(gap(&cross, &literal(&queries, &tokens)) < 1e-12);
    assert!(gap(&attention.forward(&tokens, 0.5).unwrap(), &own) > 1e-3);
}

#[test]
fn one_batch_dimension_attends_as_two_do_and_a_causal_mask_hides_what_follows() {
    let x = Tensor::randn([2, 5, WIDTH], DOUBLE);
    let heads = split_heads(&x, 3); // (2, 3, 5, 4)
    assert_eq!(gap(&join_heads(&heads), &x), 0.0);
    let flat = heads.reshape([6, 5, 4]);
    let mask = causal_bias(5, Kind::Double, Device::Cpu);
    for bias in [None, Some(&mask)] {
        let two = attend(&heads, &heads, &heads, bias).reshape([6, 5, 4]);
        assert!(gap(&attend_flat(&flat, &flat, &flat, bias), &two) < 1e-12);
    }
    let first = attend(&heads, &heads, &heads, Some(&mask)).narrow(2, 0, 1);
    assert!(gap(&first, &heads.narrow(2, 0, 1)) < 1e-12);
}

#[test]
fn a_layer_is_its_parts_in_either_order() {
    let mut store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let linear = |name: &str, inputs, outputs| {
        Linear::new(&(&root / name), inputs, outputs, LinearInit::Uniform).unwrap()
    };
    let mut layer = TransformerLayer {
        attention: MultiHeadAttention::new(&root, WIDTH, 3, LinearInit::Uniform).unwrap(),
        norm1: LayerNorm::new(&(&root / "norm1"), WIDTH, 1e-5).unwrap(),
        feed_forward: FeedForward {
            linear1: linear("linear1", WIDTH, 20),
            activation: Activation::QuickGelu,
            linear2: linear("linear2", 20, WIDTH),
        },
        norm2: LayerNorm::new(&(&root / "norm2"), WIDTH, 1e-5).unwrap(),
        order: NormOrder::Pre,
        dropout: 0.5,
    };
    store.double();
    let x = Tensor::randn([2, 5, WIDTH], DOUBLE);
    let mixed = |x: &Tensor| layer.attention.forward(x, 0.0).unwrap();
    let through = |x: &Tensor| layer.feed_forward.forward(x, 0.0);
    let pre = &x + mixed(&layer.norm1.forward(&x));
    let pre = &pre + through(&layer.norm2.forward(&pre));
    let post = layer.norm1.forward(&(&x + mixed(&x)));
    let post = layer.norm2.forward(&(&post + through(&post)));
    assert!(gap(&layer.forward(&x, false).unwrap(), &pre) < 1e-12);
    assert!(gap(&layer.forward(&x, true).unwrap(), &pre) > 1e-3);
    layer.order = NormOrder::Post;
    assert!(gap(&layer.forward(&x, false).unwrap(), &post) < 1e-12);
}

#[test]
fn initial_values_stay_within_their_bounds() {
    let store = nn::VarStore::new(Device::Cpu);
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    for (name, init, weight, bias) in [
        ("uniform", LinearInit::Uniform, 0.25, 0.25),
        ("zero bias", LinearInit::UniformZeroBias, 0.25, 0.0),
        ("normal", LinearInit::Normal(0.02), 0.2, 0.0),
        ("zero", LinearInit::Zero, 0.0, 0.0),
    ] {
        let linear = Linear::new(&(store.root() / name), 16, 64, init).unwrap();
        for (found, bound) in [
            (&linear.weight, weight),
            (linear.bias.as_ref().unwrap(), bias),
        ] {
            let found = largest(found);
            assert!(
                found <= bound && (found > bound / 5.0 || bound == 0.0),
                "{name}: {found}"
            );
        }
    }
}

#[test]
fn tensors_and_heads_that_do_not_fit_are_refused() {
    let store = nn::VarStore::new(Device::Cpu);
    for heads in [0, -1, 5] {
        let refused = MultiHeadAttention::new(&store.root(), WIDTH, heads, LinearInit::Zero);
        assert!(matches!(refused, Err(Error::Heads { width: WIDTH, heads: h }) if h == heads));
    }
    let (_store, attention) = attention(3);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, DOUBLE);
    let good = zeros(&[2, 5, WIDTH]);
    for shape in [
        &[5, WIDTH][..],
        &[2, 5, WIDTH - 1],
        &[2, 0, WIDTH],
        &[0, 5, WIDTH],
    ] {
        let bad = zeros(shape);
        for refused in [
            attention.forward(&bad, 0.0),
            attention.cross(&bad, &good),
            attention.cross(&good, &bad),
        ] {
            assert!(matches!(refused, Err(Error::Shape { got, .. }) if got == shape));
        }
    }
    assert!(attention.cross(&good, &zeros(&[3, 5, WIDTH])).is_err());
}
