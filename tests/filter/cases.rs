//! What the filter must find, case by case: the eight states that a status may be in when an Event
//! arrives, kills that are merged, overwritten, corrected, repeated and made up.

use finding::{ContainerKind, KillId};
use jiff::SignedDuration;
use kubernetes_oom_event_generator::source::{Observation, Scope};
use serde_json::json;
use support::pod_dsl::id;

use super::case::Case;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[test]
fn first_kill() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app T(0,a)"]).finds(&[]).started("app").finds(&["a"]);
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn event_before_any_status() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).started("app").sees(&["app T(0,a)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn event_before_the_last_status_of_the_pod() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]);
    let pod = case.status(&["app T(0,a)"]);
    case.started("app").finds(&[]);
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&["a"]);
    case.deleted(&["app T(0,a)"]).finds(&["a"]);
}

#[test]
fn status_before_event() {
    Case::new().sees(&["app R(1,b)+L(a)"]).finds(&["a"]).started("app").finds(&["a"]);
}

#[test]
fn event_never_arrives() {
    Case::new().sees(&["app R(0,a)"]).sees(&["app T(0,a)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn crash_loop() {
    let mut case = Case::new();
    case.sees(&["app W(1)+L(b)"]).finds(&[]).started("app").finds(&["b"]);
    case.sees(&["app R(2,c)+L(b)"]).finds(&["b"]);
}

#[test]
fn back_off_and_nothing_started_yet() {
    let mut case = Case::new();
    for _ in 0..3 {
        case.sees(&["app W(1)+L(b)"]).finds(&[]);
    }
}

#[test]
fn died_again_before_the_status_caught_up() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a,Error)"]).sees(&["app T(2,c)+L(b)"]).finds(&["b"]);
    case.started("app").finds(&["b", "c"]);
}

#[test]
fn two_kills_in_one_status_are_found_once() {
    let mut case = Case::new();
    case.sees(&["app T(1,b)+L(a)"]).started("app").finds(&["a", "b"]);
    case.sees(&["app T(1,b)+L(a)"]).sees(&["app T(1,b)+L(a)"]).finds(&["a", "b"]);
}

#[test]
fn crash_loop_of_100_restarts_with_9_events() {
    let mut case = Case::new();
    let mut expected = Vec::new();
    for n in 0..100 {
        case.sees(&[&format!("app T({n},i{n})")]).sees(&[&format!("app W({n})+L(i{n})")]);
        if n < 9 {
            case.started("app");
        }
        case.sees(&[&format!("app R({},i{})+L(i{n})", n + 1, n + 1)]);
        expected.push(format!("i{n}"));
    }
    case.finds(&expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(case.unobserved, 0);
}

// The eight states that a status may be in when `Started` arrives; B, C and D are `first_kill`,
// `crash_loop` and `status_before_event`.

#[test]
fn started_while_the_status_shows_the_instance_before_running() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a,Error)"]);
    let at = case.end_of("a") + SignedDuration::from_mins(1);
    case.started_at("app", at, "Started container").finds(&[]);
    case.sees(&["app T(1,b)+L(a,Error)"]).sees(&["app R(2,c)+L(b)"]).finds(&["b"]);
}

#[test]
fn started_while_it_died_again_already() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]).sees(&["app T(1,b,Error)+L(a)"]).finds(&["a"]).started("app").finds(&["a"]);
}

#[test]
fn started_while_the_kill_is_overwritten_already() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]).sees(&["app W(1)+L(b,Error)"]).finds(&["a"]).started("app").finds(&["a"]);
}

#[test]
fn started_while_the_last_state_is_empty() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app R(1,b)"]).started("app").finds(&[]);
    assert_eq!(case.unobserved, 1);
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn started_while_the_pod_is_gone_or_made_anew() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let old = case.pod.clone();
    case.deleted(&["app T(0,a)"]).started("app").finds(&[]);
    case.pod.uid = "uid-2".into();
    case.sees(&["app T(0,x)"]);
    let new = std::mem::replace(&mut case.pod, old);
    case.started("app").finds(&[]);
    case.pod = new;
    case.started("app").finds(&["x"]);
}

#[test]
fn a_jump_in_the_count_of_an_event_is_no_kill() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]);
    let at = case.tick();
    for count in [8, 30] {
        case.event("app", at, json!({"count": count})).finds(&["a"]);
    }
}

#[test]
fn the_newest_time_of_an_event_counts() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let (end, second) = (case.end_of("a"), SignedDuration::from_secs(1));
    let series = |at: jiff::Timestamp| json!({"series": {"count": 2, "lastObservedTime": at.to_string()}});
    case.event("app", end, series(end - second)).finds(&[]);
    case.event("app", end - second, series(end + second)).finds(&["a"]);
}

#[test]
fn an_early_start_is_remembered_among_others() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]);
    let pod = case.status(&["app T(0,a)"]);
    let end = case.end_of("a");
    case.started("app").started_at("app", end, "Started container");
    for other in 0..100 {
        case.started(&format!("other-{other}"));
    }
    case.observe(Observation::Deleted(Scope::WHOLE, pod)).finds(&["a"]);
}

