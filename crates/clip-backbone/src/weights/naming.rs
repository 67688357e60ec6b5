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
    pub(crate) spelling: Spelling,
    /// Whether OpenAI's own attributes are among them, which no other library writes.
    pub(crate) of_openai: bool,
}

/// The spelling of a file's names.
#[derive(Debug, Clone)]
pub(crate) struct Spelling {
    /// Before every name, with a final dot.
    prefix: String,
    /// OpenAI's and `open_clip`'s names, `visual.…`, not Hugging Face's.
    pub(crate) openai: bool,
}

/// Gives every tensor of the file `path` its name; `prefix` was taken from their names.
///
/// # Errors
/// [`Error::Unsupported`] if a name belongs to an unsupported architecture.
pub(crate) fn name_all(
    path: &Path,
    prefix: &str,
    raw: BTreeMap<String, StoredTensor>,
) -> Result<Named> {
    for (mark, what) in FOREIGN {
        if let Some(name) = raw.keys().find(|name| name.starts_with(mark)) {
            return Err(Error::Unsupported {
                path: path.into(),
                item: format!("{prefix}{name}"),
                what: what.into(),
            });
        }
    }
    if let Some(name) = raw.keys().find(|name| name.ends_with(".ls_1.gamma")) {
        return Err(Error::Unsupported {
            path: path.into(),
            item: format!("{prefix}{name}"),
            what: "layer scale".into(),
        });
    }

    let has = |start: &str| raw.keys().any(|name| name.starts_with(start));
    let openai = has("visual.") || has("transformer.resblocks.");
    let mut named = Named {
        tensors: BTreeMap::new(),
        unknown: Vec::new(),
        spelling: Spelling {
            prefix: prefix.into(),
            openai,
        },
        of_openai: openai && raw.contains_key("input_resolution"),
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
            None => named.unknown.push(format!("{prefix}{name}")),
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

impl Spelling {
    /// Name and shape in the file of the parameter that Hugging Face calls `name`.
    pub(crate) fn of(&self, name: &str, shape: &[i64]) -> (String, Vec<i64>) {
        let (name, shape) = match self.openai {
            true => to_openai(name, shape),
            false => (name.to_owned(), shape.to_vec()),
        };
        (format!("{}{name}", self.prefix), shape)
    }
}

/// [`from_openai`] the other way.
fn to_openai(name: &str, shape: &[i64]) -> (String, Vec<i64>) {
    let turned = || shape.iter().rev().copied().collect();
    let plain = |name: &str| (name.to_owned(), shape.to_vec());
    match name {
        "visual_projection.weight" => return ("visual.proj".into(), turned()),
        "text_projection.weight" => return ("text_projection".into(), turned()),
        _ => {}
    }
    let name = name
        .replace(
            "vision_model.encoder.layers",
            "visual.transformer.resblocks",
        )
        .replace("text_model.encoder.layers", "transformer.resblocks")
        .replace(
            "vision_model.embeddings.position_embedding.weight",
            "visual.positional_embedding",
        )
        .replace(
            "text_model.embeddings.position_embedding.weight",
            "positional_embedding",
        )
        .replace("vision_model.embeddings.patch_embedding", "visual.conv1")
        .replace("vision_model.embeddings", "visual")
        .replace("text_model.embeddings.", "")
        .replace("vision_model.pre_layrnorm", "visual.ln_pre")
        .replace("vision_model.post_layernorm", "visual.ln_post")
        .replace("text_model.final_layer_norm", "ln_final")
        .replace("layer_norm", "ln_")
        .replace("mlp.fc1", "mlp.c_fc")
        .replace("mlp.fc2", "mlp.c_proj")
        .replace("self_attn.out_proj", "attn.out_proj");
    let Some((block, part)) = name.split_once("self_attn.") else {
        return plain(&name);
    };
    // Queries, keys and values are one tensor there.
    let what = part.rsplit('.').next().unwrap_or_default();
    let mut shape = shape.to_vec();
    if let Some(rows) = shape.first_mut() {
        *rows *= 3;
    }
    (format!("{block}attn.in_proj_{what}"), shape)
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
