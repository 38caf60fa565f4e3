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
mod groups;
mod queue;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use finding::Finding;
use sinks::{Grouping, Sink};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    courier::{Courier, CourierOrder},
    queue::{PendingDelivery, QueueBooks},
};
use crate::metrics::{DeliveryOutcome, Metrics};

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
    /// Whether lists wait for room in the sink's queue.
    pub paces_lists: bool,
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
    matches: RouteMatch,
    paces_lists: bool,
    books: Arc<QueueBooks>,
    orders: mpsc::UnboundedSender<CourierOrder>,
    courier: JoinHandle<()>,
}

impl fmt::Debug for SinkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkQueue").field("books", &self.books).finish_non_exhaustive()
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

    /// Counts a finding and puts it into the queue of every sink that wants it. Never waits: where too much
    /// waits, the workload that has most waiting loses a finding.
    pub fn send(&self, finding: impl Into<Arc<Finding>>) {
        let finding = finding.into();
        self.metrics.finding(&finding, Instant::now());
        for queue in &self.queues {
            queue.send(&finding);
        }
    }

    /// Waits until a list may bring more: until the sinks that pace lists have room, have stored nothing for a
    /// minute, or `until`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn room_for_list(&self, until: Instant) {
        for queue in self.queues.iter().filter(|queue| queue.paces_lists) {
            queue.books.room_for_list(until).await;
        }
    }

    /// Returns the name of a sink whose courier has ended too early, which is a bug.
    pub fn dead_courier(&self) -> Option<&str> {
        let dead = self.queues.iter().find(|queue| queue.courier.is_finished());
        dead.map(|queue| &*queue.books.sink)
    }

    /// Delivers everything that waits, for at most `grace` or until `at_once` is cancelled. What is
    /// gathered or waits for a retry is due now. Returns as soon as nothing waits.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the couriers go on, but what they leave undelivered is not reported.
    pub async fn drain(self, grace: Duration, at_once: CancellationToken) -> Drained {
        let until = later(Instant::now(), grace);
        for queue in &self.queues {
            // A courier that has ended is reported below.
            queue.orders.send(CourierOrder::Drain { until, at_once: at_once.clone() }).unwrap_or_default();
        }
        let mut undelivered = 0;
        for SinkQueue { books, courier, .. } in self.queues {
            if let Err(error) = courier.await {
                tracing::error!(sink = %books.sink, %error, "the courier ended too early; this is a bug");
            }
            undelivered += books.undelivered.load(Ordering::Relaxed);
        }
        Drained { undelivered }
    }
}

impl SinkQueue {
    fn start(route: Route, metrics: &Metrics) -> Self {
        let capacity = u64::try_from(route.queue_capacity).unwrap_or(u64::MAX);
        let account = metrics.open_account(&route.name, capacity);
        let books = Arc::new(QueueBooks::new(route.name.as_str().into(), account, route.queue_capacity));
        let (orders, incoming) = mpsc::unbounded_channel();
        let courier = tokio::spawn(Courier::new(&route, Arc::clone(&books)).run(incoming));
        Self { matches: route.matches, paces_lists: route.paces_lists, books, orders, courier }
    }

    /// Takes in a finding that the sink's account already counts as waiting.
    fn send(&self, finding: &Arc<Finding>) {
        if (self.matches)(finding) {
            let pending = PendingDelivery::new(Arc::clone(finding), &self.books);
            // Without a courier the finding is dropped here, and logged.
            self.orders.send(CourierOrder::Take(pending)).unwrap_or_default();
        } else {
            self.books.account.settle(DeliveryOutcome::Filtered, 1);
        }
    }
}

/// Returns the time after `duration`, cut to a century: no clock shows a time without end.
fn later(now: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    now + duration.min(CENTURY)
}
