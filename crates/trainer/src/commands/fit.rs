//! `trainer fit`: train on a folder of class folders; `trainer add-class`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cli::fit::{AddClass, Arguments};
use clips::{Ended, PrecisionChoice};
use trainer::config::{Checked, Config, Unsplit};
use trainer::run::{self, Earlier, Record, Session};
use trainer::runtime::device;

use super::earlier::{in_precision_of, note_earlier, set_aside};
use super::exit;
use super::report;
use super::settings::setting;
use super::summary::summary;

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let root = std::path::absolute(&arguments.folder)?;
    let name = root
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(&name));
    let mut keys = vec![
        "model.preset=best".to_owned(),
        "data.layout=folder".into(),
        setting(
            "data.unsplit",
            if arguments.hold_out {
                "hold-out"
            } else {
                "cross-validate"
            },
        ),
        "protocol.name=closed-set".into(),
        "protocol.seeds=[0]".into(),
        "protocol.balance=true".into(),
        "train.epochs=1".into(),
        "train.min_steps=300".into(),
        "train.save_every=100".into(),
        setting("name", &name),
        setting("data.root", &root.display().to_string()),
        // Absolute, so that eval and add-class find them from any folder.
        setting(
            "data.cache",
            &std::path::absolute(&out)?
                .join("features")
                .display()
                .to_string(),
        ),
        setting("backbone.weights", &arguments.weights.display().to_string()),
    ];
    let architecture = arguments.architecture.iter();
    keys.extend(architecture.map(|name| setting("backbone.architecture", name)));
    keys.extend(
        arguments
            .threads
            .map(|threads| format!("threads={threads}")),
    );
    keys.extend(arguments.settings.clone());
    let config = in_precision_of(&out, Config::read(None, &keys)?);
    let session = open(config, arguments.quiet)?;
    match run::earlier(&session, &out)? {
        Earlier::None => {}
        Earlier::OtherClips(changes) if !arguments.again => {
            eprintln!("note: since the run in {}: {changes}", out.display());
            set_aside(&session, &out)?;
        }
        _ => note_earlier(&session, &out, arguments.again)?,
    }
    finish(&session, &out)
}

/// As [`run`], out of reach of everything but its clips, its backbone and its results.
pub(crate) fn run_confined(arguments: &Arguments) -> Result<u8> {
    let out = arguments.out.as_deref().unwrap_or(&arguments.folder);
    if !serve::confine_training(&arguments.folder, &arguments.weights, out) {
        eprintln!("note: this kernel does not confine the training");
    }
    run(arguments)
}

pub(crate) fn add_class(arguments: &AddClass) -> Result<u8> {
    let seed = arguments.run.join("seed-0");
    let loaded = recogniser::newest::<Record>(&seed)?
        .with_context(|| format!("{} is not a run of fit", arguments.run.display()))?;
    let record = &loaded.state;
    if record.classes.contains(&arguments.class) {
        bail!("the run already has class '{}'", arguments.class);
    }
    let out = arguments.out.clone().unwrap_or_else(|| {
        let mut name = arguments.run.file_name().unwrap_or_default().to_os_string();
        name.push(format!("-{}", arguments.class));
        arguments.run.with_file_name(name)
    });
    let mut config = record.config.clone();
    if let Some(name) = &arguments.device {
        if let Some(precision) = config.backbone.precision.fixed() {
            config.backbone.precision = PrecisionChoice::Fixed(precision.on(device(name)?));
        }
        config.device.clone_from(name);
    }
    let anew = config.data.unsplit == Unsplit::CrossValidate;
    if !anew {
        config.data.unsplit = Unsplit::HoldOut;
        // It starts from this run.
        config.train.start_from = None;
    }
    let config = config.check()?;
    let mut session = open(config, arguments.quiet)?;
    let names: Vec<&str> = session
        .dataset
        .manifest
        .classes()
        .iter()
        .map(|c| c.raw())
        .collect();
    if !names.contains(&arguments.class.as_str()) {
        bail!(
            "no class folder '{}' in {}: put the new clips there first",
            arguments.class,
            session.dataset.manifest.root().display()
        );
    }
    let strangers = session.strangers().map(|class| session.dataset.name(class));
    if strangers == Some(arguments.class.as_str()) {
        bail!(
            "the clips in '{}' are not a class: fit uses them",
            arguments.class
        );
    }
    if let Some(lost) = record
        .classes
        .iter()
        .find(|class| !names.contains(&class.as_str()))
    {
        bail!("the folder of class '{lost}' is missing: without its clips the class is forgotten");
    }
    let lines = match run::earlier(&session, &arguments.run)? {
        Earlier::OtherClips(changes) => vec![changes.to_string()],
        Earlier::Other(differences) => differences,
        Earlier::None | Earlier::Same => Vec::new(),
    };
    for line in lines {
        eprintln!("note: since the run in {}: {line}", arguments.run.display());
    }
    if !anew {
        // What it has learned from a clip would judge that clip in the folds.
        session.start_from(&loaded)?;
    }
    note_earlier(&session, &out, false)?;
    finish(&session, &out)
}

fn open(config: Checked, quiet: bool) -> Result<Session> {
    let session = Session::open(config, super::install_interrupt()?, quiet)?;
    for note in session.notes() {
        eprintln!("note: {note}");
    }
    Ok(session)
}

fn finish(session: &Session, out: &Path) -> Result<u8> {
    let Ended::Done(results) = run::run(session, out)? else {
        return Ok(super::stopped());
    };
    say_part!("{}", summary(&results));
    say!("checkpoint: {}", out.join("seed-0").display());
    say!("report: {}", report::beside(out)?.display());
    let skipped = results.iter().any(|result| !result.skipped.is_empty());
    Ok(if skipped { exit::PARTIAL } else { exit::DONE })
}
