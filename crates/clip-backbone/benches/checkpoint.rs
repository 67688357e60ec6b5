//! Writes a ViT-B/16 with generated weights in Hugging Face's layout, for benchmarks that
//! start from a file: `cargo bench -p clip-backbone --bench checkpoint -- FOLDER`.
//!
//! Weights only; the tokenizer's files are the caller's.
#![allow(clippy::expect_used)]

use std::path::PathBuf;

use clip_backbone::Config;
use tch::Tensor;

const CONFIG: &str = r#"{
  "architectures": ["CLIPModel"],
  "model_type": "clip",
  "projection_dim": 512,
  "logit_scale_init_value": 2.6592,
  "vision_config": {"model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "projection_dim": 512},
  "text_config": {"model_type": "clip_text_model", "hidden_size": 512, "intermediate_size": 2048,
    "num_hidden_layers": 12, "num_attention_heads": 8, "vocab_size": 49408,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05,
    "projection_dim": 512, "bos_token_id": 49406, "eos_token_id": 49407}
}
"#;

fn main() {
    let folder = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    let folder = PathBuf::from(folder.expect("a folder"));
    std::fs::create_dir_all(&folder).expect("a folder that can be made");
    let tensors: Vec<(String, Tensor)> = Config::vit_b_16()
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let values = testkit::formula::parameter(&name, &shape);
            let tensor = Tensor::from_slice(&values).view(shape.as_slice());
            (name, tensor)
        })
        .collect();
    Tensor::write_safetensors(&tensors, folder.join("model.safetensors")).expect("a free disk");
    std::fs::write(folder.join("config.json"), CONFIG).expect("a free disk");
}
