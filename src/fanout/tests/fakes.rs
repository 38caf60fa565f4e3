//! Fakes named by their misbehaviour, what a test may read of the books, and the log.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future, io,
    sync::{Mutex, Once},
};

use async_trait::async_trait;
use finding::{AffectedContainer, AffectedPod, ContainerKind, KillId, Killed, Schema, Workload};
use sinks::{AttemptOutcome, Delivery, SinkLimits};
use tokio::time::sleep;

use super::super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// Takes ten at a time, four times at once: a namespace alone, two times.
pub(super) const WIDE: SinkLimits =
    SinkLimits { batch: 10, concurrency: 4, interval: Duration::ZERO, timeout: Duration::from_secs(10) };

/// Takes one call at a time, as Slack does.
pub(super) const NARROW: SinkLimits = SinkLimits { batch: 10, concurrency: 1, interval: SECOND, ..WIDE };

/// A kill of the container, whose message is its number.
pub(crate) fn finding(namespace: &str, container: &str, number: usize) -> Arc<Finding> {
    Arc::new(Finding {
        schema: Schema::V1,
        test: false,
        id: KillId::new(&[namespace, container, &number.to_string()]),
        cluster: None,
        detected_at: Some("2026-05-01T12:00:07Z".parse().unwrap()),
        namespace: namespace.to_owned(),
        pod: AffectedPod {
            name: "cart-6c9f7-x2x".to_owned(),
            uid: "7a".to_owned(),
            node: None,
            memory_limit_bytes: None,
            workload: Workload { kind: "Deployment".to_owned(), name: "cart".to_owned() },
            event_uid: "7a".to_owned(),
            labels: BTreeMap::new(),
        },
        container: AffectedContainer {
            name: container.to_owned(),
            kind: ContainerKind::Container,
            image: None,
            memory_limit_bytes: None,
            memory_request_bytes: None,
        },
        killed: Killed {
            container_id: Some(format!("containerd://{number}")),
            exit_code: 137,
            started_at: None,
            finished_at: Some("2026-05-01T12:00:00Z".parse().unwrap()),
        },
        restarted: None,
        message: number.to_string(),
    })
}

/// What a fake does with one call.
#[derive(Clone, Debug)]
pub(super) enum FakeBehaviour {
    Succeeds,
    Delays(Duration),
    /// Answers these in turn, over and over.
    FailsInPart(Vec<AttemptOutcome>),
    Hangs,
    /// For findings of the namespaces that begin so.
    HangsFor(&'static str),
    Panics,
    AnswersTooFew,
    AnswersTooMany,
}

/// A sink that behaves as the script says, call by call, and at its end as in the last one.
pub(super) struct FakeSink {
    limits: SinkLimits,
    script: Mutex<Vec<FakeBehaviour>>,
    pub(super) begun: Instant,
    calls: Mutex<Vec<(Duration, Vec<String>)>>,
    pub(super) answers: Mutex<Vec<(KillId, AttemptOutcome)>>,
}

impl FakeSink {
    pub(super) fn new(limits: SinkLimits, script: impl IntoIterator<Item = FakeBehaviour>) -> Arc<Self> {
        let mut script: Vec<_> = script.into_iter().collect();
        script.reverse();
        let (calls, answers) = (Mutex::default(), Mutex::default());
        Arc::new(Self { limits, script: Mutex::new(script), begun: Instant::now(), calls, answers })
    }

    /// The calls so far: when, and the messages in each.
    pub(super) fn calls(&self) -> Vec<(Duration, Vec<String>)> {
        self.calls.lock().unwrap().clone()
    }

