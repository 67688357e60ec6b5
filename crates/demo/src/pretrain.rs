//! The built-in backbone: a small CLIP, pre-trained on captioned stills.
//!
//! Contrastive learning as in CLIP (Radford et al., 2021): the cosines of all pictures of a
//! batch with all its captions, times a learned factor, and cross-entropy both ways. In
//! addition, each picture is compared with short captions that differ in one attribute only: hard
//! negatives with a wrong place, size or tilt, similar to Yuksekgonul et al. (2023).
//! With whole captions alone the features did not encode place after 700 updates (R² of a
//! linear probe 0.1). The model never sees two frames of one clip.

use std::collections::BTreeMap;
use std::path::Path;

use clip_backbone::{
    Activation, ClipModel, Config, Preprocess, TextConfig, Tokenizer, Usage, VisionConfig,
    transformers_config,
};
use random::Stream;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::captions::alternatives;
use super::quality::unit;
use super::scenes::SIDE;
use super::stills::Stills;
use super::vocabulary;
use crate::{Error, Result};
use clips::{Ahead, Emit, Ended, Interrupt, ReadAhead};
use optim::{Method, Optimizer, Parameter, Schedule, WarmUp};

/// Options of the pre-training.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Seed of the initial weights and of the stills.
    pub seed: u64,
    /// Updates.
    pub steps: u64,
    /// Pictures per batch.
    pub batch: usize,
    /// The peak learning rate.
    pub rate: f64,
}

impl Default for Options {
    /// The options of the committed backbone.
    fn default() -> Self {
        Self {
            seed: 0,
            steps: 6000,
            batch: 128,
            rate: 1e-3,
        }
    }
}

/// Statistics of one update.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Number of the update, from 1.
    pub step: u64,
    /// Loss of the batch.
    pub loss: f64,
    /// Fraction of pictures whose own caption has the highest score in the batch.
    pub accuracy: f64,
}

/// Captions that the vocabulary is learned from.
const VOCABULARY_CAPTIONS: usize = 4000;
/// Tokens of the longest text.
const CONTEXT: i64 = 32;
/// Weight of the loss over whole captions relative to that over single attributes.
const WHOLE_CAPTIONS: f64 = 0.3;
/// ln 100, the largest factor on cosines.
const MAX_SCALE: f64 = 4.605_170_185_988_092;

/// Pre-trains a backbone and writes it to `folder` in Hugging Face's layout.
///
/// The same options give the same weights on the same machine with the same number of
/// threads. `watch` is called after every update.
///
/// # Errors
/// Files that cannot be written, an invalid batch size, an interruption, or a loss that is not
/// finite. No weights are written then.
pub fn pretrain(
    options: &Options,
    folder: &Path,
    interrupt: &Interrupt,
    mut watch: impl FnMut(&Step),
) -> Result<Ended<()>> {
    if options.batch < 2 {
        return Err(Error::Option {
            what: "pre-training batch",
            expected: "at least 2".into(),
            got: options.batch.to_string(),
        });
    }
    let captions = Stills::captions_alone(options.seed, "vocabulary", VOCABULARY_CAPTIONS);
    let learned = vocabulary::learn(&captions)?;
    write_json(&folder.join("tokenizer.json"), &learned)?;
    let tokenizer = Tokenizer::open(folder, CONTEXT)?;
    let config = config(tokenizer.end_of_text() + 1);
    let mut first = first_weights(&config, options.seed);
    let clip = ClipModel::new(
        &config,
        &mut first,
        Usage::FineTuned,
        Device::Cpu,
        Kind::Float,
    )?;
    if train(&clip, &tokenizer, options, interrupt, &mut watch)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    write_json(
        &folder.join("config.json"),
        &config_file(&config, &tokenizer),
    )?;
    write_json(&folder.join("preprocessor_config.json"), &preprocess_file())?;
    disk::write(&folder.join("model.safetensors"), &weights_file(&clip)?)?;
    Ok(Ended::Done(()))
}