#[test]
fn an_event_is_repeated_relabelled_renamed_or_relisted() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]);
    let at = case.tick();
    for _ in 0..5 {
        case.started_at("app", at, "Started container app").finds(&["a"]);
    }
    case.sees(&["app T(1,b)+L(a)"]).started_at("app", at, "Container started").finds(&["a"]);
}

#[test]
fn the_pod_changes_50_times_with_the_same_last_state() {
    let mut case = Case::new();
    for _ in 0..50 {
        case.sees(&["app R(1,b)+L(a)"]);
    }
    case.finds(&["a"]);
}

#[test]
fn the_pod_watch_expires_and_relists() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]);
    for _ in 0..3 {
        let now = case.now;
        case.lists(now, &["app R(1,b)+L(a)"]).finds(&["a"]);
    }
}

#[test]
fn a_kill_during_an_outage_is_found_whatever_its_age_in_a_known_container() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    let in_sync = case.now + HOUR * 5;
    case.lists(in_sync, &["app R(2,c)+L(b)"]).finds(&["a", "b"]);
}

#[test]
fn another_container_starts_beside_an_old_kill() {
    let mut case = Case::new();
    case.sees(&["hungry R(1,b)+L(a)", "flaky R(0,x)"]).finds(&["a"]);
    case.sees(&["hungry R(1,b)+L(a)", "flaky T(0,x,Error,1)"]).started("flaky");
    case.sees(&["hungry R(1,b)+L(a)", "flaky R(1,y)+L(x,Error,1)"]).finds(&["a"]);
}

#[test]
fn both_containers_in_one_status() {
    let mut case = Case::new();
    case.sees(&["one T(0,a)", "two T(0,x)"]).sees(&["one R(1,b)+L(a)", "two R(1,y)+L(x)"]).finds(&["a", "x"]);
    let names: Vec<_> = case.found.iter().map(|finding| finding.container.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn pods_of_the_same_name_in_two_namespaces() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    case.pod.namespace = "other".into();
    case.started("app").finds(&[]);
    case.sees(&["app R(1,x)+L(w)"]).finds(&["w"]);
}

#[test]
fn a_new_pod_of_the_same_name() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]).deleted(&["app T(0,a)"]);
    case.pod.uid = "uid-2".into();
    case.started("app").sees(&["app R(0,x)"]).finds(&[]);
    case.sees(&["app R(1,y)+L(x)"]).finds(&["x"]);
    assert_eq!(case.found[0].pod.uid, "uid-2");
}

#[test]
fn a_mirror_pod_is_made_anew_with_the_same_last_state() {
    let mut case = Case::new();
    case.pod.mirror = Some("static".into());
    case.sees(&["app T(0,a)"]).started("app").finds(&["a"]);
    assert_eq!(case.found[0].pod.event_uid, "static");
    case.deleted(&["app R(1,b)+L(a)"]);
    case.pod.uid = "uid-2".into();
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    case.sees(&["app T(1,b)+L(a)"]).started("app").finds(&["a", "b"]);
}

#[test]
fn an_init_container_is_retried() {
    let mut case = Case::new();
    case.pod.phase = "Pending";
    case.sees(&["init:setup T(0,a)", "app W(0)"]).sees(&["init:setup R(1,b)+L(a)", "app W(0)"]).finds(&["a"]);
    assert_eq!(case.found[0].container.kind, ContainerKind::Init);
}

#[test]
fn a_sidecar_restarts() {
    let mut case = Case::new();
    case.sees(&["sidecar:proxy T(0,a)", "app R(0,x)"]);
    case.sees(&["sidecar:proxy R(1,b)+L(a)", "app R(0,x)"]).finds(&["a"]);
    assert_eq!(case.found[0].container.kind, ContainerKind::Sidecar);
}

#[test]
fn an_ephemeral_container_never_restarts() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        case.sees(&["app R(0,x)", "ephemeral:debug T(0,a)"]).finds(&expected);
        case.deleted(&["app R(0,x)", "ephemeral:debug T(0,a)"]).finds(&expected);
        assert!(case.found.iter().all(|finding| finding.container.kind == ContainerKind::Ephemeral));
    }
}

#[test]
fn restart_policy_never() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        case.sees(&["app T(0,a)"]).finds(&[]);
        case.pod.phase = "Failed";
        case.sees(&["app T(0,a)"]).sees(&["app T(0,a)"]).deleted(&["app T(0,a)"]).finds(&expected);
        assert!(case.found.iter().all(|finding| finding.restarted.is_none()));
        assert!(case.found.iter().all(|finding| finding.message.starts_with("The container 'app'")));
    }
}

