//! What has this program seen and done? The figures behind `/metrics`.
//!
//! Each stage says what happened in a word of its own (`watch_error`, `finding`, an [`SinkAccount`]'s
//! `settle`); [`Metrics::render`] writes it all down as Prometheus reads it.
//!
//! The books balance: for every sink, `findings_total` is the sum of its `deliveries_total` and
//! its `queue_length`. A finding enters the queue of every sink in the same step that counts it,
//! and leaves each in the same step that counts its outcome there; rendering waits for such a step
//! to be over.

mod account;
mod kills;
#[cfg(test)]
mod tests;
mod text;

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

use self::{account::QueueGauge, kills::KillCounters};
pub use self::{
    account::{DeliveryOutcome, SinkAccount},
    text::CONTENT_TYPE,
};

/// A resource that is watched at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedResource {
    /// Pods.
    Pods,
    /// `Started` Events.
    Events,
}

impl WatchedResource {
    const ALL: [Self; 2] = [Self::Pods, Self::Events];

    /// As the label `resource` spells it.
    fn label(self) -> ResourceLabels {
        ResourceLabels {
            resource: match self {
                Self::Pods => "pods",
                Self::Events => "events",
            },
        }
    }
}

/// All figures. They are shared by reference: `Arc<Metrics>`.
pub struct Metrics {
    registry: Registry,
    findings: Counter,
    detection_delay: Histogram,
    deliveries: Family<DeliveryLabels, Counter>,
    delivery_duration: Family<SinkLabels, Histogram, DeliveryBuckets>,
    queue_length: Family<SinkLabels, QueueGauge>,
    queue_capacity: Family<SinkLabels, QueueGauge>,
    watch_events: Family<ResourceLabels, Counter>,
    watch_restarts: Family<ResourceLabels, Counter>,
    watch_errors: Family<ResourceLabels, Counter>,
    undecodable: Family<ResourceLabels, Counter>,
    unobserved_restarts: Counter,
    ready: Gauge<u64, AtomicU64>,
    books: Arc<Mutex<DeliveryBooks>>,
}

