//! The tests of one trial.

use std::collections::BTreeMap;
use std::sync::Arc;

use clip_backbone::Usage;
use clips::Ended;
use models::VideoTextModel;
use recogniser::{Card, same_classes};

use super::Session;
use super::prepared::Prepared;
use crate::Result;
use crate::evaluate::{Judge, Scored, Tested};
use crate::live::LiveScorer;
use crate::trial::{Test, Trial};

/// Scores the clips of every test with `model`, that of a finished run's `card` or one in training.
pub(super) fn score_all(
    session: &Session,
    model: &dyn VideoTextModel,
    card: Option<&Card>,
    trial: &Trial,
    features: &Prepared,
) -> Result<Ended<Vec<Tested>>> {
    let mut all = Vec::with_capacity(trial.tests.len());
    for test in &trial.tests {
        match score(session, model, card, test, features)? {
            Ended::Done(tested) => all.push(tested),
            Ended::Stopped => return Ok(Ended::Stopped),
        }
    }
    Ok(Ended::Done(all))
}

fn score(
    session: &Session,
    model: &dyn VideoTextModel,
    card: Option<&Card>,
    test: &Test,
    features: &Prepared,
) -> Result<Ended<Tested>> {
    let labels = session.labels(&test.classes);
    let classifier = model.bind(&labels)?;
    let names = session.names(&test.classes);
    let card = card.filter(|card| same_classes(&names, &card.names));
    let calibration = match card.and_then(|card| Some((card, card.calibration.as_ref()?))) {
        Some((card, calibration)) => {
            let tower = session.backbone.clip(Usage::Frozen)?;
            Some((calibration, tower, card.model.tokens()))
        }
        None => None,
    };
    let judge = Judge {
        classifier: classifier.as_ref(),
        calibration,
    };
    let truth = truth(session, test);
    let Prepared::Kept { test: kept, .. } = features else {
        let scorer = LiveScorer {
            manifest: &Arc::new(session.dataset.manifest.clone()),
            recipe: &session.test_recipe(),
            preprocess: &session.backbone.preprocess,
            device: session.backbone.device(),
            limits: &(&session.config.data.limits).into(),
            interrupt: &session.interrupt,
            quiet: session.quiet,
            group: session.group.as_ref(),
        };
        return scorer.score(&judge, &test.clips, &truth);
    };
    let group = session.group.as_ref();
    Ok(Ended::Done(Tested {
        scored: Scored::new(&judge, kept, &test.clips, truth, group)?,
        clips: test.clips.clone(),
        skipped: BTreeMap::new(),
    }))
}

/// The true class of each clip, as an index into the test's classes.
fn truth(session: &Session, test: &Test) -> Vec<usize> {
    let number = |clip: &usize| {
        let class = session.dataset.class(*clip);
        let place = test.classes.iter().position(|other| *other == class);
        place.unwrap_or(0)
    };
    test.clips.iter().map(number).collect()
}
