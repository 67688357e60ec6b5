//! Templates, the prompt learner, the motion adapter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use prompts::{
    AdapterConfig, ClassTokens, Error, MotionAdapter, PromptLearner, Template, Tokenize,
    paper_words,
};
use support::{clip, tiny_config};
use tch::{Device, Kind, Tensor, nn};

/// A word is its length, but for the full stop.
struct Lengths;

impl Tokenize for Lengths {
    fn tokens(&self, text: &str) -> Vec<i64> {
        let apart = text.replace('.', " . ");
        let id = |word: &str| if word == "." { 269 } else { word.len() as i64 };
        apart.split_whitespace().map(id).collect()
    }

    fn start(&self) -> i64 {
        510
    }

    fn end(&self) -> i64 {
        511
    }
}

#[test]
fn the_paper_s_prompts_are_filled_and_tokenised_whole() {
    assert_eq!(Template::a().fill("wave"), "human action of wave.");
    assert_eq!(Template::b().fill("wave"), "a human action of wave.");
    assert_eq!(Template::c().fill("wave"), "a common human action of wave.");
    let sentences = Template::a()
        .sentences(&["ride bikes", "x"], &Lengths, 9)
        .unwrap();
    let want = [
        [510, 5, 6, 2, 4, 5, 269, 511, 0],
        [510, 5, 6, 2, 1, 269, 511, 0, 0],
    ];
    assert_eq!(sentences.ids, Tensor::from_slice2(&want));
    assert!(sentences.truncated.is_empty());
}

#[test]
fn a_sentence_too_long_is_cut_keeps_its_end_and_is_named() {
    let sentences = Template::a()
        .sentences(&["a b c d", "x"], &Lengths, 7)
        .unwrap();
    let want = [[510, 5, 6, 2, 1, 1, 511], [510, 5, 6, 2, 1, 269, 511]];
    assert_eq!(sentences.ids, Tensor::from_slice2(&want));
    assert_eq!(sentences.truncated, ["a b c d"]);
    let twins = Template::a().sentences(&["a b c d", "x", "q r c d"], &Lengths, 7);
    let error = twins.unwrap_err().to_string();
    assert!(error.contains("\"a b c d\" and \"q r c d\""), "{error}");
    let empty = Template::a().sentences(&["x", " "], &Lengths, 77);
    assert!(matches!(empty, Err(Error::EmptyLabel { .. })));
}

#[test]
fn a_template_has_one_place_for_the_label() {
    assert_eq!(Template::new("{}").unwrap().fill("a {} b"), "a {} b");
    for (template, places) in [("no place", 0), ("{} and {}", 2)] {
        let error = Template::new(template).unwrap_err();
        assert!(matches!(error, Error::Template { got, .. } if got == places));
    }
    let none: [&str; 0] = [];
    assert!(matches!(
        Template::a().sentences(&none, &Lengths, 77),
        Err(Error::NoClasses)
    ));
    assert!(matches!(
        Template::a().sentences(&["x"], &Lengths, 2),
        Err(Error::Config { .. })
    ));
}

#[test]
fn the_learner_starts_as_its_words() {
    let clip = clip(&tiny_config(), Kind::Float);
    for (count, words) in [(3, "human action of"), (4, "a human action of")] {
        assert_eq!(paper_words(count), Some(words));
        let store = nn::VarStore::new(Device::Cpu);
        let learner =
            PromptLearner::from_words(&store.root(), Some(count), words, &clip.text, &Lengths)
                .unwrap();
        let ids = Tensor::from_slice(&Lengths.tokens(words));
        assert_eq!(learner.vectors().detach(), clip.text.embed(&ids).unwrap());
        let residual = Tensor::ones([2, 64], (Kind::Float, Device::Cpu));
        let conditioned = learner.conditioned(&residual).unwrap();
        assert_eq!(conditioned.size(), [2, count, 64]);
        assert_eq!(
            conditioned.get(1).detach(),
            learner.vectors().detach() + 1.0
        );
    }
    let store = nn::VarStore::new(Device::Cpu);
    let make = |count, words: &str| {
        let made = PromptLearner::from_words(&store.root(), count, words, &clip.text, &Lengths);
        made.unwrap_err()
    };
    assert!(matches!(
        make(None, ""),
        Error::Config {
            field: "vectors",
            ..
        }
    ));
    assert!(matches!(
        make(Some(74), "x"),
        Error::Config {
            field: "vectors",
            ..
        }
    ));
    assert!(matches!(
        make(Some(2), "one"),
        Error::TokenCount {
            expected: 2,
            got: 1,
            ..
        }
    ));
    let following = PromptLearner::from_words(&store.root(), None, "a b c", &clip.text, &Lengths);
    assert_eq!(following.unwrap().vectors().size(), [3, 64]);
    let wrong = Tensor::zeros([0, 64], (Kind::Float, Device::Cpu));
    assert!(matches!(
        PromptLearner::from_vectors(&store.root(), &wrong),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn the_adapter_starts_silent_or_awake_and_detaches() {
    let float = (Kind::Float, Device::Cpu);
    let run = |config: &AdapterConfig| {
        let store = nn::VarStore::new(Device::Cpu);
        let adapter = MotionAdapter::new(&store.root(), config, 32, 64).unwrap();
        assert_eq!(store.variables()["ad1.weight"].size(), [2, 32]);
        let motion = Tensor::randn([3, 32], float).set_requires_grad(true);
        let residual = adapter.forward(&motion).unwrap();
        assert_eq!(residual.size(), [3, 64]);
        let size = residual.abs().max().double_value(&[]);
        residual.sum(Kind::Float).backward();
        (size, motion.grad().defined())
    };
    assert_eq!(run(&AdapterConfig::best()), (0.0, true));
    let (size, reached) = run(&AdapterConfig::paper());
    assert!(size > 0.0 && reached);
    let detached = AdapterConfig {
        detach: true,
        ..AdapterConfig::paper()
    };
    assert!(!run(&detached).1);

    let store = nn::VarStore::new(Device::Cpu);
    let narrow = AdapterConfig {
        bottleneck: Some(0),
        ..AdapterConfig::paper()
    };
    assert!(MotionAdapter::new(&store.root(), &narrow, 32, 64).is_err());
    let adapter = MotionAdapter::new(&store.root(), &AdapterConfig::paper(), 32, 64).unwrap();
    let error = adapter.forward(&Tensor::zeros([3, 31], float)).unwrap_err();
    assert!(matches!(error, Error::Shape { got, .. } if got == [3, 31]));
}

#[test]
fn classes_count_their_packed_tokens() {
    let classes = ClassTokens::new(&["ride bikes", "wave"], &Lengths).unwrap();
    assert_eq!(classes.count(), 2);
    assert_eq!(classes.labels().collect::<Vec<_>>(), ["ride bikes", "wave"]);
    assert_eq!(classes.packed_tokens(5), 6 + 4 + 3);
}
