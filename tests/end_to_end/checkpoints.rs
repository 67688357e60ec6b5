//! Checkpoints and labels as people bring them: bare weights, unfinished runs, labels too long for
//! the context, numbers that are not finite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::support::{FEW_FRAMES, Place, QUICK, draw, refused, run, set, succeed, text, trainer};

/// `trainer predict --json` on a drawn video.
fn predict(place: &Place, checkpoint: &Path, more: &[&str]) -> Command {
    let video = place.path("video.avi");
    if !video.exists() {
        draw(&video, 0, 0);
    }
    let mut command = trainer(&["predict", "--json", "--device", "cpu"]);
    command.arg(video).arg("--checkpoint").arg(checkpoint);
    command.args(more);
    command
}

fn fit(place: &Place, weights: &Path, more: &[&str]) -> Command {
    let mut command = trainer(&["fit", "-q", "--hold-out"]);
    command.arg(place.path("videos"));
    command.arg("--weights").arg(weights);
    command.arg("--out").arg(place.path("run"));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    command.args(more);
    command
}

/// The CLIP that comes with the product, as it comes.
fn demo() -> PathBuf {
    testkit::workspace_root().join("datasets/demo/backbone")
}

/// A copy of it in which the first number of `name` is `bits`, in fp16.
fn changed(place: &Place, name: &str, bits: u16) -> PathBuf {
    let to = place.path(&format!("{name}-{bits}"));
    fs::create_dir(&to).unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs::copy(demo().join(file), to.join(file)).unwrap();
    }
    let bytes = fs::read(demo().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut views: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    let old = &views[name];
    let data = [&bits.to_le_bytes()[..], &old.data()[2..]].concat();
    let new = TensorView::new(old.dtype(), old.shape().to_vec(), &data).unwrap();
    views.insert(name.into(), new);
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(to.join("model.safetensors"), bytes).unwrap();
    to
}

const LABELS: [&str; 2] = ["--labels", "walking, running"];

#[test]
fn fit_works_with_the_demo_s_backbone_and_predict_tells_how_far_a_run_is() {
    let place = Place::new();
    place.folder("videos", &[2, 2]);
    // Its vocabulary has more tokens for the paper's words than OpenAI's.
    succeed(fit(&place, &demo(), &[]));
    let run_folder = place.path("run");
    let whole = run(predict(&place, &run_folder, &[]));
    assert!(
        whole.status.success() && whole.stderr.is_empty(),
        "{}",
        text(&whole)
    );

    fs::remove_file(run_folder.join("seed-0/result.json")).unwrap();
    let said = text(&run(predict(&place, &run_folder, &[])));
    assert!(
        said.contains("note: ") && said.contains("not finished"),
        "{said}"
    );
    let inside = run_folder.join("seed-0/checkpoints");
    refused(predict(&place, &inside, &LABELS), &["inside the run"]);
    fs::remove_dir_all(&inside).unwrap();
    refused(
        predict(&place, &run_folder, &LABELS),
        &["without a checkpoint", "interrupted"],
    );
    fs::create_dir(&inside).unwrap();
    refused(
        predict(&place, &run_folder, &LABELS),
        &["without a checkpoint", "interrupted"],
    );

    let gone = place.path("gone");
    refused(predict(&place, &gone, &LABELS), &["gone", "does not exist"]);
    let no_labels = run(predict(&place, &gone, &[]));
    assert!(
        text(&no_labels).contains("gone does not exist"),
        "{}",
        text(&no_labels)
    );
    assert_eq!(no_labels.status.code(), Some(2));
}

#[test]
fn a_number_of_vectors_that_does_not_fit_is_said_before_the_first_frame() {
    let place = Place::new();
    place.folder("videos", &[2, 2]);
    for (key, words) in [
        (
            "model.sif.prompts.vectors=5",
            &[
                "`--set model.sif.prompts.vectors=5`: expected 12",
                "leave it out",
            ][..],
        ),
        (
            "model.sif.prompts.init_words=abcdefgh ijklmnop qrstuvwx yzabcdef",
            &[
                "`--set 'model.sif.prompts.init_words=abc",
                "1 to 28 tokens",
                "have 29",
            ][..],
        ),
        (
            "backbone.precision=fp16",
            &["`--set backbone.precision=bf16`", "GPU"][..],
        ),
        (
            "train.batch_size=many",
            &["`--set train.batch_size=many`: expected a whole number"][..],
        ),
    ] {
        refused(fit(&place, &demo(), &["--set", key]), words);
        assert!(!place.path("run").exists(), "{key}");
    }
}