#[test]
fn a_container_restart_rule_restarts_under_restart_policy_never() {
    Case::new().sees(&["app T(0,a)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn a_job_starts_another_pod() {
    let mut case = Case::new();
    case.pod.phase = "Failed";
    case.sees(&["app T(0,a)"]);
    (case.pod.uid, case.pod.name, case.pod.phase) = ("uid-2".into(), "job-2".into(), "Running");
    case.sees(&["app R(0,x)"]).started("app").finds(&[]);
}

#[test]
fn deleted_during_back_off() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        case.sees(&["app W(0)+L(a)"]).deleted(&["app W(0)+L(a)"]).finds(&expected);
        case.started("app").finds(&expected);
        assert_eq!(case.filter.remembered(), 0);
    }
}

#[test]
fn gone_while_nobody_watched() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        let now = case.now;
        case.lists(now, &["app W(0)+L(a)"]).lists(now, &[]).finds(&expected);
        case.started("app").finds(&expected);
        assert_eq!(case.filter.remembered(), 0);
    }
}

#[test]
fn killed_and_succeeded() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        case.pod.phase = "Succeeded";
        case.sees(&["app T(0,a,OOMKilled,0)"]).finds(&expected);
    }
}

#[test]
fn the_reason_counts_and_not_the_exit_code() {
    for code in [0, 1, 143] {
        let mut case = Case::new();
        case.sees(&[&format!("app R(1,b)+L(a,OOMKilled,{code})")]).finds(&["a"]);
        assert_eq!(case.found[0].killed.exit_code, Some(code));
        assert!(case.found[0].message.contains(&format!("marked OOMKilled, but exited with {code}")));
    }
    for end in
        ["a,Error", "a,ContainerStatusUnknown", "?,ContainerStatusUnknown", "a,StartError,128", "a,oomkilled"]
    {
        Case::new().sees(&[&format!("app R(1,b)+L({end})")]).started("app").finds(&[]);
    }
}

#[test]
fn the_reason_is_corrected_afterwards() {
    let mut case = Case::new();
    case.sees(&["app T(0,a,Error)"]).sees(&["app R(1,b)+L(a,Error)"]).finds(&[]);
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    case.sees(&["app T(1,b,Error)+L(a)"]).sees(&["app T(1,b)+L(a)"]).started("app").finds(&["a", "b"]);
}

#[test]
fn all_containers_of_the_pod_are_restarted() {
    let mut case = Case::new();
    case.sees(&["hungry T(0,a)", "bystander R(0,x)"]).finds(&[]);
    case.sees(&["hungry W(1)+L(?,RestartingAllContainers)", "bystander W(1)+L(?,RestartingAllContainers)"]);
    case.finds(&[]);
    let restarted =
        ["hungry R(1,b)+L(?,RestartingAllContainers)", "bystander R(1,y)+L(?,RestartingAllContainers)"];
    case.sees(&restarted).sees(&restarted).finds(&["a"]);
}

#[test]
fn an_end_that_the_kubelet_made_up_is_no_start() {
    for (mut case, expected) in [(Case::new(), vec![]), (Case::reporting_unrestarted(), vec!["a"])] {
        let last_word = ["app T(0,?,ContainerStatusUnknown)+L(a)"];
        case.sees(&["app W(0)+L(a)"]).sees(&last_word).finds(&[]).deleted(&last_word).finds(&expected);
        assert!(case.found.iter().all(|finding| finding.restarted.is_none()));
    }
}

#[test]
fn a_start_that_failed_is_no_start() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]).sees(&["app T(1,b?,StartError,128)+L(a)"]);
    case.sees(&["app W(1)+L(b?,StartError,128)"]).finds(&[]);
    case.sees(&["app R(2,c)+L(b?,StartError,128)"]).finds(&["a"]);
    let restarted = case.found[0].restarted.clone().unwrap();
    assert_eq!((restarted.container_id, restarted.restart_count), (Some(id("c")), Some(2)));
}

#[test]
fn an_eviction_is_no_kill() {
    let mut case = Case::reporting_unrestarted();
    case.pod.phase = "Failed";
    case.sees(&["app T(0,a,Error)"]).deleted(&["app T(0,a,ContainerStatusUnknown)"]).finds(&[]);
}

#[test]
fn last_state_is_missing_after_the_restart() {
    Case::new()
        .sees(&["app T(0,a)"])
        .sees(&["app R(1,b)"])
        .finds(&["a"])
        .sees(&["app R(1,b)+L(a)"])
        .finds(&["a"]);
}

#[test]
fn last_state_is_lost_and_comes_back() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]).sees(&["app R(1,b)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn last_state_is_carried_along_while_the_container_is_lost() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"])
        .sees(&["app W(1)+L(a)"])
        .started("app")
        .sees(&["app R(1,c)+L(a)"])
        .finds(&["a"]);
}

#[test]
fn the_kill_is_overwritten_by_the_next_end() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]).sees(&["app W(1)+L(b)"]).finds(&["a"]);
    assert_eq!(case.found[0].restarted.as_ref().unwrap().container_id.as_deref(), Some("containerd://b"));
    case.sees(&["app R(2,c)+L(b)"]).finds(&["a", "b"]);
}

