//! What this replica does with what it finds: it delivers while it leads, and keeps it while it stands by.
//!
//! | this replica | findings | what follows |
//! |---|---|---|
//! | stands by | are kept for half of `lookback` | it leads: it catches up |
//! | catches up: reads the program's own Events back | are kept | they are read, or a minute is over: it delivers what no Event tells of, and leads |
//! | leads | are delivered | it leads no longer: it takes back what no sink has settled, and stands by |
//!
//! What other replicas have written and still owe is delivered as after a start (`recovery.rs`).

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::Finding;
use jiff::Timestamp;
use sinks::{LedgerStore, NoteOutcome, kubernetes::EventLedger};
use tokio::time::{Instant, sleep_until};

use super::{backlog::Backlog, detection::Detection, standby::KeptFindings};
use crate::{
    fanout::Fanout,
    leadership::Leadership,
    source::{Observation, Observations, Scope},
};

/// How long reading own Events back may take before this replica delivers all the same.
const MAX_CATCH_UP_TIME: Duration = Duration::from_mins(1);

/// Whether this replica delivers.
#[derive(Debug)]
pub(super) struct Duty {
    leadership: Leadership,
    state: DutyState,
    kept: KeptFindings,
    /// How many scopes have own Events.
    scopes: usize,
}

#[derive(Debug)]
enum DutyState {
    StandsBy,
    /// Waits for this reading of own Events, which these scopes have ended.
    CatchesUp {
        reading: u64,
        read: HashSet<Scope>,
        until: Instant,
    },
    Leads,
}

impl Duty {
    /// The only replica leads from the start. Own Events are read of so many scopes, and live longer than `lookback`.
    pub(super) fn new(leadership: Leadership, scopes: usize, lookback: Duration) -> Self {
        let state = if leadership.leads() { DutyState::Leads } else { DutyState::StandsBy };
        Self { leadership, state, kept: KeptFindings::new(lookback), scopes }
    }

    /// Returns whether findings are delivered as they come.
    pub(super) fn leads(&self) -> bool {
        matches!(self.state, DutyState::Leads)
    }

    /// Returns whether what is owed may be delivered.
    pub(super) fn recovers(&self) -> bool {
        !matches!(self.state, DutyState::StandsBy)
    }

    /// Returns the finding if it is to be delivered; otherwise keeps it.
    pub(super) fn admit(&mut self, finding: Arc<Finding>) -> Option<Arc<Finding>> {
        if self.leads() {
            return Some(finding);
        }
        self.kept.push(finding, Instant::now());
        None
    }

    /// Waits until there is a reason to call [`Duty::change`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn changes(&self) {
        match self.state {
            DutyState::StandsBy => self.leadership.gained().await,
            DutyState::Leads => self.leadership.lost().await,
            DutyState::CatchesUp { until, .. } => tokio::select! {
                () = self.leadership.lost() => {}
                () = sleep_until(until) => {}
            },
        }
    }

    /// Follows a change of leadership. Returns whether this replica begins to catch up.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: findings may be lost.
    pub(super) async fn change(
        &mut self,
        fanout: &mut Fanout,
        backlog: &mut Backlog,
        observations: &Observations,
        detection: &Detection,
    ) -> bool {
        let now = Instant::now();
        match self.state {
            DutyState::StandsBy if self.leadership.leads() => {
                let reading = observations.read_back_again();
                let until = now + MAX_CATCH_UP_TIME;
                self.state = DutyState::CatchesUp { reading, read: HashSet::new(), until };
                return true;
            }
            DutyState::StandsBy => {}
            DutyState::CatchesUp { until, .. } if self.leadership.leads() => {
                if until <= now {
                    tracing::warn!(
                        "own Events can't be read for {MAX_CATCH_UP_TIME:?}: delivering what was found lately, which \
                         another replica may have delivered"
                    );
                    self.lead(backlog, detection);
                }
            }
            DutyState::CatchesUp { .. } | DutyState::Leads => {
                let taken = fanout.hand_over().await.into_iter();
                let taken: Vec<_> = taken.chain(backlog.drain()).collect();
                tracing::info!(findings = taken.len(), "standing by: what was not delivered is kept");
                for finding in taken {
                    self.kept.push(finding, now);
                }
                self.state = DutyState::StandsBy;
            }
        }
        false
    }

    /// Takes in an observation: perhaps all own Events have been read.
    pub(super) fn notice(&mut self, observation: &Observation, backlog: &mut Backlog, detection: &Detection) {
        if let Observation::ReadBack { scope, reading: ended } = observation
            && let DutyState::CatchesUp { reading, read, .. } = &mut self.state
            && *ended >= *reading
        {
            read.insert(*scope);
            if read.len() == self.scopes {
                self.lead(backlog, detection);
            }
        }
    }

    /// Delivers what was kept and no Event tells of.
    fn lead(&mut self, backlog: &mut Backlog, detection: &Detection) {
        let now = Instant::now();
        let unreported: Vec<_> =
            self.kept.take(now).filter(|finding| !detection.was_reported(finding)).collect();
        tracing::info!(
            findings = unreported.len(),
            "delivering; so many were found lately and no Event tells of them"
        );
        for finding in unreported {
            backlog.push(finding, now);
        }
        self.state = DutyState::Leads;
    }
}

/// The ledger, which is written only while this replica leads.
pub(super) struct LedEventLedger {
    pub(super) ledger: EventLedger,
    pub(super) leadership: Leadership,
}

#[async_trait]
impl LedgerStore for LedEventLedger {
    async fn note(&self, finding: &Finding, owed: &[Arc<str>], renewed: Option<Timestamp>) -> NoteOutcome {
        let noted = self.leadership.while_leading(self.ledger.note(finding, owed, renewed)).await;
        noted
            .unwrap_or_else(|| NoteOutcome::Retry { reason: "another replica leads".to_owned(), after: None })
    }
}
