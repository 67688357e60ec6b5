//! Outputs and gradients on the device in each precision, against the CPU's in fp32.

use std::path::Path;

use anyhow::Result;
use clip_backbone::Usage;
use mcb::{CommunicationBlock, McbConfig, VideoTokens};
use models::action_clip::{Head, TemporalHead};
use motion::{MotionConfig, MotionModellingBlock};
use prompts::{TextEncoder, TextEncoding, TextPath};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use crate::inputs::{self, Scale, stream};
use crate::table::{Table, precision};
use crate::training::{CLASSES, FRAMES, System, Training};

/// H
const VECTORS: i64 = 5;

/// What a case computes, to be compared.
struct Computed {
    outputs: Vec<Tensor>,
    gradients: Vec<Tensor>,
}

type Case = (
    String,
    &'static [Kind],
    Box<dyn Fn(Device, Kind) -> Result<Computed>>,
);

const ALL: &[Kind] = &[Kind::Float, Kind::BFloat16, Kind::Half];
/// fp16 is for frozen towers.
const TRAINED: &[Kind] = &[Kind::Float, Kind::BFloat16];
/// Blocks that compute in fp32 whatever the tower's precision.
const SINGLE: &[Kind] = &[Kind::Float];

/// Smallest cosines of outputs and of gradients.
fn limits(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::BFloat16 => (0.999, 0.99),
        Kind::Half => (0.9999, 0.999),
        _ => (0.999_99, 0.9999),
    }
}

pub(crate) fn run(device: Device, folder: &Path) -> Result<usize> {
    let mut table = Table::create(folder, "numbers", "Numbers, against the CPU's in fp32")?;
    table.line(
        "Cosine of all outputs as one vector, and of all gradients; the largest difference as a \
         share of the largest value. fp16 is computed on CUDA only.\n",
    )?;
    table.columns(&[
        "case",
        "precision",
        "cosine of outputs",
        "difference",
        "cosine of gradients",
        "difference",
        "",
    ])?;
    for (name, kinds, compute) in cases(Scale::of(device)) {
        let expected = compute(Device::Cpu, Kind::Float);
        for kind in kinds {
            if *kind == Kind::Half && device == Device::Cpu {
                continue;
            }
            let compared = match &expected {
                Ok(expected) => compute(device, *kind).map(|got| compare(&got, expected)),
                Err(error) => Err(anyhow::anyhow!("on the CPU: {error:#}")),
            };
            let cells = [name.clone(), precision(*kind).into()];
            match compared {
                Ok((outputs, gradients)) => {
                    let limits = limits(*kind);
                    let holds = outputs.cosine >= limits.0
                        && gradients.as_ref().is_none_or(|g| g.cosine >= limits.1);
                    let verdict = table.verdict(holds);
                    let [cosine, difference] = outputs.cells();
                    let [cosine_g, difference_g] =
                        gradients.map_or_else(Default::default, |gap| gap.cells());
                    let rest = [cosine, difference, cosine_g, difference_g, verdict];
                    table.row(&[&cells[..], &rest].concat())?;
                }
                Err(error) => {
                    table.verdict(false);
                    let reason = format!("**FAILS**: {error:#}").replace('\n', " ");
                    let rest = ["", "", "", "", &reason].map(String::from);
                    table.row(&[&cells[..], &rest].concat())?;
                }
            }
        }
    }
    table.finish()
}

fn cases(scale: Scale) -> Vec<Case> {
    let mut all: Vec<Case> = vec![
        (
            "image tower".into(),
            ALL,
            Box::new(move |device, kind| image_tower(scale, device, kind)),
        ),
        (
            "text tower".into(),
            ALL,
            Box::new(move |device, kind| text_tower(scale, device, kind)),
        ),
    ];
    for path in [
        TextPath::Literal,
        TextPath::CutAtEos,
        TextPath::SharedPrefix,
        TextPath::Packed,
    ] {
        all.push((
            format!("text path {path:?}"),
            ALL,
            Box::new(move |device, kind| text_path(scale, path, device, kind)),
        ));
    }
    for (preset, motion, mcb) in [
        ("paper", MotionConfig::paper(), McbConfig::paper()),
        ("best", MotionConfig::best(), McbConfig::best()),
    ] {
        all.push((
            format!("motion, {preset}"),
            SINGLE,
            Box::new(move |device, _| motion_block(scale, &motion, device)),
        ));
        all.push((
            format!("mcb, {preset}"),
            SINGLE,
            Box::new(move |device, _| communication(scale, &mcb, device)),
        ));
    }
    for head in Head::ALL {
        all.push((
            format!("ActionCLIP's head {head}"),
            SINGLE,
            Box::new(move |device, _| temporal_head(scale, head, device)),
        ));
    }
    for (name, system, kinds) in [
        ("few-shot step", System::FewShot, ALL),
        ("ActionCLIP step", System::ActionClip, TRAINED),
    ] {
        all.push((
            name.into(),
            kinds,
            Box::new(move |device, kind| step(system, scale, device, kind)),
        ));
    }
    all
}

