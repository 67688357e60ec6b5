//! Hints: the command that fixes an error of a library.

use std::error::Error;

use clip_backbone::hub;
use models::Failure;

/// The hint for `error`, if a command helps.
pub(crate) fn remedy(error: &anyhow::Error) -> Option<String> {
    if let Some(trainer::Error::OtherRun { .. }) = error.downcast_ref() {
        return Some(
            "--again sets that run aside and trains anew; --out DIR keeps it and trains elsewhere"
                .into(),
        );
    }
    if Failure::memory(&format!("{error:#}")).is_some() || lacks_memory(error) {
        return Some(trainer::memory::REMEDY.into());
    }
    if let Some(error) = error.chain().find_map(of_data) {
        return data_remedy(error);
    }
    match error.chain().find_map(of_backbone)? {
        clip_backbone::Error::Hub(
            hub::Error::Offline { id, .. } | hub::Error::Fetch { id, .. },
        ) => Some(format!(
            "there is no folder {id} here; if it is a hub id, run `cargo xtask download-clip {id}` \
                 in a clone of the project, or `hf download {id}`, with a network connection"
        )),
        clip_backbone::Error::NoArchitecture {
            like: Some(name), ..
        } => Some(format!(
            "add --architecture {name} for QuickGELU, with which OpenAI trained it, or \
             --architecture {name}-gelu for GELU, as most of open_clip's weights have it"
        )),
        clip_backbone::Error::NoArchitecture { like: None, .. } => Some(
            "add --architecture with the path of the model's config.json or open_clip_config.json"
                .into(),
        ),
        clip_backbone::Error::NoTokenizer { .. } => Some(
            "run `cargo xtask setup` in a clone of the project, which fetches OpenAI's vocabulary"
                .into(),
        ),
        _ => None,
    }
}

fn lacks_memory(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Memory { .. }))
}

fn data_remedy(error: &data::Error) -> Option<String> {
    Some(match error {
        data::Error::Columns {
            layout: Some(name), ..
        } => format!("read it with --dataset {name} --lists FOLDER, the folder of the table"),
        data::Error::Columns { .. } => {
            "name the columns with --columns video=NAME,label=NAME".into()
        }
        data::Error::TooFewShots { .. } => {
            "train on all clips with --set protocol.name=closed-set, or on fewer with --set \
             protocol.shots=N"
                .into()
        }
        // Where the message offers it.
        error if error.to_string().contains("`allow_missing`") => {
            "`allow_missing` is --set data.allow_missing=true".into()
        }
        _ => return None,
    })
}

/// The data set's error, which other crates' errors wrap transparently.
fn of_data<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a data::Error> {
    let of_trainer = |error: &'a trainer::Error| match error {
        trainer::Error::Data(error) => Some(error),
        _ => None,
    };
    cause
        .downcast_ref()
        .or_else(|| of_trainer(cause.downcast_ref()?))
}

/// The backbone's error, which other crates' errors wrap transparently.
fn of_backbone<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a clip_backbone::Error> {
    let of_clips = |error: &'a clips::Error| match error {
        clips::Error::Backbone(error) => Some(error),
        _ => None,
    };
    let of_recogniser = |error: &'a recogniser::Error| match error {
        recogniser::Error::Backbone(error) => Some(error),
        recogniser::Error::Clips(error) => of_clips(error),
        _ => None,
    };
    let of_trainer = |error: &'a trainer::Error| match error {
        trainer::Error::Backbone(error) => Some(error),
        trainer::Error::Clips(error) => of_clips(error),
        trainer::Error::Recogniser(error) => of_recogniser(error),
        _ => None,
    };
    cause
        .downcast_ref()
        .or_else(|| of_clips(cause.downcast_ref()?))
        .or_else(|| of_recogniser(cause.downcast_ref()?))
        .or_else(|| of_trainer(cause.downcast_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_unknown_columns_has_an_option() {
        let table = |layout| {
            let error = trainer::Error::from(data::Error::Columns {
                path: "list".into(),
                line: 1,
                found: vec!["word".into(), "film".into()],
                missing: "none is known".into(),
                layout,
            });
            remedy(&error.into()).unwrap()
        };
        assert!(table(None).contains("--columns video=NAME,label=NAME"));
        assert!(table(Some("kinetics400")).contains("--dataset kinetics400"));
    }

    #[test]
    fn a_missing_checkpoint_and_a_missing_vocabulary_have_a_command() {
        let offline = || {
            clip_backbone::Error::from(hub::Error::Offline {
                id: "org/clip".into(),
                cache: "cache".into(),
            })
        };
        let errors = [
            anyhow::Error::new(offline()).context("cannot use it"),
            trainer::Error::from(offline()).into(),
            trainer::Error::from(clips::Error::from(offline())).into(),
            recogniser::Error::from(clips::Error::from(offline())).into(),
            trainer::Error::from(recogniser::Error::from(offline())).into(),
        ];
        for error in errors {
            let help = remedy(&error).unwrap();
            assert!(
                help.contains("cargo xtask download-clip org/clip"),
                "{help}"
            );
        }
        let path = "vocabulary".into();
        let error = clip_backbone::Error::NoTokenizer { path };
        let help = remedy(&trainer::Error::from(error).into()).unwrap();
        assert!(help.contains("cargo xtask setup"), "{help}");
        let other = clip_backbone::Error::from(hub::Error::NoCache);
        assert_eq!(remedy(&other.into()), None);
    }
}
