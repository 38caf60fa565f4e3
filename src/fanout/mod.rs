//! Sends each finding to every sink that wants it.
//!
//! [`Fanout::send`] takes in a [`Finding`] and offers it to every [`Route`]. Where the route matches, the
//! finding waits in the sink's queue, and a courier, one task for each sink, delivers it. The courier has
//! all policy that sinks share: gathering, batches, retries, time-outs (`courier.rs`; what is due when:
//! `schedule.rs`). So one slow or broken sink delays neither another nor the source.
//!
//! Nothing vanishes: for every sink, each finding ends in exactly one [`DeliveryOutcome`], and a finding
//! that was not delivered is logged whole. With a [`Ledger`], that holds even if the program is killed.

mod calls;
mod courier;
mod groups;
mod ledger;
mod queue;
mod resolutions;
mod rhythm;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use finding::{Finding, ResolvedIncident};
use jiff::Timestamp;
use sinks::{Grouping, OwedSink, Sink};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::ledger::{Ledger, LedgerRights};
use self::{
    courier::{Courier, CourierOrder},
    ledger::LedgerEntry,
    queue::{MAX_QUEUED_BYTES, PendingDelivery, QueueBooks},
    resolutions::ResolvedQueue,
    rhythm::ToldBefore,
};
use crate::{
    leadership::Leadership,
    metrics::{DeliveryOutcome, Metrics},
};

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
    /// Whether the sink writes the Events that the ledger is kept in, so that nothing is owed to it.
    pub remembers: bool,
    /// Whether lists wait for room in the sink's queue.
    pub paces_lists: bool,
    /// Whether the sink is told that incidents are over.
    pub send_resolved: bool,
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
    ledger: Option<Ledger>,
}

/// A finding of an earlier run that is still owed to sinks, as its Event says.
#[derive(Clone, Debug, PartialEq)]
pub struct OwedFinding {
    /// The finding, without its Pod's labels.
    pub finding: Finding,
    /// The names of the sinks.
    pub sinks: Vec<String>,
    /// When its Event was last written.
    pub written: Option<Timestamp>,
}

/// The queue of one sink, and the courier that empties it.
struct SinkQueue {
    matches: RouteMatch,
    /// Whether it takes findings as they come, rather than gathers them.
    is_prompt: bool,
    paces_lists: bool,
    sink: Arc<dyn Sink>,
    books: Arc<QueueBooks>,
    orders: mpsc::UnboundedSender<CourierOrder>,
    courier: JoinHandle<()>,
    /// Where resolved incidents go, if the sink is told of them.
    resolved: Option<ResolvedQueue>,
}

impl fmt::Debug for SinkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkQueue").field("books", &self.books).finish_non_exhaustive()
    }
}

/// What became of a finding of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Recovery {
    /// It waits for the sinks that it is owed to.
    Taken,
    /// It was found or recovered in this run, no ledger is kept in its namespace, or too many came from there.
    Known,
    /// None of the sinks that it is owed to exists and wants it.
    Unwanted,
    /// One of the sinks has no room for it now. Its Event keeps it.
    NoRoom,
}

/// How much longer than the grace of [`Fanout::drain`] the ledger may take, at most.
const LEDGER_GRACE: Duration = Duration::from_secs(5);

/// What [`Fanout::drain`] left undelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Findings that were given up or dropped since the start, or still waited when the grace was over,
    /// counted once for each sink. Each is logged whole.
    pub undelivered: u64,
    /// Findings that still waited when the grace was over and that the next start delivers.
    pub handed_over: u64,
}

impl Fanout {
    /// Starts a courier for each route, in the current Tokio runtime. They deliver only while this replica
    /// leads. Opens an account for each sink in `metrics`, so call it once for them.
    pub fn start(routes: Vec<Route>, metrics: Arc<Metrics>, leadership: &Leadership) -> Self {
        let max_bytes = MAX_QUEUED_BYTES / routes.len().clamp(1, 2);
        let queues = routes
            .into_iter()
            .map(|route| SinkQueue::start(route, max_bytes, &metrics, leadership))
            .collect();
        Self { metrics, queues, ledger: None }
    }

    /// Keeps this ledger for all findings that come from now on.
    pub fn keep(&mut self, ledger: Ledger) {
        self.ledger = Some(ledger);
    }

