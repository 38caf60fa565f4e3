//! Which kills belong together, what that tells, and when it is over.

use finding::{AffectedContainer, AffectedPod, Change, Gone, Incident, Killed, RaisedLimit};
use jiff::{SignedDuration, ToSpan};
use serde_json::json;

use super::*;

const MIB: u64 = 1 << 20;

/// The time of so many minutes after noon.
fn minute(minutes: i64) -> Timestamp {
    "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

/// A kill so many minutes after noon, of an instance that had run for so many seconds with so many MiB.
fn kill(pod: &str, at: i64, ran: i64, limit: u64) -> Finding {
    let full = Finding::full();
    Finding {
        detected_at: Some(minute(at) + 5.seconds()),
        pod: AffectedPod { name: pod.to_owned(), uid: pod.to_owned(), ..full.pod },
        container: AffectedContainer { memory_limit_bytes: Some(limit * MIB), ..full.container },
        killed: Killed {
            started_at: Some(minute(at) - SignedDuration::from_secs(ran)),
            finished_at: Some(minute(at)),
            ..full.killed
        },
        incident: None,
        ..full
    }
}

fn in_namespace(namespace: &str, container: &str, finding: Finding) -> Finding {
    let container = AffectedContainer { name: container.to_owned(), ..finding.container };
    Finding { namespace: namespace.to_owned(), container, ..finding }
}

/// Takes in a kill. Returns how many there are in how many Pods since which minute, and the history.
fn add(incidents: &mut Incidents, mut finding: Finding) -> ((u64, u64, Timestamp), KillHistory) {
    let history = incidents.add(&mut finding);
    let Incident { kills, pods, since } = finding.incident.unwrap();
    ((kills, pods, since), history)
}

/// A Pod of the Deployment that runs with so many MiB since a time.
fn pod(name: &str, since: Timestamp, limit: u64, image: &str) -> Box<Pod> {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name,
            "labels": {"pod-template-hash": "6c9f7"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6c9f7", "controller": true,
            }],
        },
        "spec": {"containers": [
            {"name": "app", "image": image, "resources": {"limits": {"memory": format!("{limit}Mi")}}},
        ]},
        "status": {"containerStatuses": [{"name": "app", "state": {"running": {"startedAt": since}}}]},
    }))
    .unwrap()
}

fn runs(incidents: &mut Incidents, name: &str, since: i64, limit: u64, image: &str) {
    incidents.see(&Observation::Changed(Scope::WHOLE, pod(name, minute(since), limit, image)));
}

fn goes(incidents: &mut Incidents, name: &str) {
    incidents.see(&Observation::Deleted(Scope::WHOLE, pod(name, minute(0), 64, "cart:1.2")));
}

/// The only incident that is over at a time.
fn resolved(incidents: &mut Incidents, at: i64) -> ResolvedIncident {
    let mut over = incidents.over(minute(at));
    assert_eq!(over.len(), 1);
    over.remove(0).resolved
}

#[test]
fn kills_within_an_hour_of_each_other_belong_together() {
    let mut incidents = Incidents::default();
    assert_eq!(add(&mut incidents, kill("a", 0, 60, 64)).0, (1, 1, minute(0)));
    assert_eq!(add(&mut incidents, kill("b", 60, 60, 64)).0, (2, 2, minute(0)));
    assert_eq!(add(&mut incidents, kill("a", 119, 60, 64)).0, (3, 2, minute(0)));
    assert_eq!(add(&mut incidents, kill("a", 180, 60, 64)).0, (1, 1, minute(180)));
}

#[test]
fn containers_workloads_and_namespaces_have_incidents_of_their_own() {
    let mut incidents = Incidents::default();
    let mut other_workload = kill("c", 2, 60, 64);
    other_workload.pod.workload.name = "search".to_owned();
    for finding in [
        kill("a", 0, 60, 64),
        in_namespace("shop", "proxy", kill("a", 1, 60, 64)),
        in_namespace("bank", "app", kill("b", 1, 60, 64)),
        other_workload,
    ] {
        assert_eq!(add(&mut incidents, finding).0.0, 1);
    }
    assert_eq!(incidents.len(), 4);
}

#[test]
fn kills_count_in_whatever_order_they_come() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 50, 60, 64));
    assert_eq!(add(&mut incidents, kill("a", 0, 60, 64)).0, (2, 1, minute(0)));
    assert_eq!(add(&mut incidents, kill("a", 20, 60, 64)).0, (3, 1, minute(0)));
    // One that is much older belongs to none of them, and changes nothing.
    assert_eq!(add(&mut incidents, kill("a", -90, 60, 64)).0, (1, 1, minute(-90)));
    assert_eq!(add(&mut incidents, kill("a", 51, 60, 64)).0, (4, 1, minute(0)));
}

