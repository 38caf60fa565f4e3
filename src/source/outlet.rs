//! Where observations go: those of lists and those of watches apart, so that lists can wait while watches
//! don't.

use std::{convert::Infallible, future::pending};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::Observation;

/// How many observations of either kind may wait for the filter.
const MAX_WAITING_OBSERVATIONS: usize = 64;

/// Where a watch sends its observations.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    listed: mpsc::Sender<Observation>,
    changed: mpsc::Sender<Observation>,
}

/// What the watches of the cluster see. Dropping it ends them.
#[derive(Debug)]
pub struct Observations {
    listed: mpsc::Receiver<Observation>,
    changed: mpsc::Receiver<Observation>,
    watches: JoinSet<Infallible>,
    /// Asks for the program's own Events once more: the number of this reading.
    again: watch::Sender<u64>,
}

impl Outlet {
    /// Returns where watches send observations, and where they come out.
    pub(super) fn new() -> (Self, Observations) {
        let (to_listed, listed) = mpsc::channel(MAX_WAITING_OBSERVATIONS);
        let (to_changed, changed) = mpsc::channel(MAX_WAITING_OBSERVATIONS);
        let outlet = Self { listed: to_listed, changed: to_changed };
        (outlet, Observations { listed, changed, watches: JoinSet::new(), again: watch::Sender::default() })
    }

    /// Sends what a list shows.
    pub(super) async fn listed(&self, observation: Option<Observation>) {
        send(&self.listed, observation).await;
    }

    /// Sends what a watch shows.
    pub(super) async fn changed(&self, observation: Option<Observation>) {
        send(&self.changed, observation).await;
    }

    /// Waits until everything that lists have shown is taken in, so that what a watch shows after it comes
    /// after it.
    pub(super) async fn list_taken(&self) {
        if self.listed.reserve_many(MAX_WAITING_OBSERVATIONS).await.is_err() {
            pending::<()>().await;
        }
    }
}

async fn send(outlet: &mpsc::Sender<Observation>, observation: Option<Observation>) {
    let Some(observation) = observation else { return };
    if outlet.send(observation).await.is_err() {
        // Nobody wants observations any more: whoever dropped them drops the watch next.
        pending::<()>().await;
    }
}

impl Observations {
    /// Starts a watch.
    pub(super) fn spawn(&mut self, watch: impl Future<Output = Infallible> + Send + 'static) {
        self.watches.spawn(watch);
    }

    /// Waits for the next observation of a list.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next_listed(&mut self) -> Option<Observation> {
        self.listed.recv().await
    }

    /// Returns what has the program's own Events read again, and tells of it.
    pub(super) fn again(&self) -> watch::Sender<u64> {
        self.again.clone()
    }

    /// Has the program's own Events of all scopes read again, as lists are. Returns the number of this reading.
    pub fn read_back_again(&self) -> u64 {
        self.again.send_modify(|reading| *reading += 1);
        *self.again.borrow()
    }

    /// Waits for the next observation; for one of a list only `with_lists`, otherwise lists wait. Returns
    /// `None` if a watch panicked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self, with_lists: bool) -> Option<Observation> {
        tokio::select! {
            observation = self.changed.recv() => observation,
            observation = self.listed.recv(), if with_lists => observation,
            _ = self.watches.join_next() => None,
        }
    }
}
