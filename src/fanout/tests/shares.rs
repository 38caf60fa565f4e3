//! Shares: what one namespace or workload makes wait costs the others nothing.

use std::ops::Range;

use proptest::prelude::*;

use super::fakes::*;

/// Gathers as Slack does, and can tell a count.
const HOURLY: Grouping = Grouping { wait: Duration::from_secs(2), interval: HOUR };

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_newest_and_logs_it_whole() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Delays(5 * SECOND)]);
    let grouping = Grouping { wait: 2 * SECOND, interval: HOUR };
    let full = Route { queue_capacity: 3, grouping, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![full]);
    send(&fanout, 0..4);
    sleep(3 * SECOND).await;
    send(&fanout, [4]);
    sleep(SECOND / 10).await;
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
async fn what_is_refused_in_one_namespace_takes_no_room_from_another() {
    let limits = SinkLimits { batch: 1, concurrency: 40, ..WIDE };
    let sink = FakeSink::new(limits, [FakeBehaviour::FailsFor("hostile")]);
    let (fanout, metrics) = start(vec![Route { queue_capacity: 100, ..route("events", &sink) }]);
    for storm in 0..45 {
        send_kills(&fanout, "hostile", "loop", "app", 100 * storm..100 * storm + 100);
        send_kills(&fanout, "shop", "cart", "app", 10 * storm..10 * storm + 10);
        sleep(SECOND).await;
    }
    let shown = shown(&metrics, "events");
    assert_eq!((shown.delivered, shown.dropped, shown.waiting), (450, 4_410, 90));
    assert_eq!(logged(&["dropped", "\"namespace\":\"shop\""]).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_finding_is_delivered_next_though_thousands_of_another_namespace_wait() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = start(vec![route("team", &sink)]);
    send_kills(&fanout, "hostile", "loop", "app", 0..3_000);
    sleep(SECOND * 3 / 2).await;
    let before = sink.calls().len();
    send_kills(&fanout, "shop", "cart", "app", 9_999..10_000);
    sleep(SECOND).await;
    assert!(sink.calls()[before].1.contains(&"9999".to_owned()), "{:?}", sink.calls()[before]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_of_many_replicas_takes_little_room_and_is_told_with_its_count() {
    let sink = FakeSink::counting(Some(200), NARROW, [FakeBehaviour::Succeeds]);
    let full = Route { grouping: HOURLY, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![full]);
    for _ in 0..45 {
        send_kills(&fanout, "hostile", "loop", "app", 0..280);
        send_kills(&fanout, "shop", "cart", "app", 0..1);
    }
    sleep(HOUR).await;
    let expected = ShownAccount { delivered: 45 * 281, ..ShownAccount::default() };
    assert_eq!(shown(&metrics, "team"), expected);
    let told: Vec<u64> = sink.answers.lock().unwrap().iter().map(|(_, kills, _)| *kills).collect();
    assert_eq!(told.iter().sum::<u64>(), 45 * 281);
    assert_eq!(told.len(), 200 + 45);
}

#[tokio::test(start_paused = true)]
async fn pods_with_hundreds_of_containers_are_counted_rather_than_dropped() {
    let sink = FakeSink::counting(Some(200), NARROW, [FakeBehaviour::Succeeds]);
    let full = Route { grouping: HOURLY, queue_capacity: 1_000, ..route("team", &sink) };
    let (fanout, metrics) = start(vec![full]);
    for kill in 0..2 {
        for pod in 0..20 {
            for container in 0..250 {
                send_kills(&fanout, "hostile", &pod.to_string(), &container.to_string(), kill..kill + 1);
            }
        }
    }
    send_kills(&fanout, "shop", "cart", "app", 0..1);
    sleep(2 * HOUR).await;
    let expected = ShownAccount { delivered: 10_001, ..ShownAccount::default() };
    assert_eq!(shown(&metrics, "team"), expected);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_each_workload_is_summed_up() {
    let sink = FakeSink::counting(Some(200), NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, metrics) = start(vec![Route { grouping: HOURLY, ..route("team", &sink) }]);
    for workload in 0..20 {
        send_kills(&fanout, "shop", &workload.to_string(), "app", 0..165);
    }
    assert_eq!(fanout.drain(20 * SECOND, CancellationToken::new()).await.undelivered, 0);
    assert_eq!(shown(&metrics, "team").delivered, 3_300);
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_given_up_is_logged_with_its_last_kill() {
    let sink = FakeSink::counting(Some(1), NARROW, [FakeBehaviour::FailsInPart(vec![refused()])]);
    let (fanout, metrics) = start(vec![Route { grouping: HOURLY, ..route("team", &sink) }]);
    send_kills(&fanout, "shop", "cart", "app", 0..30);
    sleep(10 * SECOND).await;
    assert_eq!(shown(&metrics, "team"), ShownAccount { failed: 30, ..ShownAccount::default() });
    assert_eq!(logged(&["ERROR", "undelivered finding", "invalid_blocks", "finding={"]).len(), 1);
    assert_eq!(logged(&["ERROR", "only counted", "kills=29", "pods=29", "\"message\":\"29\""]).len(), 1);
    assert_eq!(fanout.drain(SECOND, CancellationToken::new()).await.undelivered, 30);
}

/// What a hostile tenant does between two kills of the other's.
fn storms() -> impl Strategy<Value = Vec<(Range<usize>, u8, u8, u64)>> {
    let storm = (0..50_usize, 0..150_usize, 0..6_u8, 0..6_u8, 0..3_000_u64);
    let storm = storm.prop_map(|(from, kills, workload, container, pause)| {
        (from..from + kills, workload, container, pause)
    });
    prop::collection::vec(storm, 1..30)
}

/// Delivers one finding of the victim's after each storm; all of them must arrive.
async fn two_tenants(max_named: Option<usize>, grouping: Grouping, storms: Vec<(Range<usize>, u8, u8, u64)>) {
    let limits = SinkLimits { batch: 4, ..WIDE };
    let sink = FakeSink::counting(max_named, limits, [FakeBehaviour::FailsFor("hostile")]);
    let route = Route { grouping, queue_capacity: 60, retry_for: 60 * SECOND, ..route("sink", &sink) };
    let (fanout, _metrics) = start(vec![route]);
    let kills = storms.len();
    for (number, (hostile, workload, container, pause)) in storms.into_iter().enumerate() {
        send_kills(&fanout, "hostile", &workload.to_string(), &container.to_string(), hostile);
        send_kills(&fanout, "shop", "cart", "app", number..number + 1);
        sleep(Duration::from_millis(pause)).await;
    }
    let grace = 20 * SECOND;
    let Drained { .. } = fanout.drain(grace, CancellationToken::new()).await;
    assert_eq!(logged(&["undelivered", "\"namespace\":\"shop\""]), [""; 0]);
    let answers = sink.answers.lock().unwrap();
    let delivered = answers.iter().filter(|(.., outcome)| *outcome == AttemptOutcome::Delivered);
    assert_eq!(delivered.map(|(_, told, _)| usize::try_from(*told).unwrap()).sum::<usize>(), kills);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_one_tenant_does_keeps_a_finding_of_another_from_its_sink(
        max_named in prop::option::of(1..10_usize),
        wait in 0..3_u64,
        storms in storms(),
    ) {
        let grouping = Grouping { wait: Duration::from_secs(wait), interval: 60 * SECOND };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(two_tenants(max_named, grouping, storms));
    }
}