fn train(
    clip: &ClipModel,
    tokenizer: &Tokenizer,
    options: &Options,
    interrupt: &Interrupt,
    watch: &mut impl FnMut(&Step),
) -> Result<Ended<()>> {
    let method = Method::AdamW {
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-6,
    };
    let mut optimizer = Optimizer::new(method, parameters(clip));
    let schedule = Schedule {
        rate: options.rate,
        warm_up: WarmUp::Linear,
        warm_up_rate: 0.0,
        warm_up_steps: options.steps / 20,
        steps: options.steps,
    };
    let preprocess = Preprocess::openai(SIDE as i64);
    let own = Tensor::arange(options.batch as i64, (Kind::Int64, Device::Cpu));
    let (seed, steps, batch) = (options.seed, options.steps, options.batch);
    // Pictures are drawn on another thread while libtorch computes.
    let ahead = Ahead {
        workers: 1,
        jobs: 2,
    };
    let mut batches = ReadAhead::new(ahead, || {
        move |step: u64, emit: &mut Emit<'_, Stills>| {
            let _ = emit(Stills::of_any_look(seed, &format!("batch {step}"), batch));
            Ok(())
        }
    })?;
    (0..steps).for_each(|step| batches.push(step));
    for (step, batch) in batches {
        let batch = batch?;
        if interrupt.asked() {
            return Ok(Ended::Stopped);
        }
        let pixels = preprocess.normalise(&batch.pictures()?)?;
        let seen = unit(&clip.vision.forward(&pixels)?);
        let scale = clip.logit_scale().exp();
        let told = unit(
            &clip
                .text
                .forward(&tokenizer.encode_batch(&batch.captions))?,
        );
        let scores = seen.matmul(&told.tr()) * &scale; // (N, N)
        let whole: Tensor = (scores.cross_entropy_for_logits(&own)
            + scores.tr().cross_entropy_for_logits(&own))
            * 0.5;
        let mut draws = Stream::new(seed, &["alternatives", &step.to_string()]);
        let one_thing = against_alternatives(
            clip,
            tokenizer,
            &(&seen * &scale),
            &batch.truths,
            &alternatives(&mut draws),
        )?;
        let loss = whole * WHOLE_CAPTIONS + one_thing;
        optimizer.zero_grad();
        loss.backward();
        optimizer.clip_gradients(1.0)?;
        optimizer.step(schedule.rate(step as u64));
        let _ = tch::no_grad(|| clip.logit_scale().shallow_clone().clamp_max_(MAX_SCALE));
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(Error::NotFinite {
                step: step as u64,
                loss: value,
            });
        }
        let right = scores.argmax(1, false).eq_tensor(&own);
        watch(&Step {
            step: step as u64 + 1,
            loss: value,
            accuracy: right
                .to_kind(Kind::Float)
                .mean(Kind::Float)
                .double_value(&[]),
        });
    }
    Ok(Ended::Done(()))
}

/// Mean over the groups of the cross-entropy of each picture with a group's captions.
///
/// `seen` is `[N, D]`, scaled; `truths` holds the true caption of every group for each.
fn against_alternatives(
    clip: &ClipModel,
    tokenizer: &Tokenizer,
    seen: &Tensor,
    truths: &[Vec<usize>],
    groups: &[Vec<String>],
) -> Result<Tensor> {
    let captions: Vec<&String> = groups.iter().flatten().collect();
    let told = unit(&clip.text.forward(&tokenizer.encode_batch(&captions))?);
    let scores = seen.matmul(&told.tr()); // (N, all captions)
    let mut sum = Tensor::zeros([], (Kind::Float, seen.device()));
    let mut start = 0;
    for (place, group) in groups.iter().enumerate() {
        let size = group.len() as i64;
        let truth: Vec<i64> = truths.iter().map(|truth| truth[place] as i64).collect();
        let own = Tensor::from_slice(&truth);
        sum += scores.narrow(1, start, size).cross_entropy_for_logits(&own);
        start += size;
    }
    Ok(sum / groups.len() as f64)
}

/// All parameters are trained; matrices other than positions have weight decay.
fn parameters(clip: &ClipModel) -> Vec<Parameter> {
    clip.parameters()
        .iter()
        .map(|(name, tensor)| Parameter {
            name: name.clone(),
            tensor: tensor.shallow_clone(),
            rate: 1.0,
            decay: if tensor.dim() > 1 && !name.contains("position_embedding") {
                0.1
            } else {
                0.0
            },
        })
        .collect()
}

/// The shape of the backbone: about 0.6 million parameters.
fn config(vocabulary: i64) -> Config {
    Config {
        vision: VisionConfig {
            image_size: SIDE as i64,
            patch_size: 16,
            width: 96,
            layers: 3,
            heads: 4,
            mlp_width: 384,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            patch_bias: false,
            norm_before: true,
        },
        text: TextConfig {
            context: CONTEXT,
            vocabulary,
            width: 64,
            layers: 2,
            heads: 4,
            mlp_width: 256,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
        },
        joint_width: 64,
    }
}

