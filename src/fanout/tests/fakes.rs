//! Fakes named by their misbehaviour, and what a test may read of the books.

use std::{
    future,
    ops::Range,
    sync::{LazyLock, Mutex},
};

use async_trait::async_trait;
use finding::{AffectedContainer, KillId, ResolvedIncident};
pub(super) use sinks::{AttemptOutcome, Delivery, SinkLimits};
use support::log;
pub(super) use support::log::logged;
pub(super) use tokio::time::sleep;

pub(super) use super::super::*;

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

/// The finding as it waits for a sink whose books nobody reads.
pub(super) fn pending_for(finding: Finding) -> PendingDelivery {
    static BOOKS: LazyLock<Arc<QueueBooks>> = LazyLock::new(|| {
        Arc::new(QueueBooks::new(
            "test".into(),
            false,
            Metrics::new().open_account("test", 4096),
            4096,
            8 << 20,
        ))
    });
    PendingDelivery::new(Arc::new(finding), &BOOKS, None)
}

/// As [`finding`], as it waits for a sink whose books nobody reads.
pub(super) fn pending(namespace: &str, container: &str, number: usize) -> PendingDelivery {
    pending_for(Arc::unwrap_or_clone(finding(namespace, container, number)))
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
    /// Fails for findings of the namespaces that begin so, for now.
    FailsFor(&'static str),
    Panics,
    AnswersTooFew,
    AnswersTooMany,
}

/// A sink that behaves as the script says, call by call, and at its end as in the last one.
pub(super) struct FakeSink {
    limits: SinkLimits,
    max_named: Option<usize>,
    script: Mutex<Vec<FakeBehaviour>>,
    pub(super) begun: Instant,
    calls: Mutex<Vec<(Duration, Vec<String>)>>,
    /// The incidents that it was told are over, each time.
    pub(super) resolved: Mutex<Vec<(Duration, KillId)>>,
    /// What became of each finding, and how many kills that was with those that were only counted.
    pub(super) answers: Mutex<Vec<(KillId, u64, AttemptOutcome)>>,
}

impl FakeSink {
    pub(super) fn new(limits: SinkLimits, script: impl IntoIterator<Item = FakeBehaviour>) -> Arc<Self> {
        Self::counting(None, limits, script)
    }

    /// A sink that can tell a count.
    pub(super) fn counting(
        max_named: Option<usize>,
        limits: SinkLimits,
        script: impl IntoIterator<Item = FakeBehaviour>,
    ) -> Arc<Self> {
        let mut script: Vec<_> = script.into_iter().collect();
        script.reverse();
        let (script, begun) = (Mutex::new(script), Instant::now());
        let (calls, resolved, answers) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { limits, max_named, script, begun, calls, resolved, answers })
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

    fn max_named(&self) -> Option<usize> {
        self.max_named
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
            FakeBehaviour::FailsFor(namespace) => {
                let fails = |it: &Delivery| it.finding.namespace.starts_with(namespace);
                batch.iter().map(|it| if fails(it) { retry() } else { AttemptOutcome::Delivered }).collect()
            }
            FakeBehaviour::Panics => panic!("a fake that panics"),
            FakeBehaviour::AnswersTooFew => vec![AttemptOutcome::Delivered; batch.len() - 1],
            FakeBehaviour::AnswersTooMany => vec![AttemptOutcome::Delivered; batch.len() + 1],
        };
        let answers = batch.iter().zip(&outcomes).map(|(delivery, outcome)| {
            let more = delivery.more.as_ref().map_or(0, |more| more.kills);
            (delivery.finding.id.clone(), 1 + more, outcome.clone())
        });
        self.answers.lock().unwrap().extend(answers);
        outcomes
    }

    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let told = resolved.iter().map(|it| (self.begun.elapsed(), it.id.clone()));
        self.resolved.lock().unwrap().extend(told);
        match self.manner() {
            FakeBehaviour::FailsInPart(outcomes) => {
                outcomes.into_iter().cycle().take(resolved.len()).collect()
            }
            FakeBehaviour::Hangs => future::pending().await,
            FakeBehaviour::Panics => panic!("a fake that panics"),
            _ => vec![AttemptOutcome::Delivered; resolved.len()],
        }
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
        remembers: false,
        paces_lists: true,
        send_resolved: false,
    }
}

/// Starts a fan-out with figures of its own, and an empty log.
pub(super) fn start(routes: Vec<Route>) -> (Fanout, Arc<Metrics>) {
    start_led(routes, &Leadership::alone())
}

/// As [`start`], in a replica that may have to stand by.
pub(super) fn start_led(routes: Vec<Route>, leadership: &Leadership) -> (Fanout, Arc<Metrics>) {
    log::begin();
    let metrics = Arc::new(Metrics::new());
    (Fanout::start(routes, Arc::clone(&metrics), leadership), metrics)
}

/// Sends kills in as many Pods of a workload.
pub(super) fn send_kills(
    fanout: &Fanout,
    namespace: &str,
    workload: &str,
    container: &str,
    kills: Range<usize>,
) {
    for number in kills {
        let mut finding = Arc::unwrap_or_clone(finding(namespace, container, number));
        finding.id = KillId::new(&[namespace, workload, container, &number.to_string()]);
        finding.pod.workload.name = workload.to_owned();
        finding.pod.uid = number.to_string();
        fanout.send(finding);
    }
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
    pub(super) handed_over: u64,
    pub(super) recovered: u64,
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
        handed_over: outcome("handed_over"),
        recovered: figure(format!("recovered_total{{sink=\"{sink}\"}}")),
        waiting: figure(format!("queue_length{{sink=\"{sink}\"}}")),
    };
    let ShownAccount { delivered, duplicate, filtered, failed, dropped, handed_over, recovered, waiting } =
        shown;
    let sum = delivered + duplicate + filtered + failed + dropped + handed_over + waiting;
    assert_eq!(sum, figure("findings_total".to_owned()) + recovered, "{sink}: {shown:?}");
    shown
}
