//! What couriers do while another replica leads.

use finding::ResolvedIncident;
use tokio::{sync::watch, time::advance};

use super::fakes::*;
use crate::leadership::Term;

const TERM: Duration = Duration::from_secs(10);

fn term() -> Term {
    Term { until: Instant::now() + TERM }
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_before_this_replica_leads() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let (terms, receiver) = watch::channel(None);
    let (fanout, metrics) = start_led(vec![route("a", &sink)], &Leadership::by(receiver));
    send(&fanout, 0..3);
    advance(HOUR).await;
    sleep(SECOND).await;
    assert_eq!(sink.calls(), []);
    terms.send_replace(Some(term()));
    sleep(SECOND).await;
    assert_eq!(shown(&metrics, "a").delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_and_what_waits_is_handed_over_when_the_term_ends() {
    let sink = FakeSink::new(NARROW, [FakeBehaviour::Hangs, FakeBehaviour::Succeeds]);
    let (terms, receiver) = watch::channel(Some(term()));
    let leadership = Leadership::by(receiver);
    let (mut fanout, metrics) = start_led(vec![route("a", &sink), route("b", &sink)], &leadership);
    send(&fanout, 0..3);
    sleep(SECOND).await;
    send(&fanout, 3..5);
    leadership.lost().await;
    let mut taken: Vec<_> = fanout.hand_over().await.iter().map(|finding| finding.message.clone()).collect();
    taken.sort();
    assert!(taken.len() >= 3 && taken.contains(&"4".to_owned()), "{taken:?}");
    let account = shown(&metrics, "a");
    assert_eq!((account.waiting, account.failed), (0, 0));
    let calls = sink.calls().len();
    sleep(HOUR).await;
    assert_eq!(sink.calls().len(), calls);

    terms.send_replace(Some(term()));
    send(&fanout, 5..6);
    sleep(SECOND).await;
    assert!(sink.calls().len() > calls);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_leadership_hands_over_and_loses_nothing() {
    let sink = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let (_terms, receiver) = watch::channel(None);
    let (fanout, metrics) = start_led(vec![route("a", &sink)], &Leadership::by(receiver));
    send(&fanout, 0..3);
    let drained = fanout.drain(HOUR, CancellationToken::new()).await;
    assert_eq!(drained.undelivered, 0);
    assert_eq!(shown(&metrics, "a").handed_over, 3);
}

#[tokio::test(start_paused = true)]
async fn that_an_incident_is_over_is_told_only_while_this_replica_leads() {
    for behaviour in [FakeBehaviour::Hangs, FakeBehaviour::FailsInPart(vec![retry()])] {
        let sink = FakeSink::new(NARROW, [behaviour]);
        let (terms, receiver) = watch::channel(Some(term()));
        let resolving = Route { send_resolved: true, ..route("a", &sink) };
        let (fanout, metrics) = start_led(vec![resolving], &Leadership::by(receiver));
        fanout.resolve(&ResolvedIncident::full(), &finding("shop", "app", 0));
        sleep(TERM + SECOND).await;
        let told = sink.resolved.lock().unwrap().len();
        assert!(told > 0);
        // The longest pause before it is tried again.
        sleep(60 * SECOND).await;
        terms.send_replace(Some(term()));
        sleep(HOUR).await;
        assert_eq!(sink.resolved.lock().unwrap().len(), told, "it was handed over");
        let handed_over = "resolved_total{sink=\"a\",outcome=\"handed_over\"} 1";
        assert!(metrics.render(Instant::now()).contains(handed_over));
        assert_eq!(logged(&["ERROR"]), [""; 0]);
    }
}