#[test]
fn the_count_falls_because_the_logs_are_lost() {
    let mut case = Case::new();
    case.sees(&["app R(5,f)+L(e)"]).sees(&["app T(5,f)+L(e)"]).sees(&["app R(0,g)"]).finds(&["e", "f"]);
    case.sees(&["app T(0,g)"]).sees(&["app R(1,h)+L(g)"]).finds(&["e", "f", "g"]);
}

#[test]
fn the_count_of_an_instance_from_before_it_fell_is_unknown() {
    let mut case = Case::new();
    case.sees(&["app T(5,f)"]).pass(SignedDuration::from_mins(1));
    case.sees(&["app R(0,h)+L(g,Unknown,255)"]).finds(&["f"]);
    let restarted = case.found[0].restarted.clone().unwrap();
    assert_eq!((restarted.container_id, restarted.restart_count), (Some(id("g")), None));
}

#[test]
fn a_clock_that_is_set_back_hides_nothing() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]);
    case.skew = -HOUR;
    case.sees(&["app R(2,d)+L(c)"]).sees(&["app T(2,d)+L(c)"]).sees(&["app R(3,e)+L(d)"]);
    case.finds(&["a", "c", "d"]);
}

#[test]
fn a_stale_replica_replays_older_statuses() {
    let mut case = Case::new();
    let history = [
        "app R(0,a)",
        "app T(0,a)",
        "app R(1,b)+L(a)",
        "app T(1,b)+L(a)",
        "app W(1)+L(b)",
        "app R(2,c)+L(b)",
        "app T(2,c)+L(b)",
        "app W(2)+L(c)",
        "app R(3,d)+L(c)",
    ];
    for status in history {
        case.sees(&[status]);
    }
    case.finds(&["a", "b", "c"]);
    for status in history.iter().rev().chain(&history) {
        case.sees(&[status]);
        case.started_at("app", case.end_of("a"), "Started container");
    }
    case.finds(&["a", "b", "c"]);
}

#[test]
fn a_stale_status_is_no_start_after_a_pending_kill() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app T(1,b)+L(a,Error)"]).sees(&["app R(0,a)"]).finds(&[]);
    case.sees(&["app R(2,c)+L(b)"]).finds(&["b"]);
}

#[test]
fn a_stale_status_with_the_same_count_takes_the_place_of_no_pending_kill() {
    let mut case = Case::new();
    let stale = case.status(&["app T(0,a)"]);
    case.sees(&["app W(0)+L(b)"]).observe(Observation::Changed(Scope::WHOLE, stale)).finds(&[]);
    case.sees(&["app R(2,d)+L(c)"]).finds(&["b", "c"]);
}

#[test]
fn a_stale_status_of_the_same_second_is_no_start_after_a_pending_kill() {
    let mut case = Case::new();
    case.pace = SignedDuration::ZERO;
    case.sees(&["app R(0,a)"]).sees(&["app T(1,b)+L(a,Error)"]).sees(&["app R(0,a)"]).finds(&[]);
    case.sees(&["app R(1,b)+L(a,Error)"]).finds(&[]).sees(&["app R(2,c)+L(b)"]).finds(&["b"]);
}

#[test]
fn a_stale_status_without_ids_of_the_same_second_is_no_start() {
    let mut case = Case::new();
    case.pace = SignedDuration::ZERO;
    case.sees(&["app T(0,-a)"]).sees(&["app R(0,-a)"]).finds(&[]).sees(&["app R(1,-b)"]).finds(&["-a"]);
}

#[test]
fn a_stale_status_without_times() {
    let mut case = Case::new();
    case.sees(&["app R(1,b?)+L(a?)"]).sees(&["app R(2,c?)+L(b?)"]).sees(&["app R(3,d?)+L(c?)"]);
    case.sees(&["app R(1,b?)+L(a?)"]).finds(&["a?", "b?", "c?"]);
}

#[test]
fn a_combined_event_names_the_wrong_container() {
    let mut case = Case::new();
    case.sees(&["one T(0,a)", "two T(0,x,Error,1)"]);
    let at = case.tick();
    case.started_at("one", at, "(combined from similar events): Started container two").finds(&[]);
}

#[test]
fn an_event_of_the_very_second_of_the_end_confirms_nothing() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    case.started_at("app", case.end_of("a"), "Started container").finds(&[]);
    case.started_at("app", case.end_of("a") + SignedDuration::from_secs(1), "Started container")
        .finds(&["a"]);
}

#[test]
fn a_forged_event_on_a_clean_pod() {
    Case::new().sees(&["app R(0,a)"]).started("app").started("other").sees(&["app R(0,a)"]).finds(&[]);
}

#[test]
fn a_status_that_is_ten_minutes_late() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app T(0,a)"]).started("app");
    case.pass(SignedDuration::from_mins(10));
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn clocks_an_hour_apart() {
    for skew in [HOUR, -HOUR] {
        let mut case = Case::new();
        case.skew = skew;
        let now = case.now;
        case.lists(now, &["app R(0,a)"]).sees(&["app T(0,a)"]).started("app").sees(&["app R(1,b)+L(a)"]);
        case.sees(&["app T(1,b)+L(a)"]).sees(&["app R(2,c)+L(b)"]).finds(&["a", "b"]);
        let now = case.now;
        case.lists(now, &["app R(3,d)+L(c)"]).finds(&["a", "b", "c"]);
    }
}

