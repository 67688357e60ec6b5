//! What all requests share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::decoders::{Decoders, Place};
use crate::engine::{Card, Engine};
use crate::metrics::Metrics;
use crate::problem::{Outcome, Problem};
use crate::runs::Runs;
use crate::upload::Budget;

/// The parts of the server.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) decoders: Decoders,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Budget,
    pub(crate) runs: Runs,
    /// Videos that are decoded or answered.
    pub(crate) places: Arc<Semaphore>,
    /// Streams that are open.
    pub(crate) streams: Arc<Semaphore>,
    /// Changes when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl App {
    /// A place among the videos in work. Few are, so that those that are accepted are answered
    /// soon.
    pub(crate) fn place(&self) -> Outcome<Place> {
        let place = self.places.clone().try_acquire_owned();
        place
            .map(Arc::new)
            .map_err(|_| Problem::busy("as many videos as this machine can take are in work"))
    }

    /// The model of this id, or the first one.
    pub(crate) fn model(&self, id: Option<&String>) -> Outcome<Card> {
        let cards = self.engine.cards();
        let found = match id {
            Some(id) => cards.into_iter().find(|card| card.id == *id),
            None => cards.into_iter().next(),
        };
        found.ok_or_else(|| {
            let id = id.map_or_else(String::new, |id| format!(" {:?}", crate::upload::shown(id)));
            Problem::not_found(format!("no model{id}")).help("GET /v1/models lists the models")
        })
    }
}
