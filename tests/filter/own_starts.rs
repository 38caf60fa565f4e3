//! The kubelet writes a `Started` Event after the start, so an instance that is killed in its first
//! moments may have ended before its own. Such an Event confirms nothing.

use jiff::SignedDuration;
use kubernetes_oom_event_generator::source::{Observation, Scope};
use serde_json::json;
use support::pod_dsl::id;

use super::case::Case;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The time of the start that the only finding tells of, and whether a status told of it.
fn restart(case: &Case) -> (jiff::Timestamp, bool) {
    let restarted = case.found[0].restarted.clone().unwrap();
    (restarted.started_at.unwrap(), restarted.container_id.is_some())
}

#[test]
fn an_own_start_that_is_told_late_confirms_nothing() {
    for late in 1..=600 {
        let mut case = Case::new();
        case.sees(&["app T(0,a)"]);
        let at = case.end_of("a") + SECOND * late;
        case.event("app", at, json!({"count": 1})).finds(&[]);
        case.sees(&["app W(0)+L(a)"]).finds(&[]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
        assert!(restart(&case).1);
    }
}

#[test]
fn an_own_start_that_is_told_before_the_status_confirms_nothing() {
    let mut case = Case::new();
    case.sees(&["app -"]);
    let pod = case.status(&["app T(0,a)"]);
    let at = case.end_of("a") + SECOND;
    case.event("app", at, json!({"count": 1}));
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&[]);
    let next = case.end_of("a") + SECOND * 10;
    case.event("app", next, json!({"count": 2})).finds(&["a"]);
    assert_eq!(restart(&case), (next, false));
}

#[test]
fn the_newest_of_the_early_starts_counts() {
    let mut case = Case::new();
    case.sees(&["app -"]);
    let pod = case.status(&["app T(0,a)"]);
    let (own, next) = (case.end_of("a") + SECOND, case.end_of("a") + SECOND * 2);
    case.event("app", next, json!({"count": 2})).event("app", own, json!({"count": 1}));
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&["a"]);
    assert_eq!(restart(&case), (next, false));
}

#[test]
fn each_instance_of_a_crash_loop_has_an_own_start() {
    let mut case = Case::new();
    for n in 0..20 {
        case.sees(&[&format!("app T({n},i{n})")]);
        let at = case.end_of(&format!("i{n}")) + SECOND * 3;
        case.event("app", at, json!({"count": n + 1}));
        assert_eq!(case.found.len(), n);
        case.event("app", at + SECOND * 10, json!({"count": n + 2}));
        assert_eq!(case.found.len(), n + 1);
    }
}

#[test]
fn a_restarted_kubelet_counts_from_1_and_proves_nothing() {
    let mut case = Case::new();
    case.sees(&["app T(5,f)"]);
    let at = case.end_of("f") + SECOND * 60;
    for count in 1..=6 {
        case.event("app", at, json!({"count": count})).finds(&[]);
    }
    case.sees(&["app R(6,g)+L(f)"]).finds(&["f"]);
    assert!(restart(&case).1);
}

#[test]
fn an_event_without_a_count_proves_nothing() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let at = case.end_of("a") + SECOND * 60;
    for count in [json!(null), json!(0), json!(-1), json!(i64::MAX)] {
        case.event("app", at, json!({"count": count})).finds(&[]);
    }
}

#[test]
fn an_event_that_no_kubelet_wrote_proves_nothing() {
    for (fields, expected) in [
        (json!({}), vec!["a"]),
        (json!({"source": {"component": "kubelet"}, "reportingComponent": "kubelet"}), vec!["a"]),
        (json!({"source": {"component": "kubelet"}, "reportingComponent": ""}), vec!["a"]),
        (json!({"source": {}, "reportingComponent": "kubelet"}), vec!["a"]),
        (json!({"source": {"component": "other"}}), vec![]),
        (json!({"source": null, "reportingComponent": "other"}), vec![]),
        (json!({"source": {"component": "kubelet"}, "reportingComponent": "other"}), vec![]),
        (json!({"deprecatedSource": {"component": "other"}}), vec![]),
        (json!({"reportingController": "other"}), vec![]),
    ] {
        let mut case = Case::new();
        case.sees(&["app T(0,a)"]);
        let at = case.end_of("a") + SECOND * 60;
        case.event("app", at, fields).finds(&expected);
    }
}