fn image_tower(scale: Scale, device: Device, kind: Kind) -> Result<Computed> {
    let clip = inputs::clip(scale, Usage::Frozen, device, kind)?;
    let side = clip.config().vision.image_size;
    let pixels = stream("frames", &[4, 3, side, side]).to_device(device);
    let features = tch::no_grad(|| clip.vision.forward(&pixels.to_kind(kind)))?;
    Ok(Computed {
        outputs: vec![features],
        gradients: vec![],
    })
}

fn text_tower(scale: Scale, device: Device, kind: Kind) -> Result<Computed> {
    let clip = inputs::clip(scale, Usage::Frozen, device, kind)?;
    let (context, end) = (
        clip.config().text.context,
        clip.config().text.vocabulary - 1,
    );
    let rows = 6;
    let mut ids = vec![0i64; (rows * context) as usize];
    for row in 0..rows {
        let length = 3 + row * 4;
        for place in 0..length {
            ids[(row * context + place) as usize] = match place {
                0 => end - 1,
                _ if place + 1 == length => end,
                _ => (row * 37 + place * 11) % (end - 1),
            };
        }
    }
    let ids = Tensor::from_slice(&ids).view([rows, context]);
    let features = tch::no_grad(|| clip.text.forward(&ids))?;
    Ok(Computed {
        outputs: vec![features],
        gradients: vec![],
    })
}

fn text_path(scale: Scale, path: TextPath, device: Device, kind: Kind) -> Result<Computed> {
    let clip = inputs::clip(scale, Usage::Frozen, device, kind)?;
    let text = &clip.config().text;
    let encoding = TextEncoding {
        path,
        ..TextEncoding::default()
    };
    let classes = inputs::classes(7, text.vocabulary)?;
    let encoder = TextEncoder::new(&clip.text, &classes, VECTORS, encoding)?;
    let prompts = leaf(stream("prompts", &[2, VECTORS, text.width]), device);
    let encoded = encoder.encode(&clip.text, &prompts)?;
    let features = encoded.features.shallow_clone();
    encoded.backward(&loss(&features)?)?;
    Ok(Computed {
        outputs: vec![features],
        gradients: vec![prompts.grad()],
    })
}

fn motion_block(scale: Scale, config: &MotionConfig, device: Device) -> Result<Computed> {
    let width = scale.config().joint_width;
    let store = VarStore::new(device);
    let block = MotionModellingBlock::new(&store.root(), &config.check(FRAMES, width)?)?;
    inputs::fill(&store);
    let frames = leaf(stream("features", &[3, FRAMES, width]), device);
    let seen = block.forward(&frames, false)?;
    let mut outputs = vec![seen.video, seen.spatial];
    outputs.extend(seen.motion.map(|cues| cues.pooled));
    backward(outputs, &store, &[&frames])
}

fn communication(scale: Scale, config: &McbConfig, device: Device) -> Result<Computed> {
    let width = scale.config().joint_width;
    let store = VarStore::new(device);
    let block = CommunicationBlock::new(&store.root(), &config.check(width)?)?;
    inputs::fill(&store);
    let tokens = |name, rows: i64| leaf(stream(name, &[3, rows, width]), device);
    let (text, vector) = (tokens("text", 11), tokens("vector", 1));
    let (frames, motion) = (tokens("frames", FRAMES), tokens("motion", 22));
    let video = VideoTokens {
        vector: &vector.squeeze_dim(1),
        frames: Some(&frames),
        motion: Some(&motion),
    };
    let out = block.forward(&text, &video)?;
    backward(vec![out.text, out.video], &store, &[&text, &vector])
}

/// In training, as cuDNN's LSTM has gradients only there; the one head with dropout without it.
fn temporal_head(scale: Scale, head: Head, device: Device) -> Result<Computed> {
    let width = scale.config().joint_width;
    let store = VarStore::new(device);
    let block = TemporalHead::new(&store.root(), head, FRAMES, width)?;
    inputs::fill(&store);
    let frames = leaf(stream("features", &[3, FRAMES, width]), device);
    let video = block.forward(&frames, head != Head::TransformerCls)?;
    backward(vec![video], &store, &[&frames])
}

