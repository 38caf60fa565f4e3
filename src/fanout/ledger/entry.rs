//! What is owed of one finding: shared by the deliveries that settle it and the ledger's keeper.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use finding::Finding;
use sinks::OwedSinks;
use tokio::{sync::mpsc, time::Instant};

use super::known::KnownFindings;

/// The namespaces whose Events the program may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRights {
    /// Whether it may change those of all namespaces.
    pub whole_cluster: bool,
    /// Further namespaces whose Events it may change.
    pub namespaces: HashSet<String>,
}

/// What all entries of the ledger share.
#[derive(Debug)]
pub(in crate::fanout) struct LedgerShared {
    rights: LedgerRights,
    /// Namespaces where a change was denied.
    denied: Mutex<HashSet<String>>,
    known: Mutex<KnownFindings>,
}

/// What the keeper is told.
#[derive(Debug)]
pub(in crate::fanout) enum LedgerWord {
    /// What is owed of this finding, or what its Event says of it, has changed.
    Changed(LedgerEntry),
    /// Make the changes that are left by then, and end.
    Close(Instant),
}

/// One finding in the ledger. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::fanout) struct LedgerEntry {
    pub(in crate::fanout) owed: OwedSinks,
    pub(super) finding: Arc<Finding>,
    /// When the Event was last written.
    pub(super) written: Instant,
    pub(super) shared: Arc<LedgerShared>,
    pub(super) words: mpsc::UnboundedSender<LedgerWord>,
}

impl LedgerShared {
    pub(super) fn new(rights: LedgerRights) -> Self {
        Self { rights, denied: Mutex::default(), known: Mutex::default() }
    }

    /// Returns whether a ledger is kept in a namespace.
    pub(super) fn keeps(&self, namespace: &str) -> bool {
        let allowed = self.rights.whole_cluster || self.rights.namespaces.contains(namespace);
        allowed && !lock(&self.denied).contains(namespace)
    }

    /// Keeps no ledger in a namespace any more. Returns whether it did so far.
    pub(super) fn deny(&self, namespace: &str) -> bool {
        lock(&self.denied).insert(namespace.to_owned())
    }

    pub(super) fn known(&self) -> MutexGuard<'_, KnownFindings> {
        lock(&self.known)
    }
}

impl LedgerEntry {
    /// Takes in that a sink has settled the finding.
    pub(in crate::fanout) fn settle(&self, sink: &str) {
        self.owed.settle(sink);
        self.tell();
    }

    /// Takes in that the sink that writes the Event has settled the finding, one way or the other.
    pub(in crate::fanout) fn event_is_done(&self) {
        self.owed.event_is_done();
        Self { written: Instant::now(), ..self.clone() }.tell();
    }

    /// Tells the keeper, if the Event stands and names anybody.
    pub(in crate::fanout) fn tell(&self) {
        if self.owed.is_noted_at_all() {
            // Without a keeper nobody changes the Event, and the next start delivers once more.
            self.words.send(LedgerWord::Changed(self.clone())).unwrap_or_default();
        }
    }

    /// Returns whether the next start will deliver the finding to this sink.
    pub(in crate::fanout) fn keeps_for(&self, sink: &str) -> bool {
        self.owed.is_noted(sink) && self.shared.keeps(&self.finding.namespace)
    }
}

/// Locks what each change leaves complete, so also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