    /// Counts a finding and puts it into the queue of every sink that wants it. Never waits: where too much
    /// waits, the workload that has most waiting loses a finding.
    pub fn send(&self, finding: impl Into<Arc<Finding>>) {
        let finding = finding.into();
        self.metrics.finding(&finding, Instant::now());
        let (wanting, others): (Vec<_>, Vec<_>) =
            self.queues.iter().partition(|queue| (queue.matches)(&finding));
        let entry = self.open_in_ledger(&finding, &wanting);
        for queue in wanting {
            queue.send(&finding, entry.clone());
        }
        for queue in others {
            queue.books.account.settle(DeliveryOutcome::Filtered, 1);
        }
    }

    /// Owes a finding to the sinks that want it, if one of them writes its Event.
    fn open_in_ledger(&self, finding: &Arc<Finding>, wanting: &[&SinkQueue]) -> Option<LedgerEntry> {
        let ledger = self.ledger.as_ref().filter(|_| wanting.iter().any(|queue| queue.books.remembers))?;
        let owed = wanting.iter().filter(|queue| !queue.books.remembers).map(|queue| queue.owed());
        ledger.open(finding, owed.collect())
    }

    /// Puts a finding of an earlier run into the queues of the sinks that it is still owed to, if they exist and
    /// want it.
    pub fn recover(&self, owed: OwedFinding) -> Recovery {
        let OwedFinding { finding, sinks, written } = owed;
        let is_owed = |queue: &&SinkQueue| {
            let books = &queue.books;
            !books.remembers && sinks.iter().any(|name| **name == *books.sink) && (queue.matches)(&finding)
        };
        let wanting: Vec<&SinkQueue> = self.queues.iter().filter(is_owed).collect();
        let Some(ledger) = self.ledger.as_ref().filter(|ledger| !ledger.knows(&finding)) else {
            return Recovery::Known;
        };
        if wanting.is_empty() {
            return Recovery::Unwanted;
        }
        if wanting.iter().any(|queue| !queue.books.has_room_to_recover()) {
            return Recovery::NoRoom;
        }
        let finding = Arc::new(finding);
        let noted = sinks.iter().map(|name| Arc::from(name.as_str())).collect();
        let owed = wanting.iter().map(|queue| queue.owed()).collect();
        let Some(entry) = ledger.reopen(&finding, owed, noted, since(written)) else {
            return Recovery::Known;
        };
        for queue in wanting {
            queue.books.account.recover();
            queue.send(&finding, Some(entry.clone()));
        }
        entry.tell();
        Recovery::Taken
    }

    /// Takes in what an earlier run found and told to all sinks that want it but those that it is owed to, so that
    /// what follows is not told as new.
    pub fn remember(&self, finding: &Finding, owed: &[String]) {
        for queue in &self.queues {
            let is_owed = owed.iter().any(|name| **name == *queue.books.sink);
            if is_owed || !(queue.matches)(finding) {
                continue;
            }
            queue.sink.remember(finding);
            if !queue.is_prompt {
                let (key, pod) = queue.books.group_and_pod(finding);
                let incident = finding.incident.as_ref();
                let told = ToldBefore {
                    pod,
                    at: since(finding.detected_at),
                    kills: incident.map_or(1, |incident| incident.kills),
                    since: since(incident.map(|incident| incident.since).or(finding.detected_at)),
                };
                // A courier that has ended is reported elsewhere.
                queue.orders.send(CourierOrder::Remember(key, told)).unwrap_or_default();
            }
        }
    }

    /// Has the sinks told that an incident is over, as far as they want it and its last kill. Never waits.
    pub fn resolve(&self, resolved: &ResolvedIncident, last: &Finding) {
        for queue in &self.queues {
            if let Some(incidents) = queue.resolved.as_ref().filter(|_| (queue.matches)(last)) {
                incidents.push(resolved.clone(), last);
            }
        }
    }

