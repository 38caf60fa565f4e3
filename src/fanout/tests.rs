//! What the fan-out makes of sinks that misbehave. Time is paused: it jumps to the next timer
//! whenever everything waits.

mod fakes;

use std::collections::HashSet;

use proptest::prelude::*;
use sinks::{AttemptOutcome, SinkLimits};
use support::log::logged;
use tokio::time::sleep;

use super::*;
pub(crate) use fakes::finding;
use fakes::{
    FakeBehaviour, FakeSink, HOUR, NARROW, SECOND, ShownAccount, WIDE, gone, refused, retry, retry_after,
    route, send, shown, start,
};

#[tokio::test(start_paused = true)]
async fn what_waits_goes_in_batches_as_large_and_as_often_as_the_sink_allows() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..25);
    assert_eq!(shown(&metrics, "team").waiting, 25);
    sleep(5 * SECOND).await;
    let calls: Vec<_> = sink.calls().iter().map(|(at, batch)| (at.as_secs(), batch.len())).collect();
    assert_eq!(calls, [(0, 10), (1, 10), (2, 5)]);
    assert_eq!(shown(&metrics, "team"), ShownAccount { delivered: 25, ..ShownAccount::default() });
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_at_once_than_the_sink_allows() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Delays(SECOND)]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..40);
    sleep(SECOND / 2).await;
    assert_eq!(sink.calls().len(), 2);
    assert_eq!(fanout.drain(10 * SECOND, CancellationToken::new()).await.undelivered, 0);
    assert_eq!(sink.begun.elapsed().as_secs(), 2);
    assert_eq!(shown(&metrics, "team").delivered, 40);
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_hang_delay_no_other() {
    let limits = SinkLimits { batch: 1, concurrency: 8, timeout: HOUR, ..WIDE };
    let sink = FakeSink::new(limits, [FakeBehaviour::HangsFor("stuck")]);
    let (fanout, metrics) = start(vec![route("events", &sink)]);
    for namespace in ["stuck", "stuck-too", "stuck-as-well", "shop"] {
        for number in 0..20 {
            fanout.send(Arc::unwrap_or_clone(finding(namespace, "app", number)));
        }
        sleep(SECOND).await;
    }
    let expected = ShownAccount { delivered: 20, waiting: 60, ..ShownAccount::default() };
    assert_eq!(shown(&metrics, "events"), expected);
    let hanging = sink.calls().len() - 20;
    assert_eq!(hanging, 4 + 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_is_said_once() {
    let patient = SinkLimits { timeout: HOUR, ..NARROW };
    let sink = FakeSink::new(patient, [FakeBehaviour::Delays(600 * SECOND), FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = start(vec![route("log", &sink)]);
    send(&fanout, 0..1);
    sleep(59 * SECOND).await;
    assert_eq!(logged(&["no answer for"]).len(), 0);
    sleep(HOUR).await;
    assert_eq!(logged(&["WARN", "no answer for 60s; waiting on", "sink=log", "waiting=1"]).len(), 1);
    assert_eq!(logged(&["INFO", "delivery works again", "sink=log"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_finding_of_a_batch_has_its_own_outcome() {
    let outcomes = vec![AttemptOutcome::Delivered, AttemptOutcome::Duplicate, retry(), refused(), gone()];
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsInPart(outcomes), FakeBehaviour::Succeeds]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..5);
    sleep(SECOND / 2).await;
    let expected =
        ShownAccount { delivered: 1, duplicate: 1, failed: 2, waiting: 1, ..ShownAccount::default() };
    assert_eq!(shown(&metrics, "team"), expected);
    sleep(5 * SECOND).await;
    assert_eq!(sink.calls()[1].1, ["2"]);
    assert_eq!(shown(&metrics, "team").waiting, 0);
    assert_eq!(logged(&["undelivered finding"]).len(), 1, "what is gone is not missed");
    let json = serde_json::to_string(&*finding("shop", "app", 3)).unwrap();
    assert_eq!(logged(&["ERROR", "undelivered finding", "invalid_blocks", &json]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_sink_delays_no_other_and_is_given_up_at_its_time_out() {
    let (hanging, fast) =
        (FakeSink::new(WIDE, [FakeBehaviour::Hangs]), FakeSink::new(WIDE, [FakeBehaviour::Succeeds]));
    let (fanout, metrics) = start(vec![route("hanging", &hanging), route("fast", &fast)]);
    for number in 0..100 {
        send(&fanout, [number]);
        sleep(SECOND / 4).await;
    }
    let times: Vec<_> = fast.calls().iter().map(|(at, _)| *at).collect();
    let sent: Vec<_> = (0..100).map(|number| number * SECOND / 4).collect();
    assert_eq!(times, sent);
    assert_eq!(shown(&metrics, "fast").delivered, 100);
    assert_eq!(shown(&metrics, "hanging").waiting, 100);
    assert_eq!(hanging.calls()[2].0, WIDE.timeout);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_sink_fails_its_findings_and_the_courier_lives_on() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Panics, FakeBehaviour::Succeeds]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..3);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team").failed, 3);
    assert_eq!(logged(&["ERROR", "undelivered finding", "a fake that panics"]).len(), 3);
    send(&fanout, 3..5);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team"), ShownAccount { delivered: 2, failed: 3, ..ShownAccount::default() });
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_outcomes_is_said_and_leaves_the_books_balanced() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::AnswersTooFew, FakeBehaviour::AnswersTooMany]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..3);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team"), ShownAccount { delivered: 2, failed: 1, ..ShownAccount::default() });
    assert_eq!(logged(&["ERROR", "2 outcomes for 3 findings"]).len(), 1);
    send(&fanout, 3..5);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team"), ShownAccount { delivered: 4, failed: 1, ..ShownAccount::default() });
    assert_eq!(logged(&["ERROR", "3 outcomes for 2 findings"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_retries_grow_until_the_finding_is_too_old() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::FailsInPart(vec![retry()])]);
    let patient = Route { retry_for: 10 * 60 * SECOND, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![patient]);
    send(&fanout, [0]);
    sleep(HOUR).await;
    assert_eq!(shown(&metrics, "team").failed, 1);
    assert_eq!(logged(&["ERROR", "undelivered finding", "in 600 s: 500"]).len(), 1);

    let times: Vec<_> = sink.calls().into_iter().map(|(at, _)| at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    // Timers are rounded up to the next millisecond.
    for (pause, least) in pauses.iter().zip([1, 2, 4, 8, 16, 30, 30]) {
        assert!((least * SECOND..=2 * least * SECOND + SECOND / 100).contains(pause), "{pauses:?}");
    }
    assert!(pauses.iter().all(|pause| *pause <= 61 * SECOND), "{pauses:?}");
    assert_eq!(times.last().unwrap().as_secs(), 600, "the last attempt is the latest possible");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_not_said_to_be_tried_again() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::FailsInPart(vec![retry()])]);
    let impatient = Route { retry_for: Duration::ZERO, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![impatient]);
    send(&fanout, 0..3);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team").failed, 3);
    assert_eq!(logged(&["ERROR", "undelivered finding", "given up after 1 attempts in 0 s: 500"]).len(), 3);
    assert_eq!(logged(&["trying again"]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_failed_together_is_tried_again_together() {
    let failing = FakeBehaviour::FailsInPart(vec![retry()]);
    let sink = FakeSink::new(NARROW, [failing.clone(), failing.clone(), failing, FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..10);
    sleep(HOUR).await;
    let calls: Vec<_> = sink.calls().into_iter().map(|(_, batch)| batch.len()).collect();
    assert_eq!(calls, [10; 4]);
}

#[tokio::test(start_paused = true)]
async fn pauses_do_not_grow_while_others_of_the_call_are_stored() {
    let one_by_one = [vec![AttemptOutcome::Delivered], vec![retry(); 9]].concat();
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsInPart(one_by_one)]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..10);
    sleep(20 * SECOND).await;
    assert_eq!(shown(&metrics, "team"), ShownAccount { delivered: 10, ..ShownAccount::default() });
}

#[tokio::test(start_paused = true)]
async fn a_finding_that_waits_for_its_retry_holds_up_no_other() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsInPart(vec![retry()]), FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = start(vec![route("team", &sink)]);
    send(&fanout, [0]);
    sleep(SECOND / 2).await;
    send(&fanout, [1]);
    sleep(SECOND * 9 / 10).await;
    assert_eq!(sink.calls()[1].1[0], "1");
}

#[tokio::test(start_paused = true)]
async fn a_sink_of_one_call_at_a_time_that_asks_to_be_left_alone_is() {
    let sink = FakeSink::new(
        NARROW,
        [FakeBehaviour::FailsInPart(vec![retry_after(90 * SECOND)]), FakeBehaviour::Succeeds],
    );
    let (fanout, _metrics) = start(vec![route("team", &sink)]);
    send(&fanout, [0]);
    sleep(SECOND).await;
    send(&fanout, [1]);
    sleep(HOUR).await;
    let calls = sink.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[1].0.as_secs(), calls[1].1.as_slice()),
        (90, ["1".to_owned(), "0".to_owned()].as_slice())
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_of_several_calls_at_once_asks_for_one_finding_alone() {
    let sink = FakeSink::new(
        WIDE,
        [FakeBehaviour::FailsInPart(vec![retry_after(90 * SECOND)]), FakeBehaviour::Succeeds],
    );
    let (fanout, _metrics) = start(vec![route("events", &sink)]);
    send(&fanout, [0]);
    sleep(SECOND).await;
    send(&fanout, [1]);
    sleep(HOUR).await;
    let calls: Vec<_> = sink.calls().into_iter().map(|(at, batch)| (at.as_secs(), batch)).collect();
    assert_eq!(calls[1..], [(1, vec!["1".to_owned()]), (90, vec!["0".to_owned()])]);
}

#[tokio::test(start_paused = true)]
async fn asked_to_wait_longer_than_it_may_a_finding_is_tried_when_its_time_is_over() {
    let sink = FakeSink::new(
        NARROW,
        [FakeBehaviour::FailsInPart(vec![retry_after(Duration::MAX)]), FakeBehaviour::Succeeds],
    );
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, [0]);
    sleep(59 * 60 * SECOND).await;
    assert_eq!(shown(&metrics, "team").waiting, 1);
    send(&fanout, [1]);
    sleep(61 * SECOND).await;
    assert_eq!(shown(&metrics, "team").delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_is_said_once_and_so_is_its_recovery() {
    let mut script = vec![FakeBehaviour::FailsInPart(vec![retry()]); 20];
    script.push(FakeBehaviour::Succeeds);
    let sink = FakeSink::new(NARROW, script);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..30);
    sleep(9 * 60 * SECOND).await;
    assert_eq!(shown(&metrics, "team").delivered, 30);
    assert_eq!(logged(&["WARN", "500"]).len(), 1);
    assert_eq!(logged(&["INFO", "works again"]).len(), 1);
    drop(fanout);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_for_some_is_not_said_to_break_and_recover_by_turns() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::FailsInPart(vec![AttemptOutcome::Delivered, retry()])]);
    let (fanout, metrics) = start(vec![route("events", &sink)]);
    for number in 0..10 {
        send(&fanout, [2 * number, 2 * number + 1]);
        sleep(SECOND / 2).await;
    }
    assert!(shown(&metrics, "events").delivered >= 10);
    assert_eq!(logged(&["WARN", "500"]).len(), 1);
    assert_eq!(logged(&["INFO", "works again"]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_is_said_again_after_a_while_and_for_another_reason() {
    let mut script = vec![FakeBehaviour::FailsInPart(vec![retry()]); 15];
    script.push(FakeBehaviour::FailsInPart(vec![retry_after(SECOND)]));
    let sink = FakeSink::new(NARROW, script);
    let (fanout, _metrics) = start(vec![route("team", &sink)]);
    send(&fanout, [0]);
    sleep(50 * 60 * SECOND).await;
    assert!((1..=2).contains(&logged(&["WARN", "500"]).len()));
    assert!((3..=5).contains(&logged(&["WARN", "429"]).len()));
    assert!(sink.calls().len() > 40);
    drop(fanout);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_newest_and_logs_it_whole() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Delays(5 * SECOND)]);
    let grouping = Grouping { wait: 2 * SECOND, interval: HOUR };
    let full = Route { queue_capacity: 3, grouping, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![full]);
    send(&fanout, 0..4);
    sleep(3 * SECOND).await;
    send(&fanout, [4]);
    assert_eq!(shown(&metrics, "team"), ShownAccount { dropped: 2, waiting: 3, ..ShownAccount::default() });
    for number in [3, 4] {
        let json = serde_json::to_string(&*finding("shop", "app", number)).unwrap();
        assert_eq!(logged(&["ERROR", "undelivered finding", "queue is full", &json]).len(), 1);
    }
    sleep(10 * SECOND).await;
    send(&fanout, [5]);
    assert_eq!(
        shown(&metrics, "team"),
        ShownAccount { dropped: 2, delivered: 3, waiting: 1, ..ShownAccount::default() }
    );
    assert_eq!(sink.calls()[0].1, ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_does_not_want_is_counted_as_filtered() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let choosy = Route { matches: Box::new(|finding| finding.message == "1"), ..route("team", &sink) };
    let (fanout, metrics) = start(vec![choosy, route("all", &sink)]);
    send(&fanout, 0..3);
    assert_eq!(fanout.drain(SECOND, CancellationToken::new()).await.undelivered, 0);
    assert_eq!(
        shown(&metrics, "team"),
        ShownAccount { delivered: 1, filtered: 2, ..ShownAccount::default() }
    );
    assert_eq!(shown(&metrics, "all"), ShownAccount { delivered: 3, ..ShownAccount::default() });
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_one_batch_early_and_one_an_interval() {
    let sink = FakeSink::new(SinkLimits { batch: 1000, ..NARROW }, [FakeBehaviour::Succeeds]);
    let grouping = Grouping { wait: 2 * SECOND, interval: HOUR };
    let (fanout, metrics) = start(vec![Route { grouping, ..route("team", &sink) }]);
    // A kill every 5 minutes, for two and a half hours.
    for number in 0..30 {
        send(&fanout, [number]);
        sleep(5 * 60 * SECOND).await;
        shown(&metrics, "team");
    }
    sleep(2 * HOUR).await;
    let numbers = |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect::<Vec<_>>();
    let calls: Vec<_> = sink.calls().into_iter().map(|(at, batch)| (at.as_secs(), batch)).collect();
    assert_eq!(
        calls,
        [(2, numbers(0..1)), (3602, numbers(1..13)), (7202, numbers(13..25)), (10802, numbers(25..30))]
    );
}

#[tokio::test(start_paused = true)]
async fn draining_delivers_what_is_gathered_and_what_waits_for_a_retry_at_once() {
    let script = [
        FakeBehaviour::FailsInPart(vec![retry()]),
        FakeBehaviour::FailsInPart(vec![retry()]),
        FakeBehaviour::Succeeds,
    ];
    let sink = FakeSink::new(WIDE, script);
    let grouping = Grouping { wait: 60 * SECOND, interval: HOUR };
    let (fanout, metrics) = start(vec![Route { grouping, ..route("team", &sink) }]);
    send(&fanout, [0]);
    sleep(60 * SECOND + SECOND / 2).await;
    send(&fanout, [1]);
    assert_eq!(fanout.drain(20 * SECOND, CancellationToken::new()).await.undelivered, 0);
    assert_eq!(
        sink.begun.elapsed().as_secs(),
        61,
        "a failure costs a second, and the rest of the grace isn't needed"
    );
    assert_eq!(shown(&metrics, "team").delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn draining_ends_with_the_grace_and_counts_and_logs_what_is_left() {
    let (hanging, slow) = (
        FakeSink::new(NARROW, [FakeBehaviour::Hangs]),
        FakeSink::new(NARROW, [FakeBehaviour::Delays(3 * SECOND)]),
    );
    let failing = FakeSink::new(WIDE, [FakeBehaviour::FailsInPart(vec![AttemptOutcome::Delivered, retry()])]);
    let patient = Route { retry_for: SECOND, ..route("failing", &failing) };
    let (fanout, metrics) = start(vec![route("hanging", &hanging), route("slow", &slow), patient]);
    send(&fanout, 0..12);
    sleep(SECOND / 2).await;
    let drained = fanout.drain(8 * SECOND, CancellationToken::new()).await;
    assert_eq!(shown(&metrics, "hanging"), ShownAccount { failed: 12, ..ShownAccount::default() });
    assert_eq!(shown(&metrics, "slow"), ShownAccount { delivered: 12, ..ShownAccount::default() });
    let left = shown(&metrics, "failing");
    assert_eq!(left.delivered + left.failed, 12);
    assert_eq!(drained.undelivered, 12 + left.failed);
    assert_eq!(hanging.begun.elapsed().as_millis(), 8500);
    let whole =
        logged(&["ERROR", "undelivered finding", "the program ended", "\"schema\":\"oom-finding/v1\""]);
    assert_eq!(u64::try_from(whole.len()).unwrap(), drained.undelivered);
    assert_eq!(logged(&["ERROR", "no answer had come yet; it may have arrived"]).len(), 10);
    assert_eq!(logged(&["ERROR", "it had not been tried yet"]).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_a_sink_that_asked_for_longer_than_the_grace() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsInPart(vec![retry_after(60 * SECOND)])]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, [0]);
    sleep(SECOND).await;
    assert_eq!(fanout.drain(20 * SECOND, CancellationToken::new()).await.undelivered, 1);
    assert_eq!(sink.begun.elapsed().as_secs(), 1);
    assert_eq!(shown(&metrics, "team").failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_that_is_dropped_leaves_nothing_uncounted() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Hangs]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..15);
    drop(fanout);
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "team").failed, 15);
    assert_eq!(logged(&["ERROR", "undelivered finding"]).len(), 15);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_courier_any_more_is_counted_as_undelivered() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    fanout.queues[0].courier.abort();
    sleep(SECOND).await;
    send(&fanout, 0..2);
    assert_eq!(shown(&metrics, "team"), ShownAccount { failed: 2, ..ShownAccount::default() });
    assert_eq!(logged(&["ERROR", "undelivered finding", "this is a bug"]).len(), 2);
    assert_eq!(fanout.drain(SECOND, CancellationToken::new()).await.undelivered, 2);
}

#[derive(Clone, Debug)]
enum PlanStep {
    Send { container: usize, count: usize },
    Wait(Duration),
}

/// A sink and its route, at random.
#[derive(Clone, Debug)]
struct SinkPlan {
    limits: SinkLimits,
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
    let limits = (1..5_usize, 1..4_usize, 0..1500_u64);
    let grouping = (0..3_u64, 0..120_u64);
    let script = prop::collection::vec(manners(), 1..12);
    (limits, grouping, 1..30_usize, 0..300_u64, script).prop_map(
        |((batch, concurrency, interval), (wait, between), capacity, retry_for, script)| SinkPlan {
            limits: SinkLimits { batch, concurrency, interval: Duration::from_millis(interval), ..WIDE },
            grouping: Grouping { wait: Duration::from_secs(wait), interval: Duration::from_secs(between) },
            capacity,
            retry_for: Duration::from_secs(retry_for),
            script,
        },
    )
}

/// Follows the steps, checks the books after each, drains, and checks that each finding had
/// exactly one end, of which the sinks' own records tell the same.
async fn follow(plans: [SinkPlan; 2], steps: Vec<PlanStep>, grace: Duration) {
    let fakes = plans.clone().map(|plan| FakeSink::new(plan.limits, plan.script));
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
        let count = |wanted: AttemptOutcome| answers.iter().filter(|(_, outcome)| *outcome == wanted).count();
        assert_eq!(u64::try_from(count(AttemptOutcome::Delivered)).unwrap(), shown.delivered);
        assert_eq!(u64::try_from(count(AttemptOutcome::Duplicate)).unwrap(), shown.duplicate);
        // Nobody misses what is gone.
        undelivered += shown.failed + shown.dropped - u64::try_from(count(gone())).unwrap();
        let mut ended = HashSet::new();
        for (id, outcome) in &*answers {
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
