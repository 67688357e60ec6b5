//! Wrong data, wrong checkpoints, other backbones: each an error that says what does not fit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::support::{
    FEW_FRAMES, Place, QUICK, checkpoint, draw, json, refused, run, set, succeed, text, trainer,
};

/// A CLIP like the demo's of which one number differs.
fn other_backbone(place: &Place) -> PathBuf {
    let folder = place.path("other");
    fs::create_dir(&folder).unwrap();
    for file in fs::read_dir(place.backbone()).unwrap().flatten() {
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(weights, bytes).unwrap();
    folder
}

/// A CLIP like the demo's with a joint width of 20.
fn narrow_backbone(place: &Place) -> PathBuf {
    const WIDTH: usize = 20;
    let folder = place.path("narrow");
    fs::create_dir(&folder).unwrap();
    for file in fs::read_dir(place.backbone()).unwrap().flatten() {
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let mut config = json(&folder.join("config.json"));
    config["projection_dim"] = WIDTH.into();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut views: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    for name in ["visual_projection.weight", "text_projection.weight"] {
        let whole = tensors.tensor(name).unwrap();
        let [rows, columns] = whole.shape() else {
            panic!("a matrix has two sides");
        };
        let part = &whole.data()[..whole.data().len() / rows * WIDTH];
        let part = TensorView::new(whole.dtype(), vec![WIDTH, *columns], part).unwrap();
        views.insert(name.into(), part);
    }
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    folder
}

#[test]
fn what_a_configuration_says_is_checked_before_a_frame_is_decoded_or_a_file_written() {
    let place = trained();
    let narrow = narrow_backbone(&place);
    let run = format!("train.start_from={}", place.path("run").display());
    let cache = format!("data.cache={}", place.path("kept").display());
    let heads = [
        "model.sif.motion.heads=4",
        "model.sif.communication.heads=4",
    ];
    let width = "expected a divisor of the width";
    let cases: [(Option<&Path>, Vec<&str>, [&str; 2]); 8] = [
        (
            None,
            vec!["model.sif.motion.heads=7"],
            ["`--set model.sif.motion.heads=7`", width],
        ),
        (
            None,
            vec!["model.sif.communication.heads=7"],
            ["`--set model.sif.communication.heads=7`", width],
        ),
        (
            None,
            vec!["model.sif.motion.max_step=9"],
            [
                "`--set model.sif.motion.max_step=9`",
                "expected 1 to 7 for 8 frames",
            ],
        ),
        (
            None,
            vec!["train.start_from=/nowhere"],
            [
                "`--set train.start_from=/nowhere`",
                "expected a trained run",
            ],
        ),
        (
            None,
            vec!["model.sif.prompts.vectors=7"],
            ["model.sif.prompts.init_words", "words of 7 tokens"],
        ),
        (
            None,
            vec!["model.row=baseline", &run],
            ["trained parameters", "is unknown to the model"],
        ),
        (
            Some(&narrow),
            vec![],
            ["`--set model.sif.motion.heads=8`", "the width 20"],
        ),
        (
            Some(&narrow),
            vec![heads[0], heads[1], &run],
            ["joint width of `--set backbone.weights=…`", "got 20"],
        ),
    ];
    for (weights, keys, said) in cases {
        let weights = weights.map_or_else(|| place.backbone(), Path::to_path_buf);
        let mut command = place.command_on(&["train"], "ucf", &weights);
        command.arg("--out").arg(place.path("out"));
        set(&mut command, &keys);
        set(&mut command, &["protocol.shots=2", &cache]);
        refused(command, &said);
        assert!(!place.path("out").exists(), "{keys:?}");
        assert!(!place.path("kept").exists(), "{keys:?}");
    }
}

/// A drawn data set with a trained run on it.
fn trained() -> Place {
    let place = Place::new();
    place.ucf(2);
    let mut command = place.command(&["train"], "ucf");
    command.arg("--out").arg(place.path("run"));
    set(&mut command, &["protocol.shots=2", "protocol.seeds=[0]"]);
    succeed(command);
    place
}

#[test]
fn another_backbone_than_the_one_trained_on() {
    let place = trained();
    let other = other_backbone(&place);
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("run")).arg("--weights").arg(&other);
    refused(eval, &["was trained on the backbone", "SHA-256", "other"]);
    let clip = place.path("ucf/videos/YoYo/v_YoYo_g01_c01.avi");
    let mut predict = trainer(&["predict"]);
    predict
        .arg(&clip)
        .arg("--checkpoint")
        .arg(place.path("run"));
    predict.arg("--backbone").arg(&other);
    refused(
        predict,
        &["was trained on a backbone with SHA-256", "other"],
    );
    // Going on with it, in the run's own folder.
    let mut train = trainer(&["train", "-q"]);
    train.arg("--config").arg(place.path("run/config.toml"));
    train
        .arg("--weights")
        .arg(&other)
        .arg("--out")
        .arg(place.path("run"));
    refused(
        train,
        &["holds another run", "backbone.weights: was ", "--out DIR"],
    );
}

#[test]
fn another_number_of_classes_or_other_clips_than_the_run_has() {
    let place = trained();
    fs::remove_file(place.path("run/seed-0/result.json")).unwrap();
    let go_on = |keys: &[&str]| {
        let mut command = trainer(&["train", "-q"]);
        command.arg("--config").arg(place.path("run/config.toml"));
        command.arg("--out").arg(place.path("run"));
        set(&mut command, keys);
        command
    };
    refused(
        go_on(&["protocol.shots=1"]),
        &["protocol.shots: was 2, is 1"],
    );
    // A fifth class in the lists and on the disk.
    let list = |name: &str, line: &str| {
        let path = place.path("ucf/lists").join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}{line}\n")).unwrap();
    };
    list("classInd.txt", "5 ZebraRide");
    for (clip, split) in [(1, 3), (2, 1), (3, 2)] {
        let file = format!("ZebraRide/v_ZebraRide_g{clip:02}_c01.avi");
        draw(&place.path("ucf/videos").join(&file), 4, clip);
        list(&format!("testlist0{split}.txt"), &file);
        for other in (1..=3).filter(|other| *other != split) {
            list(&format!("trainlist0{other}.txt"), &format!("{file} 5"));
        }
    }
    refused(
        go_on(&[]),
        &["added 3 clips, class \"ZebraRide\"", "--again"],
    );
    // A test against all five is no error: no parameter belongs to a class.
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("run"));
    let said = succeed(eval);
    assert!(
        said.lines()
            .any(|line| line.starts_with("test") && line.contains(" 5 ")),
        "{said}"
    );
    // A list that numbers a class which the index does not have.
    list("trainlist01.txt", "YoYo/v_YoYo_g02_c01.avi 9");
    refused(go_on(&[]), &["trainlist01.txt", "9"]);
}

