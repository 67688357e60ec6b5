//! The prompt templates given by a user.

use std::path::Path;

use models::Template;

use crate::{Error, Result};

/// Each of `values` is a sentence with `{}`, or the path of a file with one sentence per line.
///
/// # Errors
/// The first value that is neither, or a sentence without exactly one `{}`.
pub fn templates(values: &[String]) -> Result<Vec<Template>> {
    let mut all = Vec::new();
    for value in values {
        if value.contains("{}") {
            all.push(template(value)?);
        } else if Path::new(value).is_file() {
            all.extend(read(Path::new(value))?);
        } else {
            return Err(Error::NoPlace(value.clone()));
        }
    }
    Ok(all)
}

fn template(sentence: &str) -> Result<Template> {
    Ok(Template::new(sentence).map_err(models::Error::from)?)
}

fn read(path: &Path) -> Result<Vec<Template>> {
    let refuse = |reason: String| Error::Templates {
        path: path.into(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let all: Vec<Template> = lines
        .map(|line| template(line).map_err(|error| refuse(error.to_string())))
        .collect::<Result<_>>()?;
    if all.is_empty() {
        return Err(refuse("expected one sentence per line, got none".into()));
    }
    Ok(all)
}
