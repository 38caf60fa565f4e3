//! Fakes named by their misbehaviour, and what a test may read of the books.

use std::{future, sync::Mutex};

use async_trait::async_trait;
use finding::{AffectedContainer, KillId};
use sinks::{AttemptOutcome, Delivery, SinkLimits};
use support::log;
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
    let full = Finding::full();
    Arc::new(Finding {
        id: KillId::new(&[namespace, container, &number.to_string()]),
        namespace: namespace.to_owned(),
        container: AffectedContainer { name: container.to_owned(), ..full.container },
        message: number.to_string(),
        ..full
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
    log::begin();
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
