//! Tells one sink that incidents are over, outside the books of findings. It goes on beside the sink's courier,
//! and waits, retries and gives up as that does, and tells nothing while another replica leads. The kills of an incident
//! are told before its end; after another kill its end isn't told.

use std::{mem, sync::Arc, time::Duration};

use backon::BackoffBuilder;
use finding::{Finding, ResolvedIncident};
use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Route,
    calls::{answer, panicked},
    courier::PAUSES,
    queue::QueueBooks,
};
use crate::{
    incidents::ContainerKey,
    leadership::Leadership,
    metrics::{DeliveryOutcome, ResolvedAccount},
};

/// How many resolved incidents may wait for a sink.
const CAPACITY: usize = 1024;

/// The resolved incidents that wait for one sink, and the task that tells them.
pub(super) struct ResolvedQueue {
    waiting: mpsc::Sender<IncidentEnd>,
    task: JoinHandle<()>,
    books: Arc<QueueBooks>,
    account: ResolvedAccount,
}

/// An incident that is over, and the group of its kills.
#[derive(Debug)]
struct IncidentEnd {
    key: ContainerKey,
    resolved: ResolvedIncident,
}

impl ResolvedQueue {
    /// Starts a task that tells the sink of a route while this replica leads, in the current Tokio runtime.
    pub(super) fn start(
        route: &Route,
        books: Arc<QueueBooks>,
        leadership: Leadership,
        account: ResolvedAccount,
    ) -> Self {
        let (waiting, incoming) = mpsc::channel(CAPACITY);
        let teller = ResolvedTeller {
            name: route.name.clone(),
            sink: Arc::clone(&route.sink),
            limits: route.sink.limits(),
            retry_for: route.retry_for,
            books: Arc::clone(&books),
            leadership,
            account: account.clone(),
        };
        Self { waiting, task: tokio::spawn(teller.run(incoming)), books, account }
    }

    /// Has an incident told, of which this is the last kill. Never waits.
    pub(super) fn push(&self, resolved: ResolvedIncident, last: &Finding) {
        let (key, _) = self.books.group_and_pod(last);
        self.books.open_end(key);
        if let Err(error) = self.waiting.try_send(IncidentEnd { key, resolved }) {
            self.books.close_end(key);
            self.account.count(DeliveryOutcome::Dropped);
            let incident = error.into_inner().resolved.message;
            tracing::error!(incident, "too many incidents that are over wait for a sink; dropped");
        }
    }

    /// Waits until all is told, at most until then, or until `at_once`.
    ///
    /// # Cancel safety
    ///
    /// What is left is not told.
    pub(super) async fn drain(self, until: Instant, at_once: impl Future<Output = ()>) {
        let Self { waiting, mut task, .. } = self;
        drop(waiting);
        tokio::select! {
            _ = &mut task => {}
            () = sleep_until(until) => task.abort(),
            () = at_once => task.abort(),
        }
    }
}

struct ResolvedTeller {
    name: String,
    sink: Arc<dyn Sink>,
    limits: SinkLimits,
    retry_for: Duration,
    books: Arc<QueueBooks>,
    leadership: Leadership,
    account: ResolvedAccount,
}

impl ResolvedTeller {
    async fn run(self, mut incoming: mpsc::Receiver<IncidentEnd>) {
        let (mut later, mut is_open) = (Vec::new(), true);
        while is_open || !later.is_empty() {
            let settled = self.books.settled();
            let waits = |end: &IncidentEnd| self.books.is_waited_for(end.key) && self.books.is_over(end.key);
            let (mut ready, waiting): (Vec<_>, _) =
                mem::take(&mut later).into_iter().partition(|end| !waits(end));
            later = waiting;
            if ready.is_empty() {
                let room = CAPACITY.saturating_sub(later.len());
                tokio::select! {
                    received = incoming.recv_many(&mut later, room), if is_open && room > 0 => is_open = received > 0,
                    () = settled => {}
                }
                continue;
            }
            later.extend(ready.drain(self.limits.batch.clamp(1, ready.len())..));
            self.tell(ready).await;
            sleep(self.limits.interval).await;
        }
    }

    /// Tells incidents until each has ended in one outcome, or another replica leads.
    async fn tell(&self, mut batch: Vec<IncidentEnd>) {
        let (begun, mut pauses) = (Instant::now(), PAUSES.build());
        loop {
            let (over, going_on): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|end| self.books.is_over(end.key));
            self.count(&going_on, DeliveryOutcome::Filtered);
            if over.is_empty() {
                return;
            }
            let resolved: Vec<_> = over.iter().map(|end| end.resolved.clone()).collect();
            let Some(outcomes) = self.attempt(resolved).await else {
                tracing::info!(
                    sink = %self.name,
                    incidents = over.len(),
                    "not told that incidents are over: another replica leads"
                );
                return self.count(&over, DeliveryOutcome::HandedOver);
            };
            let (mut again, mut asked) = (Vec::new(), Duration::ZERO);
            let is_late = begun.elapsed() >= self.retry_for;
            for (end, outcome) in over.into_iter().zip(outcomes) {
                match outcome {
                    AttemptOutcome::Delivered => self.count(&[end], DeliveryOutcome::Delivered),
                    AttemptOutcome::Duplicate => self.count(&[end], DeliveryOutcome::Duplicate),
                    AttemptOutcome::Retry { after, .. } if !is_late => {
                        asked = asked.max(after.unwrap_or_default());
                        again.push(end);
                    }
                    AttemptOutcome::Retry { reason, .. }
                    | AttemptOutcome::Refused { reason }
                    | AttemptOutcome::Gone { reason } => self.fail(&end, &reason),
                }
            }
            if again.is_empty() {
                return;
            }
            let left = self.retry_for.saturating_sub(begun.elapsed());
            sleep(pauses.next().unwrap_or_default().max(asked).min(left)).await;
            batch = again;
        }
    }

    fn count(&self, ends: &[IncidentEnd], outcome: DeliveryOutcome) {
        for end in ends {
            self.books.close_end(end.key);
            self.account.count(outcome);
        }
    }

    /// Returns one outcome per incident; `None` if another replica leads. A sink that hangs or panics harms nothing
    /// else.
    async fn attempt(&self, resolved: Vec<ResolvedIncident>) -> Option<Vec<AttemptOutcome>> {
        let (sink, limit, number) = (Arc::clone(&self.sink), self.limits.timeout, resolved.len());
        let leadership = self.leadership.clone();
        let call = async move { answer(&leadership, limit, number, sink.resolve(&resolved)).await };
        let (mut outcomes, reason) = match tokio::spawn(call).await {
            Ok(outcomes) => {
                (outcomes?, "the sink answered too few outcomes; please report this bug".to_owned())
            }
            Err(error) => (Vec::new(), panicked(&error)),
        };
        outcomes.resize(number, AttemptOutcome::Refused { reason });
        Some(outcomes)
    }

    fn fail(&self, end: &IncidentEnd, reason: &str) {
        let incident = &end.resolved.message;
        tracing::error!(sink = %self.name, reason, incident, "could not tell that an incident is over");
        self.count(std::slice::from_ref(end), DeliveryOutcome::Failed);
    }
}
