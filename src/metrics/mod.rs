//! Counts what the program has seen and done, and renders it for Prometheus.
//!
//! Each stage calls a method when something happens (`finding`, [`SinkAccount::settle`]), and
//! [`Metrics::render`] writes all metrics as Prometheus reads them.
//!
//! The books balance: for every sink, `findings_total` and `recovered_total` together are the sum of
//! `deliveries_total` and `queue_length`. One step counts a finding and adds it to the queue of every sink, and
//! one step takes it out of a queue and counts its outcome. Rendering never sees half a step.

mod account;
mod kills;
mod nodes;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use finding::Finding;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode_registry},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};
use tokio::time::Instant;

use self::{account::QueueGauge, kills::KillCounters, watch::WatchFamilies};
pub use self::{
    account::{DeliveryOutcome, OwedGauge, ResolvedAccount, SinkAccount},
    nodes::NodeOomCounters,
    text::CONTENT_TYPE,
    watch::{WatchMetrics, WatchedResource},
};

/// All metrics.
pub struct Metrics {
    registry: Registry,
    findings: Counter,
    detection_delay: Histogram,
    deliveries: Family<DeliveryLabels, Counter>,
    recovered: Family<SinkLabels, Counter>,
    resolved: Family<DeliveryLabels, Counter>,
    owed: OwedGauge,
    delivery_duration: Family<SinkLabels, Histogram, DeliveryBuckets>,
    queue_length: Family<SinkLabels, QueueGauge>,
    queue_used: Family<SinkLabels, QueueGauge>,
    queue_capacity: Family<SinkLabels, QueueGauge>,
    watches: WatchFamilies,
    unobserved_restarts: Counter,
    node_ooms: NodeOomCounters,
    ready: Gauge<u64, AtomicU64>,
    leader: Gauge<u64, AtomicU64>,
    books: Arc<Mutex<DeliveryBooks>>,
}

