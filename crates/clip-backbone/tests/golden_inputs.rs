//! Token ids against `open_clip`'s and pixels against PIL's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use clip_backbone::pixels::{Filter, Picture, Resizer};
use clip_backbone::{Preprocess, Tokenizer};
use tch::{Kind, Tensor};

/// OpenAI's merges, for texts of `context` tokens.
fn openai(context: i64) -> Result<Tokenizer, clip_backbone::Error> {
    let path = Tokenizer::default_path();
    assert!(path.is_file(), "no vocabulary: run `cargo xtask setup`");
    Tokenizer::open(&path, context)
}

fn gives_the_golden_ids(what: &str, tokenizer: &Tokenizer) {
    let golden = std::fs::read(testkit::golden("tokenizer.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let items = golden["items"].as_array().unwrap();
    assert!(items.len() > 200);
    assert_eq!(
        (tokenizer.start_of_text(), tokenizer.end_of_text()),
        (49_406, 49_407)
    );
    for item in items {
        let text = item["text"].as_str().unwrap();
        let want: Vec<i64> = item["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_i64().unwrap())
            .collect();
        let got = tokenizer.encode(text);
        assert_eq!(got.ids, want, "{what}: {text:?}");
        assert_eq!(got.truncated, text.len() > 400, "{what}: {text:?}");
    }
}

fn takes_special_tokens_entities_and_quotes_as_text(what: &str, tokenizer: &Tokenizer) {
    let ids = |text: &str| tokenizer.pieces(text);
    for special in [
        "<|startoftext|>",
        "<|endoftext|>",
        "<start_of_text>",
        "<end_of_text>",
        "<|ENDOFTEXT|>",
        "&lt;|endoftext|&gt;",
    ] {
        let ids = ids(special);
        assert!(ids.iter().all(|&id| id < 49_406), "{what}: {special}");
        assert!(ids.len() > 2, "{what}: {special}");
    }
    for (dressed, plain) in [
        ("Rock &amp;amp; Roll", "rock & roll"),
        ("caf&eacute;", "café"),
        ("cafe\u{301}", "café"),
        ("don\u{2019}t", "don't"),
        ("\u{201c}jump\u{201d}", "\"jump\""),
        ("\u{fb01}st\t\n  bump", "fist bump"),
        ("\u{ff32}\u{ff35}\u{ff2e}", "run"),
        ("&#x72;un &#39;", "run '"),
        ("\u{feff}run\u{0}", "run"),
    ] {
        assert_eq!(ids(dressed), ids(plain), "{what}: {dressed:?}");
    }
    assert!(ids("").is_empty() && ids(" \u{a0}\n").is_empty());
}

#[test]
fn openais_merges_give_the_golden_ids() {
    let tokenizer = openai(77).unwrap();
    gives_the_golden_ids("OpenAI's merges", &tokenizer);
    takes_special_tokens_entities_and_quotes_as_text("OpenAI's merges", &tokenizer);
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn hugging_faces_files_give_the_golden_ids() {
        let folder = testkit::shared().join("data/vocab/clip-vit-base-patch32");
        for file in ["vocab.json", "tokenizer.json", "."] {
            let tokenizer = Tokenizer::open(&folder.join(file), 77).unwrap();
            gives_the_golden_ids(file, &tokenizer);
            takes_special_tokens_entities_and_quotes_as_text(file, &tokenizer);
        }
    }
}

/// `open_clip_tokens.json` holds what `open_clip` 3.3.0's `SimpleTokenizer.encode` says, with
/// `ftfy` 6.3.1, of texts picked for their letters.
#[test]
fn unusual_letters_are_cleaned_as_open_clip_cleans_them() {
    let tokenizer = openai(77).unwrap();
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("open_clip_tokens.json")).unwrap();
    let mut different = Vec::new();
    for item in golden.as_array().unwrap() {
        let text = item["text"].as_str().unwrap();
        let got = serde_json::json!(tokenizer.pieces(text));
        if got != item["ids"] {
            different.push(format!("{text:?}: {got}, not {}", item["ids"]));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_batch_is_padded_with_zeros_and_truncation_keeps_the_end() {
    let tokenizer = openai(8).unwrap();
    let long = "walk ".repeat(20);
    let batch = tokenizer.encode_batch(&["walk", long.as_str(), ""]);
    assert_eq!((batch.size(), batch.kind()), (vec![3, 8], Kind::Int64));
    let rows: Vec<Vec<i64>> = batch.try_into().unwrap();
    assert_eq!(rows[0], [49_406, 2374, 49_407, 0, 0, 0, 0, 0]);
    assert_eq!(
        rows[1],
        [49_406, 2374, 2374, 2374, 2374, 2374, 2374, 49_407]
    );
    assert_eq!(rows[2], [49_406, 49_407, 0, 0, 0, 0, 0, 0]);
    assert!(tokenizer.encode(&long).truncated && !tokenizer.encode("walk").truncated);
    assert!(openai(2).is_err());
}

#[test]
fn crops_are_pils_to_two_levels_and_normalised_as_torch_does() {
    let golden: HashMap<String, Tensor> =
        Tensor::read_safetensors(testkit::golden("preprocess.safetensors"))
            .unwrap()
            .into_iter()
            .collect();
    let input = &golden["input_rgb_u8_240x320"];
    let rgb: Vec<u8> = input.flatten(0, -1).try_into().unwrap();
    let frame = Picture::new(320, 240, rgb).unwrap();
    let mut preprocess = Preprocess::openai(224);
    for (filter, name) in [
        (Filter::Bicubic, "pil_bicubic_u8"),
        (Filter::Bilinear, "pil_bilinear_u8"),
    ] {
        preprocess.geometry.filter = filter;
        let got = preprocess.crop(&mut Resizer::new(), &frame).unwrap();
        let got = Tensor::from_slice(got.rgb()).view([224, 224, 3]);
        let gap = (got.to_kind(Kind::Int) - golden[name].to_kind(Kind::Int)).abs();
        let (most, mean) = (
            gap.max().int64_value(&[]),
            gap.mean(Kind::Float).double_value(&[]),
        );
        assert!(
            most <= 2 && mean < 0.05,
            "{name}: differs by {most}, {mean} on average"
        );
    }

    let frames = golden["pil_bicubic_u8"].unsqueeze(0);
    let got = preprocess.normalise(&frames).unwrap();
    assert_eq!(got.size(), [1, 3, 224, 224]);
    assert!(got.is_contiguous());
    let want = &golden["normalised_pil_bicubic_f32_first8rows_chw"];
    let gap = (got.get(0).narrow(1, 0, 8) - want).abs().max();
    assert!(
        gap.double_value(&[]) < 2e-6,
        "differs by {:e}",
        gap.double_value(&[])
    );
}