#[test]
fn a_time_that_cannot_be_read_is_unknown() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let at = case.end_of("a");
    for time in ["9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "soon", ""] {
        case.event("app", at, json!({"lastTimestamp": time, "eventTime": time, "count": 9})).finds(&[]);
    }
    let mut pod = case.object(&["app R(1,b)+L(a)"]);
    pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = "9999-12-31T23:59:59Z".into();
    case.observe(Observation::Changed(Scope::WHOLE, serde_json::from_value(pod).unwrap())).finds(&["a"]);
    assert_eq!(case.found[0].restarted.as_ref().unwrap().started_at, None);
}

#[test]
fn the_count_of_a_series_counts() {
    let series = |count| json!({"count": null, "series": {"count": count, "lastObservedTime": null}});
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let at = case.end_of("a") + SECOND;
    case.event("app", at, series(1)).finds(&[]).event("app", at, series(2)).finds(&["a"]);
}

#[test]
fn a_part_of_a_second_is_not_later() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let at = case.end_of("a") + SignedDuration::from_millis(900);
    case.event("app", at, json!({"count": 2})).finds(&[]);
}

#[test]
fn lost_logs_lower_the_count_of_the_status_but_not_that_of_the_event() {
    let mut case = Case::new();
    case.sees(&["app R(5,f)"]).sees(&["app R(0,g)+L(f,Error)"]).sees(&["app T(0,g)+L(f,Error)"]);
    let own = case.end_of("g") + SECOND;
    case.event("app", own, json!({"count": 7})).finds(&[]);
    case.sees(&["app R(1,h)+L(g)"]).finds(&["g"]);
    assert_eq!(case.found[0].restarted.as_ref().unwrap().container_id, Some(id("h")));
}

#[test]
fn an_own_start_before_the_status_after_the_logs_were_lost() {
    let mut case = Case::new();
    case.sees(&["app R(5,f)"]);
    let pod = case.status(&["app T(0,g)+L(f,Error)"]);
    let own = case.end_of("g") + SECOND;
    case.event("app", own, json!({"count": 7}));
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&[]);
}

#[test]
fn a_proof_is_not_forgotten_when_a_restarted_kubelet_counts_from_1() {
    let mut case = Case::new();
    case.sees(&["app -"]);
    let pod = case.status(&["app T(0,a)"]);
    let next = case.end_of("a") + SECOND * 10;
    case.event("app", next, json!({"count": 2})).event("app", next + SECOND * 60, json!({"count": 1}));
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&["a"]);
    assert_eq!(restart(&case), (next, false));
}

#[test]
fn the_own_start_of_a_static_pod_that_was_taken_away_and_back_confirms_nothing() {
    for is_told_before in [false, true] {
        let mut case = Case::new();
        case.pod.mirror = Some("static".into());
        case.sees(&["app R(0,z)"]);
        case.event("app", case.now, json!({"count": 1})).deleted(&["app R(0,z)"]);
        case.pod.uid = "uid-2".into();
        case.sees(&["app -"]);
        let pod = case.status(&["app T(0,a)"]);
        let own = case.end_of("a") + SECOND;
        if is_told_before {
            case.event("app", own, json!({"count": 2}));
        }
        case.observe(Observation::Changed(Scope::WHOLE, pod));
        case.event("app", own, json!({"count": 2})).finds(&[]);
        case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
        assert!(restart(&case).1);
    }
}

#[test]
fn the_start_of_a_static_pod_that_was_there_all_along_confirms() {
    let mut case = Case::new();
    case.pod.mirror = Some("static".into());
    case.sees(&["app T(0,a)"]).started("app").finds(&["a"]);
}

#[test]
fn a_running_instance_is_not_after_itself_when_the_clock_is_set_back() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]);
    case.skew = -SECOND * 3600;
    case.sees(&["app T(0,a)"]);
    case.skew = SignedDuration::ZERO;
    case.sees(&["app R(0,a)"]).finds(&[]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn where_nothing_may_start_it_again_no_event_confirms() {
    let never = || {
        let mut case = Case::new();
        case.spec = json!({"restartPolicy": "Never"});
        case
    };
    let over = || {
        let mut case = Case::new();
        case.pod.phase = "Failed";
        case
    };
    for mut case in [never(), over()] {
        case.sees(&["app T(0,a)"]).started("app").finds(&[]);
        case.deleted(&["app T(0,a)"]).started("app").finds(&[]);
    }
    for mut case in [never(), over()] {
        case.sees(&["app -"]);
        let pod = case.status(&["app T(0,a)"]);
        case.started("app").observe(Observation::Changed(Scope::WHOLE, pod)).finds(&[]);
    }
}
