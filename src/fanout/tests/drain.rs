//! The end: draining, and couriers that end too early.

use super::fakes::*;

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

/// A courier whose task ends drops what waits and what is under way, as when it panics.
#[tokio::test(start_paused = true)]
async fn what_a_courier_leaves_that_ended_too_early_is_logged_whole_and_counted() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Hangs]);
    let (fanout, metrics) = start(vec![route("team", &sink)]);
    send(&fanout, 0..15);
    sleep(SECOND).await;
    assert_eq!(fanout.dead_courier(), None);
    fanout.queues[0].courier.abort();
    sleep(SECOND).await;
    assert_eq!(fanout.dead_courier(), Some("team"));
    send(&fanout, 15..17);
    assert_eq!(shown(&metrics, "team"), ShownAccount { failed: 17, ..ShownAccount::default() });
    assert_eq!(logged(&["ERROR", "undelivered finding", "this is a bug"]).len(), 17);
    for number in [0, 14, 16] {
        let json = serde_json::to_string(&*finding("shop", "app", number)).unwrap();
        assert_eq!(logged(&["ERROR", &json]).len(), 1);
    }
    assert_eq!(fanout.drain(SECOND, CancellationToken::new()).await.undelivered, 17);
    assert_eq!(logged(&["ERROR", "the courier ended too early", "sink=team"]).len(), 1 + 17);
}
