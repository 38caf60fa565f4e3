//! Delivers the findings that wait for one sink.
//!
//! The courier takes what is due (`schedule.rs`), as many at a time and as often as the sink's
//! [`SinkLimits`] allow, and calls the sink in a task of its own, so that a sink that hangs or panics
//! harms nothing else. What happens to each finding then depends on its [`AttemptOutcome`].
//!
//! - Before a retry a finding waits: the pause doubles each time and is stretched at random to at most
//!   twice as long, from 1 s to 60 s; or as long as the sink asks for, if that is longer. Findings that
//!   failed in one call are retried in one call. If the sink stored others of the call, the pause starts
//!   at 1 s again. A finding that has been due for `retry_for` is given up.
//! - If a sink that takes one call at a time asks to be left alone, no call begins before that time is
//!   over. If a sink that takes several (the API server) asks for it, only that finding waits.
//! - A namespace may use at most as many calls as are still free, so that calls that hang leave room for
//!   other namespaces.
//! - A call that takes longer than a minute is logged.
//! - While draining, retries come every second, and what is left when the grace is over is given up.

use std::{
    collections::{HashMap, HashSet},
    future, mem,
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use finding::Finding;
use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Route, log_whole,
    schedule::{PendingDelivery, Schedule},
};
use crate::{
    logging::LogThrottle,
    metrics::{DeliveryOutcome, SinkAccount},
};

/// The pauses before retries. Jitter at most doubles them, so the longest is 60 s.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
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
    Take(Arc<Finding>),
    /// Expect nothing more; end at `until`, or as soon as `at_once` is cancelled.
    Drain { until: Instant, at_once: CancellationToken },
}

pub(super) struct Courier {
    name: Arc<str>,
    sink: Arc<dyn Sink>,
    limits: SinkLimits,
    retry_for: Duration,
    account: SinkAccount,
    schedule: Schedule,
    calls: JoinSet<Vec<AttemptOutcome>>,
    /// What each call of `calls` delivers.
    carried: HashMap<task::Id, DeliveryCall>,
    /// No call begins before this.
    not_before: Instant,
    /// While draining: when to end.
    until: Option<Instant>,
    /// While draining: cancelled when to end now.
    at_once: CancellationToken,
    /// Says which failures are logged; `None` as the reason is a call that takes long.
    throttle: LogThrottle<Option<String>>,
    /// Findings that were given up.
    lost: u64,
}

struct DeliveryCall {
    batch: Vec<PendingDelivery>,
    began: Instant,
}

impl Courier {
    pub(super) fn new(name: Arc<str>, route: &Route, account: SinkAccount) -> Self {
        Self {
            name,
            sink: Arc::clone(&route.sink),
            limits: route.sink.limits(),
            retry_for: route.retry_for,
            account,
            schedule: Schedule::new(route.grouping),
            calls: JoinSet::new(),
            carried: HashMap::new(),
            not_before: Instant::now(),
            until: None,
            at_once: CancellationToken::new(),
            throttle: LogThrottle::new(SAME_REASON_SILENCE, OTHER_REASON_SILENCE, 1),
            lost: 0,
        }
    }

