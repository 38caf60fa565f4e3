//! Sends each finding to every sink that wants it.
//!
//! [`Fanout::send`] takes in a [`Finding`] and offers it to every [`Route`]. Where the route matches, the
//! finding waits in the sink's queue, and a courier, one task for each sink, delivers it. The courier has
//! all policy that sinks share: gathering, batches, retries, time-outs (`courier.rs`; what is due when:
//! `schedule.rs`). So one slow or broken sink delays neither another nor the source.
//!
//! Nothing vanishes: for every sink, each finding ends in exactly one [`DeliveryOutcome`], and a finding
//! that was not delivered is logged whole.

mod courier;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use finding::Finding;
use sinks::{Grouping, Sink, stdout::line};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use self::courier::{Courier, CourierOrder};
use crate::metrics::{DeliveryOutcome, Metrics, SinkAccount};

/// A sink, which findings it gets, and how patient its courier is.
pub struct Route {
    /// The sink's name in the configuration.
    pub name: String,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Whether the sink gets a finding.
    pub matches: RouteMatch,
    /// How long the findings of one container of one workload are gathered.
    pub grouping: Grouping,
    /// How long a finding is tried again, from the moment it was first due.
    pub retry_for: Duration,
    /// How many findings may wait for the sink: queued, gathered, to be retried and under way.
    pub queue_capacity: usize,
}

/// Decides whether a sink gets a finding.
pub type RouteMatch = Box<dyn Fn(&Finding) -> bool + Send + Sync>;

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Routes findings to the queues of all sinks.
#[derive(Debug)]
pub struct Fanout {
    metrics: Arc<Metrics>,
    queues: Vec<SinkQueue>,
}

/// The queue of one sink, and the courier that empties it.
struct SinkQueue {
    name: Arc<str>,
    matches: RouteMatch,
    capacity: u64,
    account: SinkAccount,
    orders: mpsc::UnboundedSender<CourierOrder>,
    courier: JoinHandle<u64>,
    /// Findings that the sink wants and its courier never got.
    undelivered: AtomicU64,
}

impl fmt::Debug for SinkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkQueue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What [`Fanout::drain`] left undelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Findings that were given up or dropped since the start, or still waited when the grace was over,
    /// counted once for each sink. Each is logged whole.
    pub undelivered: u64,
}

impl Fanout {
    /// Starts a courier for each route, in the current Tokio runtime. Opens an account for each sink in
    /// `metrics`, so call it once for them.
    pub fn start(routes: Vec<Route>, metrics: Arc<Metrics>) -> Self {
        let queues = routes.into_iter().map(|route| SinkQueue::start(route, &metrics)).collect();
        Self { metrics, queues }
    }

    /// Counts a finding and puts it into the queue of every sink that wants it. Never waits: a finding
    /// for which a queue has no room is dropped there.
    pub fn send(&self, finding: Finding) {
        let finding = Arc::new(finding);
        self.metrics.finding(&finding, Instant::now());
        for queue in &self.queues {
            queue.send(&finding);
        }
    }

    /// Delivers everything that waits, for at most `grace` or until `at_once` is cancelled. What is
    /// gathered or waits for a retry is due now. Returns as soon as nothing waits.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the couriers go on, but what they leave undelivered is not reported.
    pub async fn drain(self, grace: Duration, at_once: CancellationToken) -> Drained {
        let until = schedule::later(Instant::now(), grace);
        for queue in &self.queues {
            // A courier that has ended is reported below.
            queue.orders.send(CourierOrder::Drain { until, at_once: at_once.clone() }).unwrap_or_default();
        }
        let mut undelivered = 0;
        for queue in self.queues {
            undelivered += queue.undelivered.into_inner();
            undelivered += match queue.courier.await {
                Ok(left) => left,
                Err(error) => {
                    let lost = queue.account.queue_length();
                    tracing::error!(sink = %queue.name, %error, lost, "the courier ended too early; this is a bug");
                    lost
                }
            };
        }
        Drained { undelivered }
    }
}

impl SinkQueue {
    fn start(route: Route, metrics: &Metrics) -> Self {
        let name = Arc::from(route.name.as_str());
        let capacity = u64::try_from(route.queue_capacity).unwrap_or(u64::MAX);
        let account = metrics.open_account(&route.name, capacity);
        let (orders, incoming) = mpsc::unbounded_channel();
        let courier = Courier::new(Arc::clone(&name), &route, account.clone());
        Self {
            name,
            matches: route.matches,
            capacity,
            account,
            orders,
            courier: tokio::spawn(courier.run(incoming)),
            undelivered: AtomicU64::new(0),
        }
    }

    /// Takes in a finding that the sink's account already counts as waiting.
    fn send(&self, finding: &Arc<Finding>) {
        if !(self.matches)(finding) {
            self.account.settle(DeliveryOutcome::Filtered);
        } else if self.account.queue_length() > self.capacity {
            self.fail(finding, DeliveryOutcome::Dropped, "dropped, because the sink's queue is full");
        } else if self.orders.send(CourierOrder::Take(Arc::clone(finding))).is_err() {
            self.fail(finding, DeliveryOutcome::Failed, "the courier ended too early; this is a bug");
        }
    }

    fn fail(&self, finding: &Finding, outcome: DeliveryOutcome, reason: &str) {
        log_whole(finding, &self.name, reason);
        self.account.settle(outcome);
        self.undelivered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Logs a finding that a sink will never get, so that it is not lost: its whole JSON in the field
/// `finding` of one line at ERROR.
pub fn log_whole(finding: &Finding, sink: &str, reason: &str) {
    tracing::error!(%sink, reason, finding = %line(finding), "undelivered finding");
}
