//! The tests of one trial.

use std::collections::BTreeMap;
use std::sync::Arc;

use clips::Ended;
use models::VideoTextModel;

use super::Session;
use super::prepared::Prepared;
use crate::Result;
use crate::evaluate::{Scored, Tested};
use crate::live::LiveScorer;
use crate::trial::{Test, Trial};

/// Scores the clips of every test with `model`.
pub(super) fn score_all(
    session: &Session,
    model: &dyn VideoTextModel,
    trial: &Trial,
    features: &Prepared,
) -> Result<Ended<Vec<Tested>>> {
    let mut all = Vec::with_capacity(trial.tests.len());
    for test in &trial.tests {
        match score(session, model, test, features)? {
            Ended::Done(tested) => all.push(tested),
            Ended::Stopped => return Ok(Ended::Stopped),
        }
    }
    Ok(Ended::Done(all))
}

fn score(
    session: &Session,
    model: &dyn VideoTextModel,
    test: &Test,
    features: &Prepared,
) -> Result<Ended<Tested>> {
    let labels = session.labels(&test.classes);
    let classifier = model.bind(&labels)?;
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
        return scorer.score(classifier.as_ref(), &test.clips, &truth);
    };
    let group = session.group.as_ref();
    Ok(Ended::Done(Tested {
        scored: Scored::new(classifier.as_ref(), kept, &test.clips, truth, group)?,
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