/// Initial weights with CLIP's standard deviations, each from its own stream.
fn first_weights(config: &Config, seed: u64) -> BTreeMap<String, Tensor> {
    let tensor = |(name, shape): (String, Vec<i64>)| {
        let first = First::of(&name, &shape, config);
        let mut stream = Stream::new(seed, &["first weights", &name]);
        let count = shape.iter().product::<i64>().max(0) as usize;
        let values: Vec<f32> = (0..count)
            .map(|_| match first {
                First::Constant(value) => value as f32,
                First::Normal { spread } => (spread * stream.normal()) as f32,
            })
            .collect();
        let first = Tensor::from_slice(&values).view(&shape[..]);
        match name.contains("patch_embedding") {
            // Contrasts rather than brightness: the plain background carries no information.
            true => (
                name,
                &first - first.mean_dim([2i64, 3].as_slice(), true, Kind::Float),
            ),
            false => (name, first),
        }
    };
    config.parameters().into_iter().map(tensor).collect()
}

/// The initial value of a parameter.
#[derive(Clone, Copy)]
enum First {
    Constant(f64),
    Normal { spread: f64 },
}

impl First {
    fn of(name: &str, shape: &[i64], config: &Config) -> Self {
        let normal = |spread| Self::Normal { spread };
        let narrow = |width: i64| normal((width as f64).powf(-0.5));
        if name == "logit_scale" {
            Self::Constant((1.0_f64 / 0.07).ln())
        } else if name.ends_with("bias") {
            Self::Constant(0.0)
        } else if name.contains("norm.") || name.contains("norm1.") || name.contains("norm2.") {
            Self::Constant(1.0)
        } else if name.contains("token_embedding") {
            normal(0.02)
        } else if name.starts_with("text_model.embeddings") {
            normal(0.01)
        } else if name.contains("position_embedding") {
            // As large as the patch embeddings: place is what has to be learned.
            normal(0.5)
        } else if name.contains("class_embedding") {
            narrow(config.vision.width)
        } else if name.contains("out_proj") || name.contains("fc2") {
            // The output of a block is smaller the more blocks add to the residual stream.
            let layers = match name.starts_with("text_model") {
                true => config.text.layers,
                false => config.vision.layers,
            };
            narrow(shape.first().copied().unwrap_or(1) * 2 * layers)
        } else if name.contains("fc1") {
            narrow(2 * shape.iter().skip(1).product::<i64>())
        } else {
            narrow(shape.iter().skip(1).product())
        }
    }
}

/// The trained weights in half precision under Hugging Face's names.
fn weights_file(clip: &ClipModel) -> Result<Vec<u8>> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    let vision = &clip.config().vision;
    for (name, tensor) in clip.parameters() {
        if let Some((attention, what)) = name.split_once("qkv_proj.") {
            for (part, third) in ["q", "k", "v"].iter().zip(tensor.chunk(3, 0)) {
                tensors.insert(format!("{attention}{part}_proj.{what}"), third);
            }
        } else if name.ends_with("patch_embedding.weight") {
            let shape = [vision.width, 3, vision.patch_size, vision.patch_size];
            tensors.insert(name.clone(), tensor.reshape(shape));
        } else {
            tensors.insert(name.clone(), tensor.shallow_clone());
        }
    }
    let stored = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let flat = tensor.detach().to_kind(Kind::Half).contiguous().view([-1]);
            let values: Vec<half::f16> = Vec::try_from(&flat)?;
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
            Ok((name, shape, bytes))
        })
        .collect::<Result<Vec<_>>>()?;
    let failed = |error: safetensors::SafeTensorError| Error::Weights(error.to_string());
    let views = stored
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes).map(|view| (name, view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    // Transformers refuses files without it.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

fn config_file(config: &Config, tokenizer: &Tokenizer) -> Value {
    let mut file = transformers_config(config);
    file["logit_scale_init_value"] = json!(2.6592);
    file["torch_dtype"] = json!("float16");
    file["text_config"]["bos_token_id"] = json!(tokenizer.start_of_text());
    file["text_config"]["eos_token_id"] = json!(tokenizer.end_of_text());
    file
}

fn preprocess_file() -> Value {
    let Preprocess { mean, std, .. } = Preprocess::openai(SIDE as i64);
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": true,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": true,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean,
        "image_std": std,
        "do_convert_rgb": true,
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(disk::write(path, format!("{value:#}\n").as_bytes())?)
}
