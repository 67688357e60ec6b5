//! The sentences that a class name is put into.

use std::path::{Path, PathBuf};

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Neither a sentence with a place for the class nor a file.
    #[error("template {0:?}: expected a sentence with {{}} where the class goes, or a file")]
    NoPlace(String),
    /// A file of templates that cannot be read, or holds none.
    #[error("templates in {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Sentences with one `{}` each, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(Vec<String>);

impl Templates {
    /// Each value is a sentence with `{}`, or the path of a file with one sentence a line.
    ///
    /// # Errors
    /// [`TemplateError`] for the first value that is neither.
    pub fn parse(values: &[String]) -> Result<Self, TemplateError> {
        let mut sentences = Vec::new();
        for value in values {
            if value.contains("{}") {
                sentences.push(value.clone());
            } else if Path::new(value).is_file() {
                sentences.extend(read(Path::new(value))?);
            } else {
                return Err(TemplateError::NoPlace(value.clone()));
            }
        }
        Ok(Self(sentences))
    }

    /// Every sentence with `label` in its place.
    pub fn fill<'a>(&'a self, label: &'a str) -> impl Iterator<Item = String> + 'a {
        self.0
            .iter()
            .map(move |sentence| sentence.replace("{}", label))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn read(path: &Path) -> Result<Vec<String>, TemplateError> {
    let problem = |problem: String| TemplateError::File {
        path: path.into(),
        problem,
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(String::from)
        .collect();
    if let Some(bad) = lines.iter().find(|line| !line.contains("{}")) {
        return Err(problem(format!("{bad:?} has no {{}} where the class goes")));
    }
    if lines.is_empty() {
        return Err(problem("expected one sentence a line, got none".into()));
    }
    Ok(lines)
}
