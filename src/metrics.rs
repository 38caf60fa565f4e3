//! What has this program seen and done? The figures behind `/metrics`.
//!
//! Each stage says what happened in a word of its own (`watch_error`, `finding`, an [`Account`]'s
//! `settle`); [`Metrics::render`] writes it all down as Prometheus reads it.
//!
//! The books balance: for every sink, `findings_total` is the sum of its `deliveries_total` and
//! its `queue_length`. A finding enters the queue of every sink in the same step that counts it,
//! and leaves each in the same step that counts its outcome there; rendering waits for such a step
//! to be over.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};
use sinks::Finding;
use tokio::time::Instant;

/// How long the series of a workload is shown after its last kill.
const KILLS_REMEMBERED: Duration = Duration::from_hours(1);

/// How often series to forget are looked for, when nobody scrapes.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);

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

/// How a finding ends for one sink: in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The sink stored it.
    Delivered,
    /// The sink had stored it before.
    Duplicate,
    /// The sink's `match` doesn't hold for it.
    Filtered,
    /// The sink refused it, or it was given up.
    Failed,
    /// The sink's queue was full.
    Dropped,
}

impl DeliveryOutcome {
    const ALL: [Self; 5] = [Self::Delivered, Self::Duplicate, Self::Filtered, Self::Failed, Self::Dropped];

