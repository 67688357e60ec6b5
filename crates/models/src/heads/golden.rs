//! Every head against the numpy reference `tests/golden/make_heads.py`, in double precision.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use tch::{Kind, Tensor};

use super::clap::Clap;
use super::gda::Gda;
use super::lp_plus_plus::LpPlusPlus;
use super::proker::Proker;
use super::tip_adapter::TipAdapter;
use super::tip_adapter_f::TipAdapterF;
use super::*;
use crate::scores::unit;

/// Relative to the largest score: 300 steps of descent round differently in another order of sums.
const TOLERANCE: f64 = 1e-8;
const SCALE: f64 = 20.0;

fn read() -> HashMap<String, Tensor> {
    let read = Tensor::read_safetensors(testkit::golden("heads.safetensors")).unwrap();
    read.into_iter().collect()
}

fn shots(golden: &HashMap<String, Tensor>) -> Shots {
    let classes: Vec<i64> = Vec::try_from(&golden["classes"]).unwrap();
    Shots::new(&golden["features"], &classes, &golden["text"], SCALE).unwrap()
}

/// Folds of clips of a recording each.
fn folds(shots: &Shots) -> Option<Vec<Vec<usize>>> {
    let each: Vec<usize> = (0..shots.classes.len()).collect();
    crate::examples::folds(&shots.classes, &each)
}

#[track_caller]
fn close(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.size(), want.size(), "{what}");
    let gap = (got - want).abs().max() / want.abs().max();
    let gap = gap.double_value(&[]);
    assert!(gap <= TOLERANCE, "{what}: differs by {gap:e}");
}

/// Compares the scores of the first settings, and those of the chosen one.
fn compare<M: Method>(name: &str) {
    let golden = read();
    let shots = shots(&golden);
    let test = unit(&golden["test"]);
    let settings: Vec<M::Setting> = M::settings().into_iter().take(3).collect();
    for (number, scorer) in M::fit(&shots, &settings).unwrap().iter().enumerate() {
        let name = format!("{name}.setting.{number}");
        close(&name, &scorer.logits(&test), &golden[&name]);
    }
    let choice = choose::<M>(&shots, folds(&shots).as_deref()).unwrap();
    let index = golden[&format!("{name}.index")].int64_value(&[0]) as usize;
    let setting = format!("{:?}", M::settings()[index]);
    assert_eq!(choice.setting, setting, "{name}");
    let name = format!("{name}.chosen");
    close(&name, &choice.scorer.logits(&test), &golden[&name]);
}

#[test]
fn lp_plus_plus_is_the_reference() {
    compare::<LpPlusPlus>("lp-plus-plus");
}

#[test]
fn gda_is_the_reference() {
    compare::<Gda>("gda");
}

#[test]
fn tip_adapter_is_the_reference() {
    compare::<TipAdapter>("tip-adapter");
}

#[test]
fn tip_adapter_f_is_the_reference() {
    compare::<TipAdapterF>("tip-adapter-f");
}

#[test]
fn clap_is_the_reference() {
    compare::<Clap>("clap");
}

#[test]
fn proker_is_the_reference() {
    compare::<Proker>("proker");
}

#[test]
fn one_clip_of_each_class_is_enough_for_every_head() {
    let golden = read();
    let shots = shots(&golden);
    let first = |class: i64| shots.classes.iter().position(|other| *other == class);
    let single = shots.part(&[first(0).unwrap(), first(1).unwrap(), first(2).unwrap()]);
    let test = unit(&golden["test"]);
    let gda = &Gda::fit(&single, &[1.0]).unwrap()[0];
    close("gda", &gda.logits(&test), &golden["gda.single"]);
    for method in HeadMethod::ALL {
        let choice = method.solve(&single, folds(&single).as_deref()).unwrap();
        assert_eq!(choice.held_out_loss, None, "{method:?}");
        // Which class wins is the texts' say too: Tip-Adapter starts with a cache worth 1 at most.
        let logits = choice.scorer.logits(&test);
        assert_eq!(logits.size(), [6, 3], "{method:?}");
        assert!(
            logits.abs().max().double_value(&[]).is_finite(),
            "{method:?}"
        );
    }
}

#[test]
fn batches_of_many_clips_train_as_well() {
    tch::manual_seed(3);
    let classes: Vec<i64> = (0..600).map(|clip| clip % 4).collect();
    let centre = Tensor::from_slice(&classes).one_hot(8);
    let features = Tensor::randn([600, 8], (Kind::Double, tch::Device::Cpu)) * 0.5 + centre;
    let text = Tensor::eye(8, (Kind::Double, tch::Device::Cpu)).narrow(0, 0, 4);
    let shots = Shots::new(&features, &classes, &text, 2.0).unwrap();
    let loss = |scorer: &Scorer| {
        let logits = scorer.logits(&shots.features);
        let all = logits.cross_entropy_for_logits(&shots.truth());
        all.double_value(&[])
    };
    let start = [tip_adapter::START];
    let fixed = loss(&TipAdapter::fit(&shots, &start).unwrap()[0]);
    let trained = loss(&TipAdapterF::fit(&shots, &start).unwrap()[0]);
    assert!(trained < fixed, "{trained} {fixed}");
}
