//! The token counts that costs are stated with, from the official label lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

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
    let Some(shared) = testkit::shared("official labels") else {
        return;
    };
    let lists = shared.join("data/lists");
    let tokenizer = Tokenizer::open(&shared.join("data/vocab"), 77).unwrap();
    let lines = |path: &str| -> Vec<String> {
        let text = std::fs::read_to_string(lists.join(path)).unwrap();
        text.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let hmdb: BTreeSet<String> = std::fs::read_dir(lists.join("testTrainMulti_7030_splits"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.split_once("_test_split")
                .map(|(label, _)| label.replace('_', " "))
        })
        .collect();
    let raw: Vec<String> = lines("ucfTrainTestlist/classInd.txt")
        .iter()
        .filter_map(|line| line.split_once(' ').map(|(_, name)| name.to_owned()))
        .collect();
    let ucf: Vec<String> = raw.iter().map(|name| split_words(name)).collect();
    let kinetics = lines("kinetics400/label_map_k400.txt");
    let labels: [Vec<String>; 3] = [hmdb.into_iter().collect(), ucf, kinetics];
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
