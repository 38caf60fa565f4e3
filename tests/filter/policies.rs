//! Kills after which nothing may start the container again are reported at once, if asked for, though
//! the Pod lives on.

use jiff::SignedDuration;
use kubernetes_oom_event_generator::source::{Observation, Scope};
use serde_json::{Value, json};

use super::case::Case;

fn rule(action: &str, operator: &str, values: &[i32]) -> Value {
    json!({"action": action, "exitCodes": {"operator": operator, "values": values}})
}

/// A Pod with this policy, and with these fields in the spec of `app`.
fn case(mut case: Case, policy: &str, app: &Value) -> Case {
    case.spec = json!({"restartPolicy": policy});
    case.container_specs.insert("app", app.clone());
    case
}

/// Whether a kill is reported at once that no restart follows, beside a container that runs on.
fn is_final(policy: &str, app: &Value, kind: &str, exit_code: i32) -> bool {
    let shown = format!("{kind}app T(0,a,OOMKilled,{exit_code})");
    let mut silent = case(Case::new(), policy, app);
    silent.sees(&[&shown, "other R(0,x)"]).sees(&[&shown, "other R(0,x)"]).finds(&[]);
    let mut case = case(Case::reporting_unrestarted(), policy, app);
    case.sees(&[&shown, "other R(0,x)"]);
    let found = case.found.len();
    assert!(case.found.iter().all(|finding| finding.restarted.is_none()));
    case.sees(&[&shown, "other R(0,x)"]).deleted(&[&shown, "other R(0,x)"]).finds(&["a"]);
    found == 1
}

#[test]
fn the_policy_of_the_pod_tells_what_is_final() {
    let none = json!({});
    for (policy, kind, exit_code, expected) in [
        ("Never", "", 137, true),
        ("Never", "init:", 137, true),
        ("Never", "ephemeral:", 137, true),
        ("Never", "sidecar:", 137, false),
        ("OnFailure", "", 137, false),
        ("OnFailure", "", 0, true),
        ("OnFailure", "init:", 1, false),
        ("OnFailure", "init:", 0, true),
        ("OnFailure", "sidecar:", 0, false),
        ("OnFailure", "ephemeral:", 1, true),
        ("Always", "", 137, false),
        ("Always", "", 0, false),
        ("Always", "init:", 137, false),
        ("Always", "init:", 0, true),
        ("Always", "ephemeral:", 137, true),
    ] {
        assert_eq!(is_final(policy, &none, kind, exit_code), expected, "{policy} {kind} {exit_code}");
    }
}

#[test]
fn the_policy_of_the_container_goes_before_that_of_its_pod() {
    for (pod, container, exit_code, expected) in [
        ("Never", "Always", 0, false),
        ("Never", "OnFailure", 137, false),
        ("Never", "OnFailure", 0, true),
        ("Always", "Never", 137, true),
        ("Always", "OnFailure", 0, true),
        ("OnFailure", "Never", 1, true),
    ] {
        let app = json!({"restartPolicy": container});
        assert_eq!(is_final(pod, &app, "", exit_code), expected, "{pod} {container} {exit_code}");
    }
    assert!(is_final("Always", &json!({"restartPolicy": "Never"}), "init:", 137));
    assert!(!is_final("Never", &json!({"restartPolicy": "OnFailure"}), "init:", 137));
}

