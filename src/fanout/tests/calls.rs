//! Batches, calls and their outcomes.

use super::fakes::*;

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
    assert_eq!(logged(&["WARN", "no answer for 60s; still waiting", "sink=log", "waiting=1"]).len(), 1);
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
async fn a_crash_loop_is_two_batches_early_and_one_an_interval() {
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
    let expected = [(2, 0..1), (302, 1..2), (3902, 2..14), (7502, 14..26), (11_102, 26..30)];
    assert_eq!(calls, expected.map(|(at, range)| (at, numbers(range))));
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_while_the_queue_is_full_and_the_sink_works() {
    let limits = SinkLimits { batch: 10, concurrency: 1, interval: SECOND, ..WIDE };
    let sink = FakeSink::new(limits, [FakeBehaviour::Delays(SECOND)]);
    let (fanout, metrics) = start(vec![Route { queue_capacity: 40, ..route("events", &sink) }]);
    let begun = Instant::now();
    for number in 0..400 {
        fanout.room_for_list(begun + HOUR).await;
        send(&fanout, [number]);
    }
    assert_eq!(shown(&metrics, "events").dropped, 0);
    assert_eq!(begun.elapsed().as_secs(), 37, "400 findings but the last 30, at 10 a second");
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_a_minute_for_a_sink_that_stores_nothing_and_not_once_more() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::FailsInPart(vec![retry()])]);
    let (fanout, _metrics) = start(vec![Route { queue_capacity: 40, ..route("events", &sink) }]);
    send(&fanout, 0..40);
    let begun = Instant::now();
    fanout.room_for_list(begun + HOUR).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    fanout.room_for_list(begun + HOUR).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_no_longer_than_it_may() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Delays(SECOND)]);
    let (fanout, _metrics) = start(vec![Route { queue_capacity: 4, ..route("events", &sink) }]);
    send(&fanout, 0..4);
    let begun = Instant::now();
    fanout.room_for_list(begun + SECOND / 2).await;
    assert_eq!(begun.elapsed(), SECOND / 2);
}
