//! What happens to findings that a sink does not take, and what the log says of it.

use super::fakes::*;

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
