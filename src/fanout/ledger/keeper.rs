//! Changes the Events that stand when what is owed has changed, and before they expire.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use finding::KillId;
use jiff::Timestamp;
use sinks::{LedgerStore, NoteOutcome};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::entry::{LedgerEntry, LedgerWord};
use crate::{logging::LogThrottle, metrics::OwedGauge};

/// How long an Event that is to be changed waits for more sinks that settle its finding.
const GATHERING: Duration = Duration::from_secs(3);
/// How many Events are changed at once.
const CONCURRENCY: usize = 40;
/// How many of them in one namespace, so that one whose webhook hangs delays no other.
const NAMESPACE_CONCURRENCY: usize = 10;
/// How long one change may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The first pause before a change is tried again.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause before a change is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long a change is tried again. An hour later, most Events are gone.
const RETRY_FOR: Duration = Duration::from_hours(1);
/// The least time between two log lines about changes that fail.
const LOG_SILENCE: Duration = Duration::from_mins(10);

/// Makes all changes of Events that stand.
pub(super) struct LedgerKeeper {
    store: Arc<dyn LedgerStore>,
    lookback: Duration,
    owed: OwedGauge,
    /// The findings whose Events name anybody.
    kept: HashMap<KillId, KeptEntry>,
    /// When to see to which of them; one entry for each that no change is under way for.
    due: BTreeSet<(Instant, KillId)>,
    changes: JoinSet<(KillId, Vec<Arc<str>>, NoteOutcome)>,
    free: Arc<Semaphore>,
    free_in: HashMap<String, Arc<Semaphore>>,
    throttle: LogThrottle<()>,
    /// When to end at the latest, once that is asked.
    until: Option<Instant>,
}

struct KeptEntry {
    entry: LedgerEntry,
    /// When to see to it; `None` while a change is under way.
    at: Option<Instant>,
    /// When its Event was last written.
    written: Instant,
    was_renewed: bool,
    failures: u32,
    /// Since when changes fail.
    failing_since: Instant,
}

impl LedgerKeeper {
    pub(super) fn new(store: Arc<dyn LedgerStore>, lookback: Duration, owed: OwedGauge) -> Self {
        Self {
            store,
            lookback,
            owed,
            kept: HashMap::new(),
            due: BTreeSet::new(),
            changes: JoinSet::new(),
            free: Arc::new(Semaphore::new(CONCURRENCY)),
            free_in: HashMap::new(),
            throttle: LogThrottle::new(LOG_SILENCE, LOG_SILENCE, 1),
            until: None,
        }
    }

