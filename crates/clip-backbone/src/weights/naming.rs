//! Maps the names of every layout to Hugging Face's.

use std::collections::BTreeMap;
use std::path::Path;

use super::StoredTensor;
use crate::{Error, Result};

/// Checkpoint entries that are not parameters: constants implied by the configuration.
const IGNORED: [&str; 6] = [
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
    // OpenAI's TorchScript attributes.
    "input_resolution",
    "context_length",
    "vocab_size",
    // The causal mask, kept as a tensor by some versions.
    "attn_mask",
];

/// Names that indicate an unsupported architecture.
const FOREIGN: [(&str, &str); 10] = [
    ("visual.layer1.", "a ModifiedResNet image tower"),
    ("visual.attnpool", "a ModifiedResNet image tower"),
    ("visual.trunk.", "an image tower of timm"),
    ("visual.attn_pool", "attention pooling in the image tower"),
    (
        "vision_model.head.",
        "attention pooling in the image tower (SigLIP)",
    ),
    ("text_decoder.", "CoCa's text decoder"),
    ("text.cls_emb", "CoCa's text tower"),
    ("logit_bias", "SigLIP's logit bias"),
    (
        "text.transformer.embeddings.",
        "a text tower of transformers",
    ),
    ("text.transformer.encoder.", "a text tower of transformers"),
];

/// Parameters by Hugging Face's names.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    /// Unknown names, as the file spells them.
    pub(crate) unknown: Vec<String>,
    /// Whether the file's own names are `visual.…`, OpenAI's and `open_clip`'s.
    pub(crate) openai: bool,
}

/// Gives every tensor of the file `path` its name.
///
/// # Errors
/// [`Error::Unsupported`] if a name belongs to an unsupported architecture.
pub(crate) fn name_all(path: &Path, raw: BTreeMap<String, StoredTensor>) -> Result<Named> {
    // Data-parallel training puts a prefix before every name.
    let wrapped = !raw.is_empty() && raw.keys().all(|name| name.starts_with("module."));
    let raw = raw.into_iter().map(|(name, tensor)| match wrapped {
        true => (name["module.".len()..].to_owned(), tensor),
        false => (name, tensor),
    });
    let raw: BTreeMap<_, _> = raw.collect();

    for (mark, what) in FOREIGN {
        if let Some(name) = raw.keys().find(|name| name.starts_with(mark)) {
            return Err(Error::Unsupported {
                path: path.into(),
                item: name.clone(),
                what: what.into(),
            });
        }
    }
    if let Some(name) = raw.keys().find(|name| name.ends_with(".ls_1.gamma")) {
        return Err(Error::Unsupported {
            path: path.into(),
            item: name.clone(),
            what: "layer scale".into(),
        });
    }

    let openai = raw.keys().any(|name| name.starts_with("visual."));
    let mut named = Named {
        tensors: BTreeMap::new(),
        unknown: Vec::new(),
        openai,
    };
    for (name, tensor) in raw {
        let last = name.rsplit('.').next().unwrap_or_default();
        if IGNORED.contains(&name.as_str()) || last == "attn_mask" {
            continue;
        }
        let known = if openai {
            from_openai(&name, &tensor)
        } else {
            is_hugging_face(&name).then(|| vec![(name.clone(), plain(&name, &tensor))])
        };
        match known {
            Some(parameters) => named.tensors.extend(parameters),
            None => named.unknown.push(name),
        }
    }
    Ok(named)
}

fn is_hugging_face(name: &str) -> bool {
    ["vision_model.", "text_model."]
        .iter()
        .any(|part| name.starts_with(part))
        || [
            "visual_projection.weight",
            "text_projection.weight",
            "logit_scale",
        ]
        .contains(&name)
}

fn plain(name: &str, tensor: &StoredTensor) -> StoredTensor {
    match name {
        "logit_scale" => tensor.scalar(),
        _ => tensor.clone(),
    }
}

/// Maps one of OpenAI's or `open_clip`'s names to Hugging Face's.
fn from_openai(name: &str, tensor: &StoredTensor) -> Option<Vec<(String, StoredTensor)>> {
    let one = |name: &str| Some(vec![(name.to_owned(), tensor.clone())]);
    // open_clip's models with a separate text tower keep it below `text.`.
    let name = name.strip_prefix("text.").unwrap_or(name);
    match name {
        "logit_scale" => {
            return Some(vec![(name.to_owned(), tensor.scalar())]);
        }
        // Stored for x·W, not as a linear layer's weight.
        "visual.proj" => {
            return Some(vec![(
                "visual_projection.weight".into(),
                tensor.transposed(),
            )]);
        }
        "text_projection" => {
            return Some(vec![("text_projection.weight".into(), tensor.transposed())]);
        }
        "text_projection.weight" => return one("text_projection.weight"),
        "visual.class_embedding" => return one("vision_model.embeddings.class_embedding"),
        "visual.positional_embedding" => {
            return one("vision_model.embeddings.position_embedding.weight");
        }
        "positional_embedding" => return one("text_model.embeddings.position_embedding.weight"),
        "token_embedding.weight" => return one("text_model.embeddings.token_embedding.weight"),
        _ => {}
    }
    let (layer, what) = name.rsplit_once('.')?;
    if !["weight", "bias", "in_proj_weight", "in_proj_bias"].contains(&what) {
        return None;
    }
    let stem = match layer {
        "visual.conv1" => "vision_model.embeddings.patch_embedding",
        "visual.ln_pre" => "vision_model.pre_layrnorm",
        "visual.ln_post" => "vision_model.post_layernorm",
        "ln_final" => "text_model.final_layer_norm",
        _ => "",
    };
    if !stem.is_empty() {
        return one(&format!("{stem}.{what}"));
    }
    let (tower, rest) = match layer.strip_prefix("visual.transformer.resblocks.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", layer.strip_prefix("transformer.resblocks.")?),
    };
    let (index, module) = rest.split_once('.')?;
    let index: u32 = index.parse().ok()?;
    let block = format!("{tower}.encoder.layers.{index}");
    let module = match (module, what) {
        ("attn", "in_proj_weight" | "in_proj_bias") => {
            let what = what.strip_prefix("in_proj_")?;
            return ["q", "k", "v"]
                .iter()
                .zip(0..)
                .map(|(which, part)| {
                    let name = format!("{block}.self_attn.{which}_proj.{what}");
                    Some((name, tensor.part(part, 3)?))
                })
                .collect();
        }
        ("attn.out_proj", _) => "self_attn.out_proj",
        ("ln_1", _) => "layer_norm1",
        ("ln_2", _) => "layer_norm2",
        ("mlp.c_fc", _) => "mlp.fc1",
        ("mlp.c_proj", _) => "mlp.fc2",
        _ => return None,
    };
    one(&format!("{block}.{module}.{what}"))
}
