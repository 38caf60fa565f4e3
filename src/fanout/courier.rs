//! How does a finding get to its sink? One courier brings it there, and owns all policy.
//!
//! It takes what is due (`schedule.rs`), as many at a time and as often as the sink's [`Limits`]
//! allow, calls the sink in a task of its own (so that a sink that hangs or panics harms nothing
//! else), and does with each finding what its [`Outcome`] asks for.
//!
//! - What is to be retried waits longer each time, from 1 s to 60 s, at random between once and
//!   twice a pause that doubles; or as long as the sink asked for, if that is longer. What failed
//!   together goes together again, and soon if others of its call were stored: the sink works. It
//!   is given up when it has been due for `retry_for`.
//! - A sink that takes one call at a time speaks for all of it when it asks to be left alone: then
//!   no call begins before. From one that takes several (the API server), it concerns that finding
//!   alone.
//! - A namespace has no more calls under way than are free, so that those that hang delay no other.
//! - A call that takes longer than a minute is said in the log.
//! - While draining, retries come every second, and are given up when the grace is over.

use std::{
    collections::{HashMap, HashSet},
    future, mem,
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use finding::Finding;
use sinks::{Limits, Outcome, Sink};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Route, log_whole,
    schedule::{Parcel, Schedule},
};
use crate::metrics::{Account, DeliveryOutcome};

/// The pauses before retries. The jitter adds up to as much again, so they end at 60 s.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(30))
    .without_max_times()
    .with_jitter();

/// The pause before a retry while draining.
const PAUSE_IN_DRAIN: Duration = Duration::from_secs(1);

/// The longest that a sink may ask to be left alone.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// How long the log is quiet about a sink that goes on failing for the same reason.
const QUIET_ABOUT_SAME: Duration = Duration::from_mins(10);

/// How long the log is quiet about a sink that goes on failing, whatever the reason. Reasons may
/// name the finding, so each could be new.
const QUIET_ABOUT_ANY: Duration = Duration::from_secs(10);

/// How long a call may be under way before the log says so.
const SLOW: Duration = Duration::from_mins(1);

/// What a courier is told.
pub(super) enum Order {
    /// Bring this to the sink.
    Take(Arc<Finding>),
    /// Nothing more will come. Be done by then, or at once when told so.
    Drain { until: Instant, at_once: CancellationToken },
}

pub(super) struct Courier {
    name: Arc<str>,
    sink: Arc<dyn Sink>,
    limits: Limits,
    retry_for: Duration,
    account: Account,
    schedule: Schedule,
    calls: JoinSet<Vec<Outcome>>,
    /// What each of the `calls` carries.
    carried: HashMap<task::Id, Call>,
    /// No call begins earlier.
    not_before: Instant,
    /// While draining: when to be done.
    until: Option<Instant>,
    /// Cancelled while draining: be done now.
    at_once: CancellationToken,
    /// What the log last said of the sink's failures, while it fails.
    trouble: Option<Trouble>,
    /// Findings that it had to give up.
    lost: u64,
}

struct Call {
    batch: Vec<Parcel>,
    began: Instant,
}

struct Trouble {
    reason: String,
    said: Instant,
}

