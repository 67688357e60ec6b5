//! A run as a folder that needs nothing else: the same answers, a model card, and refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{FEW_FRAMES, Place, QUICK, json, refused, set, succeed, text, trainer};

fn fit(place: &Place, more: &[&str]) {
    let mut command = trainer(&["fit", "-q"]);
    command.args(more).arg(place.path("videos"));
    command.arg("--weights").arg(place.backbone());
    command.arg("--out").arg(place.path("run"));
    set(&mut command, &QUICK);
    set(&mut command, &FEW_FRAMES);
    succeed(command);
}

fn export(run: &Path, to: &Path, more: &[&str]) -> Command {
    let mut command = trainer(&["export"]);
    command.arg(run).arg(to).args(more);
    command
}

fn answers(place: &Place, checkpoint: &str) -> String {
    let mut command = trainer(&["predict", "--json", "--checkpoint"]);
    command.arg(place.path(checkpoint));
    command.arg(place.path("clip.avi"));
    succeed(command)
}

#[test]
fn an_exported_run_answers_as_the_run_where_neither_it_nor_its_backbone_is_left() {
    let place = Place::new();
    let videos = place.folder("videos", &[4, 4, 4]);
    fs::copy(videos.join("PushUps/00.avi"), place.path("clip.avi")).unwrap();
    fit(&place, &[]);
    let before = answers(&place, "run");
    assert!(before.contains("\"belonging\""), "{before}");
    let out = place.path("exported");
    let said = succeed(export(&place.path("run"), &out, &["--license", "mit"]));
    assert_eq!(said.trim(), out.to_str().unwrap());
    fs::remove_dir_all(place.path("run")).unwrap();
    fs::remove_dir_all(place.backbone()).unwrap();
    fs::rename(&out, place.path("elsewhere")).unwrap();
    let out = place.path("elsewhere");
    assert_eq!(answers(&place, "elsewhere"), before);

    let config = json(&out.join("config.json"));
    assert_eq!(config["id2label"]["2"], "PushUps");
    assert_eq!(config["label2id"]["HighJump"], 1);
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    for line in [
        "---\nlicense: \"mit\"\n",
        "\npipeline_tag: video-classification\n",
        "\nlibrary_name: seeing-in-flowing\n",
        "\nmodel-index:\n- name: ",
        "split cross-validation",
        "    - { type: accuracy, name: \"top-1 accuracy\", value: ",
        "- HighJump\n",
    ] {
        assert!(card.contains(line), "{line} is missing from:\n{card}");
    }
    let home = place.path("");
    assert!(!card.contains(home.to_str().unwrap()), "{card}");

    // A damaged file is an answer to nobody.
    fs::write(out.join("trained.safetensors"), b"cut off").unwrap();
    let mut command = trainer(&["predict", "--checkpoint"]);
    command.arg(&out).arg(place.path("clip.avi"));
    refused(command, &["cannot use the run", "trained.safetensors"]);
}

#[test]
fn what_is_not_a_run_and_a_folder_with_files_are_refused() {
    let place = Place::new();
    place.folder("videos", &[4, 4]);
    fit(&place, &["--hold-out"]);
    let (run, out) = (place.path("run"), place.path("exported"));
    refused(
        export(&place.backbone(), &out, &[]),
        &["is not a run folder"],
    );
    refused(
        export(&place.path("none"), &out, &[]),
        &["not a run folder"],
    );
    fs::create_dir(&out).unwrap();
    let noted = export(&run, &out, &[]).output().unwrap();
    assert!(noted.status.success(), "{}", text(&noted));
    assert!(
        text(&noted).contains("states no licence"),
        "{}",
        text(&noted)
    );
    refused(export(&run, &out, &[]), &["a new or an empty folder"]);
    refused(
        export(&out, &place.path("again"), &[]),
        &["exported already"],
    );
    let moved = place.path("moved");
    fs::rename(place.backbone(), &moved).unwrap();
    refused(export(&run, &place.path("again"), &[]), &["no checkpoint"]);
    let moved = ["--backbone", moved.to_str().unwrap()];
    succeed(export(&run, &place.path("again"), &moved));
    let demo = testkit::workspace_root().join("datasets/demo/backbone");
    let other = ["--backbone", demo.to_str().unwrap()];
    refused(
        export(&run, &place.path("third"), &other),
        &["SHA-256 of the backbone", "that of the training"],
    );
    assert!(!place.path("third").exists());
}