#[test]
fn the_first_rule_for_the_exit_code_goes_before_the_policy() {
    for (rules, exit_code, expected) in [
        (vec![rule("Restart", "In", &[137])], 137, false),
        (vec![rule("Restart", "In", &[1, 2])], 137, true),
        (vec![rule("Restart", "NotIn", &[1, 2])], 137, false),
        (vec![rule("Restart", "NotIn", &[137])], 137, true),
        (vec![rule("Restart", "In", &[1]), rule("Restart", "In", &[137])], 137, false),
        (vec![rule("RestartAllContainers", "In", &[137])], 137, false),
        (vec![rule("RestartAllContainers", "In", &[88])], 137, true),
        (vec![rule("RestartAllContainers", "NotIn", &[137])], 137, true),
        (vec![rule("Restart", "In", &[])], 137, true),
        (vec![rule("Restart", "NotIn", &[])], 137, false),
    ] {
        let app = json!({"restartPolicy": "Never", "restartPolicyRules": rules});
        assert_eq!(is_final("Never", &app, "", exit_code), expected, "{app} {exit_code}");
    }
    let restarts = json!({"restartPolicy": "Never", "restartPolicyRules": [rule("Restart", "In", &[0])]});
    assert!(is_final("Never", &restarts, "init:", 0));
}

#[test]
fn what_is_not_known_of_a_rule_may_start_the_container_again() {
    for (rules, expected) in [
        (vec![rule("Terminate", "In", &[137]), rule("Restart", "In", &[1])], false),
        (vec![rule("Terminate", "In", &[1])], true),
        (vec![rule("Restart", "Near", &[1])], false),
        (vec![json!({"action": "Restart"})], false),
        (vec![json!({"action": "Restart", "exitCodes": null})], false),
        (vec![json!({})], false),
    ] {
        let app = json!({"restartPolicy": "Never", "restartPolicyRules": rules});
        assert_eq!(is_final("Never", &app, "", 137), expected, "{app}");
    }
    assert!(!is_final("Never", &json!({"restartPolicy": "Sometimes"}), "", 137));
}

#[test]
fn an_end_without_an_exit_code_may_be_any() {
    let rules = [rule("Restart", "In", &[88])];
    for (policy, app, expected) in [
        ("Never", json!({}), vec!["a"]),
        ("OnFailure", json!({}), vec![]),
        ("Never", json!({"restartPolicy": "Never", "restartPolicyRules": rules}), vec![]),
    ] {
        let mut case = case(Case::reporting_unrestarted(), policy, &app);
        let mut pod = case.status(&["app T(0,a)", "other R(0,x)"]);
        pod.status.container_statuses[0].state.terminated.as_mut().unwrap().exit_code = None;
        case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&expected);
        assert!(case.found.iter().all(|finding| finding.killed.exit_code.is_none()));
    }
}