    fn manner(&self) -> FakeBehaviour {
        let mut script = self.script.lock().unwrap();
        if script.len() > 1 { script.pop().unwrap() } else { script[0].clone() }
    }
}

#[async_trait]
impl Sink for FakeSink {
    fn limits(&self) -> SinkLimits {
        self.limits
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        assert!((1..=self.limits.batch).contains(&batch.len()));
        let messages = batch.iter().map(|it| it.finding.message.clone()).collect();
        self.calls.lock().unwrap().push((self.begun.elapsed(), messages));
        let all = |outcome| vec![outcome; batch.len()];
        let outcomes = match self.manner() {
            FakeBehaviour::Delays(by) => {
                sleep(by).await;
                all(AttemptOutcome::Delivered)
            }
            FakeBehaviour::FailsInPart(outcomes) => outcomes.into_iter().cycle().take(batch.len()).collect(),
            FakeBehaviour::Hangs => future::pending().await,
            FakeBehaviour::HangsFor(namespace)
                if batch.iter().any(|it| it.finding.namespace.starts_with(namespace)) =>
            {
                future::pending().await
            }
            FakeBehaviour::Succeeds | FakeBehaviour::HangsFor(_) => all(AttemptOutcome::Delivered),
            FakeBehaviour::Panics => panic!("a fake that panics"),
            FakeBehaviour::AnswersTooFew => vec![AttemptOutcome::Delivered; batch.len() - 1],
            FakeBehaviour::AnswersTooMany => vec![AttemptOutcome::Delivered; batch.len() + 1],
        };
        let ids = batch.iter().map(|it| it.finding.id.clone());
        self.answers.lock().unwrap().extend(ids.zip(outcomes.iter().cloned()));
        outcomes
    }
}

pub(super) fn retry() -> AttemptOutcome {
    AttemptOutcome::Retry { reason: "500".to_owned(), after: None }
}

pub(super) fn retry_after(after: Duration) -> AttemptOutcome {
    AttemptOutcome::Retry { reason: "429".to_owned(), after: Some(after) }
}

pub(super) fn refused() -> AttemptOutcome {
    AttemptOutcome::Refused { reason: "invalid_blocks".to_owned() }
}

pub(super) fn gone() -> AttemptOutcome {
    AttemptOutcome::Gone { reason: "the namespace".to_owned() }
}

/// A route that takes everything, gathers nothing, and is patient for an hour.
pub(super) fn route(name: &str, sink: &Arc<FakeSink>) -> Route {
    Route {
        name: name.to_owned(),
        sink: Arc::<FakeSink>::clone(sink),
        matches: Box::new(|_| true),
        grouping: Grouping::NONE,
        retry_for: HOUR,
        queue_capacity: 4096,
    }
}

/// Starts a fan-out with figures of its own, and an empty log.
pub(super) fn start(routes: Vec<Route>) -> (Fanout, Arc<Metrics>) {
    begin_log();
    let metrics = Arc::new(Metrics::new());
    (Fanout::start(routes, Arc::clone(&metrics)), metrics)
}

pub(super) fn send(fanout: &Fanout, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        fanout.send(Arc::unwrap_or_clone(finding("shop", "app", number)));
    }
}

/// A sink's account as `/metrics` shows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShownAccount {
    pub(super) delivered: u64,
    pub(super) duplicate: u64,
    pub(super) filtered: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) waiting: u64,
}

/// What `/metrics` shows of the sink, after a check that the books balance.
pub(super) fn shown(metrics: &Metrics, sink: &str) -> ShownAccount {
    let text = metrics.render(Instant::now());
    let figure = |series: String| -> u64 {
        let series = format!("oom_event_generator_{series} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).expect(&series).parse().unwrap()
    };
    let outcome = |outcome| figure(format!("deliveries_total{{sink=\"{sink}\",outcome=\"{outcome}\"}}"));
    let shown = ShownAccount {
        delivered: outcome("delivered"),
        duplicate: outcome("duplicate"),
        filtered: outcome("filtered"),
        failed: outcome("failed"),
        dropped: outcome("dropped"),
        waiting: figure(format!("queue_length{{sink=\"{sink}\"}}")),
    };
    let ShownAccount { delivered, duplicate, filtered, failed, dropped, waiting } = shown;
    let sum = delivered + duplicate + filtered + failed + dropped + waiting;
    assert_eq!(sum, figure("findings_total".to_owned()), "{sink}: {shown:?}");
    shown
}

thread_local! {
    /// What this thread has logged, which is what one test has: each has a thread of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes into [`LOG`].
struct ToThisThread;

impl io::Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins an empty log for this thread. One subscriber serves all of them, for good: where tests
/// come and go with their own, `tracing` may take a place that logs for one that nobody heeds.
pub(super) fn begin_log() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_writer(|| ToThisThread).with_ansi(false).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LOG.take();
}

/// The lines of this thread's log that contain all of these.
pub(super) fn logged(parts: &[&str]) -> Vec<String> {
    let text = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    let wanted = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    wanted.map(str::to_owned).collect()
}
