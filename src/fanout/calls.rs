//! The calls of one sink that are under way. Each runs in a task of its own, so that a sink that hangs or panics
//! harms nothing else.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, timeout},
};

use super::queue::PendingDelivery;
use crate::leadership::Leadership;

/// The calls of one sink that are under way.
pub(super) struct DeliveryCalls {
    /// The sink's name in the configuration.
    name: Arc<str>,
    sink: Arc<dyn Sink>,
    limits: SinkLimits,
    leadership: Leadership,
    /// `None` is the end of a call that was aborted because another replica leads.
    tasks: JoinSet<Option<Vec<AttemptOutcome>>>,
    /// What each of `tasks` delivers.
    carried: HashMap<task::Id, CarriedBatch>,
}

struct CarriedBatch {
    batch: Vec<PendingDelivery>,
    began: Instant,
}

/// How a call ended.
pub(super) enum EndedCall {
    /// It was aborted, because another replica leads.
    Aborted(Vec<PendingDelivery>),
    /// The sink answered, or failed to. Each finding has its outcome.
    Answered { outcomes: Vec<(PendingDelivery, AttemptOutcome)>, took: Duration },
}

type EndedTask = Result<(task::Id, Option<Vec<AttemptOutcome>>), JoinError>;

impl DeliveryCalls {
    pub(super) fn new(name: Arc<str>, sink: Arc<dyn Sink>, leadership: Leadership) -> Self {
        let limits = sink.limits();
        Self { name, sink, limits, leadership, tasks: JoinSet::new(), carried: HashMap::new() }
    }

    /// Begins a call that delivers a batch.
    pub(super) fn begin(&mut self, batch: Vec<PendingDelivery>, now: Instant) {
        let deliveries: Vec<_> = batch.iter().map(|pending| pending.delivery.clone()).collect();
        let (sink, limit) = (Arc::clone(&self.sink), self.limits.timeout);
        let leadership = self.leadership.clone();
        let task = self.tasks.spawn(async move {
            answer(&leadership, limit, deliveries.len(), sink.deliver(&deliveries)).await
        });
        self.carried.insert(task.id(), CarriedBatch { batch, began: now });
    }

    /// Waits until a call ends; returns `None` at once if there is none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next_end(&mut self) -> Option<EndedCall> {
        let ended = self.tasks.join_next_with_id().await?;
        self.end(ended)
    }

    /// Returns a call that has ended by now.
    pub(super) fn try_next_end(&mut self) -> Option<EndedCall> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.end(ended)
    }

    fn end(&mut self, ended: EndedTask) -> Option<EndedCall> {
        let (id, outcomes) = match ended {
            Ok((id, outcomes)) => (id, outcomes.map(Ok)),
            Err(error) => (error.id(), Some(Err(error))),
        };
        let CarriedBatch { batch, began } = self.carried.remove(&id)?;
        Some(match outcomes {
            None => EndedCall::Aborted(batch),
            Some(outcomes) => {
                EndedCall::Answered { outcomes: self.pair(batch, outcomes), took: began.elapsed() }
            }
        })
    }

    /// Gives each finding its outcome. One without any is refused: its sink has a bug.
    fn pair(
        &self,
        batch: Vec<PendingDelivery>,
        outcomes: Result<Vec<AttemptOutcome>, JoinError>,
    ) -> Vec<(PendingDelivery, AttemptOutcome)> {
        let wrong = match &outcomes {
            Ok(outcomes) => format!(
                "the sink answered {} outcomes for {} findings; please report this bug",
                outcomes.len(),
                batch.len()
            ),
            Err(error) => panicked(error),
        };
        let outcomes = outcomes.unwrap_or_default();
        if outcomes.len() > batch.len() {
            tracing::error!(sink = %self.name, "{wrong}");
        }
        let mut outcomes = outcomes.into_iter();
        let refused = || AttemptOutcome::Refused { reason: wrong.clone() };
        batch
            .into_iter()
            .map(|pending| {
                let outcome = outcomes.next().unwrap_or_else(refused);
                (pending, outcome)
            })
            .collect()
    }

    /// Aborts all calls. Returns what they carried.
    pub(super) fn abort(&mut self) -> Vec<PendingDelivery> {
        self.tasks = JoinSet::new();
        mem::take(&mut self.carried).into_values().flat_map(|call| call.batch).collect()
    }

    /// Returns whether no call is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Returns whether another call may begin beside those under way.
    pub(super) fn has_room(&self) -> bool {
        self.carried.len() < self.limits.concurrency.max(1)
    }

    /// Returns the namespaces that have at least as many calls under way as are free.
    pub(super) fn busy(&self) -> Vec<u64> {
        let free = self.limits.concurrency.saturating_sub(self.carried.len());
        let mut calls: HashMap<u64, usize> = HashMap::new();
        for call in self.carried.values() {
            let namespaces: HashSet<u64> = call.batch.iter().map(|pending| pending.key.namespace).collect();
            for namespace in namespaces {
                *calls.entry(namespace).or_default() += 1;
            }
        }
        calls.into_iter().filter(|(_, calls)| *calls >= free).map(|(namespace, _)| namespace).collect()
    }

    /// Returns when the oldest call began.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.carried.values().map(|call| call.began).min()
    }

    /// Returns the findings under way.
    pub(super) fn findings(&self) -> impl Iterator<Item = &PendingDelivery> {
        self.carried.values().flat_map(|call| &call.batch)
    }
}

/// Returns what a sink answers to a call about so many, or that all are to be tried again if there is no answer in
/// time; `None` once another replica leads.
pub(super) async fn answer(
    leadership: &Leadership,
    limit: Duration,
    number: usize,
    call: impl Future<Output = Vec<AttemptOutcome>>,
) -> Option<Vec<AttemptOutcome>> {
    let answer = leadership.while_leading(timeout(limit, call)).await?;
    Some(answer.unwrap_or_else(|_elapsed| {
        let reason = format!("no answer within {limit:?}; it may have arrived all the same");
        vec![AttemptOutcome::Retry { reason, after: None }; number]
    }))
}

/// Returns why what a panicking sink was told is refused.
pub(super) fn panicked(error: &JoinError) -> String {
    format!("the sink panicked; please report this bug: {error}")
}
