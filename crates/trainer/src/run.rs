//! One configured run: its trials trained and tested, each in a folder of its own.

mod contradiction;
mod cross_validation;
mod embeddings;
mod few_clips;
mod inputs;
mod lock;
mod prepared;
mod record;
mod result;
mod scoring;
mod session;
mod set_aside;
mod training;

use std::path::Path;
use std::time::Instant;

use clips::Ended;
use models::ModelConfig;
use recogniser::checkpoint::Loaded;

use self::cross_validation::Judgement;
use self::inputs::Inputs;
use self::lock::lock;
use self::prepared::Prepared;
use self::scoring::score_all;
use self::training::Training;
use crate::config::{ProtocolKind, Source, Unsplit};
use crate::fit::{CROSS_VALIDATION, HOLD_OUT};
use crate::json::{read_record, write_record};
use crate::log::read_steps;
use crate::ranks;
use crate::start::{expect_backbone, trained_of};
use crate::trial::{Trial, trials};
use crate::{Error, Result};

pub use cross_validation::{CrossValidation, Gain, HELD_OUT, Suspect};
pub use embeddings::Embeddings;
pub use few_clips::{Draws, FewClips, Planted, Strangers};
pub use inputs::{ClipChanges, Earlier, precision};
pub use prepared::parts;
pub use record::Record;
pub use result::{Outcome, TrainingCost, TrialResult};
pub use session::Session;
pub use set_aside::set_aside;

/// The commit this binary was built from.
pub const REVISION: &str = env!("TRAINER_REVISION");

/// A finished trial's result, in its folder.
pub(crate) const RESULT: &str = "result.json";
/// A trial's cross-validation, beside it.
const JUDGEMENT: &str = "cross-validation.json";

/// Compares the run in `folder` with that of `session`.
///
/// # Errors
/// The description of the run there cannot be read.
pub fn earlier(session: &Session, folder: &Path) -> Result<Earlier> {
    Inputs::of(session)?.compare(folder)
}

/// Whether `folder` has the result of every trial of `session`.
///
/// # Errors
/// As [`trials`].
pub fn is_finished(session: &Session, folder: &Path) -> Result<bool> {
    let trials = trials(
        &session.config.protocol,
        &session.dataset,
        session.strangers(),
    )?;
    for trial in &trials {
        if !disk::is_file(&folder.join(&trial.name).join(RESULT))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Trains and tests every trial below `folder`, continuing an earlier call: finished
/// trials are read, an unfinished one resumes.
///
/// # Errors
/// [`Error::OtherRun`] before anything is written if the folder holds a run with other inputs,
/// [`Error::InUse`] if another process works in it; any error of a trial: those before it have their results.
pub fn run(session: &Session, folder: &Path) -> Result<Ended<Vec<TrialResult>>> {
    let mut trials = trials(
        &session.config.protocol,
        &session.dataset,
        session.strangers(),
    )?;
    if session.dataset.manifest.split(HOLD_OUT).is_ok() {
        trials.iter_mut().for_each(Trial::test_something);
    }
    // Errors of backbone, tokenizer or start occur before anything is written.
    session.first_model(
        &session.config.model.build(session.config.data.frames),
        session.config.seed,
    )?;
    let inputs = Inputs::of(session)?;
    match inputs.compare(folder)? {
        Earlier::None | Earlier::Same => {}
        Earlier::OtherClips(changes) => {
            return Err(Error::other_run(folder, vec![changes.to_string()]));
        }
        Earlier::Other(differences) => return Err(Error::other_run(folder, differences)),
    }
    let group = session.group.as_ref();
    fits(session, &inputs)?;
    // Everyone has compared the folder with its inputs before they are written.
    group.meet()?;
    let _lock = match group.rank() {
        0 => Some(lock(folder)?),
        _ => None,
    };
    if group.rank() == 0 {
        inputs.save(folder)?;
        disk::write(
            &folder.join("config.toml"),
            session.config.to_toml()?.as_bytes(),
        )?;
    }
    ranks::expect_shared(group, folder)?;
    if session.config.data.source == Source::Features {
        ranks::expect_shared(group, &session.config.data.cache)?;
    }
    let inputs = inputs.fingerprint()?;
    let Ended::Done(clips) = Prepared::new(session, &trials)? else {
        return Ok(Ended::Stopped);
    };
    for trial in &mut trials {
        clips.leave_out_undecodable(trial);
        let judged = session.config.data.unsplit == Unsplit::CrossValidate;
        if !judged && trial.tests.iter().all(|test| test.clips.is_empty()) {
            return Err(Error::mismatch("test clips", "at least 1 decodable", 0));
        }
    }
    let mut results = Vec::with_capacity(trials.len());
    for trial in &mut trials {
        let training = Training {
            session,
            trial,
            clips: &clips,
            inputs: &inputs,
        };
        match run_trial(&training, &folder.join(&trial.name))? {
            Ended::Done(result) => results.push(result),
            Ended::Stopped => return Ok(Ended::Stopped),
        }
    }
    Ok(Ended::Done(results))
}

/// Checks that the processes of the session's group can train together.
fn fits(session: &Session, inputs: &Inputs) -> Result<()> {
    let (config, group) = (&session.config, session.group.as_ref());
    let size = group.size();
    if size == 1 {
        return Ok(());
    }
    if config.data.unsplit == Unsplit::CrossValidate {
        return Err(Error::Value {
            key: "data.unsplit".into(),
            expected: format!(
                "hold-out, test or refuse with {size} ranks: a cross-validation is of few clips"
            ),
            got: "cross-validate".into(),
        });
    }
    if !config.train.lanes.is_multiple_of(size) {
        return Err(Error::Value {
            key: "train.lanes".into(),
            expected: format!(
                "a power of two that {size} ranks share evenly; a result depends on it, and not on the ranks"
            ),
            got: config.train.lanes.to_string(),
        });
    }
    let [inputs, clips] = inputs.hashes()?;
    let threads = crate::threads::threads(config.threads);
    let settings = config.shared()?;
    let mut facts = vec![
        ("the commit", REVISION.into()),
        ("the engine", dist::engine()),
        ("the number of threads", threads.to_string()),
        ("the SHA-256 of the list of clips", clips),
    ];
    facts.extend(
        settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone())),
    );
    group.agree(&facts)?;
    Ok(group.agree(&[("the SHA-256 of backbone and start", inputs)])?)
}

