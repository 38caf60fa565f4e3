//! Incidents that are over, and what an earlier run told.

use finding::{Incident, ResolvedIncident};
use jiff::Timestamp;

use super::fakes::*;

const HOURLY: Grouping = Grouping { wait: Duration::from_secs(2), interval: HOUR };

/// Starts a fan-out with one sink that is told of resolved incidents, of the namespace `shop` only.
fn begin(sink: &Arc<FakeSink>) -> (Fanout, Arc<Metrics>) {
    let matches = Box::new(|finding: &Finding| finding.namespace == "shop");
    start(vec![Route { matches, send_resolved: true, grouping: HOURLY, ..route("team", sink) }])
}

fn told(metrics: &Metrics, outcome: &str) -> u64 {
    let series = format!("oom_event_generator_resolved_total{{sink=\"team\",outcome=\"{outcome}\"}} ");
    let text = metrics.render(Instant::now());
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_wants_it_is_told_once_and_outside_the_books() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, metrics) = begin(&sink);
    let resolved = ResolvedIncident::full();
    fanout.resolve(&resolved, &finding("shop", "app", 0));
    fanout.resolve(&resolved, &finding("bank", "app", 0));
    sleep(SECOND).await;
    assert_eq!(sink.resolved.lock().unwrap().len(), 1);
    assert_eq!((told(&metrics, "delivered"), told(&metrics, "failed")), (1, 0));
    assert_eq!(shown(&metrics, "team"), ShownAccount::default());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_again_and_given_up_at_last() {
    let script = [FakeBehaviour::FailsInPart(vec![retry()]), FakeBehaviour::Hangs, FakeBehaviour::Succeeds];
    let sink = FakeSink::new(NARROW, script);
    let (fanout, metrics) = begin(&sink);
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
    sleep(60 * SECOND).await;
    assert_eq!((sink.resolved.lock().unwrap().len(), told(&metrics, "delivered")), (3, 1));

    for (behaviour, after) in [
        (FakeBehaviour::FailsInPart(vec![retry()]), 2 * HOUR),
        (FakeBehaviour::FailsInPart(vec![refused()]), SECOND),
        (FakeBehaviour::Panics, SECOND),
        (FakeBehaviour::FailsInPart(vec![gone()]), SECOND),
    ] {
        let (fanout, metrics) = begin(&FakeSink::new(NARROW, [behaviour]));
        fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
        sleep(after).await;
        assert_eq!(told(&metrics, "failed"), 1);
        assert_eq!(logged(&["ERROR", "could not tell that an incident is over"]).len(), 1);
        assert_eq!(fanout.drain(SECOND, CancellationToken::new()).await.undelivered, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_waits_is_told_within_the_grace() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, metrics) = begin(&sink);
    (0..30).for_each(|_| fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0)));
    let begun = Instant::now();
    assert_eq!(fanout.drain(20 * SECOND, CancellationToken::new()).await.undelivered, 0);
    assert!(told(&metrics, "delivered") == 30 && begun.elapsed() < 10 * SECOND);

    let (fanout, _metrics) = begin(&FakeSink::new(NARROW, [FakeBehaviour::Hangs]));
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
    let begun = Instant::now();
    assert_eq!(fanout.drain(3 * SECOND, CancellationToken::new()).await.undelivered, 0);
    assert!(begun.elapsed() <= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_kills_of_an_incident_are_told_before_its_end_and_hold_up_no_other() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsFor("shop"), FakeBehaviour::Succeeds]);
    let (fanout, metrics) = begin(&sink);
    fanout.send(finding("shop", "app", 0));
    sleep(5 * SECOND / 2).await;
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "other", 0));
    sleep(SECOND / 10).await;
    assert_eq!((told(&metrics, "delivered"), shown(&metrics, "team").delivered), (1, 0), "the other alone");
    sleep(10 * SECOND).await;
    assert_eq!((told(&metrics, "delivered"), shown(&metrics, "team").delivered), (2, 1));
    let (killed, ended) = (sink.calls()[1].0, sink.resolved.lock().unwrap()[1].0);
    assert!(killed <= ended, "{killed:?} {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn after_another_kill_the_end_of_an_incident_is_not_told() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::FailsInPart(vec![retry()]), FakeBehaviour::Succeeds]);
    let (fanout, metrics) = begin(&sink);
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
    sleep(SECOND / 2).await;
    fanout.send(finding("shop", "app", 1));
    sleep(60 * SECOND).await;
    assert_eq!((told(&metrics, "delivered"), told(&metrics, "filtered")), (0, 1));
    fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 1));
    sleep(60 * SECOND).await;
    assert_eq!(told(&metrics, "delivered"), 1);
}

/// A kill that an earlier run found so long ago.
fn found_before(minutes: i64, kills: u64) -> Finding {
    let at = |minutes| Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
    let finding = Arc::unwrap_or_clone(finding("shop", "app", 0));
    let incident = Some(Incident { kills, since: at(minutes + 20), pods: 1 });
    Finding { detected_at: Some(at(minutes)), incident, ..finding }
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_the_start_is_not_told_as_new() {
    // Time has to have gone on before what is remembered.
    sleep(2 * HOUR).await;
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = begin(&sink);
    fanout.remember(&found_before(10, 5), &[]);
    send(&fanout, [1]);
    sleep(49 * 60 * SECOND).await;
    assert_eq!(sink.calls().len(), 0, "the last message was ten minutes ago");
    sleep(2 * 60 * SECOND).await;
    assert_eq!(sink.calls().len(), 1);

    let sink = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let (fanout, _metrics) = begin(&sink);
    fanout.remember(&found_before(10, 5), &["team".to_owned()]);
    send(&fanout, [1]);
    sleep(3 * SECOND).await;
    assert_eq!(sink.calls().len(), 1, "what is owed was not told");
}