    /// Keeps the ledger until it is closed. Returns how many changes were left undone.
    pub(super) async fn run(mut self, mut words: mpsc::UnboundedReceiver<LedgerWord>) -> usize {
        let mut heard = Vec::new();
        loop {
            self.begin_changes();
            self.owed.set(self.kept.len());
            if let Some(until) = self.until {
                let left = self.kept.values().filter(|kept| kept.entry.owed.is_outdated()).count();
                if left == 0 || until <= Instant::now() {
                    return left;
                }
            }
            let next = self.due.first().map(|(at, _)| *at).into_iter().chain(self.until).min();
            tokio::select! {
                count = words.recv_many(&mut heard, 1024) => {
                    if count == 0 {
                        return 0;
                    }
                    heard.drain(..).for_each(|word| self.hear(word));
                }
                Some(ended) = self.changes.join_next() => match ended {
                    Ok((id, names, outcome)) => self.end_change(&id, &names, outcome),
                    Err(error) => tracing::error!(%error, "changing an Event failed; please report this bug"),
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn hear(&mut self, word: LedgerWord) {
        let now = Instant::now();
        match word {
            LedgerWord::Changed(entry) => {
                if !entry.owed.is_noted_at_all() || !entry.shared.keeps(&entry.finding.namespace) {
                    return;
                }
                let (id, written) = (entry.finding.id.clone(), entry.written);
                let kept = self.kept.entry(id.clone()).or_insert_with(|| KeptEntry {
                    entry,
                    at: Some(now),
                    written,
                    was_renewed: false,
                    failures: 0,
                    failing_since: now,
                });
                // After a failure its pause goes on.
                if kept.at.is_some() && kept.failures == 0 {
                    let at = self.next_look(&id, now);
                    self.schedule(&id, at);
                }
            }
            LedgerWord::Close(until) => {
                self.until = Some(until);
                let left = |kept: &KeptEntry| kept.at.is_some() && kept.entry.owed.is_outdated();
                let left = self.kept.iter().filter(|(_, kept)| left(kept)).map(|(id, _)| id.clone());
                for id in left.collect::<Vec<_>>() {
                    self.schedule(&id, now);
                }
            }
        }
    }

    /// Returns when to see to a finding next.
    fn next_look(&self, id: &KillId, now: Instant) -> Instant {
        let Some(kept) = self.kept.get(id) else { return now };
        let renewal = kept.written + self.renewed_after(kept.was_renewed);
        if !kept.entry.owed.is_outdated() {
            return renewal;
        }
        let is_settled = kept.entry.owed.names().is_empty();
        let soon = if is_settled || self.until.is_some() { now } else { now + GATHERING };
        kept.at.filter(|at| *at > now).map_or(soon, |at| at.min(soon))
    }

    /// Returns how long after it was written an Event is written anew. An Event lives for longer than
    /// `lookback`, so there is time enough to try it again.
    fn renewed_after(&self, was_renewed: bool) -> Duration {
        if was_renewed { self.lookback * 3 / 4 } else { self.lookback / 2 }
    }

    fn schedule(&mut self, id: &KillId, at: Instant) {
        let Some(kept) = self.kept.get_mut(id) else { return };
        if let Some(before) = kept.at.replace(at) {
            self.due.remove(&(before, id.clone()));
        }
        self.due.insert((at, id.clone()));
    }

    fn begin_changes(&mut self) {
        let now = Instant::now();
        if self.changes.is_empty() {
            self.free_in.clear();
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.due.pop_first()
        {
            let Some(kept) = self.kept.get_mut(&id) else { continue };
            kept.at = None;
            let entry = kept.entry.clone();
            let renewed = (!entry.owed.is_outdated()).then(Timestamp::now);
            let (store, free) = (Arc::clone(&self.store), Arc::clone(&self.free));
            let free_here = self.free_in.entry(entry.finding.namespace.clone());
            let free_here =
                Arc::clone(free_here.or_insert_with(|| Arc::new(Semaphore::new(NAMESPACE_CONCURRENCY))));
            self.changes.spawn(async move {
                // Neither is ever closed.
                let _turns = (free_here.acquire().await, free.acquire().await);
                let names = entry.owed.names();
                let answer = timeout(TIMEOUT, store.note(&entry.finding, &names, renewed)).await;
                let outcome = answer.unwrap_or_else(|_elapsed| NoteOutcome::Retry {
                    reason: format!("changing an Event: no answer within {TIMEOUT:?}"),
                    after: None,
                });
                (id, names, outcome)
            });
        }
    }

    fn end_change(&mut self, id: &KillId, names: &[Arc<str>], outcome: NoteOutcome) {
        let now = Instant::now();
        let Some(kept) = self.kept.get_mut(id) else { return };
        match outcome {
            NoteOutcome::Noted => {
                kept.was_renewed |= !kept.entry.owed.is_outdated();
                kept.entry.owed.noted(names);
                (kept.written, kept.failures) = (now, 0);
                if self.throttle.well() {
                    tracing::info!("the ledger can be written again");
                }
                if names.is_empty() {
                    self.kept.remove(id);
                } else {
                    let at = self.next_look(id, now);
                    self.schedule(id, at);
                }
            }
            NoteOutcome::Gone => {
                tracing::debug!(id = id.as_str(), "the Event of a finding that was owed is gone");
                self.kept.remove(id);
            }
            NoteOutcome::Denied { reason } => self.denied(id, &reason),
            NoteOutcome::Retry { reason, after } => self.retry(id, &reason, after.unwrap_or_default(), now),
        }
    }

    /// Keeps no ledger any more in the finding's namespace.
    fn denied(&mut self, id: &KillId, reason: &str) {
        let Some(LedgerEntry { finding, shared, .. }) = self.kept.get(id).map(|kept| kept.entry.clone())
        else {
            return;
        };
        let namespace = &finding.namespace;
        if shared.deny(namespace) {
            tracing::warn!(
                "{reason}. Until the program is started again, no ledger is kept in namespace {namespace}: if the program \
                 is killed, it loses what waits for sinks other than Kubernetes"
            );
        }
        let gone = self.kept.extract_if(|_, kept| kept.entry.finding.namespace == *namespace);
        for (id, kept) in gone {
            kept.at.map(|at| self.due.remove(&(at, id)));
        }
    }

    fn retry(&mut self, id: &KillId, reason: &str, asked: Duration, now: Instant) {
        let Some(kept) = self.kept.get_mut(id) else { return };
        if kept.failures == 0 {
            kept.failing_since = now;
        }
        kept.failures += 1;
        let given_up = now.duration_since(kept.failing_since) > RETRY_FOR;
        if self.throttle.admits((), now) {
            tracing::warn!(
                reason,
                "the ledger can't be written; trying again. Findings may be delivered twice"
            );
        }
        if given_up {
            tracing::warn!(id = id.as_str(), reason, "the ledger is not written for this finding");
            self.kept.remove(id);
            return;
        }
        let doubled = MIN_PAUSE * 2_u32.saturating_pow(kept.failures - 1);
        let pause = if self.until.is_some() { MIN_PAUSE } else { doubled.max(asked).min(MAX_PAUSE) };
        self.schedule(id, now + pause.mul_f64(1.0 + fastrand::f64() / 4.0));
    }
}
