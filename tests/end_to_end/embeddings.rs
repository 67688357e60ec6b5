//! The features of a data set for other programs, and runs on further features and views.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use safetensors::SafeTensors;

use crate::support::{FEW_FRAMES, Place, QUICK, json, refused, run, set, succeed, text, trainer};

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

#[test]
fn embeddings_are_those_of_the_clips_they_name() {
    let place = Place::new();
    let folder = place.folder("clips", &[2, 3]);
    fs::write(folder.join("Archery/broken.mp4"), b"<html>not found</html>").unwrap();
    let mut export = trainer(&["export-embeddings", "-q", "--dataset", "folder", "--root"]);
    export.arg(&folder).arg("--weights").arg(place.backbone());
    export.arg("--out").arg(place.path("out"));
    set(
        &mut export,
        &[
            "data.tokens=regions",
            "model.sif.tokens=class",
            "protocol.views=4x3",
        ],
    );
    set(&mut export, &FEW_FRAMES);
    set(&mut export, &[place.cache()]);
    let exported = run(export);
    assert_eq!(exported.status.code(), Some(1), "{}", text(&exported));
    assert!(
        text(&exported).contains("1 videos cannot be decoded"),
        "{}",
        text(&exported)
    );

    let bytes = fs::read(place.path("out/embeddings.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let frames = tensors.tensor("frames").unwrap();
    let [5, views, width] = *frames.shape() else {
        panic!("{:?}", frames.shape());
    };
    assert_eq!((views, width % 5), (12 * 4, 0));
    let (frames, pooled) = (numbers(frames.data()), tensors.tensor("pooled").unwrap());
    assert_eq!(pooled.shape(), [5, width]);
    let pooled = numbers(pooled.data());
    for (clip, mean) in frames
        .chunks_exact(views * width)
        .zip(pooled.chunks_exact(width))
    {
        for (at, mean) in mean.iter().enumerate() {
            let sum: f32 = clip.iter().skip(at).step_by(width).sum();
            assert!((sum / views as f32 - mean).abs() < 1e-4);
        }
    }
    // NumPy's files hold the same numbers after a header of whole lines of 64 bytes.
    let npy = fs::read(place.path("out/pooled.npy")).unwrap();
    assert_eq!(&npy[..6], b"\x93NUMPY");
    assert_eq!(numbers(&npy[npy.len() - 4 * pooled.len()..]), pooled);

    let clips = json(&place.path("out/clips.json"));
    let clips = clips.as_array().unwrap();
    let labels = tensors.tensor("labels").unwrap();
    let (labels, _) = labels.data().as_chunks::<8>();
    assert_eq!((clips.len(), labels.len()), (5, 5));
    for (clip, label) in clips.iter().zip(labels) {
        let id = clip["id"].as_str().unwrap();
        let own = disk::sha256(fs::read(folder.join(id)).unwrap());
        assert_eq!(clip["sha256"], own, "{id}");
        let class = i64::from(id.starts_with("HighJump"));
        assert_eq!(i64::from_le_bytes(*label), class, "{id}");
    }
    let about = json(&place.path("out/about.json"));
    assert_eq!(
        about["classes"],
        serde_json::json!(["archery", "high jump"])
    );
}

/// The start is solved over every family of further features, and over views.
#[test]
fn a_run_reads_the_features_it_names() {
    let place = Place::new();
    let folder = place.folder("clips", &[4, 4]);
    let fit = |name: &str, keys: &[&str]| {
        let mut fit = trainer(&["fit", "-q"]);
        fit.arg(&folder).arg("--weights").arg(place.backbone());
        fit.arg("--out").arg(place.path(name));
        set(&mut fit, &QUICK);
        set(&mut fit, &FEW_FRAMES);
        set(&mut fit, keys);
        set(&mut fit, &[place.cache()]);
        fit
    };
    for (tokens, keys) in [
        (
            "layers",
            &["data.tokens=layers", "model.sif.tokens=layers"][..],
        ),
        (
            "second_order",
            &["data.tokens=second_order", "model.sif.tokens=second_order"],
        ),
        ("views", &["data.train_views=3"]),
        ("class", &["model.sif.tokens=class"]),
    ] {
        succeed(fit(tokens, keys));
        let mut predict = trainer(&["predict", "--json"]);
        predict.arg(folder.join("HighJump/01.avi"));
        predict.arg("--checkpoint").arg(place.path(tokens));
        let said = succeed(predict);
        let said: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!(
            said["predictions"][0]["label"], "HighJump",
            "{tokens}: {said}"
        );
    }
    refused(
        fit("none", &["data.tokens=patches"]),
        &["data.tokens", "moving, or `--set model.sif.tokens=patches`"],
    );
}