/// What must not change while it is rendered.
struct DeliveryBooks {
    /// The queue of each sink.
    queues: Vec<QueueGauge>,
    /// The kills of each workload.
    kills: KillCounters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    sink: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

#[derive(Clone)]
struct DeliveryBuckets;

impl MetricConstructor<Histogram> for DeliveryBuckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Returns metrics that are all zero, without a sink.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("oom_event_generator"),
            findings: Counter::default(),
            // The delay includes the back-off of a crash loop, at most 5 minutes, because a finding waits
            // for the restart. After an hour the API server deletes Events by default.
            detection_delay: Histogram::new([1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 360.0, 900.0, 3600.0]),
            deliveries: Family::default(),
            recovered: Family::default(),
            resolved: Family::default(),
            owed: OwedGauge::default(),
            delivery_duration: Family::new_with_constructor(DeliveryBuckets),
            queue_length: Family::default(),
            queue_used: Family::default(),
            queue_capacity: Family::default(),
            watches: WatchFamilies::default(),
            unobserved_restarts: Counter::default(),
            node_ooms: NodeOomCounters::default(),
            ready: Gauge::default(),
            leader: Gauge::default(),
            books: Arc::new(Mutex::new(DeliveryBooks { queues: Vec::new(), kills: KillCounters::default() })),
        };
        for resource in WatchedResource::ALL {
            metrics.watch(resource);
        }
        metrics.register();
        metrics
    }

    /// Gives each metric its name and its help, which says the unit and what to conclude. The library adds
    /// `_total` to counters and a full stop to the help.
    fn register(&mut self) {
        let kills = self.books().kills.counters.clone();
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "kills",
            "OOM kills of containers, by workload. A series begins at its first kill, which increase() doesn't \
             see. It disappears an hour after its last kill, or sooner if 500 other containers in its namespace \
             were killed since",
            &kills,
        );
        add.metric(
            "findings",
            "OOM kills found. For each sink, it is, together with recovered_total, the sum of deliveries_total over \
             all outcomes and queue_length",
            &self.findings,
        );
        add.metric(
            "deliveries",
            "Findings that are done, by sink and outcome. \
             failed and dropped were not delivered; the log has them whole, unless their place is gone. handed_over \
             are delivered by the next start",
            &self.deliveries,
        );
        add.metric(
            "resolved",
            "Incidents whose end was told, by sink with send_resolved and outcome. They are no findings",
            &self.resolved,
        );
        add.metric(
            "recovered",
            "Findings of an earlier run that were still owed to a sink when the program started, by sink",
            &self.recovered,
        );
        add.metric(
            "owed",
            "Findings whose Events say that they are owed to a sink. If the program is killed, the next start \
             delivers them",
            &self.owed.0,
        );
        add.metric(
            "delivery_duration_seconds",
            "Seconds that one attempt to deliver took, successful or not, by sink. \
             If close to the sink's time-out, the other side hangs",
            &self.delivery_duration,
        );
        add.metric(
            "detection_delay_seconds",
            "Seconds from a kill, by its node's clock, to its finding, by this program's clock. \
             They include the back-off before the restart",
            &self.detection_delay,
        );
        self.register_queues();
        self.register_sources();
    }

    /// Does the same for the metrics of the sinks' queues.
    fn register_queues(&mut self) {
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "queue_length",
            "Findings that wait for a sink: queued, gathered, to be retried and under way. \
             If it grows steadily, the sink is broken or too slow",
            &self.queue_length,
        );
        add.metric(
            "queue_used",
            "Places taken in a sink's queue. Findings that the sink tells only as a count take none",
            &self.queue_used,
        );
        add.metric(
            "queue_capacity",
            "Places in a sink's queue: queue_capacity in its configuration. If all are taken, further findings \
             are dropped, those of whoever has most waiting first",
            &self.queue_capacity,
        );
    }

    /// Does the same for the metrics of the source and the program.
    fn register_sources(&mut self) {
        let mut add = Registrar(&mut self.registry);
        self.watches.register(&mut add);
        add.metric(
            "unobserved_restarts",
            "Instances of containers whose end was not seen, so it is unknown whether they were killed. \
             If it grows, the watches are too late or the containers restart too fast",
            &self.unobserved_restarts,
        );
        add.metric(
            "node_oom",
            "Events that say that a node ran out of memory (SystemOOM, OOMKilling), of the 1,000 nodes that did so last. \
             Containers without a limit are killed then. Counted from the start of this program, and only if it \
             watches the whole cluster",
            &self.node_ooms.counters,
        );
        add.metric(
            "ready",
            "1 if the Pods are listed and the Events watched, else 0; /readyz says why. \
             If it is 0 for minutes, kills are found late or not at all",
            &self.ready,
        );
        add.metric(
            "leader",
            "1 if this replica delivers findings, else 0: another one does, or none can",
            &self.leader,
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        add.metric("build_info", "Always 1; the label is this program's version", &build);
    }

    /// Opens the account of a sink whose queue has this capacity. Call it once for each sink and before the
    /// first finding, which it would miss.
    pub fn open_account(&self, sink: &str, capacity: u64) -> SinkAccount {
        let sink = SinkLabels { sink: sink.to_owned() };
        let queue = self.queue_length.get_or_create_owned(&sink);
        self.queue_capacity.get_or_create(&sink).set(capacity);
        self.books().queues.push(queue.clone());
        let outcomes = DeliveryOutcome::ALL.map(|outcome| {
            let labels = DeliveryLabels { sink: sink.sink.clone(), outcome: outcome.label() };
            self.deliveries.get_or_create_owned(&labels)
        });
        SinkAccount {
            outcomes,
            recovered: self.recovered.get_or_create_owned(&sink),
            queue,
            used: self.queue_used.get_or_create_owned(&sink),
            duration: self.delivery_duration.get_or_create_owned(&sink),
            books: Arc::clone(&self.books),
        }
    }

    /// Returns what waits for a sink, and how the rest ended.
    pub fn figures(&self, sink: &str) -> SinkFigures {
        let _books = self.books();
        let count = |outcome: DeliveryOutcome| {
            let labels = DeliveryLabels { sink: sink.to_owned(), outcome: outcome.label() };
            self.deliveries.get(&labels).map_or(0, |counter| counter.get())
        };
        let queue = self.queue_length.get(&SinkLabels { sink: sink.to_owned() });
        SinkFigures {
            name: sink.to_owned(),
            waiting: queue.map_or(0, |queue| queue.get()),
            delivered: count(DeliveryOutcome::Delivered) + count(DeliveryOutcome::Duplicate),
            failed: count(DeliveryOutcome::Failed) + count(DeliveryOutcome::Dropped),
        }
    }

    /// Opens the account of the resolved incidents of a sink.
    pub fn open_resolved(&self, sink: &str) -> ResolvedAccount {
        ResolvedAccount(DeliveryOutcome::ALL.map(|outcome| {
            let labels = DeliveryLabels { sink: sink.to_owned(), outcome: outcome.label() };
            self.resolved.get_or_create_owned(&labels)
        }))
    }

    /// Counts a finding, and counts it as waiting for every sink. Each sink must then settle it once
    /// ([`SinkAccount::settle`]).
    pub fn finding(&self, finding: &Finding, now: Instant) {
        let mut books = self.books();
        books.kills.count(finding, now);
        self.findings.inc();
        for queue in &books.queues {
            queue.inc();
        }
        if let (Some(killed), Some(detected)) = (finding.killed.finished_at, finding.detected_at) {
            self.detection_delay.observe(detected.duration_since(killed).as_secs_f64().max(0.0));
        }
    }

    /// Returns what shows how many findings are owed.
    pub fn owed(&self) -> OwedGauge {
        self.owed.clone()
    }

    /// Returns the counters of a watched resource.
    pub fn watch(&self, resource: WatchedResource) -> WatchMetrics {
        self.watches.of(resource)
    }

    /// Returns the counters of nodes that run out of memory.
    pub fn node_ooms(&self) -> NodeOomCounters {
        self.node_ooms.clone()
    }

    /// Counts instances of a container whose end was not seen.
    pub fn unobserved_restarts(&self, instances: u64) {
        self.unobserved_restarts.inc_by(instances);
    }

    /// Sets whether this replica leads, or is the only one.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Sets whether the program is ready.
    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Returns all metrics in Prometheus' text format 0.0.4, see [`CONTENT_TYPE`].
    pub fn render(&self, now: Instant) -> String {
        let mut text = String::new();
        let mut books = self.books();
        books.kills.forget_old(now);
        let written = encode_registry(&mut text, &self.registry);
        drop(books);
        if let Err(error) = written {
            tracing::error!(%error, "could not write the metrics; this is a bug");
        }
        text::in_text_format(&text)
    }

    fn books(&self) -> MutexGuard<'_, DeliveryBooks> {
        lock(&self.books)
    }
}

/// The findings of a sink.
#[derive(Clone, Debug)]
pub struct SinkFigures {
    /// The sink's name.
    pub name: String,
    /// Those that wait for it.
    pub waiting: u64,
    /// Those that it has.
    pub delivered: u64,
    /// Those that it refused, and those that were given up or dropped.
    pub failed: u64,
}

struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn metric(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }
}

/// Locks the books, also after a panic: each change of them is complete in itself.
fn lock(books: &Mutex<DeliveryBooks>) -> MutexGuard<'_, DeliveryBooks> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
