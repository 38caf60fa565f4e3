//! Delivers the findings that wait for one sink.
//!
//! The courier takes what is due (`schedule.rs`), as many at a time and as often as the sink's
//! [`SinkLimits`] allow, and calls the sink (`calls.rs`). What happens to each finding then depends on its
//! [`AttemptOutcome`].
//!
//! - Before a retry a finding waits: the pause doubles each time and is stretched at random to at most
//!   twice as long, from 1 s to 60 s; or as long as the sink asks for, if that is longer. Findings that
//!   failed together, and equally often, are retried together. If the sink stored others of the call, the
//!   pause starts at 1 s again. A finding that has been due for `retry_for` is given up.
//! - If a sink that takes one call at a time asks to be left alone, no call begins before that time is
//!   over. If a sink that takes several (the API server) asks for it, only that finding waits.
//! - A namespace gets another call only while fewer of its calls are under way than are free, so that calls
//!   that hang leave room for other namespaces.
//! - When the queue is full, the namespace and workload that have most waiting lose their newest finding, or
//!   have it counted by another if the sink can tell a count.
//! - A call that takes longer than a minute is logged.
//! - Calls begin only while this replica leads, and those under way end when it no longer does.
//! - While draining, retries come every second. What is left when the grace is over is given up, or left to the
//!   next start if the ledger has it.

use std::{future, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use finding::Finding;
use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Route,
    calls::{DeliveryCalls, EndedCall},
    queue::{PendingDelivery, QueueBooks},
    rhythm::ToldBefore,
    schedule::Schedule,
};
use crate::{
    incidents::ContainerKey, leadership::Leadership, logging::LogThrottle, metrics::DeliveryOutcome,
};

/// The pauses before retries. Jitter at most doubles them, so the longest is 60 s.
pub(super) const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(30))
    .without_max_times()
    .with_jitter();

/// The pause before a retry while draining.
const PAUSE_IN_DRAIN: Duration = Duration::from_secs(1);

/// The longest pause that a sink may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// The least time between two log lines about a sink that fails for the same reason.
const SAME_REASON_SILENCE: Duration = Duration::from_mins(10);

/// The least time between two log lines about a sink that fails, for whatever reason. Reasons may name
/// the finding, so each may be new.
const OTHER_REASON_SILENCE: Duration = Duration::from_secs(10);

/// How long a call may take before the log says so.
const SLOW_CALL: Duration = Duration::from_mins(1);

/// What a courier is told to do.
pub(super) enum CourierOrder {
    /// Deliver this finding.
    Take(Box<PendingDelivery>),
    /// Know that an earlier run of the program told of a kill in this group.
    Remember(ContainerKey, ToldBefore),
    /// Give up what is under way and what waits, because this replica leads no longer, and return it.
    HandOver(oneshot::Sender<Vec<Arc<Finding>>>),
    /// Expect nothing more; end at `until`, or as soon as `at_once` is cancelled.
    Drain { until: Instant, at_once: CancellationToken },
}

pub(super) struct Courier {
    books: Arc<QueueBooks>,
    sink: Arc<dyn Sink>,
    limits: SinkLimits,
    retry_for: Duration,
    schedule: Schedule,
    leadership: Leadership,
    calls: DeliveryCalls,
    /// No call begins before this.
    not_before: Instant,
    /// While draining: when to end.
    until: Option<Instant>,
    /// While draining: cancelled when to end now.
    at_once: CancellationToken,
    /// Says which failures are logged; `None` as the reason is a call that takes long.
    throttle: LogThrottle<Option<String>>,
}

impl Courier {
    pub(super) fn new(route: &Route, books: Arc<QueueBooks>, leadership: Leadership) -> Self {
        let max_groups = books.capacity;
        let sink = Arc::clone(&route.sink);
        Self {
            calls: DeliveryCalls::new(Arc::clone(&books.sink), Arc::clone(&sink), leadership.clone()),
            books,
            sink,
            limits: route.sink.limits(),
            retry_for: route.retry_for,
            schedule: Schedule::new(route.grouping, route.sink.max_named(), max_groups),
            leadership,
            not_before: Instant::now(),
            until: None,
            at_once: CancellationToken::new(),
            throttle: LogThrottle::new(SAME_REASON_SILENCE, OTHER_REASON_SILENCE, 1),
        }
    }