/// Loss and gradients of a whole model's step.
fn step(system: System, scale: Scale, device: Device, kind: Kind) -> Result<Computed> {
    let mut training = Training::new(system, scale, device, kind)?;
    inputs::fill(training.model.trained());
    let piece = training.batch(1, 2, CLASSES);
    let outputs = training.gradients(1, &piece)?;
    Ok(Computed {
        outputs,
        gradients: gradients(training.model.trained()),
    })
}

fn leaf(values: Tensor, device: Device) -> Tensor {
    values.to_device(device).set_requires_grad(true)
}

/// A function of `features` with a different gradient for each.
fn loss(features: &Tensor) -> Result<Tensor> {
    let weights = stream("weights", &features.size()).to_device(features.device());
    let scaled = features.to_kind(Kind::Float);
    Ok((scaled.f_sin()? * weights).sum(Kind::Float))
}

fn backward(outputs: Vec<Tensor>, store: &VarStore, leaves: &[&Tensor]) -> Result<Computed> {
    let mut total = Tensor::zeros([], (Kind::Float, store.device()));
    for output in &outputs {
        total += loss(output)?;
    }
    total.f_backward()?;
    let leaves = leaves.iter().map(|leaf| leaf.grad());
    Ok(Computed {
        outputs,
        gradients: leaves.chain(gradients(store)).collect(),
    })
}

/// The gradients of the parameters that have one, by name.
fn gradients(store: &VarStore) -> Vec<Tensor> {
    let mut named: Vec<_> = store.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let all = named.iter().map(|(_, tensor)| tensor.grad());
    all.filter(Tensor::defined).collect()
}

/// How far two sets of tensors are apart.
#[derive(Debug)]
struct Gap {
    cosine: f64,
    difference: f64,
}

impl Gap {
    fn cells(&self) -> [String; 2] {
        [
            format!("{:.6}", self.cosine),
            format!("{:.1e}", self.difference),
        ]
    }
}

fn compare(got: &Computed, expected: &Computed) -> (Gap, Option<Gap>) {
    let has_gradients = !expected.gradients.is_empty();
    (
        gap(&got.outputs, &expected.outputs),
        has_gradients.then(|| gap(&got.gradients, &expected.gradients)),
    )
}

/// NaN, which no limit admits, for sets of different shapes and for numbers that are not finite.
fn gap(got: &[Tensor], expected: &[Tensor]) -> Gap {
    let sizes = |all: &[Tensor]| all.iter().map(Tensor::size).collect::<Vec<_>>();
    if expected.is_empty() || sizes(got) != sizes(expected) {
        return Gap {
            cosine: f64::NAN,
            difference: f64::NAN,
        };
    }
    let joined = |all: &[Tensor]| {
        let flat: Vec<Tensor> = all
            .iter()
            .map(|x| x.detach().to_device(Device::Cpu).to_kind(Kind::Double))
            .map(|x| x.flatten(0, -1))
            .collect();
        Tensor::cat(&flat, 0)
    };
    let (a, b) = (joined(got), joined(expected));
    let number = |x: Tensor| x.double_value(&[]);
    Gap {
        cosine: number(a.dot(&b)) / (number(a.norm()) * number(b.norm())),
        difference: number((&a - &b).abs().max()) / number(b.abs().max()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn gaps_of_equal_other_and_broken_numbers() {
        let of = |values: &[f32]| vec![Tensor::from_slice(values)];
        let equal = gap(&of(&[1.0, 2.0]), &of(&[1.0, 2.0]));
        assert!((equal.cosine - 1.0).abs() < 1e-12 && equal.difference == 0.0);
        let other = gap(&of(&[1.0, 0.0]), &of(&[0.0, 2.0]));
        assert!(other.cosine == 0.0 && other.difference == 1.0);
        let broken = gap(&of(&[f32::NAN, 0.0]), &of(&[0.0, 2.0]));
        assert!(broken.cosine.is_nan());
        assert!(gap(&of(&[1.0]), &of(&[1.0, 2.0])).cosine.is_nan());
    }

    #[test]
    fn the_cpu_agrees_with_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(Device::Cpu, folder.path()).unwrap(), 0);
        let table = std::fs::read_to_string(folder.path().join("numbers.md")).unwrap();
        assert!(table.contains("| text path Packed | bf16 |"), "{table}");
        assert!(!table.contains("fp16 |"), "{table}");
    }
}
