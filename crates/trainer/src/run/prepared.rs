//! The clips of a run: stored features, or videos.

use std::collections::BTreeMap;

use clips::{Ended, FeatureSet};

use super::Session;
use crate::config::Source;
use crate::source::KeptClips;
use crate::trial::{Trial, split_of};
use crate::{Error, Result};

/// Size of a training split above which only the drawn clips are extracted.
const LARGE: usize = 20_000;

/// The clips of a run.
pub(super) enum Prepared {
    /// Stored features.
    Kept {
        /// One set per recipe of training views; the first is the centre view.
        train: Vec<FeatureSet>,
        test: Box<FeatureSet>,
    },
    /// Their videos.
    Live,
}

impl Prepared {
    /// Computes the features that the trials need, if training and tests use features.
    pub(super) fn new(session: &Session, trials: &[Trial]) -> Result<Ended<Self>> {
        if session.config.data.source == Source::Video {
            return Ok(Ended::Done(Self::Live));
        }
        let (train, test) = parts(session, trials)?;
        let mut sets = Vec::new();
        if !train.is_empty() {
            for recipe in session.train_recipes() {
                match session.features(&train, &recipe)? {
                    Ended::Done(set) => sets.push(set),
                    Ended::Stopped => return Ok(Ended::Stopped),
                }
            }
        }
        let test = session.features(&test, &session.test_recipe())?;
        Ok(test.map(|test| Self::Kept {
            train: sets,
            test: Box::new(test),
        }))
    }

    /// The centre view of training clips: `[N, T, D]`.
    pub(super) fn centre(&self, clips: &[usize]) -> Result<tch::Tensor> {
        let Self::Kept { train, .. } = self else {
            return Err(Error::Value {
                key: "data.source".into(),
                expected: "features".into(),
                got: "video".into(),
            });
        };
        let centre = train.first();
        let rows = centre.map(|set| clips.iter().map(move |clip| (set, *clip, 0)).collect());
        Ok(FeatureSet::gather(&rows.unwrap_or_else(Vec::new))?)
    }

    /// All kept views of training clips, at most `most` of each: `[N, V, T, D]`.
    pub(super) fn views(&self, clips: &[usize], most: usize) -> Result<tch::Tensor> {
        let centre = self.centre(clips)?;
        let Self::Kept { train, .. } = self else {
            return Ok(centre.f_unsqueeze(1)?);
        };
        let views: Vec<(&FeatureSet, usize)> = train
            .iter()
            .flat_map(|set| (0..set.views()).map(move |view| (set, view)))
            .take(most)
            .collect();
        if views.len() < 2 {
            return Ok(centre.f_unsqueeze(1)?);
        }
        let of_clip = |&clip| views.iter().map(move |(set, view)| (*set, clip, *view));
        let rows: Vec<_> = clips.iter().flat_map(of_clip).collect();
        let size = [
            &[clips.len() as i64, views.len() as i64],
            &centre.size()[1..],
        ]
        .concat();
        Ok(FeatureSet::gather(&rows)?.f_view(&size[..])?)
    }

    /// The first view of clips that train or test: `[N, T, D]`.
    pub(super) fn centre_of(&self, clips: &[usize]) -> Result<tch::Tensor> {
        let Self::Kept { train, test } = self else {
            return self.centre(clips);
        };
        let set = |clip: usize| match train.first() {
            Some(train) if train.has(clip) => train,
            _ => test.as_ref(),
        };
        let rows: Vec<_> = clips.iter().map(|clip| (set(*clip), *clip, 0)).collect();
        Ok(FeatureSet::gather(&rows)?)
    }

    /// Batches of training clips from stored features, with the class of each.
    pub(super) fn kept(&self, clips: Vec<usize>, classes: Vec<i64>) -> Result<KeptClips<'_>> {
        let train = match self {
            Self::Kept { train, .. } => train.as_slice(),
            Self::Live => &[],
        };
        KeptClips::new(train, clips, classes)
    }

    /// Drops the clips that could not be decoded. They are listed in the results.
    pub(super) fn leave_out_undecodable(&self, trial: &mut Trial) {
        let Self::Kept {
            train,
            test: tested,
        } = self
        else {
            return;
        };
        trial
            .train
            .retain(|clip| train.iter().all(|set| set.has(*clip)));
        trial
            .strangers
            .retain(|clip| train.iter().all(|set| set.has(*clip)));
        for test in &mut trial.tests {
            test.clips.retain(|clip| tested.has(*clip));
        }
    }

    pub(super) fn skipped(&self) -> BTreeMap<usize, String> {
        let Self::Kept { train, test } = self else {
            return BTreeMap::new();
        };
        let mut all = test.skipped();
        for set in train {
            all.extend(set.skipped());
        }
        all
    }
}

/// The clips whose features the trials need. All clips of the split are included, so that
/// other draws find theirs too; of a very large split only the drawn ones.
///
/// # Errors
/// There is no such split.
pub fn parts(session: &Session, trials: &[Trial]) -> Result<(Vec<usize>, Vec<usize>)> {
    let drawn: Vec<usize> = trials
        .iter()
        .flat_map(|trial| [&trial.train[..], &trial.strangers].concat())
        .collect();
    let tests = trials.iter().flat_map(|trial| &trial.tests);
    let tested: Vec<usize> = tests.flat_map(|test| test.clips.clone()).collect();
    let split = split_of(&session.config.protocol, &session.dataset)?;
    let train = match drawn.is_empty() || split.train.len() > LARGE {
        true => drawn,
        false => split.train,
    };
    // Without test clips, the training clips may be tested.
    match tested.is_empty() {
        true => Ok((train.clone(), train)),
        false => Ok((train, tested)),
    }
}