#[test]
fn at_the_start_old_kills_are_history_and_recent_ones_are_news() {
    for (age, expected) in [(54, vec!["a"]), (56, vec![])] {
        let mut case = Case::new();
        let pod = case.status(&["app R(1,b)+L(a)"]);
        case.pass(SignedDuration::from_mins(age));
        let now = case.now;
        case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
        case.observe(Observation::Listed(Scope::WHOLE, pod)).observe(Observation::ListEnds(Scope::WHOLE));
        case.sees(&["app R(1,b)+L(a)"]).finds(&expected);
    }
}

#[test]
fn an_old_kill_whose_restart_is_recent_is_news() {
    let mut case = Case::new();
    case.status(&["app T(0,a)"]);
    case.pass(SignedDuration::from_mins(30));
    let pod = case.status(&["app R(1,b)+L(a)"]);
    case.pass(SignedDuration::from_mins(40));
    let now = case.now;
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.observe(Observation::Listed(Scope::WHOLE, pod)).finds(&["a"]);
}

#[test]
fn an_old_kill_whose_restart_is_still_to_come_is_news_when_it_comes() {
    let mut case = Case::new();
    let pod = case.status(&["app W(0)+L(a)"]);
    case.pass(HOUR * 24);
    let now = case.now;
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.observe(Observation::Listed(Scope::WHOLE, pod))
        .observe(Observation::ListEnds(Scope::WHOLE))
        .finds(&[]);
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn a_relist_shows_last_weeks_kill_of_an_unknown_pod() {
    let mut case = Case::new();
    let pod = case.status(&["app R(1,b)+L(a)"]);
    case.pass(HOUR * 24 * 7);
    let now = case.now;
    case.lists(now, &[]);
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.observe(Observation::Listed(Scope::WHOLE, pod))
        .observe(Observation::ListEnds(Scope::WHOLE))
        .finds(&[]);
}

#[test]
fn five_hundred_old_kills_at_the_first_install() {
    let mut case = Case::new();
    let statuses: Vec<String> = (0..500).map(|n| format!("app-{n} R(1,b{n})+L(a{n})")).collect();
    let pod = case.status(&statuses.iter().map(String::as_str).collect::<Vec<_>>());
    case.pass(HOUR);
    let now = case.now;
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.observe(Observation::Listed(Scope::WHOLE, pod))
        .observe(Observation::ListEnds(Scope::WHOLE))
        .finds(&[]);
}

#[test]
fn the_age_of_what_has_no_times_is_unknown_so_it_is_no_news_to_a_list() {
    let mut case = Case::new();
    let now = case.now;
    case.lists(now, &["app R(1,b?)+L(a?)"]).finds(&[]).sees(&["app R(2,c?)+L(b?)"]).finds(&["b?"]);
}

#[test]
fn an_old_kill_that_was_never_restarted_is_history_when_its_pod_goes() {
    for (age, expected) in [(54, vec!["a"]), (56, vec![])] {
        let mut case = Case::reporting_unrestarted();
        let pod = case.status(&["app T(0,a)"]);
        case.pass(SignedDuration::from_mins(age));
        let now = case.now;
        case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
        case.observe(Observation::Listed(Scope::WHOLE, pod.clone()))
            .observe(Observation::ListEnds(Scope::WHOLE));
        case.observe(Observation::Deleted(Scope::WHOLE, pod)).finds(&expected);
    }
}

#[test]
fn a_pod_comes_back_with_its_old_kills_after_an_etcd_restore() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]).deleted(&["app R(1,b)+L(a)"]);
    let now = case.now;
    case.lists(now, &["app R(1,b)+L(a)"]).finds(&["a"]);
    case.lists(now, &[]).lists(now, &["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn down_while_a_container_was_killed_once() {
    for minutes in [1, 10, 50] {
        let mut case = Case::new();
        let now = case.now;
        case.lists(now, &["app R(0,a)"]).restart();
        let pod = case.status(&["app R(1,b)+L(a)"]);
        case.pass(SignedDuration::from_mins(minutes));
        let now = case.now;
        case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
        case.observe(Observation::Listed(Scope::WHOLE, pod)).finds(&["a"]);
    }
}

#[test]
fn a_list_that_breaks_off_is_begun_again() {
    let mut case = Case::reporting_unrestarted();
    let now = case.now;
    case.lists(now, &["app W(0)+L(a)"]);
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.lists(now, &["app W(0)+L(a)"]).finds(&[]).lists(now, &["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn lists_of_two_scopes_know_nothing_of_each_other() {
    let mut case = Case::reporting_unrestarted();
    let now = case.now;
    case.lists(now, &["app W(0)+L(a)"]);
    case.observe(Observation::ListBegins { scope: Scope(1), in_sync: now });
    case.observe(Observation::ListEnds(Scope(1))).finds(&[]);
}

#[test]
fn a_kill_whose_event_stands_in_the_cluster_was_reported() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    let event = finding::event_name("cart", &case.found[0].id);
    for last_seen in ["app R(1,b)+L(a)", "app T(0,a)", "app R(0,a)"] {
        case.restart();
        case.observe(Observation::Reported { namespace: "shop".into(), event: event.clone(), record: None });
        let now = case.now;
        case.lists(now, &[last_seen])
            .sees(&["app T(0,a)"])
            .started("app")
            .sees(&["app R(1,b)+L(a)"])
            .finds(&["a"]);
    }
    case.restart();
    case.observe(Observation::Reported { namespace: "other".into(), event, record: None });
    let now = case.now;
    case.lists(now, &["app R(1,b)+L(a)"]).finds(&["a", "a"]);
}

#[test]
fn the_filter_tells_which_of_its_findings_an_event_tells_of() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    let finding = case.found[0].clone();
    assert!(!case.filter.was_reported(&finding));
    let event = finding::event_name("cart", &finding.id);
    case.observe(Observation::Reported { namespace: "other".into(), event: event.clone(), record: None });
    assert!(!case.filter.was_reported(&finding));
    case.observe(Observation::Reported { namespace: "shop".into(), event, record: None });
    assert!(case.filter.was_reported(&finding));
}

#[test]
fn a_kill_whose_event_is_named_by_its_id_alone_was_reported() {
    let event = finding::event_name("cart", &KillId::new(&[&id("a")]));
    for (namespace, expected) in [("shop", vec![]), ("other", vec!["a"])] {
        let mut case = Case::new();
        case.observe(Observation::Reported {
            namespace: namespace.into(),
            event: event.clone(),
            record: None,
        });
        let now = case.now;
        case.lists(now, &["app R(1,b)+L(a)"]).finds(&expected);
    }
}

#[test]
fn who_claims_the_id_of_an_instance_in_another_namespace_hides_nothing() {
    let mut case = Case::new();
    let honest = case.pod.clone();
    (case.pod.namespace, case.pod.uid) = ("evil".into(), "uid-2".into());
    case.sees(&["app R(1,b)+L(a)"]).deleted(&["app R(1,b)+L(a)"]).finds(&["a"]);
    case.pod = honest;
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a", "a"]);
    assert_ne!(case.found[0].id, case.found[1].id);
}

#[test]
fn who_writes_an_event_of_another_namespace_confirms_nothing() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    for (written_in, about) in [("evil", "shop"), ("shop", "evil"), ("", "shop")] {
        let at = case.tick();
        let mut event = case.started_event("app", at, json!({}));
        event["metadata"]["namespace"] = written_in.into();
        event["involvedObject"]["namespace"] = about.into();
        case.event_is(event).finds(&[]);
    }
    let at = case.tick();
    let mut event = case.started_event("app", at, json!({}));
    event["involvedObject"]["namespace"] = "".into();
    case.event_is(event).finds(&["a"]);
}

