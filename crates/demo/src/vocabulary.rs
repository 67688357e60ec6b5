//! A byte-pair vocabulary learned from captions, in CLIP's order and file format.

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::tokenizer::Trainer as _;

use crate::{Error, Result};

/// Suffix of a token that ends a word.
const WORD_END: &str = "</w>";
/// The most tokens that learning may reach; every word of the captions is one token well before.
const PIECES: usize = 512;

/// Learns the merges of `captions` and returns the text of a `tokenizer.json`.
///
/// The order of ids is CLIP's: 256 bytes, 256 bytes that end a word, the merges by rank, start
/// of text, end of text, so that the end is the largest id. Any text can be encoded.
///
/// # Errors
/// [`Error::Vocabulary`] if nothing can be learned.
pub(super) fn learn(captions: &[String]) -> Result<Value> {
    let failed = |error: &dyn std::fmt::Display| Error::Vocabulary(error.to_string());
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(PIECES)
        .end_of_word_suffix(WORD_END.into())
        .build();
    let words = |caption: &str| Ok(caption.split_whitespace().map(str::to_owned).collect());
    trainer
        .feed(captions.iter(), words)
        .map_err(|error| failed(&error))?;
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(|error| failed(&error))?;
    let learned = serde_json::to_value(&model).map_err(|error| failed(&error))?;
    let merges: Vec<(String, String)> = learned
        .get("merges")
        .cloned()
        .and_then(|merges| serde_json::from_value(merges).ok())
        .ok_or_else(|| failed(&"no list of merges"))?;

    let bytes = byte_characters();
    let ends = bytes.iter().map(|letter| format!("{letter}{WORD_END}"));
    let tokens = bytes
        .iter()
        .map(char::to_string)
        .chain(ends)
        .chain(merges.iter().map(|(left, right)| format!("{left}{right}")))
        .chain(["<|startoftext|>".into(), "<|endoftext|>".into()]);
    let mut vocabulary = serde_json::Map::new();
    for token in tokens {
        // Two merges may make the same token; ids have no gaps.
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| json!(next));
    }
    Ok(file(vocabulary, &merges))
}

/// The file in the format of transformers for CLIP.
fn file(vocabulary: serde_json::Map<String, Value>, merges: &[(String, String)]) -> Value {
    let special = |content: &str| {
        json!({
            "id": vocabulary.get(content),
            "content": content,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": content == "<|startoftext|>",
            "special": true,
        })
    };
    let (start, end) = ("<|startoftext|>", "<|endoftext|>");
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(start), special(end)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"},
                "behavior": "Removed",
                "invert": true,
            },
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [end, vocabulary.get(end)],
            "cls": [start, vocabulary.get(start)],
            "trim_offsets": false,
            "add_prefix_space": false,
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": end,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": WORD_END,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    })
}

/// A printable character for each byte: itself if printable, else one from U+0100
/// on; the printable ones first, as in CLIP's vocabulary.
fn byte_characters() -> Vec<char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let plain = (0..=u8::MAX).filter(printable).map(char::from);
    let hidden = (0..=u8::MAX).filter(|byte| !printable(byte)).count() as u32;
    plain
        .chain((0..hidden).filter_map(|place| char::from_u32(0x100 + place)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use clip_backbone::Tokenizer;

    use super::*;

    #[test]
    fn the_file_is_read_by_the_tokenizer_and_frequent_words_are_one_token() {
        let captions: Vec<String> = ["a red heart", "a red arrow", "a blue heart far left"]
            .iter()
            .map(|&text| text.into())
            .collect();
        let value = learn(&captions).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, value.to_string()).unwrap();
        let tokenizer = Tokenizer::open(&path, 16).unwrap();
        let vocabulary = value["model"]["vocab"].as_object().unwrap();
        let end = tokenizer.end_of_text();
        assert_eq!(end, vocabulary.len() as i64 - 1);
        assert!(vocabulary.values().all(|id| id.as_i64().unwrap() <= end));
        for caption in &captions {
            let words = caption.split_whitespace().count();
            assert_eq!(tokenizer.pieces(caption).len(), words, "{caption}");
        }
        // An unseen word is split into pieces; other scripts into bytes.
        assert!(tokenizer.pieces("moving").len() > 1);
        assert!(!tokenizer.pieces("Ψ").is_empty());
        assert_eq!(learn(&captions).unwrap(), value);
    }

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let characters: std::collections::BTreeSet<char> = byte_characters().into_iter().collect();
        assert_eq!(characters.len(), 256);
    }
}
