//! Counts for one sink how many findings wait and how the others ended.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

use super::{DeliveryBooks, lock};

/// How a finding ended for one sink: in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The sink stored it.
    Delivered,
    /// The sink had stored it before.
    Duplicate,
    /// The sink's `match` leaves it out.
    Filtered,
    /// The sink refused it, or it was given up.
    Failed,
    /// The sink's queue was full.
    Dropped,
    /// It is still owed when this replica stops or leads no longer: its Event says so, and whoever leads next
    /// delivers it.
    HandedOver,
}

impl DeliveryOutcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Delivered, Self::Duplicate, Self::Filtered, Self::Failed, Self::Dropped, Self::HandedOver];

    /// Returns the value of the label `outcome`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::HandedOver => "handed_over",
        }
    }
}

pub(super) type QueueGauge = Gauge<u64, AtomicU64>;

/// Shows how many findings the ledger says are owed.
#[derive(Clone, Debug, Default)]
pub struct OwedGauge(pub(super) QueueGauge);

impl OwedGauge {
    /// Sets how many there are.
    pub fn set(&self, findings: usize) {
        self.0.set(u64::try_from(findings).unwrap_or(u64::MAX));
    }
}

/// Counts what became of telling one sink that incidents are over. Clones share the counts.
#[derive(Clone, Debug)]
pub struct ResolvedAccount(pub(super) [Counter; DeliveryOutcome::ALL.len()]);

impl ResolvedAccount {
    /// Counts an incident that was told, or wasn't.
    pub fn count(&self, outcome: DeliveryOutcome) {
        for (counter, counted) in self.0.iter().zip(DeliveryOutcome::ALL) {
            if counted == outcome {
                counter.inc();
            }
        }
    }
}

/// The counts of one sink. Clones share them.
#[derive(Clone)]
pub struct SinkAccount {
    pub(super) outcomes: [Counter; 6],
    pub(super) recovered: Counter,
    pub(super) queue: QueueGauge,
    pub(super) used: QueueGauge,
    pub(super) duration: Histogram,
    pub(super) books: Arc<Mutex<DeliveryBooks>>,
}

impl fmt::Debug for SinkAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkAccount").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl SinkAccount {
    /// Takes findings out of the sink's queue and counts how they ended.
    pub fn settle(&self, outcome: DeliveryOutcome, findings: u64) {
        let _books = lock(&self.books);
        self.queue.dec_by(findings);
        for (counter, counted) in self.outcomes.iter().zip(DeliveryOutcome::ALL) {
            if counted == outcome {
                counter.inc_by(findings);
            }
        }
    }

    /// Counts a finding that an earlier run found and that is still owed to the sink, and counts it as waiting.
    pub fn recover(&self) {
        let _books = lock(&self.books);
        self.recovered.inc();
        self.queue.inc();
    }

    /// Returns how many findings wait for the sink: queued, gathered, to be retried and under way.
    pub fn queue_length(&self) -> u64 {
        self.queue.get()
    }

    /// Sets how many places of the sink's queue are taken.
    pub fn set_used(&self, places: usize) {
        self.used.set(u64::try_from(places).unwrap_or(u64::MAX));
    }

    /// Records how long one attempt to deliver took.
    pub fn attempt_took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}
