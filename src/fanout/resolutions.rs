//! Tells one sink that incidents are over, outside the books of findings. It goes on beside the sink's courier,
//! and waits, retries and gives up as that does.

use std::{mem, sync::Arc, time::Duration};

use backon::BackoffBuilder;
use finding::ResolvedIncident;
use sinks::{AttemptOutcome, Sink, SinkLimits};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::courier::PAUSES;
use crate::metrics::{DeliveryOutcome, ResolvedAccount};

/// How many resolved incidents may wait for a sink.
const CAPACITY: usize = 1024;

/// The resolved incidents that wait for one sink, and the task that tells them.
pub(super) struct ResolvedQueue {
    waiting: mpsc::Sender<ResolvedIncident>,
    task: JoinHandle<()>,
    account: ResolvedAccount,
}

impl ResolvedQueue {
    /// Starts a task that tells a sink of this name, in the current Tokio runtime.
    pub(super) fn start(
        name: Arc<str>,
        sink: Arc<dyn Sink>,
        retry_for: Duration,
        account: ResolvedAccount,
    ) -> Self {
        let (waiting, incoming) = mpsc::channel(CAPACITY);
        let limits = sink.limits();
        let teller = ResolvedTeller { name, sink, limits, retry_for, account: account.clone() };
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
    name: Arc<str>,
    sink: Arc<dyn Sink>,
    limits: SinkLimits,
    retry_for: Duration,
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

    /// Tells incidents until each has ended in one outcome.
    async fn tell(&self, mut batch: Vec<ResolvedIncident>) {
        let (begun, mut pauses) = (Instant::now(), PAUSES.build());
        loop {
            let outcomes = self.attempt(&batch).await;
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

    /// Returns one outcome per incident. A sink that hangs or panics harms nothing else.
    async fn attempt(&self, batch: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let (sink, resolved, limit) = (Arc::clone(&self.sink), batch.to_vec(), self.limits.timeout);
        let call = tokio::spawn(async move { timeout(limit, sink.resolve(&resolved)).await });
        let (mut outcomes, missing) = match call.await {
            Ok(Ok(outcomes)) => {
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
        outcomes
    }

    fn fail(&self, resolved: &ResolvedIncident, reason: &str) {
        self.account.count(DeliveryOutcome::Failed);
        let incident = &resolved.message;
        tracing::error!(sink = %self.name, reason, incident, "could not tell that an incident is over");
    }
}
