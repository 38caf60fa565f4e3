//! Keeps the ledger: the Event of each finding says which sinks the finding is still owed to, so that a program
//! that is killed loses none.
//!
//! The sink that writes the Event names them in it ([`OwedSinks`]). What follows depends on the Event:
//!
//! | the Event | what the ledger does |
//! |---|---|
//! | is on its way | nothing: each attempt to write it names those that haven't settled |
//! | names a sink that has settled the finding | changes it: at once if nobody else owes it, else three seconds later, so that others may settle meanwhile |
//! | names only sinks that still owe the finding | writes it anew after half of `lookback`, and then each time after three quarters, so that it doesn't expire |
//! | may not be changed | says so once, and keeps no ledger in that namespace any more |
//! | is gone | nothing |
//!
//! | file | what it answers |
//! |---|---|
//! | `entry` | what is owed of one finding? |
//! | `known` | was a finding seen in this run? |
//! | `keeper` | which Events are to be changed, and when? |

mod entry;
mod keeper;
mod known;

use std::{fmt, sync::Arc, time::Duration};

use finding::Finding;
use sinks::{LedgerStore, OwedSink, OwedSinks};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::entry::LedgerEntry;
pub use self::entry::LedgerRights;
use self::{
    entry::{LedgerShared, LedgerWord},
    keeper::LedgerKeeper,
};
use crate::metrics::OwedGauge;

/// Knows what is owed to whom, as far as this program has found or read it.
pub struct Ledger {
    shared: Arc<LedgerShared>,
    words: mpsc::UnboundedSender<LedgerWord>,
    keeper: AbortOnDropHandle<usize>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Starts to keep the ledger in this store, in the current Tokio runtime. An Event lives longer than
    /// `lookback`.
    pub fn start(
        store: Arc<dyn LedgerStore>,
        rights: LedgerRights,
        lookback: Duration,
        owed: OwedGauge,
    ) -> Self {
        let (words, incoming) = mpsc::unbounded_channel();
        let keeper = LedgerKeeper::new(store, lookback, owed);
        Self {
            shared: Arc::new(LedgerShared::new(rights)),
            words,
            keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run(incoming))),
        }
    }

    /// Owes a new finding to these sinks. Returns nothing where there are none, or no ledger is kept.
    pub(super) fn open(&self, finding: &Arc<Finding>, sinks: Vec<OwedSink>) -> Option<LedgerEntry> {
        if sinks.is_empty() || !self.shared.keeps(&finding.namespace) {
            return None;
        }
        self.shared.known().insert(&finding.id);
        Some(self.entry(finding, OwedSinks::new(sinks), Instant::now()))
    }

    /// Owes a finding to these sinks again, whose Event was `written` then and names `noted`. Returns nothing if
    /// it is known already, no ledger is kept in its namespace, or too many came from there.
    pub(super) fn reopen(
        &self,
        finding: &Arc<Finding>,
        sinks: Vec<OwedSink>,
        noted: Vec<Arc<str>>,
        written: Instant,
    ) -> Option<LedgerEntry> {
        if sinks.is_empty() || !self.shared.keeps(&finding.namespace) || !self.shared.known().admit(finding) {
            return None;
        }
        Some(self.entry(finding, OwedSinks::of_event(sinks, noted), written))
    }

    /// Returns whether this finding was found or recovered in this run.
    pub(super) fn knows(&self, finding: &Finding) -> bool {
        self.shared.known().contains(&finding.id)
    }

    /// Changes by then what is left to be changed. Returns how many Events still name a sink that has settled.
    pub(super) async fn close(self, until: Instant) -> usize {
        // A keeper that has ended too early is reported below.
        self.words.send(LedgerWord::Close(until)).unwrap_or_default();
        self.keeper.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the ledger's keeper ended too early; please report this bug");
            0
        })
    }

    fn entry(&self, finding: &Arc<Finding>, owed: OwedSinks, written: Instant) -> LedgerEntry {
        let (finding, shared) = (Arc::clone(finding), Arc::clone(&self.shared));
        LedgerEntry { owed, finding, written, shared, words: self.words.clone() }
    }
}
