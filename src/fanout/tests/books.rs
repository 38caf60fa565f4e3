//! Whatever sinks do, the books balance and each finding ends once.

use std::collections::HashSet;

use proptest::prelude::*;

use super::fakes::*;

#[derive(Clone, Debug)]
enum PlanStep {
    Send { container: usize, count: usize },
    Wait(Duration),
}

/// A sink and its route, at random.
#[derive(Clone, Debug)]
struct SinkPlan {
    limits: SinkLimits,
    max_named: Option<usize>,
    grouping: Grouping,
    capacity: usize,
    retry_for: Duration,
    script: Vec<FakeBehaviour>,
}

fn steps() -> impl Strategy<Value = Vec<PlanStep>> {
    let step = prop_oneof![
        (0..3_usize, 1..8_usize).prop_map(|(container, count)| PlanStep::Send { container, count }),
        (0..100_000_u64).prop_map(|pause| PlanStep::Wait(Duration::from_millis(pause))),
    ];
    prop::collection::vec(step, 1..20)
}

fn outcomes() -> impl Strategy<Value = AttemptOutcome> {
    prop_oneof![
        Just(AttemptOutcome::Delivered),
        Just(AttemptOutcome::Duplicate),
        Just(retry()),
        (0..200_u64).prop_map(|after| retry_after(Duration::from_secs(after))),
        Just(refused()),
        Just(gone()),
    ]
}

fn manners() -> impl Strategy<Value = FakeBehaviour> {
    prop_oneof![
        3 => Just(FakeBehaviour::Succeeds),
        2 => (0..15_000_u64).prop_map(|by| FakeBehaviour::Delays(Duration::from_millis(by))),
        3 => prop::collection::vec(outcomes(), 1..5).prop_map(FakeBehaviour::FailsInPart),
        1 => Just(FakeBehaviour::Hangs),
        1 => Just(FakeBehaviour::Panics),
        1 => Just(FakeBehaviour::AnswersTooFew),
    ]
}

fn plans() -> impl Strategy<Value = SinkPlan> {
    let limits = (1..5_usize, 1..4_usize, 0..1500_u64, prop::option::of(1..6_usize));
    let grouping = (0..3_u64, 0..120_u64);
    let script = prop::collection::vec(manners(), 1..12);
    (limits, grouping, 1..30_usize, 0..300_u64, script).prop_map(
        |((batch, concurrency, interval, max_named), (wait, between), capacity, retry_for, script)| {
            SinkPlan {
                limits: SinkLimits { batch, concurrency, interval: Duration::from_millis(interval), ..WIDE },
                max_named,
                grouping: Grouping {
                    wait: Duration::from_secs(wait),
                    interval: Duration::from_secs(between),
                },
                capacity,
                retry_for: Duration::from_secs(retry_for),
                script,
            }
        },
    )
}

/// Follows the steps, checks the books after each, drains, and checks that each finding had
/// exactly one end, of which the sinks' own records tell the same.
async fn follow(plans: [SinkPlan; 2], steps: Vec<PlanStep>, grace: Duration) {
    let fakes = plans.clone().map(|plan| FakeSink::counting(plan.max_named, plan.limits, plan.script));
    let routes = ["one", "two"].into_iter().zip(&fakes).zip(plans).map(|((name, fake), plan)| Route {
        matches: Box::new(move |finding| name == "one" || finding.container.name != "0"),
        grouping: plan.grouping,
        retry_for: plan.retry_for,
        queue_capacity: plan.capacity,
        ..route(name, fake)
    });
    let (fanout, metrics) = start(routes.collect());
    let mut number = 0;
    for step in steps {
        match step {
            PlanStep::Wait(pause) => sleep(pause).await,
            PlanStep::Send { container, count } => {
                for _ in 0..count {
                    number += 1;
                    fanout.send(Arc::unwrap_or_clone(finding("shop", &container.to_string(), number)));
                }
            }
        }
        shown(&metrics, "one");
        shown(&metrics, "two");
    }
    let drained = fanout.drain(grace, CancellationToken::new()).await;
    let shown = ["one", "two"].map(|name| shown(&metrics, name));
    let mut undelivered = 0;
    for (shown, fake) in shown.into_iter().zip(fakes) {
        assert_eq!(shown.waiting, 0);
        let answers = fake.answers.lock().unwrap();
        let count = |wanted: AttemptOutcome| -> u64 {
            answers.iter().filter(|(.., outcome)| *outcome == wanted).map(|(_, kills, _)| kills).sum()
        };
        assert_eq!(count(AttemptOutcome::Delivered), shown.delivered);
        assert_eq!(count(AttemptOutcome::Duplicate), shown.duplicate);
        // Nobody misses what is gone.
        undelivered += shown.failed + shown.dropped - count(gone());
        let mut ended = HashSet::new();
        for (id, _, outcome) in &*answers {
            assert!(!ended.contains(id), "{id:?} was tried again after its end");
            if !matches!(outcome, AttemptOutcome::Retry { .. }) {
                ended.insert(id);
            }
        }
    }
    assert_eq!(drained.undelivered, undelivered);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_and_each_finding_ends_once_whatever_the_sinks_do(
        plans in [plans(), plans()],
        steps in steps(),
        grace in 0..30_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(follow(plans, steps, Duration::from_secs(grace)));
    }
}
