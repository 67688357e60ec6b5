//! Joins a group.

use std::time::Duration;

use crate::{Error, Group, Result, Solo, World};

/// How long a member waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For all members to come.
    pub join: Duration,
    /// For a member in an exchange, such as one that saves or decodes.
    pub exchange: Duration,
    /// For a sign of life.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            join: Duration::from_secs(60),
            exchange: Duration::from_secs(600),
            silence: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// `DIST_JOIN_SECONDS`, `DIST_EXCHANGE_SECONDS` and `DIST_SILENCE_SECONDS`, where they are set.
    ///
    /// # Errors
    /// [`Error::Variable`] for one that is not a whole number of seconds from 1 on.
    pub fn of(variables: &std::collections::BTreeMap<String, String>) -> Result<Self> {
        let seconds = |name: &str, otherwise: Duration| match variables.get(name) {
            None => Ok(otherwise),
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=1_000_000) => Ok(Duration::from_secs(seconds)),
                _ => Err(Error::Variable {
                    name: name.into(),
                    expected: "seconds, 1 to 1000000".into(),
                    got: text.clone(),
                }),
            },
        };
        let usual = Self::default();
        Ok(Self {
            join: seconds("DIST_JOIN_SECONDS", usual.join)?,
            exchange: seconds("DIST_EXCHANGE_SECONDS", usual.exchange)?,
            silence: seconds("DIST_SILENCE_SECONDS", usual.silence)?,
        })
    }
}

/// The process's side of the watch over a group. All are called on another thread.
pub struct Signals {
    /// Whether a stop is asked for here: the others are told.
    pub stopping: Box<dyn Fn() -> bool + Send + Sync>,
    /// Called when a stop is asked for on another member.
    pub stop: Box<dyn Fn() + Send + Sync>,
    /// Says why the process ends, and ends it: a member is lost or failed.
    pub end: Box<dyn Fn(&Error) + Send + Sync>,
}

/// Joins the group that `world` describes.
///
/// # Errors
/// [`Error::Absent`] if a member does not come, [`Error::Store`] if the rendezvous cannot be made or
/// reached, [`Error::World`] if the members do not fit together, [`Error::Elsewhere`] if another fails.
pub fn join(world: &World, limits: Limits, signals: Signals) -> Result<Box<dyn Group>> {
    let Some(rendezvous) = &world.rendezvous else {
        return Ok(Box::new(Solo));
    };
    #[cfg(c10d)]
    return Ok(Box::new(crate::members::Members::join(
        world, rendezvous, limits, signals,
    )?));
    #[cfg(not(c10d))]
    {
        let _ = (rendezvous, limits, signals);
        Err(Error::Unsupported { size: world.size })
    }
}