impl Courier {
    pub(super) fn new(name: Arc<str>, route: &Route, account: Account) -> Self {
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
            trouble: None,
            lost: 0,
        }
    }

    /// Delivers until it is told to drain, or all who could tell it are gone. Answers how many
    /// findings it had to give up, from its beginning on.
    pub(super) async fn run(mut self, mut orders: UnboundedReceiver<Order>) -> u64 {
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

    fn follow(&mut self, order: Order) {
        match order {
            Order::Take(finding) => self.schedule.add(finding, Instant::now()),
            Order::Drain { until, at_once } => {
                self.at_once = at_once;
                self.drain(until);
            }
        }
    }

    fn drain(&mut self, until: Instant) {
        self.until = Some(until);
        self.schedule.hurry(Instant::now());
    }

    /// When the next call begins, if none ends before.
    fn next_call(&self) -> Option<Instant> {
        let free = self.carried.len() < self.limits.concurrency.max(1);
        let busy = self.busy();
        let next = self.schedule.next(|finding| !busy.contains(&finding.namespace.as_str()));
        next.filter(|_| free).map(|at| at.max(self.not_before))
    }

    /// The namespaces that have as many calls under way as are free.
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

    fn begin_call(&mut self, batch: Vec<Parcel>, now: Instant) {
        let deliveries: Vec<_> = batch.iter().map(|parcel| parcel.delivery.clone()).collect();
        let (sink, limit) = (Arc::clone(&self.sink), self.limits.timeout);
        let call = self.calls.spawn(async move {
            let answer = timeout(limit, sink.deliver(&deliveries)).await;
            answer.unwrap_or_else(|_elapsed| {
                let reason = format!("no answer within {limit:?}; it may have arrived all the same");
                vec![Outcome::Retry { reason, after: None }; deliveries.len()]
            })
        });
        self.carried.insert(call.id(), Call { batch, began: now });
        self.not_before = self.not_before.max(now + self.limits.interval);
    }

    fn end_call(&mut self, ended: Result<(task::Id, Vec<Outcome>), JoinError>) {
        let (id, outcomes) = match ended {
            Ok((id, outcomes)) => (id, Ok(outcomes)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(Call { batch, began }) = self.carried.remove(&id) else { return };
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
        let stored = outcomes.iter().any(|it| matches!(it, Outcome::Delivered | Outcome::Duplicate));
        let mut outcomes = outcomes.into_iter();
        // The same for the whole call: each its own would tear its message into many.
        let (now, jitter) = (Instant::now(), fastrand::u64(..));
        for mut parcel in batch {
            if stored {
                parcel.pauses = 0;
            }
            let outcome = outcomes.next().unwrap_or_else(|| Outcome::Refused { reason: wrong.clone() });
            self.settle(parcel, outcome, now, jitter);
        }
        if stored {
            self.say_recovered();
        }
    }

    fn settle(&mut self, parcel: Parcel, outcome: Outcome, now: Instant, jitter: u64) {
        match outcome {
            Outcome::Delivered => self.account.settle(DeliveryOutcome::Delivered),
            Outcome::Duplicate => self.account.settle(DeliveryOutcome::Duplicate),
            Outcome::Retry { reason, after } => self.retry(parcel, reason, after, now, jitter),
            Outcome::Refused { reason } => self.fail(&parcel.delivery.finding, &reason),
            Outcome::Gone { reason } => {
                let id = parcel.delivery.finding.id.as_str();
                tracing::info!(sink = %self.name, id, reason, "not delivered, and nobody will miss it");
                self.account.settle(DeliveryOutcome::Failed);
            }
        }
    }

    fn retry(
        &mut self,
        mut parcel: Parcel,
        reason: String,
        after: Option<Duration>,
        now: Instant,
        jitter: u64,
    ) {
        let asked = after.unwrap_or_default().min(LONGEST_ASKED);
        if self.limits.concurrency <= 1 {
            // Longer than `retry_for` would condemn even what comes tomorrow.
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

    /// How long a finding that failed waits before it is tried again; `None`: it is given up. The
    /// last attempt comes when it is as old as it may get, even if the sink asked for longer.
    fn pause(&self, parcel: &Parcel, asked: Duration, now: Instant, jitter: u64) -> Option<Duration> {
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

    /// When the oldest call will have taken too long for the log to be silent about it.
    fn next_slow(&self) -> Option<Instant> {
        let slow = self.carried.values().map(|call| call.began + SLOW).min();
        slow.filter(|_| self.trouble.is_none())
    }

    /// Says once that a sink takes long, such as standard output whose reader has stopped to read.
    fn say_slow(&mut self) {
        let now = Instant::now();
        if self.next_slow().is_some_and(|at| at <= now) {
            let waiting = self.account.queue_length();
            tracing::warn!(sink = %self.name, waiting, "no answer for {SLOW:?}; waiting on");
            self.trouble = Some(Trouble { reason: String::new(), said: now });
        }
    }

    /// Says once that the sink fails; again after a while, sooner if the reason is another.
    fn say_failed(&mut self, reason: &str, now: Instant) {
        let said_enough = self.trouble.as_ref().is_some_and(|trouble| {
            let quiet = if trouble.reason == reason { QUIET_ABOUT_SAME } else { QUIET_ABOUT_ANY };
            now.duration_since(trouble.said) < quiet
        });
        if !said_enough {
            let waiting = self.account.queue_length();
            tracing::warn!(sink = %self.name, reason, waiting, "delivery fails; trying again");
            self.trouble = Some(Trouble { reason: reason.to_owned(), said: now });
        }
    }

    /// Says once that the sink works again: when nothing is left that failed before. (One namespace
    /// that refuses everything would otherwise break and mend the sink by turns.)
    fn say_recovered(&mut self) {
        let mut under_way = self.carried.values().flat_map(|call| &call.batch);
        if !self.schedule.has_retries()
            && under_way.all(|parcel| parcel.failures == 0)
            && self.trouble.take().is_some()
        {
            tracing::info!(sink = %self.name, "delivery works again");
        }
    }

    /// Whether draining has come to its end: everything delivered, the time over, or nothing more
    /// to happen before it is.
    fn is_done(&self) -> bool {
        let Some(until) = self.until else { return false };
        let idle = self.carried.is_empty();
        let too_late = self.next_call().is_none_or(|at| at > until);
        until <= Instant::now() || idle && (self.schedule.is_empty() || too_late)
    }

    /// Gives up everything that is left and answers how much it gave up in all.
    fn leave(mut self) -> u64 {
        // Who answered in this very moment is still heard; the other calls end with the set.
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

    /// Gives a finding up at the end; `state` is told of one that never failed.
    fn abandon(&mut self, parcel: &Parcel, state: &str) {
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