#[test]
fn an_unknown_count_tells_nothing_and_the_kill_counts() {
    let mut case = Case::new();
    let sees = |case: &mut Case, containers: &[&str], counts: bool| {
        let mut pod = case.object(containers);
        let status = &mut pod["status"]["containerStatuses"][0];
        if !counts {
            status["restartCount"] = json!(-1);
        }
        let pod = serde_json::from_value(pod).unwrap();
        case.observe(Observation::Changed(Scope::WHOLE, pod));
    };
    sees(&mut case, &["app R(5,a)"], true);
    sees(&mut case, &["app T(5,a)"], false);
    sees(&mut case, &["app R(6,b)+L(a)"], false);
    case.finds(&["a"]);
    assert_eq!(case.found[0].restarted.as_ref().unwrap().restart_count, None);
    sees(&mut case, &["app R(6,b)+L(a)"], true);
    sees(&mut case, &["app R(7,c)+L(b)"], true);
    case.finds(&["a", "b"]);
    assert_eq!(case.unobserved, 0);
}

#[test]
fn an_unknown_exit_code_is_absent() {
    let mut case = Case::new();
    let mut pod = case.object(&["app R(1,b)+L(a)"]);
    pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] = json!(1_u64 << 40);
    case.observe(Observation::Changed(Scope::WHOLE, serde_json::from_value(pod).unwrap())).finds(&["a"]);
    assert_eq!(case.found[0].killed.exit_code, None);
    assert!(!case.found[0].message.contains("exited"));
}

#[test]
fn virtual_kubelets_leave_the_id_empty() {
    let mut case = Case::new();
    case.sees(&["app T(0,-a)"]).sees(&["app R(1,-b)+L(-a)"]).sees(&["app R(1,-b)+L(-a)"]).finds(&["-a"]);
    assert_eq!(case.found[0].killed.container_id, None);
    case.sees(&["app T(1,-b)+L(-a)"]).sees(&["app R(2,-c)+L(-b)"]).finds(&["-a", "-b"]);
    assert_eq!(case.found[1].killed.finished_at, Some(case.end_of("-b")));
}

