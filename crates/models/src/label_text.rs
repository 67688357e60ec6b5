//! Labels in the text tower's context: which are cut, before any is encoded.

use prompts::{ClassTokens, Template, Tokenize};

use crate::{Error, HeadConfig, ModelConfig, Result, SifConfig, ZeroShotConfig};

/// Labels listed in a note.
const LISTED: usize = 5;

impl ModelConfig {
    /// Checks that `labels` can be encoded with the vocabulary of `tokenizer` in `context` tokens,
    /// and returns notes on labels and templates that are cut. The towers are not needed.
    ///
    /// # Errors
    /// [`Error::Config`] for words that do not fit the prompt vectors, [`Error::Prompts`] for
    /// labels that are empty or become the same.
    pub fn check_text(
        &self,
        tokenizer: &dyn Tokenize,
        context: i64,
        labels: &[String],
    ) -> Result<Vec<String>> {
        match self {
            Self::SeeingInFlowing(config) => of_prompts(config, tokenizer, context, labels),
            Self::ActionClip(config) => {
                of_templates(&config.templates()?, tokenizer, context, labels)
            }
            Self::Clip(ZeroShotConfig { templates }) | Self::Head(HeadConfig { templates, .. }) => {
                of_templates(templates, tokenizer, context, labels)
            }
            Self::LinearProbe | Self::ValidatedProbe => Ok(Vec::new()),
        }
    }
}

/// Notes on labels after learned prompts, or in the hand-crafted one.
pub(crate) fn of_prompts(
    config: &SifConfig,
    tokenizer: &dyn Tokenize,
    context: i64,
    labels: &[String],
) -> Result<Vec<String>> {
    let prompts = &config.prompts;
    if !prompts.motion_aware {
        let template = std::slice::from_ref(&prompts.template);
        return of_templates(template, tokenizer, context, labels);
    }
    let vectors = prompts.init_tokens(tokenizer, context)?.len() as i64;
    let cut = ClassTokens::new(labels, tokenizer)?.truncated(vectors, context)?;
    Ok(note(&cut, context).into_iter().collect())
}

/// Notes on labels in each of `templates`, and on templates that leave them no room.
pub(crate) fn of_templates(
    templates: &[Template],
    tokenizer: &dyn Tokenize,
    context: i64,
    labels: &[String],
) -> Result<Vec<String>> {
    let (mut notes, mut cut) = (Vec::new(), Vec::new());
    for template in templates {
        let own = tokenizer.tokens(&template.fill("")).len() as i64;
        if own > context - 2 {
            notes.push(format!(
                "template {:?} has {own} tokens without a label and is cut: the context is \
                 {context} tokens",
                template.to_string()
            ));
        }
        let sentences = template.sentences(labels, tokenizer, context);
        for label in sentences
            .map_err(|error| of_template(error, template, own))?
            .truncated
        {
            if !cut.contains(&label) {
                cut.push(label);
            }
        }
    }
    notes.extend(note(&cut, context));
    Ok(notes)
}

/// Blames a template that is long itself, not the labels.
fn of_template(error: prompts::Error, template: &Template, tokens: i64) -> Error {
    match error {
        prompts::Error::SameAfterCut {
            first,
            second,
            most,
        } if tokens >= most as i64 => Error::TemplateLength {
            template: template.to_string(),
            tokens,
            most,
            labels: [first, second],
        },
        other => other.into(),
    }
}

/// A note on labels that are cut.
fn note(cut: &[String], context: i64) -> Option<String> {
    if cut.is_empty() {
        return None;
    }
    let listed = cut.iter().take(LISTED).map(|label| format!("{label:?}"));
    let listed: Vec<_> = listed.collect();
    let more = match cut.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let labels = match cut.len() {
        1 => "1 label is",
        count => &format!("{count} labels are"),
    };
    Some(format!(
        "{labels} too long for the context of {context} tokens and cut: {}{more}",
        listed.join(", ")
    ))
}