    /// Delivers until it has drained, which it does when told to or when the sender of `orders` is gone.
    /// Returns how many findings it gave up since its start.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<CourierOrder>) -> u64 {
        let mut arrived = Vec::new();
        loop {
            if self.is_done() {
                return self.leave();
            }
            self.begin_calls();
            self.say_slow();
            let wake = self.next_call().into_iter().chain(self.until).chain(self.next_slow()).min();
            let at_once = self.at_once.clone();
            tokio::select! {
                count = orders.recv_many(&mut arrived, 1024), if self.until.is_none() => {
                    if count == 0 {
                        self.drain(Instant::now());
                    }
                    arrived.drain(..).for_each(|order| self.follow(order));
                }
                Some(ended) = self.calls.join_next_with_id() => self.end_call(ended),
                () = at_once.cancelled() => self.until = Some(Instant::now()),
                () = sleep_until_or_for_ever(wake) => {}
            }
        }
    }

    fn follow(&mut self, order: CourierOrder) {
        match order {
            CourierOrder::Take(finding) => self.schedule.add(finding, Instant::now()),
            CourierOrder::Drain { until, at_once } => {
                self.at_once = at_once;
                self.drain(until);
            }
        }
    }

    fn drain(&mut self, until: Instant) {
        self.until = Some(until);
        self.schedule.hurry(Instant::now());
    }

    /// Returns when the next call begins if none ends before.
    fn next_call(&self) -> Option<Instant> {
        let free = self.carried.len() < self.limits.concurrency.max(1);
        let busy = self.busy();
        let next = self.schedule.next(|finding| !busy.contains(&finding.namespace.as_str()));
        next.filter(|_| free).map(|at| at.max(self.not_before))
    }

    /// Returns the namespaces that have as many calls under way as are free.
    fn busy(&self) -> Vec<&str> {
        let free = self.limits.concurrency.saturating_sub(self.carried.len());
        let mut calls: HashMap<&str, usize> = HashMap::new();
        for call in self.carried.values() {
            let namespaces = call.batch.iter().map(|parcel| parcel.delivery.finding.namespace.as_str());
            for namespace in namespaces.collect::<HashSet<_>>() {
                *calls.entry(namespace).or_default() += 1;
            }
        }
        calls.into_iter().filter(|(_, calls)| *calls >= free).map(|(namespace, _)| namespace).collect()
    }

    fn begin_calls(&mut self) {
        let now = Instant::now();
        while self.next_call().is_some_and(|at| at <= now) {
            let busy: Vec<String> = self.busy().into_iter().map(str::to_owned).collect();
            let may = |finding: &Finding| !busy.contains(&finding.namespace);
            let batch = self.schedule.take(self.limits.batch.max(1), now, may);
            if !batch.is_empty() {
                self.begin_call(batch, now);
            }
        }
    }

    fn begin_call(&mut self, batch: Vec<PendingDelivery>, now: Instant) {
        let deliveries: Vec<_> = batch.iter().map(|parcel| parcel.delivery.clone()).collect();
        let (sink, limit) = (Arc::clone(&self.sink), self.limits.timeout);
        let call = self.calls.spawn(async move {
            let answer = timeout(limit, sink.deliver(&deliveries)).await;
            answer.unwrap_or_else(|_elapsed| {
                let reason = format!("no answer within {limit:?}; it may have arrived all the same");
                vec![AttemptOutcome::Retry { reason, after: None }; deliveries.len()]
            })
        });
        self.carried.insert(call.id(), DeliveryCall { batch, began: now });
        self.not_before = self.not_before.max(now + self.limits.interval);
    }

    fn end_call(&mut self, ended: Result<(task::Id, Vec<AttemptOutcome>), JoinError>) {
        let (id, outcomes) = match ended {
            Ok((id, outcomes)) => (id, Ok(outcomes)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(DeliveryCall { batch, began }) = self.carried.remove(&id) else { return };
        self.account.attempt_took(began.elapsed());
        let wrong = match &outcomes {
            Ok(outcomes) => format!(
                "the sink answered {} outcomes for {} findings; this is a bug in it",
                outcomes.len(),
                batch.len()
            ),
            Err(error) => format!("the sink failed in itself; this is a bug in it: {error}"),
        };
        let outcomes = outcomes.unwrap_or_default();
        if outcomes.len() > batch.len() {
            tracing::error!(sink = %self.name, "{wrong}");
        }
        let stored =
            outcomes.iter().any(|it| matches!(it, AttemptOutcome::Delivered | AttemptOutcome::Duplicate));
        let mut outcomes = outcomes.into_iter();
        // The same jitter for the whole call, so that its findings are retried together.
        let (now, jitter) = (Instant::now(), fastrand::u64(..));
        for mut parcel in batch {
            if stored {
                parcel.pauses = 0;
            }
            let outcome =
                outcomes.next().unwrap_or_else(|| AttemptOutcome::Refused { reason: wrong.clone() });
            self.settle(parcel, outcome, now, jitter);
        }
        if stored {
            self.say_recovered();
        }
    }

    fn settle(&mut self, parcel: PendingDelivery, outcome: AttemptOutcome, now: Instant, jitter: u64) {
        match outcome {
            AttemptOutcome::Delivered => self.account.settle(DeliveryOutcome::Delivered),
            AttemptOutcome::Duplicate => self.account.settle(DeliveryOutcome::Duplicate),
            AttemptOutcome::Retry { reason, after } => self.retry(parcel, reason, after, now, jitter),
            AttemptOutcome::Refused { reason } => self.fail(&parcel.delivery.finding, &reason),
            AttemptOutcome::Gone { reason } => {
                let id = parcel.delivery.finding.id.as_str();
                tracing::info!(sink = %self.name, id, reason, "not delivered: its place is gone");
                self.account.settle(DeliveryOutcome::Failed);
            }
        }
    }

    fn retry(
        &mut self,
        mut parcel: PendingDelivery,
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
        if let Some(pause) = self.pause(&parcel, asked, now, jitter) {
            self.say_failed(&reason, now);
            parcel.failures += 1;
            parcel.pauses += 1;
            parcel.reason = Some(reason);
            self.schedule.retry(parcel, now + pause);
        } else {
            let (attempts, age) = (parcel.failures + 1, now.duration_since(parcel.since).as_secs());
            let reason = format!("given up after {attempts} attempts in {age} s: {reason}");
            self.fail(&parcel.delivery.finding, &reason);
        }
    }

    /// Returns how long a finding that failed waits for its retry; `None` if it is given up. The last
    /// retry comes when `retry_for` is over, even if the sink asked for a longer pause.
    fn pause(
        &self,
        parcel: &PendingDelivery,
        asked: Duration,
        now: Instant,
        jitter: u64,
    ) -> Option<Duration> {
        if self.until.is_some() {
            return Some(asked.max(PAUSE_IN_DRAIN));
        }
        let left = self.retry_for.saturating_sub(now.duration_since(parcel.since));
        if left.is_zero() {
            return None;
        }
        let grown = PAUSES.with_jitter_seed(jitter).build().nth(parcel.pauses).unwrap_or(PAUSE_IN_DRAIN);
        Some(grown.max(asked).min(left))
    }

    fn fail(&mut self, finding: &Finding, reason: &str) {
        self.lost += 1;
        log_whole(finding, &self.name, reason);
        self.account.settle(DeliveryOutcome::Failed);
    }

    /// Returns when the oldest call becomes slow, unless the log already says that the sink has trouble.
    fn next_slow(&self) -> Option<Instant> {
        let slow = self.carried.values().map(|call| call.began + SLOW_CALL).min();
        slow.filter(|_| !self.throttle.has_spoken())
    }

    /// Logs once that a sink takes long, such as standard output whose reader has stopped reading.
    fn say_slow(&mut self) {
        let now = Instant::now();
        if self.next_slow().is_some_and(|at| at <= now) && self.throttle.admits(None, now) {
            let waiting = self.account.queue_length();
            tracing::warn!(sink = %self.name, waiting, "no answer for {SLOW_CALL:?}; waiting on");
        }
    }

    /// Logs that the sink fails, as often as the throttle admits.
    fn say_failed(&mut self, reason: &str, now: Instant) {
        if self.throttle.admits(Some(reason.to_owned()), now) {
            let waiting = self.account.queue_length();
            tracing::warn!(sink = %self.name, reason, waiting, "delivery fails; trying again");
        }
    }

    /// Logs that the sink works again once nothing waits that failed before. (Otherwise one namespace
    /// that refuses everything would fill the log with failures and recoveries by turns.)
    fn say_recovered(&mut self) {
        let mut under_way = self.carried.values().flat_map(|call| &call.batch);
        if !self.schedule.has_retries()
            && under_way.all(|parcel| parcel.failures == 0)
            && self.throttle.well()
        {
            tracing::info!(sink = %self.name, "delivery works again");
        }
    }

    /// Returns whether draining is over: nothing waits, the time is up, or no call can begin before it is.
    fn is_done(&self) -> bool {
        let Some(until) = self.until else { return false };
        let idle = self.carried.is_empty();
        let too_late = self.next_call().is_none_or(|at| at > until);
        until <= Instant::now() || idle && (self.schedule.is_empty() || too_late)
    }

    /// Gives up everything that is left. Returns how many findings were given up since the start.
    fn leave(mut self) -> u64 {
        // Calls that have ended by now still count; the others are aborted with the set.
        while let Some(ended) = self.calls.try_join_next_with_id() {
            self.end_call(ended);
        }
        for parcel in self.schedule.take_all(Instant::now()) {
            self.abandon(&parcel, "it had not been tried yet");
        }
        for parcel in mem::take(&mut self.carried).into_values().flat_map(|call| call.batch) {
            self.abandon(&parcel, "no answer had come yet; it may have arrived all the same");
        }
        self.lost
    }

    /// Gives up a finding at the end. `state` is the reason logged for one that never failed.
    fn abandon(&mut self, parcel: &PendingDelivery, state: &str) {
        let reason = parcel.reason.as_deref().unwrap_or(state);
        let reason = format!("the program ended before it was delivered: {reason}");
        self.fail(&parcel.delivery.finding, &reason);
    }
}

async fn sleep_until_or_for_ever(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}
