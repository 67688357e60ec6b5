//! The token counts that costs are stated with, from the official label lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clip_backbone::Tokenizer;
use models::cost::DatasetShape;
use prompts::ClassTokens;

/// `HandstandPushups` to `Handstand Pushups`.
fn split_words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter);
    }
    words
}

#[test]
fn packed_tokens_are_those_of_the_official_labels() {
    let path = Tokenizer::default_path();
    assert!(path.is_file(), "no vocabulary: run `cargo xtask setup`");
    let tokenizer = Tokenizer::open(&path, 77).unwrap();
    let names = |set: &str| -> Vec<String> {
        let list = format!("datasets/{set}-classes.txt");
        let text = std::fs::read_to_string(testkit::workspace_root().join(list)).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let hmdb = names("hmdb51")
        .into_iter()
        .map(|name| name.replace('_', " "));
    let raw = names("ucf101");
    let ucf: Vec<String> = raw.iter().map(|name| split_words(name)).collect();
    let labels = [hmdb.collect(), ucf, names("kinetics400")];
    for (set, labels) in DatasetShape::PAPER.iter().zip(&labels) {
        let classes = ClassTokens::new(labels, &tokenizer).unwrap();
        assert_eq!(classes.count() as i64, set.classes, "{}", set.name);
        assert_eq!(
            classes.packed_tokens(5) as i64,
            set.packed_tokens,
            "{}",
            set.name
        );
    }
    let unsplit = ClassTokens::new(&raw, &tokenizer).unwrap();
    assert_eq!(unsplit.packed_tokens(5), 447);
}
