//! Published draws, such as the fixed lists of ViFi-CLIP (CVPR 2023):
//! `protocol.draws` names one list, or a folder of lists under their published names.

use std::path::Path;

use data::formats::Missing;
use data::splits::read_published;
use data::{Dataset, Split, named};

use super::{Test, Trial};
use crate::config::Protocol;
use crate::{Error, Result};

/// The training clips of a few-shot list: `place` itself, or
/// `train<split>_few_shot_<shots>.txt` in it.
pub(super) fn few_shot(
    place: &Path,
    protocol: &Protocol,
    dataset: &Dataset,
    split: &Split,
) -> Result<Vec<usize>> {
    let list = match place.is_dir() {
        true => place.join(format!(
            "train{}_few_shot_{}.txt",
            protocol.split, protocol.shots
        )),
        false => place.to_path_buf(),
    };
    let drawn = Split {
        name: list.display().to_string(),
        train: read(&list, dataset)?,
        test: split.test.clone(),
    };
    let classes: Vec<usize> = (0..dataset.manifest.classes().len()).collect();
    check(&drawn, &classes, protocol, dataset)?;
    Ok(drawn.train)
}

/// The trial of `fs_base_s<seed>_train.txt` in `place`, tested on `base_val.txt` and
/// `novel_val.txt`, which also define the base and novel classes.
pub(super) fn base_to_novel(
    place: &Path,
    protocol: &Protocol,
    dataset: &Dataset,
    seed: u64,
) -> Result<Trial> {
    if !place.is_dir() {
        return Err(Error::Value {
            key: "protocol.draws".into(),
            expected: "for base-to-novel, a folder with fs_base_s1_train.txt, base_val.txt and \
                       novel_val.txt"
                .into(),
            got: place.display().to_string(),
        });
    }
    let list = place.join(format!("fs_base_s{seed}_train.txt"));
    let test = |half: &str| -> Result<Test> {
        let clips = read(&place.join(format!("{half}_val.txt")), dataset)?;
        Ok(Test::new(half, classes_of(&clips, dataset), clips))
    };
    let (base, novel) = (test("base")?, test("novel")?);
    if let Some(class) = base.classes.iter().find(|c| novel.classes.contains(c)) {
        let name = dataset.name(*class);
        return Err(Error::mismatch(
            "published halves",
            "no class in both",
            name,
        ));
    }
    let drawn = Split {
        name: list.display().to_string(),
        train: read(&list, dataset)?,
        test: [&base.clips[..], &novel.clips[..]].concat(),
    };
    check(&drawn, &base.classes, protocol, dataset)?;
    Ok(Trial {
        name: format!("seed-{seed}"),
        seed,
        classes: base.classes.clone(),
        train: drawn.train,
        strangers: Vec::new(),
        tests: vec![base, novel],
    })
}

/// The clips of a list, without those of the skip list. Missing clips are an error,
/// or, if the data set may be partial, a warning.
fn read(list: &Path, dataset: &Dataset) -> Result<Vec<usize>> {
    let missing = match dataset.allow_missing {
        true => Missing::Allow,
        false => Missing::Refuse,
    };
    let found = read_published(list, &dataset.manifest, missing)?;
    let (mut clips, absent) = (found.positions, found.missing);
    if !absent.is_empty() {
        tracing::warn!(
            "{}: {} of {} clips are missing: {}",
            list.display(),
            absent.len(),
            clips.len() + absent.len(),
            named(&absent)
        );
    }
    if clips.is_empty() {
        return Err(Error::mismatch(
            format!("clips of {}", list.display()),
            "at least 1 that exists",
            0,
        ));
    }
    clips.retain(|clip| dataset.skip.reason(dataset.id(*clip)).is_none());
    Ok(clips)
}

fn classes_of(clips: &[usize], dataset: &Dataset) -> Vec<usize> {
    let mut classes: Vec<usize> = clips.iter().map(|clip| dataset.class(*clip)).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// Refuses a list that trains on test clips, on other classes, or on another number of
/// clips per class than reported with the result. A partial copy may have fewer.
fn check(drawn: &Split, classes: &[usize], protocol: &Protocol, dataset: &Dataset) -> Result<()> {
    drawn.check(&dataset.manifest)?;
    drawn.check_groups(&dataset.manifest)?;
    let of = |class: &usize| {
        let clips = drawn.train.iter();
        clips.filter(|clip| dataset.class(**clip) == *class).count()
    };
    let name = |class: usize| dataset.name(class);
    for class in classes {
        let (shots, has) = (protocol.shots, of(class));
        if has > shots || (has < shots && !dataset.allow_missing) {
            return Err(Error::mismatch(
                format!("clips of '{}' in {}", name(*class), drawn.name),
                format!("{shots} (`--set protocol.shots={shots}`)"),
                has,
            ));
        }
    }
    let other = classes_of(&drawn.train, dataset);
    match other.iter().find(|class| !classes.contains(class)) {
        Some(class) => Err(Error::mismatch(
            format!("classes in {}", drawn.name),
            "those of the base half",
            name(*class),
        )),
        None => Ok(()),
    }
}