#[test]
fn virtual_kubelets_show_an_end_twice() {
    let mut case = Case::new();
    case.sees(&["app T(0,-a)+L(-a)"]).finds(&[]).sees(&["app R(1,-b)+L(-a)"]).finds(&["-a"]);
    let mut case = Case::new();
    case.sees(&["app T(0,a)+L(a)"]).finds(&[]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn the_next_end_confirms_a_kill_without_an_id_too() {
    Case::new().sees(&["app T(0,-a)"]).sees(&["app W(1)+L(-b,Error)"]).finds(&["-a"]);
}

#[test]
fn times_that_were_never_set_are_absent() {
    let mut case = Case::new();
    case.sees(&["app T(0,a?)"]).started("app").finds(&[]).sees(&["app R(1,b?)+L(a?)"]).finds(&["a?"]);
    let finding = &case.found[0];
    assert_eq!((finding.killed.started_at, finding.killed.finished_at), (None, None));
    assert_eq!(finding.restarted.as_ref().unwrap().started_at, None);
}

#[test]
fn a_mirror_pod_that_is_made_anew_leaves_its_kill_pending() {
    let mut case = Case::reporting_unrestarted();
    case.pod.mirror = Some("static".into());
    case.sees(&["app T(0,a)"]).deleted(&["app T(0,a)"]).finds(&[]);
    case.pod.uid = "uid-2".into();
    case.sees(&["app -"]).sees(&["app T(0,a)"]).finds(&[]);
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    assert_eq!(case.found[0].restarted.as_ref().unwrap().restart_count, Some(1));
    case.deleted(&["app R(1,b)+L(a)"]);
    assert_eq!(case.filter.remembered(), 0);
}

#[test]
fn a_start_that_is_told_while_a_mirror_pod_is_gone_counts_once_it_is_back() {
    let mut case = Case::new();
    case.pod.mirror = Some("static".into());
    case.sees(&["app T(1,b)"]).deleted(&["app T(1,b)"]).started("app").finds(&[]);
    case.pod.uid = "uid-2".into();
    case.sees(&["app W(1)+L(b)"]).finds(&["b"]);
}

#[test]
fn a_mirror_pod_that_does_not_come_back_is_gone_with_the_next_list() {
    let mut case = Case::reporting_unrestarted();
    case.pod.mirror = Some("static".into());
    case.sees(&["app T(0,a)"]).deleted(&["app T(0,a)"]).finds(&[]);
    let now = case.now;
    case.lists(now, &[]).finds(&["a"]);
    assert_eq!(case.filter.remembered(), 0);
}

#[test]
fn of_mirror_pods_that_were_deleted_only_some_are_kept() {
    let mut case = Case::reporting_unrestarted();
    for number in 0..100 {
        case.pod.name = format!("static-{number}");
        case.pod.uid = format!("uid-{number}");
        case.pod.mirror = Some(format!("static-{number}"));
        let instance = format!("app T(0,i{number})");
        case.sees(&[&instance]).deleted(&[&instance]);
    }
    assert_eq!(case.found.len(), 36);
    assert!(case.filter.remembered() <= 3 * 64);
}

#[test]
fn a_new_pod_of_the_same_name_ends_the_one_before() {
    let mut case = Case::reporting_unrestarted();
    case.sees(&["app T(0,a)"]).finds(&[]);
    case.pod.uid = "uid-2".into();
    case.sees(&["app R(0,z)"]).finds(&["a"]);
    assert_eq!(case.filter.remembered(), 1);
    case.pod.namespace = "other".into();
    case.pod.uid = "uid-3".into();
    case.sees(&["app T(0,b)"]);
    case.pod.name = "another".into();
    case.pod.uid = "uid-4".into();
    case.sees(&["app R(0,y)"]).finds(&["a"]);
}

#[test]
fn an_older_pod_of_the_same_name_ends_nothing() {
    let mut case = Case::reporting_unrestarted();
    case.pass(jiff::SignedDuration::from_hours(1));
    case.sees(&["app T(0,a)"]);
    case.pod.uid = "uid-0".into();
    let mut older = case.status(&["app R(0,z)"]);
    for (age, expected) in [(60, vec![]), (-60, vec!["a"])] {
        older.metadata.creation_timestamp = Some(case.end_of("a") - jiff::SignedDuration::from_secs(age));
        older.metadata.uid = format!("uid-{age}");
        case.observe(Observation::Changed(Scope::WHOLE, older.clone())).finds(&expected);
    }
}

#[test]
fn kills_that_neither_an_id_nor_a_time_tells_apart_are_told_by_their_place() {
    let mut case = Case::new();
    let bare = |case: &mut Case, notation: &str| {
        let mut pod = case.status(&[notation]);
        let status = &mut pod.status.container_statuses[0];
        for end in [&mut status.state.terminated, &mut status.last_state.terminated].into_iter().flatten() {
            (end.container_id, end.started_at, end.finished_at) = (None, None, None);
        }
        case.observe(Observation::Changed(Scope::WHOLE, pod));
    };
    for (notation, restarts) in [
        ("app T(0,-a)", vec![]),
        ("app R(1,-b)+L(-a)", vec![1]),
        ("app R(1,-b)+L(-a)", vec![1]),
        ("app T(1,-b)+L(-a,Error)", vec![1]),
        ("app W(1)+L(-b)", vec![1]),
        ("app R(2,-c)+L(-b)", vec![1, 2]),
        ("app T(2,-c)+L(-b)", vec![1, 2]),
        ("app T(3,-d)+L(-c)", vec![1, 2, 3]),
        ("app R(4,-e)+L(-d)", vec![1, 2, 3, 4]),
    ] {
        bare(&mut case, notation);
        let told = |finding: &finding::Finding| finding.restarted.as_ref().unwrap().restart_count.unwrap();
        assert_eq!(case.found.iter().map(told).collect::<Vec<_>>(), restarts, "{notation}");
    }
}

#[test]
fn an_instance_that_ended_later_was_started_later() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let mut pod = case.status(&["app T(0,b)"]);
    pod.status.container_statuses[0].state.terminated.as_mut().unwrap().started_at = None;
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&["a"]);
}

