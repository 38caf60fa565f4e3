//! The ledger of what is owed, as far as sinks take part in it.
//!
//! A finding's Event names the other sinks that the finding is still owed to. [`OwedSinks`] is what their
//! couriers, the sink that writes the Event, and the ledger of the fan-out share of one finding.
//! [`LedgerStore`] changes an Event that stands.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use finding::Finding;
use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// How long an Event waits for sinks that take a finding at once, so that nothing is owed to them when it is
/// written.
const PROMPT_SINKS_WAIT: Duration = Duration::from_millis(50);

/// A sink that a finding is owed to.
#[derive(Clone, Debug)]
pub struct OwedSink {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whether it takes findings as they come, rather than gathers them.
    pub is_prompt: bool,
}

/// The sinks that one finding is owed to, and what its Event says of them. Clones share it.
#[derive(Clone, Debug)]
pub struct OwedSinks(Arc<OwedShared>);

#[derive(Debug)]
struct OwedShared {
    state: Mutex<OwedState>,
    settled: Notify,
}

#[derive(Debug)]
struct OwedState {
    owed: Vec<OwedSink>,
    /// Whom the Event may name: every name that was sent, as if it had been stored. `None` before the Event was
    /// sent.
    noted: Option<Vec<Arc<str>>>,
    /// Whether the Event is no longer on its way.
    stands: bool,
}

impl OwedSinks {
    /// Owes a finding, whose Event has yet to be written, to these sinks.
    pub fn new(owed: Vec<OwedSink>) -> Self {
        Self::of(OwedState { owed, noted: None, stands: false })
    }

    /// Owes a finding to these sinks whose Event stands and names `noted`.
    pub fn of_event(owed: Vec<OwedSink>, noted: Vec<Arc<str>>) -> Self {
        Self::of(OwedState { owed, noted: Some(noted), stands: true })
    }

    fn of(state: OwedState) -> Self {
        Self(Arc::new(OwedShared { state: Mutex::new(state), settled: Notify::new() }))
    }

    /// Waits a moment for the sinks that take findings as they come. Returns the names that the Event is now to be
    /// written with, and takes note of them as if it had been stored.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn note_for_event(&self) -> Vec<Arc<str>> {
        let until = Instant::now() + PROMPT_SINKS_WAIT;
        loop {
            let settled = self.0.settled.notified();
            let waits = self.state().owed.iter().any(|sink| sink.is_prompt);
            if !waits || timeout_at(until, settled).await.is_err() {
                break;
            }
        }
        let mut state = self.state();
        let names = state.names();
        let noted = state.noted.get_or_insert_default();
        noted.extend(names.iter().filter(|name| !noted.contains(name)).cloned().collect::<Vec<_>>());
        names
    }

    /// Takes in that a sink has settled the finding.
    pub fn settle(&self, sink: &str) {
        self.state().owed.retain(|owed| *owed.name != *sink);
        self.0.settled.notify_waiters();
    }

    /// Takes in that nothing writes the Event any more. It stands if it was ever sent.
    pub fn event_is_done(&self) {
        let mut state = self.state();
        state.stands |= state.noted.is_some();
    }

    /// Takes in that the Event names exactly these.
    pub fn noted(&self, names: &[Arc<str>]) {
        self.state().noted = Some(names.to_vec());
    }

    /// Returns whether the Event stands and says that the finding is owed to this sink.
    pub fn is_noted(&self, sink: &str) -> bool {
        let state = self.state();
        state.stands && state.noted.iter().flatten().any(|name| **name == *sink)
    }

    /// Returns whether the Event stands and names anybody.
    pub fn is_noted_at_all(&self) -> bool {
        let state = self.state();
        state.stands && state.noted.as_ref().is_some_and(|noted| !noted.is_empty())
    }

    /// Returns whether the Event stands and names a sink that has settled.
    pub fn is_outdated(&self) -> bool {
        let state = self.state();
        let settled = |name: &Arc<str>| state.owed.iter().all(|owed| owed.name != *name);
        state.stands && state.noted.iter().flatten().any(settled)
    }

    /// Returns the names of the sinks that it is owed to.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.state().names()
    }

    /// Each change is complete in itself, so a panic leaves nothing half-done.
    fn state(&self) -> MutexGuard<'_, OwedState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwedState {
    fn names(&self) -> Vec<Arc<str>> {
        self.owed.iter().map(|owed| Arc::clone(&owed.name)).collect()
    }
}

/// Changes what an Event that stands says of what is owed.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Makes the Event of a finding name these sinks, and say that it was `renewed` if that is given.
    ///
    /// # Cancel safety
    ///
    /// The change may still be stored. To make it again is harmless.
    async fn note(&self, finding: &Finding, owed: &[Arc<str>], renewed: Option<Timestamp>) -> NoteOutcome;
}

/// What became of a change of an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteOutcome {
    /// It is stored.
    Noted,
    /// There is no such Event any more.
    Gone,
    /// The program may not change Events in this namespace.
    Denied {
        /// What was tried, what the answer was, and which rule is missing.
        reason: String,
    },
    /// It is not stored; a retry may succeed.
    Retry {
        /// What was tried, what the answer was, and what to do.
        reason: String,
        /// How long the other side asks to be left alone, if it does.
        after: Option<Duration>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(name: &str, is_prompt: bool) -> OwedSink {
        OwedSink { name: name.into(), is_prompt }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_a_moment_for_prompt_sinks_alone() {
        let owed = OwedSinks::new(vec![sink("log", true), sink("team", false)]);
        let begun = Instant::now();
        let (noted, ()) = tokio::join!(owed.note_for_event(), async { owed.settle("log") });
        assert_eq!((noted, begun.elapsed()), (vec!["team".into()], Duration::ZERO));

        let owed = OwedSinks::new(vec![sink("log", true)]);
        let begun = Instant::now();
        let noted = owed.note_for_event().await;
        assert_eq!((noted, begun.elapsed()), (vec!["log".into()], PROMPT_SINKS_WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn every_name_that_was_sent_counts_as_stored() {
        let owed = OwedSinks::new(vec![sink("team", false)]);
        assert_eq!(owed.note_for_event().await, ["team".into()]);
        assert!(!owed.is_noted("team"), "it doesn't stand yet");
        owed.settle("team");
        assert_eq!(owed.note_for_event().await, Vec::<Arc<str>>::new());
        owed.event_is_done();
        assert!(owed.is_outdated() && owed.is_noted("team"));
        owed.noted(&[]);
        assert!(!owed.is_outdated() && !owed.is_noted_at_all());
    }

    #[test]
    fn an_event_that_was_never_sent_does_not_stand() {
        let owed = OwedSinks::new(vec![sink("team", false)]);
        owed.event_is_done();
        owed.settle("team");
        assert!(!owed.is_outdated() && !owed.is_noted_at_all());
    }
}