    /// As the label `outcome` spells it.
    fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// All figures. They are shared by reference: `Arc<Metrics>`.
pub struct Metrics {
    registry: Registry,
    findings: Counter,
    kills: Family<KillLabels, Counter>,
    detection_delay: Histogram,
    deliveries: Family<DeliveryLabels, Counter>,
    delivery_duration: Family<SinkLabels, Histogram, DeliveryBuckets>,
    queue_length: Family<SinkLabels, Queue>,
    watch_events: Family<ResourceLabels, Counter>,
    watch_restarts: Family<ResourceLabels, Counter>,
    watch_errors: Family<ResourceLabels, Counter>,
    undecodable: Family<ResourceLabels, Counter>,
    unobserved_restarts: Counter,
    books: Arc<Mutex<Books>>,
}

/// What must not change while it is read.
struct Books {
    /// The queue of each sink.
    queues: Vec<Queue>,
    /// When the last kill of each series was counted.
    last_kills: HashMap<KillLabels, Instant>,
    /// When series to forget were last looked for.
    looked_through: Instant,
}

type Queue = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KillLabels {
    namespace: String,
    workload_kind: String,
    workload: String,
    container: String,
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
        let books = Books { queues: Vec::new(), last_kills: HashMap::new(), looked_through: Instant::now() };
        let mut metrics = Self {
            registry: Registry::with_prefix("oom_event_generator"),
            findings: Counter::default(),
            kills: Family::default(),
            // A crash loop's back-off, at most 5 minutes, is part of the delay: a finding needs
            // the restart. An hour is the default time that Events live.
            detection_delay: Histogram::new([1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 360.0, 900.0, 3600.0]),
            deliveries: Family::default(),
            delivery_duration: Family::new_with_constructor(DeliveryBuckets),
            queue_length: Family::default(),
            watch_events: Family::default(),
            watch_restarts: Family::default(),
            watch_errors: Family::default(),
            undecodable: Family::default(),
            unobserved_restarts: Counter::default(),
            books: Arc::new(Mutex::new(books)),
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
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "kills",
            "Containers killed for memory, by workload. Every increase is a kill; a series begins at its first \
             kill and is forgotten an hour after its last one, so take increase() over at most an hour",
            &self.kills,
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
        self.register_sources();
    }

    /// As [`Metrics::register`], for what is told of the sources and the program.
    fn register_sources(&mut self) {
        let mut add = Registrar(&mut self.registry);
        add.metric(
            "watch_events",
            "Objects that lists and watches brought, by resource. Standing still in a busy cluster: blind",
            &self.watch_events,
        );
        add.metric(
            "watch_restarts",
            "Watches that ended and were begun again, by resource. \
             Usual are one or two a minute for each namespace in namespaces.include, or for the cluster",
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
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        add.metric("build_info", "Always 1; the label is this program's version", &build);
    }

    /// Opens the account of a sink, with every outcome at zero. To be called once for each sink,
    /// before the first finding: earlier ones are missing in it.
    pub fn open_account(&self, sink: &str) -> Account {
        let sink = SinkLabels { sink: sink.to_owned() };
        let queue = self.queue_length.get_or_create_owned(&sink);
        self.books().queues.push(queue.clone());
        let outcomes = DeliveryOutcome::ALL.map(|outcome| {
            let labels = DeliveryLabels { sink: sink.sink.clone(), outcome: outcome.label() };
            self.deliveries.get_or_create_owned(&labels)
        });
        Account {
            outcomes,
            queue,
            duration: self.delivery_duration.get_or_create_owned(&sink),
            books: Arc::clone(&self.books),
        }
    }

    /// Counts a finding, and puts it into the queue of every sink. From here on each sink owes it
    /// one [`Account::settle`].
    pub fn finding(&self, finding: &Finding, now: Instant) {
        let labels = KillLabels {
            namespace: finding.namespace.clone(),
            workload_kind: finding.pod.workload.kind.clone(),
            workload: finding.pod.workload.name.clone(),
            container: finding.container.name.clone(),
        };
        let mut books = self.books();
        self.kills.get_or_create(&labels).inc();
        books.last_kills.insert(labels, now);
        if now.duration_since(books.looked_through) >= FORGET_INTERVAL {
            self.forget_old_kills(&mut books, now);
        }
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

    /// Everything in Prometheus' text format 0.0.4, see [`CONTENT_TYPE`].
    pub fn render(&self, now: Instant) -> String {
        let mut text = String::new();
        let mut books = self.books();
        self.forget_old_kills(&mut books, now);
        let written = text::encode_registry(&mut text, &self.registry);
        drop(books);
        if let Err(error) = written {
            tracing::error!(%error, "could not write the metrics down; this is a bug");
        }
        in_text_format(&text)
    }

    fn forget_old_kills(&self, books: &mut Books, now: Instant) {
        books.looked_through = now;
        books.last_kills.retain(|labels, last| {
            let recent = now.duration_since(*last) < KILLS_REMEMBERED;
            if !recent {
                self.kills.remove(labels);
            }
            recent
        });
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

/// What one sink owes and has done. Clones are the same account.
#[derive(Clone)]
pub struct Account {
    outcomes: [Counter; 5],
    queue: Queue,
    duration: Histogram,
    books: Arc<Mutex<Books>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Account {
    /// Takes a finding out of the sink's queue and counts how it ended.
    pub fn settle(&self, outcome: DeliveryOutcome) {
        let _books = lock(&self.books);
        self.queue.dec();
        for (counter, counted) in self.outcomes.iter().zip(DeliveryOutcome::ALL) {
            if counted == outcome {
                counter.inc();
            }
        }
    }

    /// Findings that wait for the sink: queued, gathered, to be retried and under way.
    pub fn queue_length(&self) -> u64 {
        self.queue.get()
    }

    /// Counts how long one attempt to deliver took.
    pub fn attempt_took(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Turns `OpenMetrics`, all that the library writes, into the older text format, which Prometheus
/// reads as well and `promtool check metrics` alone. They differ in how counters are announced
/// (`kills` there, `kills_total` here); the library's end mark is left out by not asking for it.
fn in_text_format(open_metrics: &str) -> String {
    let counters: HashSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
            ["#", keyword, name, rest] if counters.contains(name) => {
                text.extend(["# ", *keyword, " ", *name, "_total ", *rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn metric(&mut self, name: &str, help: &str, metric: &(impl Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }
}

/// Each step on the books is complete in itself, so one that panicked left nothing half-done.
fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::tests::finding;

    #[test]
    fn every_series_whose_labels_are_known_exists_from_the_start() {
        let metrics = Metrics::new();
        metrics.open_account("team");
        let text = metrics.render(Instant::now());
        for series in [
            "findings_total 0",
            "deliveries_total{sink=\"team\",outcome=\"delivered\"} 0",
            "deliveries_total{sink=\"team\",outcome=\"duplicate\"} 0",
            "deliveries_total{sink=\"team\",outcome=\"filtered\"} 0",
            "deliveries_total{sink=\"team\",outcome=\"failed\"} 0",
            "deliveries_total{sink=\"team\",outcome=\"dropped\"} 0",
            "delivery_duration_seconds_count{sink=\"team\"} 0",
            "detection_delay_seconds_count 0",
            "queue_length{sink=\"team\"} 0",
            "watch_events_total{resource=\"pods\"} 0",
            "watch_restarts_total{resource=\"events\"} 0",
            "watch_errors_total{resource=\"pods\"} 0",
            "undecodable_total{resource=\"events\"} 0",
            "unobserved_restarts_total 0",
            concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(
                text.contains(&format!("\noom_event_generator_{series}\n")),
                "{series} is not in\n{text}"
            );
        }
    }

    #[test]
    fn counters_are_announced_under_the_name_they_have() {
        let metrics = Metrics::new();
        metrics.watch_error(WatchedResource::Pods);
        let text = metrics.render(Instant::now());
        assert!(text.contains("# TYPE oom_event_generator_watch_errors_total counter\n"), "{text}");
        assert!(text.contains("# HELP oom_event_generator_watch_errors_total Lists and"), "{text}");
        assert!(text.contains("# TYPE oom_event_generator_detection_delay_seconds histogram\n"), "{text}");
        assert!(!text.contains("EOF"), "{text}");
    }

    #[test]
    fn a_kill_is_counted_for_its_workload_and_forgotten_an_hour_after_the_last() {
        let (metrics, start) = (Metrics::new(), Instant::now());
        let series = "kills_total{namespace=\"shop\",workload_kind=\"Deployment\",workload=\"cart\",container=\"app\"}";
        let minute = Duration::from_mins(1);
        metrics.finding(&finding("shop", "app", 1), start);
        metrics.finding(&finding("shop", "app", 2), start + 30 * minute);
        assert!(metrics.render(start + 89 * minute).contains(&format!("{series} 2\n")));
        assert!(!metrics.render(start + 90 * minute).contains(series));
        assert!(metrics.render(start + 90 * minute).contains("findings_total 2\n"));
    }

    #[test]
    fn old_kills_are_forgotten_though_nobody_scrapes() {
        let (metrics, start) = (Metrics::new(), Instant::now());
        for minute in 0..600 {
            let container = minute.to_string();
            metrics.finding(&finding("shop", &container, 0), start + minute * Duration::from_mins(1));
        }
        assert_eq!(metrics.books().last_kills.len(), 60);
    }

    #[test]
    fn the_delay_is_from_kill_to_detection_and_never_negative() {
        let (metrics, now) = (Metrics::new(), Instant::now());
        let usual = finding("shop", "app", 1);
        metrics.finding(&usual, now);
        let mut ahead = Finding::clone(&usual);
        ahead.killed.finished_at = Some("2026-05-01T13:00:00Z".parse().unwrap());
        metrics.finding(&ahead, now);
        let mut unknown = Finding::clone(&usual);
        unknown.detected_at = None;
        metrics.finding(&unknown, now);
        let text = metrics.render(now);
        assert!(text.contains("detection_delay_seconds_sum 7.0\n"), "{text}");
        assert!(text.contains("detection_delay_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn what_a_name_contains_does_not_break_the_format() {
        let metrics = Metrics::new();
        metrics.finding(&finding("shop", "a\"\\\nb", 1), Instant::now());
        let text = metrics.render(Instant::now());
        assert!(text.contains(r#"container="a\"\\\nb"} 1"#), "{text}");
    }
}