#[test]
fn a_pod_that_claims_to_mirror_another_changes_nothing_for_it() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let honest = case.pod.clone();
    case.pod.mirror = Some(honest.uid.clone());
    (case.pod.uid, case.pod.name) = ("uid-2".into(), "forged".into());
    case.sees(&["app R(0,x)"]).started("app").deleted(&["app R(0,x)"]).finds(&[]);
    case.pod = honest;
    case.sees(&["app R(1,b)"]).finds(&["a"]);
}

#[test]
fn of_a_pod_without_restarts_nothing_else_is_remembered() {
    let mut case = Case::new();
    case.sees(&["init:setup T(0,x,Completed,0)", "app R(0,y)"]);
    case.sees(&["init:setup T(0,x,Completed,0)", "app T(0,y,Error,1)"]);
    assert_eq!(case.filter.remembered(), 1);
    case.deleted(&["init:setup T(0,x,Completed,0)", "app T(0,y,Error,1)"]);
    assert_eq!(case.filter.remembered(), 0);
}

#[test]
fn restarts_that_nobody_saw_are_counted_and_never_found() {
    let mut case = Case::new();
    case.sees(&["app R(0,a)"]).sees(&["app R(3,d)+L(c)"]).finds(&["c"]);
    assert_eq!(case.unobserved, 2);
    case.sees(&["app T(3,d,Error)+L(c)"]).sees(&["app R(5,f)+L(e,Error)"]);
    assert_eq!(case.unobserved, 2);
    case.sees(&["app R(7,h)"]);
    assert_eq!(case.unobserved, 4);
}

#[test]
fn a_first_end_that_was_seen_is_not_unobserved() {
    for end in ["Completed,0", "Error,1"] {
        let mut case = Case::new();
        case.sees(&[&format!("app T(0,a,{end})")]).sees(&[&format!("app R(2,c)+L(b,{end})")]);
        assert_eq!(case.unobserved, 0);
    }
}

#[test]
fn a_stale_status_makes_no_end_unobserved() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a,Error)"]).sees(&["app T(1,b,Error)+L(a,Error)"]);
    case.sees(&["app R(1,b)+L(a,Error)"]).sees(&["app R(3,d)+L(c,Error)"]);
    assert_eq!(case.unobserved, 0);
}

#[test]
fn ends_that_the_kubelet_made_up_are_counted_once() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a,Error)"]).sees(&["app W(2)+L(?,ContainerStatusUnknown)"]);
    case.sees(&["app R(2,c)+L(?,ContainerStatusUnknown)"]).sees(&["app R(3,d)+L(c,Error)"]);
    assert_eq!(case.unobserved, 0);
}

#[test]
fn restarts_before_a_mirror_pod_was_made_anew_are_nobodys_business() {
    let mut case = Case::new();
    case.pod.mirror = Some("static".into());
    case.sees(&[]).sees(&["app R(7,b)+L(a,Error)"]).sees(&["app R(8,c)+L(b,Error)"]);
    assert_eq!(case.unobserved, 0);
}

#[test]
fn restarts_before_the_pod_was_known_are_nobodys_business() {
    let mut case = Case::new();
    case.sees(&["app R(500,b)+L(a,Error)"]).sees(&["app R(501,c)+L(b,Error)"]);
    assert_eq!(case.unobserved, 0);
}

#[test]
fn a_list_of_one_namespace_says_nothing_of_another() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    let (other, now) = (Scope(1), case.now);
    case.observe(Observation::ListBegins { scope: other, in_sync: now })
        .observe(Observation::ListEnds(other));
    case.started("app").finds(&["a"]);
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    let mut case = Case::new();
    case.sees(&["app R(1,b)+L(a\u{1b}[2J)"]);
    assert!(case.found[0].message.contains("containerd://a [2J"), "{}", case.found[0].message);
}