#[test]
fn a_kill_without_any_time_belongs_to_no_incident() {
    let mut incidents = Incidents::default();
    let mut finding = Finding { detected_at: None, incident: None, ..Finding::minimal() };
    assert_eq!(incidents.add(&mut finding), KillHistory::default());
    assert_eq!(finding.incident, None);
}

#[test]
fn times_that_no_clock_shows_are_no_trouble() {
    let mut incidents = Incidents::default();
    for time in [Timestamp::MAX, Timestamp::MIN] {
        let mut finding = kill("a", 0, 60, 64);
        finding.killed.finished_at = Some(time);
        add(&mut incidents, finding);
        let mut finding = in_namespace("bank", "app", kill("a", 0, 60, 64));
        (finding.killed.finished_at, finding.detected_at) = (Some(time), None);
        add(&mut incidents, finding);
    }
    incidents.over(Timestamp::MAX);
    assert!(incidents.is_empty());
}

#[test]
fn a_history_has_the_longest_run_if_all_are_known() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 0, 3, 64));
    add(&mut incidents, kill("a", 1, 8, 64));
    let (_, history) = add(&mut incidents, kill("b", 2, 5, 64));
    let longest_run = Some(Duration::from_secs(8));
    assert_eq!(history, KillHistory { kills: 3, longest_run, raised: None });
    let mut unknown = kill("a", 3, 5, 64);
    unknown.killed.started_at = None;
    assert_eq!(add(&mut incidents, unknown).1.longest_run, None);
}

#[test]
fn a_limit_that_was_raised_and_did_not_help_is_told_with_how_long_it_ran() {
    let kills = [
        kill("old-1", 0, 300, 64),
        kill("old-2", 10, 400, 64),
        kill("new-1", 40, 900, 128),
        // The old ones go on while the new ones come up.
        kill("old-2", 41, 350, 64),
        kill("new-1", 70, 1200, 128),
    ];
    let told = Some(RaisedLimit {
        from: 64 * MIB,
        to: 128 * MIB,
        at: minute(25),
        longest_run_before: Some(Duration::from_secs(400)),
        longest_run_since: Some(Duration::from_mins(20)),
    });
    let mut incidents = Incidents::default();
    let histories = kills.clone().map(|kill| add(&mut incidents, kill).1.raised);
    assert_eq!(
        histories.map(|raised| raised.map(|raised| raised.to)),
        [None, None, Some(128 * MIB), None, Some(128 * MIB)]
    );
    assert_eq!(histories[4], told);
    let mut incidents = Incidents::default();
    let [rest @ .., last] = kills;
    for kill in rest.into_iter().rev() {
        add(&mut incidents, kill);
    }
    assert_eq!(add(&mut incidents, last).1.raised, told, "in any order");
}

#[test]
fn a_limit_that_was_lowered_is_not_raised() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 0, 60, 128));
    assert_eq!(add(&mut incidents, kill("b", 10, 60, 64)).1.raised, None);
    assert_eq!(add(&mut incidents, kill("a", 11, 60, 128)).1.raised, None);
}

#[test]
fn an_incident_is_over_an_hour_after_its_last_kill() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 0, 60, 64));
    add(&mut incidents, kill("b", 50, 60, 64));
    assert!(incidents.over(minute(109)).is_empty());
    let resolved = resolved(&mut incidents, 110);
    assert_eq!(resolved.incident, Incident { kills: 2, since: minute(0), pods: 2 });
    assert_eq!((resolved.last_kill, resolved.gone), (minute(50), None));
    assert_eq!((resolved.memory_limit_bytes, resolved.image), (None, None));
    insta::assert_snapshot!(resolved.message, @"The container 'app' of Deployment cart in namespace shop has not been OOMKilled for an hour: 2 kills in 2 Pods since 2026-03-01T12:00:00Z");
    assert!(incidents.is_empty() && incidents.over(minute(999)).is_empty());
}

#[test]
fn what_was_changed_in_time_is_told_when_it_is_over() {
    let mut incidents = Incidents::default();
    let with_image = |mut finding: Finding| {
        finding.container.image = Some("cart:1.2".to_owned());
        finding
    };
    add(&mut incidents, with_image(kill("old-1", 0, 60, 64)));
    runs(&mut incidents, "old-1", 1, 64, "cart:1.2");
    runs(&mut incidents, "new-1", 10, 128, "cart:1.3");
    goes(&mut incidents, "old-1");
    let resolved = resolved(&mut incidents, 60);
    let limit = Some(Change { from: Some(64 * MIB), to: Some(128 * MIB) });
    assert_eq!(resolved.memory_limit_bytes, limit);
    let image = Some(Change { from: "cart:1.2".to_owned(), to: "cart:1.3".to_owned() });
    assert_eq!(resolved.image, image);
    assert_eq!(resolved.gone, Some(Gone::Pods));
}

