//! `trainer extract`: compute frame features ahead of training.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use cli::extract::Arguments;
use clips::feature_cache::ShareOfWork;
use clips::{Ended, Work};
use dist::Share;
use trainer::run::{self, Session};
use trainer::trial::trials;

use super::exit;
use super::settings::Configured as _;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let Share { index, of } = Share::of(&arguments.shard, &variables)?;
    let share = ShareOfWork::new(index, of)?;
    let config = arguments.settings.resolve()?;
    let session = Session::open(
        config,
        super::install_interrupt()?,
        arguments.settings.quiet,
    )?;
    for note in session.notes() {
        eprintln!("note: {note}");
    }
    let trials = trials(
        &session.config().protocol,
        &session.dataset,
        session.strangers(),
    )?;
    let (train, test) = run::parts(&session, &trials)?;
    let mut code = exit::DONE;
    let train_recipes = session.train_recipes().into_iter();
    let work = train_recipes.map(|recipe| ("training", &train, recipe));
    let work = work.chain([("test", &test, session.test_recipe())]);
    for (name, clips, recipe) in work.filter(|(_, clips, _)| !clips.is_empty()) {
        let done = session
            .extract(clips, &recipe, Work::Share(share))
            .with_context(|| format!("features of the {name} clips"))?;
        let Ended::Done(done) = done else {
            return Ok(super::stopped());
        };
        say!(
            "{name}: {} clips x {} views, {} computed now, {} taken over from earlier features, {} cannot be decoded",
            done.total,
            recipe.views(),
            done.computed,
            done.taken_over,
            done.skipped.len()
        );
        for (position, reason) in &done.skipped {
            eprintln!("skipped: {}: {reason}", session.dataset.id(*position));
            code = exit::PARTIAL;
        }
        if let Some(rates) = done.rates() {
            eprintln!(
                "{name}: {:.1} clips/s in {:.1} s: {:.1} s in the image tower, {:.1} s waiting \
                 for decoded clips",
                rates.clips,
                done.elapsed.as_secs_f64(),
                done.computing.as_secs_f64(),
                done.waiting.as_secs_f64()
            );
            eprintln!(
                "{name}: while busy, the tower processed {:.1} clips/s, {} decoding workers {:.1}",
                rates.tower, done.workers, rates.decoding
            );
        }
    }
    Ok(code)
}