/// Tests a loaded checkpoint by the session's protocol, on its clips against its classes, whatever it was trained on. Results go below `folder`.
///
/// # Errors
/// [`Error::Checkpoint`] if the checkpoint was trained on another backbone or does not fit
/// its own configuration.
pub fn evaluate(
    session: &Session,
    loaded: &Loaded<Record>,
    folder: &Path,
) -> Result<Ended<Vec<TrialResult>>> {
    evaluate_or_read(session, loaded, folder, |_| None)
}

/// Same as [`evaluate`]; existing results of the same checkpoint, backbone and protocol
/// below `folder` are read.
///
/// # Errors
/// Same as [`evaluate`].
pub fn evaluate_what_is_left(
    session: &Session,
    loaded: &Loaded<Record>,
    folder: &Path,
) -> Result<Ended<Vec<TrialResult>>> {
    let protocol = session.protocol();
    evaluate_or_read(session, loaded, folder, |place| {
        let result: TrialResult = read_record(&place.join(RESULT)).ok()?;
        let same = result.checkpoint.as_ref() == Some(&loaded.hash)
            && result.backbone == session.backbone.identity.sha256
            && result.protocol == protocol;
        same.then_some(result)
    })
}

fn evaluate_or_read(
    session: &Session,
    loaded: &Loaded<Record>,
    folder: &Path,
    known: impl Fn(&Path) -> Option<TrialResult>,
) -> Result<Ended<Vec<TrialResult>>> {
    let record = &loaded.state;
    expect_backbone(loaded, &session.backbone.identity)?;
    let model = session.model(&record.card.model, record.seed)?;
    recogniser::load_parameters(model.as_ref(), trained_of(loaded)?)?;
    // The draw of training clips has no effect here: one test for each draw of test clips.
    let mut protocol = session.config.protocol.clone();
    match protocol.name {
        ProtocolKind::ZeroShotHalves => {}
        ProtocolKind::BaseToNovel => protocol.seeds = vec![record.seed],
        _ => {
            protocol.name = ProtocolKind::ZeroShot;
            protocol.seeds = vec![record.seed];
        }
    }
    let mut trials = trials(&protocol, &session.dataset, session.strangers())?;
    for trial in &mut trials {
        trial.train.clear();
        trial.strangers.clear();
        let all_trained = session.dataset.manifest.split(CROSS_VALIDATION).is_ok();
        if all_trained && trial.tests.iter().all(|test| test.clips.is_empty()) {
            return Err(Error::Value {
                key: "data.unsplit".into(),
                expected:
                    "test, on other clips: a run that was cross-validated has trained on all of \
                           its own"
                        .into(),
                got: "cross-validate".into(),
            });
        }
        if trial.tests.iter().all(|test| test.clips.is_empty()) {
            return Err(Error::mismatch("test clips", "at least 1", 0));
        }
    }
    let all: Vec<_> = trials
        .iter()
        .map(|trial| known(&folder.join(&trial.name)))
        .collect();
    if let Some(results) = all.into_iter().collect() {
        return Ok(Ended::Done(results));
    }
    let Ended::Done(clips) = Prepared::new(session, &trials)? else {
        return Ok(Ended::Stopped);
    };
    let mut results = Vec::with_capacity(trials.len());
    for trial in &mut trials {
        let place = folder.join(&trial.name);
        if let Some(result) = known(&place) {
            results.push(result);
            continue;
        }
        clips.leave_out_undecodable(trial);
        let started = Instant::now();
        let Ended::Done(scored) =
            score_all(session, model.as_ref(), Some(&record.card), trial, &clips)?
        else {
            return Ok(Ended::Stopped);
        };
        let skipped = clips.skipped();
        let mut result = TrialResult::of(session, trial, &scored, skipped, &place, started)?;
        result.checkpoint = Some(loaded.hash.clone());
        write_record(&place.join(RESULT), &result)?;
        results.push(result);
    }
    Ok(Ended::Done(results))
}