#[test]
fn what_can_no_longer_restart_all_is_no_reason_to_wait() {
    for (values, kind, other, expected) in [
        (&[88], "", "-", vec![]),
        (&[88], "", "R(0,x)", vec![]),
        (&[88], "", "W(0)+L(x,Error,1)", vec![]),
        (&[88], "", "T(0,x,Error,88)", vec![]),
        (&[88], "", "T(0,x,Error,1)", vec!["a"]),
        (&[88], "init:", "R(0,x)", vec![]),
        (&[88], "init:", "T(0,x,Completed,0)", vec!["a"]),
        (&[0], "init:", "T(0,x,Completed,0)", vec![]),
    ] {
        let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
        let rules = [rule("RestartAllContainers", "In", values)];
        case.container_specs.insert("other", json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
        case.sees(&["app T(0,a)", &format!("{kind}other {other}"), "third R(0,t)"]).finds(&expected);
    }
}

#[test]
fn what_may_be_started_again_itself_may_restart_all() {
    for own in [json!({"restartPolicy": "OnFailure"}), json!({"restartPolicy": "Never"})] {
        let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
        let expected = if own["restartPolicy"] == "Never" { vec!["a"] } else { vec![] };
        let mut other = own;
        other["restartPolicyRules"] = json!([rule("RestartAllContainers", "In", &[88])]);
        case.container_specs.insert("other", other);
        case.sees(&["app T(0,a)", "other T(0,x,Error,1)", "third R(0,t)"]).finds(&expected);
    }
}

#[test]
fn a_kill_is_reported_once_what_could_restart_all_has_ended() {
    let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
    let rules = [rule("RestartAllContainers", "In", &[88])];
    case.container_specs.insert("other", json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    case.sees(&["app T(0,a)", "other R(0,x)", "third R(0,t)"]).finds(&[]);
    case.sees(&["app T(0,a)", "other T(0,x,Error,1)", "third R(0,t)"]).finds(&["a"]);
}

#[test]
fn another_container_may_restart_all_of_the_pod() {
    let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
    let rules = [rule("RestartAllContainers", "In", &[88])];
    case.container_specs.insert("other", json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    case.sees(&["app T(0,a)", "other R(0,x)"]).finds(&[]);
    case.sees(&["app R(1,b)", "other R(1,y)"]).finds(&["a"]);
    assert!(case.found[0].restarted.is_some());
}

#[test]
fn a_container_that_waits_may_still_start() {
    let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
    case.sees(&["app W(0)+L(a)"]).finds(&[]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
}

#[test]
fn what_the_newest_instance_exited_with_decides() {
    let rules = json!({"restartPolicy": "Never", "restartPolicyRules": [rule("Restart", "In", &[137])]});
    let mut case = case(Case::reporting_unrestarted(), "Never", &rules);
    case.sees(&["app T(0,a)"]).finds(&[]).sees(&["app T(1,b?,StartError,128)+L(a)"]).finds(&["a"]);
    assert!(case.found[0].restarted.is_none());
}

#[test]
fn an_init_container_fails_for_good_while_its_pod_stays_pending() {
    let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
    case.pod.phase = "Pending";
    case.sees(&["init:app T(0,a)", "sidecar:proxy R(0,x)"]).finds(&["a"]);
}

#[test]
fn a_start_after_all_is_not_reported_again() {
    let mut case = case(Case::reporting_unrestarted(), "OnFailure", &json!({}));
    case.sees(&["init:app T(0,a,OOMKilled,0)"]).finds(&["a"]);
    case.sees(&["init:app R(1,b)+L(a,OOMKilled,0)"]).started("app").finds(&["a"]);
}

#[test]
fn a_start_after_all_is_reported_if_unrestarted_kills_are_not() {
    let mut case = case(Case::new(), "OnFailure", &json!({}));
    case.sees(&["init:app T(0,a,OOMKilled,0)"]).finds(&[]);
    case.sees(&["init:app R(1,b)+L(a,OOMKilled,0)"]).finds(&["a"]);
}

#[test]
fn at_the_start_an_old_kill_that_is_final_is_history() {
    for (age, expected) in [(54, vec!["a"]), (56, vec![])] {
        let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
        let pod = case.status(&["app T(0,a)", "other R(0,x)"]);
        case.pass(SignedDuration::from_mins(age));
        let now = case.now;
        case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
        case.observe(Observation::Listed(Scope::WHOLE, pod.clone())).finds(&expected);
        case.observe(Observation::ListEnds(Scope::WHOLE));
        case.observe(Observation::Deleted(Scope::WHOLE, pod)).finds(&expected);
    }
}

#[test]
fn an_old_kill_stays_history_however_often_its_pod_is_shown_after_its_end() {
    let mut case = case(Case::reporting_unrestarted(), "Never", &json!({}));
    let pod = case.status(&["app W(0)+L(a)"]);
    case.pass(SignedDuration::from_hours(24));
    let now = case.now;
    case.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync: now });
    case.observe(Observation::Listed(Scope::WHOLE, pod)).observe(Observation::ListEnds(Scope::WHOLE));
    case.pod.phase = "Failed";
    for _ in 0..3 {
        case.sees(&["app T(0,a)"]).finds(&[]);
    }
    case.deleted(&["app T(0,a)"]).finds(&[]);
}

#[test]
fn of_a_final_kill_that_is_not_reported_nothing_is_pending() {
    let mut case = case(Case::new(), "Never", &json!({}));
    case.sees(&["app T(0,a)", "other R(0,x)"]).finds(&[]);
    assert_eq!(case.filter.remembered(), 2);
}