    /// Delivers until it is told to drain and has drained. If the sender of `orders` is gone, it gives up what
    /// is left.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<CourierOrder>) {
        let mut arrived = Vec::new();
        loop {
            if self.is_done() {
                self.leave();
                return;
            }
            let leads = self.leadership.leads();
            if leads {
                self.begin_calls();
            }
            self.say_slow();
            let next_call = self.next_call(Instant::now()).filter(|_| leads);
            let wake = next_call.into_iter().chain(self.until).chain(self.next_slow()).min();
            let at_once = self.at_once.clone();
            tokio::select! {
                count = orders.recv_many(&mut arrived, 1024), if self.until.is_none() => {
                    if count == 0 {
                        self.drain(Instant::now());
                    }
                    arrived.drain(..).for_each(|order| self.follow(order));
                }
                Some(ended) = self.calls.next_end() => self.end_call(ended),
                () = self.leadership.gained(), if !leads => {}
                () = at_once.cancelled() => self.until = Some(Instant::now()),
                () = sleep_until_or_for_ever(wake) => {}
            }
        }
    }

    fn follow(&mut self, order: CourierOrder) {
        match order {
            CourierOrder::Take(pending) => self.take_in(*pending),
            CourierOrder::Remember(key, told) => self.schedule.remember(key, &told, Instant::now()),
            CourierOrder::HandOver(taker) => {
                // If the taker is gone, the program ends.
                taker.send(self.hand_over()).unwrap_or_default();
            }
            CourierOrder::Drain { until, at_once } => {
                self.at_once = at_once;
                self.drain(until);
            }
        }
    }

    fn drain(&mut self, until: Instant) {
        let now = Instant::now();
        self.until = Some(until);
        self.schedule.hurry(self.deliverable(until.saturating_duration_since(now)), now);
    }

    /// Takes in a finding, and makes room for it if too much waits.
    fn take_in(&mut self, mut pending: PendingDelivery) {
        let key = pending.key;
        pending.take_in();
        self.schedule.add(pending, Instant::now());
        let carried = self.calls.findings().count();
        while self.schedule.len() + carried > self.books.capacity || self.books.takes_too_much() {
            let before = self.schedule.len();
            if let Some(excess) = self.schedule.reduce(key) {
                excess.lose(DeliveryOutcome::Dropped, "dropped, because the sink's queue is full");
            } else if self.schedule.len() == before {
                // All that waits is under way.
                return;
            }
        }
    }

    /// Returns how many findings the sink surely takes in a time, if its calls take no longer than the pauses
    /// between them.
    fn deliverable(&self, time: Duration) -> usize {
        let interval = self.limits.interval.as_millis().max(1);
        let calls = usize::try_from(time.as_millis() / interval / 2).unwrap_or(usize::MAX);
        calls.saturating_mul(self.limits.batch)
    }

    /// Returns when the next call begins, if none ends before; `now` if it may begin at once.
    fn next_call(&self, now: Instant) -> Option<Instant> {
        let busy = self.calls.busy();
        let next = self.schedule.next(now, |namespace| !busy.contains(&namespace));
        next.filter(|_| self.calls.has_room()).map(|at| at.max(self.not_before))
    }

    fn begin_calls(&mut self) {
        let now = Instant::now();
        while self.next_call(now).is_some_and(|at| at <= now) {
            let busy = self.calls.busy();
            let may = |namespace| !busy.contains(&namespace);
            let batch = self.schedule.take(self.limits.batch.max(1), now, may);
            if !batch.is_empty() {
                self.calls.begin(batch, now);
                self.not_before = self.not_before.max(now + self.limits.interval);
            }
        }
    }

    fn end_call(&mut self, ended: EndedCall) {
        let now = Instant::now();
        let (outcomes, took) = match ended {
            EndedCall::Answered { outcomes, took } => (outcomes, took),
            EndedCall::Aborted(batch) => {
                for pending in batch {
                    self.schedule.retry(pending, now);
                }
                return;
            }
        };
        self.books.account.attempt_took(took);
        let is_stored = |outcome: &AttemptOutcome| {
            matches!(outcome, AttemptOutcome::Delivered | AttemptOutcome::Duplicate)
        };
        let stored = outcomes.iter().any(|(_, outcome)| is_stored(outcome));
        // The same jitter for the whole call, so that its findings are retried together.
        let jitter = fastrand::u64(..);
        for (mut pending, outcome) in outcomes {
            if stored {
                pending.pauses = 0;
            }
            self.settle(pending, outcome, now, jitter);
        }
        if stored {
            self.say_recovered();
        }
    }

    fn settle(&mut self, pending: PendingDelivery, outcome: AttemptOutcome, now: Instant, jitter: u64) {
        match outcome {
            AttemptOutcome::Delivered => pending.settle(DeliveryOutcome::Delivered),
            AttemptOutcome::Duplicate => pending.settle(DeliveryOutcome::Duplicate),
            AttemptOutcome::Retry { reason, after } => self.retry(pending, reason, after, now, jitter),
            AttemptOutcome::Refused { reason } => pending.lose(DeliveryOutcome::Failed, &reason),
            AttemptOutcome::Gone { reason } => {
                let id = pending.delivery.finding.id.as_str();
                tracing::info!(sink = %self.books.sink, id, reason, "not delivered: its place is gone");
                pending.settle(DeliveryOutcome::Failed);
            }
        }
    }

    fn retry(
        &mut self,
        mut pending: PendingDelivery,
        reason: String,
        after: Option<Duration>,
        now: Instant,
        jitter: u64,
    ) {
        let asked = after.unwrap_or_default().min(MAX_RETRY_AFTER);
        if self.limits.concurrency <= 1 {
            // At most `retry_for`: otherwise findings that come later would be given up untried.
            self.not_before = self.not_before.max(now + asked.min(self.retry_for));
        }
        if let Some(pause) = self.pause(&pending, asked, now, jitter) {
            self.say_failed(&reason, now);
            pending.failures += 1;
            pending.pauses += 1;
            pending.reason = Some(reason);
            self.schedule.retry(pending, now + pause);
        } else {
            let (attempts, age) = (pending.failures + 1, now.duration_since(pending.since).as_secs());
            let reason = format!("given up after {attempts} attempts in {age} s: {reason}");
            pending.lose(DeliveryOutcome::Failed, &reason);
        }
    }

    /// Returns how long a finding that failed waits for its retry; `None` if it is given up. The last retry is
    /// due when `retry_for` is over, even if the sink asks for a longer pause.
    fn pause(
        &self,
        pending: &PendingDelivery,
        asked: Duration,
        now: Instant,
        jitter: u64,
    ) -> Option<Duration> {
        if self.until.is_some() {
            return Some(asked.max(PAUSE_IN_DRAIN));
        }
        let left = self.retry_for.saturating_sub(now.duration_since(pending.since));
        if left.is_zero() {
            return None;
        }
        let grown = PAUSES.with_jitter_seed(jitter).build().nth(pending.pauses).unwrap_or(PAUSE_IN_DRAIN);
        Some(grown.max(asked).min(left))
    }

    /// Returns when the oldest call becomes slow, unless the log already says that the sink has trouble.
    fn next_slow(&self) -> Option<Instant> {
        let slow = self.calls.oldest().map(|began| began + SLOW_CALL);
        slow.filter(|_| !self.throttle.has_spoken())
    }

    /// Logs once that a sink takes long, such as standard output whose reader has stopped reading.
    fn say_slow(&mut self) {
        let now = Instant::now();
        if self.next_slow().is_some_and(|at| at <= now) && self.throttle.admits(None, now) {
            let waiting = self.books.account.queue_length();
            tracing::warn!(sink = %self.books.sink, waiting, "no answer for {SLOW_CALL:?}; still waiting");
        }
    }

    /// Logs that the sink fails, as often as the throttle admits.
    fn say_failed(&mut self, reason: &str, now: Instant) {
        if self.throttle.admits(Some(reason.to_owned()), now) {
            let waiting = self.books.account.queue_length();
            tracing::warn!(sink = %self.books.sink, reason, waiting, "delivery fails; trying again");
        }
    }

    /// Logs that the sink works again once nothing waits that failed before. (Otherwise one namespace
    /// that refuses everything would fill the log with failures and recoveries by turns.)
    fn say_recovered(&mut self) {
        if !self.schedule.has_retries()
            && self.calls.findings().all(|pending| pending.failures == 0)
            && self.throttle.well()
        {
            tracing::info!(sink = %self.books.sink, "delivery works again");
        }
    }

    /// Returns whether draining is over: nothing waits, the time is up, or no call can begin before it is.
    fn is_done(&self) -> bool {
        let Some(until) = self.until else { return false };
        let idle = self.calls.is_empty();
        let now = Instant::now();
        let too_late = self.next_call(now).is_none_or(|at| at > until);
        until <= now || !self.leadership.leads() || idle && (self.schedule.len() == 0 || too_late)
    }

    /// Aborts what is under way, and returns the findings of that and of all that waits. Their Events say to
    /// whom they are still owed; the replica that leads reads it there.
    fn hand_over(&mut self) -> Vec<Arc<Finding>> {
        self.sink.stand_by();
        let (waiting, carried) = self.take_all();
        let settle = |pending: PendingDelivery| {
            let finding = Arc::clone(&pending.delivery.finding);
            pending.settle(DeliveryOutcome::HandedOver);
            finding
        };
        waiting.into_iter().chain(carried).map(settle).collect()
    }

    /// Lets the calls that have ended by now still count, and aborts the others. Returns what waits, and what was
    /// under way.
    fn take_all(&mut self) -> (Vec<PendingDelivery>, Vec<PendingDelivery>) {
        while let Some(ended) = self.calls.try_next_end() {
            self.end_call(ended);
        }
        let carried = self.calls.abort();
        let now = Instant::now();
        self.schedule.hurry(usize::MAX, now);
        let waiting = self.schedule.take(usize::MAX, now, |_| true);
        (waiting, carried)
    }

    /// Gives up everything that is left, or leaves it to the next start.
    fn leave(mut self) {
        if !self.leadership.leads() {
            self.hand_over();
            return;
        }
        let (waiting, carried) = self.take_all();
        for pending in waiting {
            abandon(pending, "it had not been tried yet");
        }
        for pending in carried {
            abandon(pending, "no answer had come yet; it may have arrived all the same");
        }
    }
}

/// Ends a finding with the program. `state` is the reason logged for one that never failed.
fn abandon(pending: PendingDelivery, state: &str) {
    let reason = pending.reason.as_deref().unwrap_or(state);
    let reason = format!("the program ended before it was delivered: {reason}");
    pending.leave(&reason);
}

async fn sleep_until_or_for_ever(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}