#[test]
fn a_workload_without_any_pod_is_gone() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 0, 60, 64));
    add(&mut incidents, kill("b", 1, 60, 64));
    runs(&mut incidents, "c", 1, 64, "cart:1.2");
    goes(&mut incidents, "a");
    goes(&mut incidents, "b");
    goes(&mut incidents, "c");
    assert_eq!(resolved(&mut incidents, 61).gone, Some(Gone::Workload));

    add(&mut incidents, kill("a", 100, 60, 64));
    add(&mut incidents, kill("b", 101, 60, 64));
    goes(&mut incidents, "a");
    assert_eq!(resolved(&mut incidents, 161).gone, None, "one of its Pods may still run");
}

#[test]
fn what_a_list_does_not_show_is_gone() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", 0, 60, 64));
    add(&mut incidents, kill("b", 1, 60, 64));
    let list = |incidents: &mut Incidents, names: &[&str]| {
        incidents.see(&Observation::ListBegins { scope: Scope::WHOLE, in_sync: minute(0) });
        for name in names {
            incidents.see(&Observation::Listed(Scope::WHOLE, pod(name, minute(1), 64, "cart:1.2")));
        }
        incidents.see(&Observation::ListEnds(Scope::WHOLE));
    };
    list(&mut incidents, &["a", "b"]);
    list(&mut incidents, &["c"]);
    assert_eq!(resolved(&mut incidents, 61).gone, Some(Gone::Pods));
    add(&mut incidents, kill("a", 100, 60, 64));
    list(&mut incidents, &["a"]);
    list(&mut incidents, &["a"]);
    assert_eq!(resolved(&mut incidents, 160).gone, None);
}

#[test]
fn what_was_found_before_the_program_started_counts_on() {
    let mut before = Incidents::default();
    let mut kills = [kill("a", 0, 300, 64), kill("b", 20, 400, 64), kill("c", 40, 500, 128)];
    for kill in &mut kills {
        before.add(kill);
    }
    let [_, second, third] = kills;
    let mut incidents = Incidents::default();
    // The Event of the first is gone. The others are read back in any order.
    incidents.remember(&third, minute(70));
    incidents.remember(&second, minute(70));
    let (told, history) = add(&mut incidents, kill("c", 71, 600, 128));
    assert_eq!(told, (4, 3, minute(0)));
    assert_eq!(history.raised.map(|raised| raised.from), Some(64 * MIB));
}

#[test]
fn an_incident_that_was_over_before_the_program_started_is_not_told_again() {
    let mut incidents = Incidents::default();
    incidents.remember(&kill("a", 0, 60, 64), minute(60));
    assert!(incidents.is_empty());
}

#[test]
fn the_greedy_namespace_forgets_its_quietest_incident() {
    let mut incidents = Incidents::default();
    add(&mut incidents, kill("a", -30, 60, 64));
    for number in 0..MAX_INCIDENTS {
        add(&mut incidents, in_namespace("hostile", &number.to_string(), kill("a", 0, 60, 64)));
    }
    assert_eq!(incidents.len(), MAX_INCIDENTS);
    assert_eq!(add(&mut incidents, kill("a", 1, 60, 64)).0.0, 2, "the other's is remembered");
}

#[test]
fn the_page_sees_each_incident_of_the_last_day_with_its_kills_by_the_quarter() {
    let mut incidents = Incidents::default();
    let recent = incidents.recent();
    let mut take = |finding: Finding| {
        let mut finding = finding;
        incidents.add(&mut finding);
        incidents.show(&Arc::new(finding));
    };
    take(kill("a", 0, 60, 64));
    take(kill("a", 14, 60, 64));
    take(kill("a", 15, 60, 64));
    take(in_namespace("bank", "app", kill("a", 20, 60, 64)));
    let shown = recent.of_last_day(minute(45));
    let said: Vec<_> = shown
        .iter()
        .map(|it| {
            let kills = it.last.incident.as_ref().unwrap().kills;
            (it.last.namespace.as_str(), kills, it.last_kill, it.kills_by_quarter[90..].to_vec())
        })
        .collect();
    assert_eq!(
        said,
        [("bank", 1, minute(20), vec![0, 0, 0, 1, 0, 0]), ("shop", 3, minute(15), vec![0, 0, 2, 1, 0, 0]),]
    );
    assert_eq!(recent.of_last_day(minute(20 + 24 * 60)).len(), 0);
}

#[test]
fn the_page_shows_no_more_than_it_has_room_for() {
    let mut incidents = Incidents::default();
    let mut take = |finding: Finding| {
        let mut finding = finding;
        incidents.add(&mut finding);
        incidents.show(&Arc::new(finding));
    };
    take(kill("a", -30, 60, 64));
    for number in 0..300 {
        take(in_namespace("hostile", &number.to_string(), kill("a", 0, 60, 64)));
    }
    let shown = incidents.recent().of_last_day(minute(1));
    assert_eq!(shown.len(), 200);
    assert!(shown.iter().any(|it| it.last.namespace == "shop"));
}