/// Trains and tests one trial, or reads its result.
fn run_trial(training: &Training<'_>, folder: &Path) -> Result<Ended<TrialResult>> {
    let Training { session, clips, .. } = *training;
    let result_path = folder.join(RESULT);
    if disk::is_file(&result_path)? {
        return Ok(Ended::Done(read_record(&result_path)?));
    }
    let started = Instant::now();
    let model = session.config.model.build(session.config.data.frames);
    let Ended::Done(judged) = judged(training, &model, folder)? else {
        return Ok(Ended::Stopped);
    };
    let mut trial = training.trial.clone();
    trial.tests.retain(|test| !test.clips.is_empty());
    if judged.is_none() {
        trial.test_something();
    }
    let Ended::Done(trained) = training.train(&model, folder, judged.as_ref())? else {
        return Ok(Ended::Stopped);
    };
    let Ended::Done(scored) = score_all(session, trained.model.as_ref(), None, &trial, clips)?
    else {
        return Ok(Ended::Stopped);
    };
    let skipped = clips.skipped();
    let mut result = TrialResult::of(session, &trial, &scored, skipped, folder, started)?;
    result.checkpoint = trained.checkpoint;
    result.cost = trained.cost;
    result.warm_start = trained.warm_start;
    result.gain = trained.gain;
    if let Some(judged) = judged {
        result.tests.insert(0, judged.outcome);
        result.cross_validation = Some(judged.cross_validation);
    }
    result.leave_out_untrained(&read_steps(&folder.join("log.jsonl"))?);
    if session.group.rank() == 0 {
        write_record(&result_path, &result)?;
    }
    Ok(Ended::Done(result))
}

/// The cross-validation of a trial, if the configuration asks for one and the clips allow it; read,
/// if the trial was interrupted after it.
fn judged(
    training: &Training<'_>,
    model: &ModelConfig,
    folder: &Path,
) -> Result<Ended<Option<Judgement>>> {
    let session = training.session;
    let asked = session.config.data.unsplit == Unsplit::CrossValidate;
    let kept = matches!(training.clips, Prepared::Kept { .. });
    if !asked || !kept || session.dataset.is_multi_label() || training.trial.train.is_empty() {
        return Ok(Ended::Done(None));
    }
    let path = folder.join(JUDGEMENT);
    if disk::is_file(&path)? {
        return Ok(Ended::Done(Some(read_record(&path)?)));
    }
    if !session.quiet {
        eprintln!("cross-validating on {} clips", training.trial.train.len());
    }
    let watch = |fold: usize, folds: usize| {
        if !session.quiet {
            eprintln!("fold {fold} of {folds}");
        }
    };
    let found = training.cross_validate(&training.few(model.tokens())?, model, folder, &watch)?;
    if let Ended::Done(Some(judged)) = &found {
        disk::make_folder(folder)?;
        write_record(&path, judged)?;
    }
    Ok(found)
}
