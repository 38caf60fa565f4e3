//! To whom does a finding go? Routing, and the way to each sink.
//!
//! A [`Finding`] goes in ([`Fanout::send`]), and is offered to every [`Route`]: its `matches` says
//! whether its sink wants it, and a courier, one task a sink, brings it there. All policy that
//! sinks share is the courier's: gathering, batches, retries, time-outs (`courier.rs`; what is due
//! when: `schedule.rs`). So one slow or broken sink delays neither another nor the source.
//!
//! Nothing vanishes: for every sink, each finding ends in exactly one [`DeliveryOutcome`], and one
//! that was not delivered stands whole in the log.

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
use sinks::{Grouping, Sink};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use self::courier::{Courier, Order};
use crate::metrics::{Account, DeliveryOutcome, Metrics};

/// A sink, which findings it gets, and how patient its courier is.
pub struct Route {
    /// The sink's name in the configuration.
    pub name: String,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Whether the sink gets a finding.
    pub matches: Matches,
    /// How long the findings of one container of one workload are gathered.
    pub grouping: Grouping,
    /// How long a finding is tried again, from the moment it was first due.
    pub retry_for: Duration,
    /// How many findings may wait for the sink: queued, gathered, to be retried and under way.
    pub queue_capacity: usize,
}

/// Decides whether a sink gets a finding.
pub type Matches = Box<dyn Fn(&Finding) -> bool + Send + Sync>;

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The way to all sinks.
#[derive(Debug)]
pub struct Fanout {
    metrics: Arc<Metrics>,
    ways: Vec<Way>,
}

/// The way to one sink.
struct Way {
    name: Arc<str>,
    matches: Matches,
    capacity: u64,
    account: Account,
    orders: mpsc::UnboundedSender<Order>,
    courier: JoinHandle<u64>,
    /// Findings that its courier never got, though its sink wants them.
    undelivered: AtomicU64,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What became of all findings when [`Fanout::drain`] is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Findings that were given up or dropped from the start on, and those that were still waiting
    /// when the grace was over, counted once for each sink. Each stands whole in the log.
    pub undelivered: u64,
}

impl Fanout {
    /// Starts a courier for each route, in the Tokio runtime that this is called in. To be done
    /// once for the metrics given: it opens each sink's account there.
    pub fn start(routes: Vec<Route>, metrics: Arc<Metrics>) -> Self {
        let ways = routes.into_iter().map(|route| Way::start(route, &metrics)).collect();
        Self { metrics, ways }
    }

    /// Counts a finding and hands it to the courier of every sink that wants it. Never waits: where
    /// too many wait already, this one is dropped.
    pub fn send(&self, finding: Finding) {
        let finding = Arc::new(finding);
        self.metrics.finding(&finding, Instant::now());
        for way in &self.ways {
            way.send(&finding);
        }
    }

    /// Takes nothing new and delivers what waits, for at most `grace` or until `at_once`: what is
    /// gathered is due at once, and so is what waits for a retry. Returns as soon as everything is
    /// delivered.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the couriers go on, but nobody learns what they left.
    pub async fn drain(self, grace: Duration, at_once: CancellationToken) -> Drained {
        let until = schedule::later(Instant::now(), grace);
        for way in &self.ways {
            // A courier that is gone is told of below.
            way.orders.send(Order::Drain { until, at_once: at_once.clone() }).unwrap_or_default();
        }
        let mut undelivered = 0;
        for way in self.ways {
            undelivered += way.undelivered.into_inner();
            undelivered += match way.courier.await {
                Ok(left) => left,
                Err(error) => {
                    let lost = way.account.queue_length();
                    tracing::error!(sink = %way.name, %error, lost, "the courier ended too early; this is a bug");
                    lost
                }
            };
        }
        Drained { undelivered }
    }
}

impl Way {
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

    /// The finding is in the sink's account already: so it counts towards its capacity.
    fn send(&self, finding: &Arc<Finding>) {
        if !(self.matches)(finding) {
            self.account.settle(DeliveryOutcome::Filtered);
        } else if self.account.queue_length() > self.capacity {
            self.fail(finding, DeliveryOutcome::Dropped, "dropped, because the sink's queue is full");
        } else if self.orders.send(Order::Take(Arc::clone(finding))).is_err() {
            self.fail(finding, DeliveryOutcome::Failed, "the courier ended too early; this is a bug");
        }
    }

    fn fail(&self, finding: &Finding, outcome: DeliveryOutcome, reason: &str) {
        log_whole(finding, &self.name, reason);
        self.account.settle(outcome);
        self.undelivered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes a finding that a sink will never get into the log, so that it is not lost: all of its
/// JSON in one line at ERROR, in the field `finding`.
pub fn log_whole(finding: &Finding, sink: &str, reason: &str) {
    let json = serde_json::to_string(finding).unwrap_or_else(|_| format!("{finding:?}"));
    tracing::error!(%sink, reason, finding = %json, "undelivered finding");
}
