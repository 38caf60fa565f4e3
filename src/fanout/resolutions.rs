//! Tells one sink that incidents are over, outside the books of findings. It goes on beside the sink's courier,
//! and waits, retries and gives up as that does, and tells nothing while another replica leads.

use std::{mem, sync::Arc, time::Duration};

use backon::BackoffBuilder;
use finding::ResolvedIncident;
use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Route, courier::PAUSES};
use crate::{
    leadership::Leadership,
    metrics::{DeliveryOutcome, ResolvedAccount},
};

/// How many resolved incidents may wait for a sink.
const CAPACITY: usize = 1024;

/// The resolved incidents that wait for one sink, and the task that tells them.
pub(super) struct ResolvedQueue {
    waiting: mpsc::Sender<ResolvedIncident>,
    task: JoinHandle<()>,
    account: ResolvedAccount,
}

impl ResolvedQueue {
    /// Starts a task that tells the sink of a route while this replica leads, in the current Tokio runtime.
    pub(super) fn start(route: &Route, leadership: Leadership, account: ResolvedAccount) -> Self {
        let (waiting, incoming) = mpsc::channel(CAPACITY);
        let teller = ResolvedTeller {
            name: route.name.clone(),
            sink: Arc::clone(&route.sink),
            limits: route.sink.limits(),
            retry_for: route.retry_for,
            leadership,
            account: account.clone(),
        };
        Self { waiting, task: tokio::spawn(teller.run(incoming)), account }
    }

    /// Has an incident told. Never waits.
    pub(super) fn push(&self, resolved: ResolvedIncident) {
        if let Err(error) = self.waiting.try_send(resolved) {
            self.account.count(DeliveryOutcome::Dropped);
            let incident = error.into_inner().message;
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
    leadership: Leadership,
    account: ResolvedAccount,
}

impl ResolvedTeller {
    async fn run(self, mut incoming: mpsc::Receiver<ResolvedIncident>) {
        let mut batch = Vec::new();
        while incoming.recv_many(&mut batch, self.limits.batch.max(1)).await > 0 {
            self.tell(mem::take(&mut batch)).await;
            sleep(self.limits.interval).await;
        }
    }

    /// Tells incidents until each has ended in one outcome, or another replica leads.
    async fn tell(&self, mut batch: Vec<ResolvedIncident>) {
        let (begun, mut pauses) = (Instant::now(), PAUSES.build());
        loop {
            let Some(outcomes) = self.attempt(&batch).await else {
                tracing::info!(
                    sink = %self.name,
                    incidents = batch.len(),
                    "not told that incidents are over: another replica leads"
                );
                for _ in &batch {
                    self.account.count(DeliveryOutcome::HandedOver);
                }
                return;
            };
            let (mut again, mut asked) = (Vec::new(), Duration::ZERO);
            let is_late = begun.elapsed() >= self.retry_for;
            for (resolved, outcome) in batch.into_iter().zip(outcomes) {
                match outcome {
                    AttemptOutcome::Delivered => self.account.count(DeliveryOutcome::Delivered),
                    AttemptOutcome::Duplicate => self.account.count(DeliveryOutcome::Duplicate),
                    AttemptOutcome::Retry { after, .. } if !is_late => {
                        asked = asked.max(after.unwrap_or_default());
                        again.push(resolved);
                    }
                    AttemptOutcome::Retry { reason, .. }
                    | AttemptOutcome::Refused { reason }
                    | AttemptOutcome::Gone { reason } => self.fail(&resolved, &reason),
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

    /// Returns one outcome per incident; `None` if another replica leads. A sink that hangs or panics harms nothing
    /// else.
    async fn attempt(&self, batch: &[ResolvedIncident]) -> Option<Vec<AttemptOutcome>> {
        let (sink, resolved, limit) = (Arc::clone(&self.sink), batch.to_vec(), self.limits.timeout);
        let leadership = self.leadership.clone();
        let call =
            tokio::spawn(
                async move { leadership.while_leading(timeout(limit, sink.resolve(&resolved))).await },
            );
        let (mut outcomes, missing) = match call.await.map(Option::transpose) {
            Ok(Ok(outcomes)) => {
                let outcomes = outcomes?;
                let reason = "the sink answered too few outcomes; please report this bug".to_owned();
                (outcomes, AttemptOutcome::Refused { reason })
            }
            Ok(Err(_elapsed)) => {
                let reason = format!("no answer within {limit:?}; it may have arrived all the same");
                (Vec::new(), AttemptOutcome::Retry { reason, after: None })
            }
            Err(error) => {
                let reason = format!("the sink panicked; please report this bug: {error}");
                (Vec::new(), AttemptOutcome::Refused { reason })
            }
        };
        outcomes.resize(batch.len(), missing);
        Some(outcomes)
    }

    fn fail(&self, resolved: &ResolvedIncident, reason: &str) {
        self.account.count(DeliveryOutcome::Failed);
        let incident = &resolved.message;
        tracing::error!(sink = %self.name, reason, incident, "could not tell that an incident is over");
    }
}