#[test]
fn labels_that_are_too_long_are_cut_and_named_and_twins_are_refused() {
    let place = Place::new();
    let words = "holding a small thing above a table ";
    let long = words.repeat(4);
    let [left, right] = ["left", "right"].map(|end| format!("{long}{end}"));
    let labels = format!("walking, {left}");
    let output = run(predict(&place, &demo(), &["--labels", &labels]));
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("note: 1 label is too long") && said.contains(&left),
        "{said}"
    );
    let twins = format!("{left}, walking, {right}");
    refused(
        predict(&place, &demo(), &["--labels", &twins]),
        &[&left, &right],
    );

    let mut long_template = LABELS.to_vec();
    let template = format!("{long} {{}}");
    long_template.extend(["--templates", &template]);
    refused(
        predict(&place, &demo(), &long_template),
        &["template", "walking", "running"],
    );
    long_template[1] = "walking";
    let said = text(&run(predict(&place, &demo(), &long_template)));
    assert!(
        said.contains("note: template") && said.contains("\"walking\""),
        "{said}"
    );

    // Training says the same, before the first frame.
    for (label, class) in [&left, &right].into_iter().zip(0..) {
        draw(&place.path(&format!("videos/{label}/0.avi")), class, 0);
        draw(&place.path(&format!("videos/{label}/1.avi")), class, 1);
    }
    refused(fit(&place, &demo(), &[]), &[&left, &right]);
    assert!(!place.path("run").exists());
    fs::rename(
        place.path("videos").join(&right),
        place.path("videos/walking"),
    )
    .unwrap();
    let output = run(fit(&place, &demo(), &[]));
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("too long") && said.contains(&left),
        "{said}"
    );
}

#[test]
fn weights_without_a_configuration_need_an_architecture() {
    let place = Place::new();
    let bare = place.path("bare.safetensors");
    fs::copy(demo().join("model.safetensors"), &bare).unwrap();
    fs::copy(demo().join("tokenizer.json"), place.path("tokenizer.json")).unwrap();
    refused(
        predict(&place, &bare, &LABELS),
        &["without a configuration", "--architecture"],
    );
    refused(
        predict(
            &place,
            &bare,
            &[LABELS[0], LABELS[1], "--architecture", "ViT-B-16"],
        ),
        &["bare.safetensors", "missing parameters", "wrong parameters"],
    );
    let shape = demo();
    let shape = ["--architecture", shape.to_str().unwrap()];
    let with = succeed(predict(&place, &bare, &[&LABELS[..], &shape].concat()));
    assert_eq!(with, succeed(predict(&place, &demo(), &LABELS)));

    place.folder("videos", &[2, 2]);
    refused(
        fit(&place, &bare, &[]),
        &["without a configuration", "--architecture"],
    );
    succeed(fit(&place, &bare, &shape));
    // A run knows its backbone's architecture.
    succeed(predict(&place, &place.path("run"), &[]));
}

#[test]
fn numbers_that_are_not_finite_are_never_an_answer() {
    const NAN: u16 = 0x7e00;
    const TWO_HUNDRED: u16 = 0x5a40;
    let place = Place::new();
    let name = "vision_model.encoder.layers.1.mlp.fc1.weight";
    refused(
        predict(&place, &changed(&place, name, NAN), &LABELS),
        &[name, "not finite"],
    );
    // exp(200) is too large for fp32.
    let steep = changed(&place, "logit_scale", TWO_HUNDRED);
    let output = run(predict(&place, &steep, &LABELS));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("video.avi: no answer: scores: not finite"),
        "{said}"
    );
    assert!(
        !said.contains("null") && !said.contains("predictions"),
        "{said}"
    );
}

#[test]
fn fp16_on_a_cpu_is_an_argument_at_fault() {
    let place = Place::new();
    let output = run(predict(
        &place,
        &demo(),
        &[LABELS[0], LABELS[1], "--precision", "fp16"],
    ));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--precision fp16 needs a GPU"), "{said}");
}