#[test]
fn checkpoints_that_are_damaged_or_none() {
    let place = trained();
    let eval = || {
        let mut eval = trainer(&["eval", "-q"]);
        eval.arg(place.path("run"));
        eval
    };
    let trained = checkpoint(&place.path("run")).join("trained.safetensors");
    let whole = fs::read(&trained).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2], &[]] {
        fs::write(&trained, damaged).unwrap();
        refused(
            eval(),
            &["trained.safetensors", "no older one verifies either"],
        );
    }
    fs::write(&trained, &whole).unwrap();
    succeed(eval());

    let clip = place.path("ucf/videos/YoYo/v_YoYo_g01_c01.avi");
    let mut predict = trainer(&["predict", "--labels", "a,b"]);
    predict
        .arg(&clip)
        .arg("--checkpoint")
        .arg(place.path("ucf"));
    refused(predict, &["cannot use the checkpoint", "config.json"]);
    let mut eval = trainer(&["eval", "-q"]);
    eval.arg(place.path("ucf"));
    refused(eval, &["is not a run folder", "seed-*"]);
    let mut report = trainer(&["report"]);
    report.arg(place.path("ucf"));
    refused(report, &["cannot read", "config.toml"]);
}

#[test]
fn a_damaged_checkpoint_that_is_skipped_is_a_warning() {
    let place = Place::new();
    place.folder("videos", &[3, 3]);
    let fit = |more: &[&str]| {
        let mut command = trainer(&["fit", "--hold-out"]);
        command.args(more).arg(place.path("videos"));
        command.arg("--weights").arg(place.backbone());
        command.arg("--out").arg(place.path("run"));
        set(&mut command, &QUICK);
        set(&mut command, &FEW_FRAMES);
        set(&mut command, &["train.save_every=1"]);
        command
    };
    succeed(fit(&["-q"]));
    let damage = || {
        fs::remove_file(place.path("run/seed-0/result.json")).unwrap();
        let newest = checkpoint(&place.path("run")).join("trained.safetensors");
        fs::write(newest, b"damaged").unwrap();
    };
    damage();
    let said = text(&run(fit(&[])));
    let warned = |line: &str| line.starts_with("warning: ") && line.contains(": skipped: ");
    assert!(said.lines().any(warned), "{said}");
    damage();
    let said = text(&run(fit(&["-q"])));
    assert!(!said.lines().any(warned), "{said}");
}

#[test]
fn data_that_is_not_what_it_is_said_to_be() {
    let place = Place::new();
    place.ucf(2);
    let train = |root: &str, more: &[&str]| {
        let mut command = trainer(&["train", "-q", "--weights"]);
        command
            .arg(place.backbone())
            .arg("--root")
            .arg(place.path(root));
        command.arg("--out").arg(place.path("run")).args(more);
        set(&mut command, &[place.cache()]);
        command
    };
    refused(
        train("nowhere", &[]),
        &["nowhere", "cannot open the folder"],
    );
    refused(
        train("ucf/videos", &["--dataset", "ucf101"]),
        &["data.lists", "not set"],
    );
    // The lists of another data set, and the folder of another.
    let lists = place.path("ucf/lists").to_string_lossy().into_owned();
    refused(
        train("ucf/videos", &["--dataset", "hmdb51", "--lists", &lists]),
        &["<class>_test_split1.txt"],
    );
    place.kinetics(1);
    refused(
        train("k400/videos", &["--dataset", "ucf101", "--lists", &lists]),
        &["12 of 12"],
    );
    // No split, one class, more shots than clips.
    place.folder("plain", &[2, 2]);
    refused(train("plain", &[]), &["data.unsplit", "has no split"]);
    place.folder("one", &[3]);
    refused(
        train("one", &["--set", "data.unsplit=hold-out"]),
        &["class folders", "at least 2"],
    );
    refused(
        train(
            "ucf/videos",
            &[
                "--dataset",
                "ucf101",
                "--lists",
                &lists,
                "--set",
                "protocol.shots=3",
            ],
        ),
        &["3", "Archery"],
    );
    // Not one clip of the test decodes.
    for class in ["a", "b"] {
        for (part, bytes) in [("train", None), ("val", Some(b"no video"))] {
            let clip = place.path(&format!("broken/{part}/{class}/1.avi"));
            draw(&clip, 0, 0);
            if let Some(bytes) = bytes {
                fs::write(clip, bytes).unwrap();
            }
        }
    }
    refused(
        train("broken", &["--set", "protocol.name=closed-set"]),
        &["can be decoded", "val/a/1.avi"],
    );
}