    /// Returns whether all sinks have room for findings of an earlier run.
    pub fn has_room_to_recover(&self) -> bool {
        self.queues.iter().all(|queue| queue.books.remembers || queue.books.has_room_to_recover())
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

    /// Takes back all findings that a sink has not settled, each once, and ends the ledger, because this replica
    /// leads no longer.
    ///
    /// # Cancel safety
    ///
    /// The findings are lost, but for what their Events say.
    pub async fn hand_over(&mut self) -> Vec<Arc<Finding>> {
        // What its keeper would still write, whoever leads now delivers once more.
        self.ledger = None;
        let mut findings: Vec<Arc<Finding>> = Vec::new();
        let mut known = HashSet::new();
        for queue in &self.queues {
            let (taker, answer) = oneshot::channel();
            // A courier that has ended has nothing: what it had is logged.
            queue.orders.send(CourierOrder::HandOver(taker)).unwrap_or_default();
            let given = answer.await.unwrap_or_default();
            findings.extend(given.into_iter().filter(|finding| known.insert(finding.id.clone())));
        }
        findings
    }

    /// Returns the name of a sink whose courier has ended too early, which is a bug.
    pub fn dead_courier(&self) -> Option<&str> {
        let dead = self.queues.iter().find(|queue| queue.courier.is_finished());
        dead.map(|queue| &*queue.books.sink)
    }

    /// Delivers everything that waits, for at most `grace` or until `at_once` is cancelled. What is
    /// gathered or waits for a retry is due now. Returns as soon as nothing waits and the ledger is written.
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
        let mut drained = Drained { undelivered: 0, handed_over: 0 };
        for SinkQueue { books, courier, resolved, .. } in self.queues {
            if let Some(resolved) = resolved {
                resolved.drain(until, at_once.cancelled()).await;
            }
            if let Err(error) = courier.await {
                tracing::error!(sink = %books.sink, %error, "the courier ended too early; this is a bug");
            }
            drained.undelivered += books.undelivered.load(Ordering::Relaxed);
            drained.handed_over += books.handed_over.load(Ordering::Relaxed);
        }
        if let Some(ledger) = self.ledger {
            let grace = if at_once.is_cancelled() { Duration::ZERO } else { LEDGER_GRACE };
            match ledger.close(Instant::now() + grace).await {
                0 => {}
                left => tracing::warn!(
                    left,
                    "the ledger is not up to date: the next start delivers some findings again"
                ),
            }
        }
        drained
    }
}

impl SinkQueue {
    fn start(route: Route, max_bytes: usize, metrics: &Metrics, leadership: &Leadership) -> Self {
        let capacity = u64::try_from(route.queue_capacity).unwrap_or(u64::MAX);
        let account = metrics.open_account(&route.name, capacity);
        let books = QueueBooks::new(
            route.name.as_str().into(),
            route.remembers,
            account,
            route.queue_capacity,
            max_bytes,
        );
        let books = Arc::new(books);
        let (orders, incoming) = mpsc::unbounded_channel();
        let courier =
            tokio::spawn(Courier::new(&route, Arc::clone(&books), leadership.clone()).run(incoming));
        let resolved = route.send_resolved.then(|| {
            let account = metrics.open_resolved(&route.name);
            ResolvedQueue::start(&route, Arc::clone(&books), leadership.clone(), account)
        });
        let is_prompt = route.grouping == Grouping::NONE;
        Self {
            matches: route.matches,
            is_prompt,
            paces_lists: route.paces_lists,
            sink: route.sink,
            books,
            orders,
            courier,
            resolved,
        }
    }

    /// Takes in a finding that the sink's account already counts as waiting.
    fn send(&self, finding: &Arc<Finding>, entry: Option<LedgerEntry>) {
        let pending = PendingDelivery::new(Arc::clone(finding), &self.books, entry);
        // Without a courier the finding is dropped here, and logged.
        self.orders.send(CourierOrder::Take(Box::new(pending))).unwrap_or_default();
    }

    fn owed(&self) -> OwedSink {
        OwedSink { name: Arc::clone(&self.books.sink), is_prompt: self.is_prompt }
    }
}

/// Returns when that was; now, if it isn't known or to come.
fn since(at: Option<Timestamp>) -> Instant {
    let age = at.and_then(|at| Duration::try_from(Timestamp::now().duration_since(at)).ok());
    let now = Instant::now();
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

/// Returns the time after `duration`, cut to a century: no clock shows a time without end.
fn later(now: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    now + duration.min(CENTURY)
}