/// What must not change while it is read.
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
struct ResourceLabels {
    resource: &'static str,
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
    /// All figures at zero, and no sink yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("oom_event_generator"),
            findings: Counter::default(),
            // A crash loop's back-off, at most 5 minutes, is part of the delay: a finding needs
            // the restart. An hour is the default time that Events live.
            detection_delay: Histogram::new([1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 360.0, 900.0, 3600.0]),
            deliveries: Family::default(),
            delivery_duration: Family::new_with_constructor(DeliveryBuckets),
            queue_length: Family::default(),
            queue_capacity: Family::default(),
            watch_events: Family::default(),
            watch_restarts: Family::default(),
            watch_errors: Family::default(),
            undecodable: Family::default(),
            unobserved_restarts: Counter::default(),
            ready: Gauge::default(),
            books: Arc::new(Mutex::new(DeliveryBooks { queues: Vec::new(), kills: KillCounters::default() })),
        };
        for resource in WatchedResource::ALL.map(WatchedResource::label) {
            for family in
                [&metrics.watch_events, &metrics.watch_restarts, &metrics.watch_errors, &metrics.undecodable]
            {
                family.get_or_create_owned(&resource);
            }
        }
        metrics.register();
        metrics
    }

    /// Gives each figure its name, and the help that says its unit and what to conclude from it.
    /// The library adds `_total` to counters and a full stop to the help.
    fn register(&mut self) {
        let kills = self.books().kills.counters.clone();
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "kills",
            "Containers killed for memory, by workload. Every increase is a kill, and so is what a series begins \
             with, which increase() doesn't see. A series is forgotten an hour after its last kill, or sooner if \
             500 others in its namespace were killed since",
            &kills,
        );
        add.metric(
            "findings",
            "Kills found. For each sink it equals deliveries_total of all outcomes and queue_length together",
            &self.findings,
        );
        add.metric(
            "deliveries",
            "Findings that ended, by sink and outcome. \
             failed and dropped were not delivered; they stand whole in the log, unless their place is gone",
            &self.deliveries,
        );
        add.metric(
            "delivery_duration_seconds",
            "Seconds that one attempt to deliver took, successful or not, by sink. \
             Near the sink's time-out: the other side hangs",
            &self.delivery_duration,
        );
        add.metric(
            "detection_delay_seconds",
            "Seconds from a kill, by its node's clock, to its finding, by this program's. \
             The back-off before the restart is part of it; clocks that differ distort it",
            &self.detection_delay,
        );
        add.metric(
            "queue_length",
            "Findings that wait for a sink: queued, gathered, to be retried and under way. \
             Growing without end: the sink is broken or too slow",
            &self.queue_length,
        );
        add.metric(
            "queue_capacity",
            "Findings that may wait for a sink, its queue_capacity in the configuration. What is more is dropped",
            &self.queue_capacity,
        );
        self.register_sources();
    }

    /// As [`Metrics::register`], for what is told of the sources and the program.
    fn register_sources(&mut self) {
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "watch_events",
            "Objects that were read, by resource: Pods, from lists and watches, and Started Events, from watches. \
             It stands still while no Pod changes and no container starts",
            &self.watch_events,
        );
        add.metric(
            "watch_restarts",
            "Watches that ended, well or not, by resource; another follows each. None lasts longer than a minute: \
             usual are one or two a minute, for each namespace in namespaces.include if there are any",
            &self.watch_restarts,
        );
        add.metric(
            "watch_errors",
            "Lists and watches that failed, by resource. Growing steadily: see the log, kills are found late",
            &self.watch_errors,
        );
        add.metric(
            "undecodable",
            "Objects that could not be read and were skipped, by resource. \
             Any: kills in them are not found, please report it",
            &self.undecodable,
        );
        add.metric(
            "unobserved_restarts",
            "Instances of containers whose end was never seen, so that nobody knows whether they were killed. \
             Growing: the watches are too late or the containers restart too fast",
            &self.unobserved_restarts,
        );
        add.metric(
            "ready",
            "1 if the Pods are listed and the Events watched, else 0, as /readyz says, which also says why not. \
             0 for minutes: kills are found late or not at all",
            &self.ready,
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        add.metric("build_info", "Always 1; the label is this program's version", &build);
    }

    /// Opens the account of a sink in whose queue so many may wait, with every outcome at zero. To be
    /// called once for each sink, before the first finding: earlier ones are missing in it.
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
            queue,
            duration: self.delivery_duration.get_or_create_owned(&sink),
            books: Arc::clone(&self.books),
        }
    }

    /// Counts a finding, and puts it into the queue of every sink. From here on each sink owes it
    /// one [`SinkAccount::settle`].
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

    /// Counts an object that a list or watch brought.
    pub fn watch_event(&self, resource: WatchedResource) {
        self.watch_events.get_or_create(&resource.label()).inc();
    }

    /// Counts a watch that was begun again.
    pub fn watch_restart(&self, resource: WatchedResource) {
        self.watch_restarts.get_or_create(&resource.label()).inc();
    }

    /// Counts a list or watch that failed.
    pub fn watch_error(&self, resource: WatchedResource) {
        self.watch_errors.get_or_create(&resource.label()).inc();
    }

    /// Counts an object that could not be read.
    pub fn undecodable(&self, resource: WatchedResource) {
        self.undecodable.get_or_create(&resource.label()).inc();
    }

    /// Counts instances of a container whose end was never seen.
    pub fn unobserved_restarts(&self, instances: u64) {
        self.unobserved_restarts.inc_by(instances);
    }

    /// Says whether the program sees the cluster.
    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// Everything in Prometheus' text format 0.0.4, see [`CONTENT_TYPE`].
    pub fn render(&self, now: Instant) -> String {
        let mut text = String::new();
        let mut books = self.books();
        books.kills.forget_old(now);
        let written = encode_registry(&mut text, &self.registry);
        drop(books);
        if let Err(error) = written {
            tracing::error!(%error, "could not write the metrics down; this is a bug");
        }
        text::in_text_format(&text)
    }

    fn books(&self) -> MutexGuard<'_, DeliveryBooks> {
        lock(&self.books)
    }
}

struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn metric(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }
}

/// Each step on the books is complete in itself, so one that panicked left nothing half-done.
fn lock(books: &Mutex<DeliveryBooks>) -> MutexGuard<'_, DeliveryBooks> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
