//! Clips of a data set, prepared ahead of use.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data::Manifest;
use pixels::Resizer;

use crate::clip_source::ClipSource;
use crate::pixels::ClipPixels;
use crate::read_ahead::{Ahead, Emit, ReadAhead};
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Clips of one manifest in the order pushed, an iterator that continues when more are pushed.
pub struct ClipStream {
    clips: usize,
    inner: ReadAhead<Job, Vec<ClipPixels>>,
    positions: VecDeque<usize>,
}

/// A prepared clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The clip's position in the manifest.
    pub position: usize,
    /// Its views, as many as [`Recipe::views`]; or why it cannot be decoded.
    pub views: Result<Vec<ClipPixels>, String>,
}

struct Job {
    position: usize,
    recipe: Arc<Recipe>,
}

impl ClipStream {
    /// Starts the threads.
    ///
    /// # Errors
    /// A number of `ahead` is out of range, or no thread can be started.
    pub fn new(manifest: Arc<Manifest>, source: Arc<dyn ClipSource>, ahead: Ahead) -> Result<Self> {
        let clips = manifest.clips().len();
        let inner = ReadAhead::new(ahead, || {
            let (manifest, source) = (manifest.clone(), source.clone());
            let mut resizer = Resizer::new();
            move |job: Job, emit: &mut Emit<'_, Vec<ClipPixels>>| {
                let Some(clip) = manifest.clips().get(job.position) else {
                    return Ok(());
                };
                let file = manifest.file(clip);
                let (source, id) = (source.as_ref(), &clip.id);
                let recipe = &job.recipe;
                let views = recipe.prepare(source, id, &file, clip.frames, &mut resizer);
                let views = views.map_err(|error| match error {
                    Error::Source(error) => Error::Clip {
                        id: id.clone(),
                        reason: reason(error.as_ref(), &file),
                    },
                    other => other,
                })?;
                let _ = emit(views);
                Ok(())
            }
        })?;
        Ok(Self {
            clips,
            inner,
            positions: VecDeque::new(),
        })
    }

    /// Queues the clips at `positions`, in their order, after all earlier ones.
    ///
    /// # Errors
    /// The recipe is out of range, or a position is not in the manifest.
    pub fn push(&mut self, positions: &[usize], recipe: &Recipe) -> Result<()> {
        recipe.check()?;
        if let Some(bad) = positions.iter().find(|position| **position >= self.clips) {
            return Err(Error::Option {
                name: "position",
                expected: format!("below {}", self.clips),
                got: bad.to_string(),
            });
        }
        let recipe = Arc::new(recipe.clone());
        for &position in positions {
            self.positions.push_back(position);
            let recipe = recipe.clone();
            self.inner.push(Job { position, recipe });
        }
        Ok(())
    }

    /// The position of the next clip.
    #[must_use]
    pub fn next_position(&self) -> Option<usize> {
        self.positions.front().copied()
    }

    /// Total working time of all threads.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.inner.busy()
    }
}

impl Iterator for ClipStream {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let position = self.positions.pop_front()?;
        let views = match self.inner.next()?.1 {
            Ok(views) => Ok(views),
            Err(Error::Clip { reason, .. }) => Err(reason),
            Err(error) => Err(reason(&error, Path::new(""))),
        };
        Some(Sample { position, views })
    }
}

/// An error of the file at `path` with its causes, on one line. The path is left out: the clip's id
/// is said with it.
pub(crate) fn reason(error: &dyn std::error::Error, path: &Path) -> String {
    let text = error.to_string();
    let named = format!("{path:?}: ");
    let mut text = text.strip_prefix(&named).unwrap_or(&text).to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
