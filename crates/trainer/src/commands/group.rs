//! The group of processes that a launcher has started.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use clips::Interrupt;
use dist::{Group, Limits, Signals, World};

use super::exit;

/// Joins the group that the environment describes; `asked` for by an option. Beside it the number of
/// this process among those of its host.
pub(crate) fn join(asked: bool, interrupt: &Interrupt) -> Result<(Rc<dyn Group>, usize)> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let world = World::of(&variables, asked)?;
    let (asked, asking) = (interrupt.clone(), interrupt.clone());
    let signals = Signals {
        stopping: Box::new(move || asked.asked()),
        stop: Box::new(move || {
            asking.ask();
        }),
        end: Box::new(|error| {
            eprintln!("error: {error}");
            trainer::runtime::leave(exit::of_group(error))
        }),
    };
    let group = dist::join(&world, Limits::of(&variables)?, signals)
        .with_context(|| format!("rank {} of {}", world.rank, world.size))?;
    if group.size() > 1 && group.rank() == 0 {
        let members: Vec<String> = (0..group.size()).map(|rank| group.member(rank)).collect();
        eprintln!("note: {} ranks: {}", group.size(), members.join(", "));
    }
    Ok((group.into(), world.local_rank))
}

/// Runs a command in its group, which hears of an error and ends with it.
pub(crate) fn within(group: &dyn Group, run: impl FnOnce() -> Result<u8>) -> Result<u8> {
    let code = run();
    match &code {
        Ok(_) => group.leave()?,
        Err(error) => group.fail(&format!("{error:#}")),
    }
    code
}
