//! Why a container was killed and what to try, as a finding says it.

use finding::{Advice, AdvicePolicy, Cause, CauseKind, Finding};
use jiff::SignedDuration;
use kubernetes_oom_event_generator::{
    filter::FilterSettings,
    source::{
        Observation, Scope,
        objects::{NodeOom, PodSpec},
    },
};
use serde_json::{Value, json};

use super::case::{Case, settings};

const MIB: u64 = 1 << 20;
const NO_LIMIT: &str = "neither it nor its Pod has a memory limit: its node, or the node's share for Pods, ran out of \
                        memory";

fn limit(memory: &str) -> Value {
    json!({"resources": {"limits": {"memory": memory}}})
}

/// A container whose instance is killed and started again.
fn killed(case: &mut Case, container: &str) -> Finding {
    case.sees(&[&format!("{container} T(0,a)")]).sees(&[&format!("{container} R(1,b)+L(a)")]).finds(&["a"]);
    case.found[0].clone()
}

/// A Pod that belongs to this workload.
fn owned(api_version: &str, kind: &str, name: &str) -> Case {
    let mut case = Case::new();
    case.metadata = json!({
        "labels": {"pod-template-hash": "6c9f7"},
        "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true}],
    });
    case
}

fn kind_and_text(finding: &Finding) -> (CauseKind, &str) {
    let Cause { kind, text } = finding.cause.as_ref().unwrap();
    (*kind, text)
}

#[test]
fn the_smaller_limit_was_reached() {
    for (own, whole, kind, text) in [
        ("64Mi", None, CauseKind::ContainerLimit, "it reached its own memory limit of 64 MiB"),
        ("64Mi", Some("64Mi"), CauseKind::ContainerLimit, "it reached its own memory limit of 64 MiB"),
        ("64Mi", Some("256Mi"), CauseKind::ContainerLimit, "it reached its own memory limit of 64 MiB"),
        (
            "0",
            Some("256Mi"),
            CauseKind::PodLimit,
            "its Pod as a whole reached the Pod's memory limit of 256 MiB",
        ),
        (
            "64Mi",
            Some("48Mi"),
            CauseKind::PodLimit,
            "its Pod as a whole reached the Pod's memory limit of 48 MiB, below the container's own of 64 MiB",
        ),
        ("0", None, CauseKind::NoLimit, NO_LIMIT),
    ] {
        let mut case = Case::new();
        case.container_specs.insert("app", limit(own));
        if let Some(whole) = whole {
            case.spec = limit(whole);
        }
        let finding = killed(&mut case, "app");
        assert_eq!(kind_and_text(&finding), (kind, text));
        assert_eq!(finding.advice.is_some(), kind == CauseKind::ContainerLimit, "{text}");
    }
}

#[test]
fn another_exit_code_shows_that_a_child_was_killed() {
    for code in ["0", "1", "3", "143"] {
        let mut case = Case::new();
        case.sees(&[&format!("app R(1,b)+L(a,OOMKilled,{code})")]).finds(&["a"]);
        let text = format!("a process in it ran out of memory, and it then ended with exit code {code}");
        assert_eq!(kind_and_text(&case.found[0]), (CauseKind::ChildProcess, text.as_str()));
        assert_eq!(case.found[0].advice, None);
    }
}

#[test]
fn a_node_ran_out_if_an_event_says_so_within_a_minute_and_there_is_no_limit() {
    let minute = SignedDuration::from_mins(1);
    let second = SignedDuration::from_secs(1);
    for (memory, node, apart, kind) in [
        ("0", "n1", SignedDuration::ZERO, CauseKind::Node),
        ("0", "n1", minute, CauseKind::Node),
        ("0", "n1", -minute, CauseKind::Node),
        ("0", "n1", minute + second, CauseKind::NoLimit),
        ("0", "n1", -minute - second, CauseKind::NoLimit),
        ("0", "n2", SignedDuration::ZERO, CauseKind::NoLimit),
        ("64Mi", "n1", SignedDuration::ZERO, CauseKind::ContainerLimit),
    ] {
        let mut case = Case::new();
        case.container_specs.insert("app", limit(memory));
        case.sees(&["app T(0,a)"]);
        let at = case.end_of("a") + apart;
        case.observe(Observation::NodeRanOut(NodeOom { node: node.to_owned(), at }));
        case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
        let (found, text) = kind_and_text(&case.found[0]);
        assert_eq!(found, kind, "{memory} {node} {apart}");
        if kind == CauseKind::Node {
            assert_eq!(text, "its node n1 ran out of memory, and neither it nor its Pod has a memory limit");
        }
    }
}

#[test]
fn a_kill_told_before_the_event_of_its_node_doesnt_wait_for_it() {
    let mut case = Case::new();
    case.container_specs.insert("app", limit("0"));
    let finding = killed(&mut case, "app");
    assert_eq!(finding.cause.unwrap().kind, CauseKind::NoLimit);
    let oom = NodeOom { node: "n1".to_owned(), at: case.end_of("a") };
    case.observe(Observation::NodeRanOut(oom)).finds(&["a"]);
}

#[test]
fn advice_has_the_command_for_what_kubectl_can_change() {
    for (api_version, kind, name, container, command) in [
        ("apps/v1", "ReplicaSet", "cart-6c9f7", "app", Some("deployment/cart --containers app")),
        ("apps/v1", "StatefulSet", "db", "app", Some("statefulset/db --containers app")),
        ("apps/v1", "DaemonSet", "agent", "init:migrate", Some("daemonset/agent --containers migrate")),
        ("batch/v1", "Job", "report-29312345", "sidecar:proxy", Some("cronjob/report --containers proxy")),
        ("apps/v1", "StatefulSet", "db", "ephemeral:debug", None),
        ("apps/v1", "ReplicaSet", "bare", "app", None),
        ("batch/v1", "Job", "migrate", "app", None),
        ("apps.kruise.io/v1beta1", "StatefulSet", "db", "app", None),
        ("apps.kruise.io/v1alpha1", "DaemonSet", "agent", "app", None),
        ("v1", "Node", "n1", "app", None),
    ] {
        let finding = killed(&mut owned(api_version, kind, name), container);
        let Advice { memory_limit_bytes, command: given, text } = finding.advice.unwrap();
        assert_eq!(memory_limit_bytes, Some(128 * MIB), "{kind} {container}");
        let whole = command
            .map(|rest| format!("kubectl --namespace shop set resources {rest} --limits memory=128Mi"));
        assert_eq!(given, whole, "{kind} {container}");
        let expected = if command.is_some() {
            "raise the limit to 128Mi; where a chart or GitOps writes it, change it there"
        } else {
            "raise the limit to 128Mi where it is written (a manifest, a chart, GitOps)"
        };
        assert_eq!(text, expected);
    }
}

#[test]
fn a_pod_of_nobody_gets_advice_without_a_command() {
    let advice = killed(&mut Case::new(), "app").advice.unwrap();
    assert_eq!((advice.memory_limit_bytes, advice.command), (Some(128 * MIB), None));
}

#[test]
fn names_that_a_shell_would_mind_are_quoted_or_give_no_command() {
    for (name, container, command) in [
        ("a b", "app", Some("'statefulset/a b' --containers app")),
        ("$(reboot)", "app", Some("'statefulset/$(reboot)' --containers app")),
        ("it's", "app", Some(r"'statefulset/it'\''s' --containers app")),
        ("db", "a;b", Some("statefulset/db --containers 'a;b'")),
        ("db", "*", None),
        ("a\u{202e}b", "app", None),
        ("a\nb", "app", None),
    ] {
        let finding = killed(&mut owned("apps/v1", "StatefulSet", name), container);
        let given = finding.advice.unwrap().command;
        let whole = command
            .map(|rest| format!("kubectl --namespace shop set resources {rest} --limits memory=128Mi"));
        assert_eq!(given, whole);
    }
}

#[test]
fn what_was_seen_before_a_resize_belongs_to_the_killed_instance() {
    let mut case = Case::new();
    case.sees(&["app T(0,a)"]);
    case.container_specs.insert("app", limit("128Mi"));
    case.container_statuses.insert("app", limit("128Mi"));
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    let Finding { cause, advice, .. } = &case.found[0];
    assert_eq!(cause.as_ref().unwrap().text, "it reached its own memory limit of 64 MiB");
    assert_eq!(advice.as_ref().unwrap().memory_limit_bytes, Some(128 * MIB));
}

#[test]
fn without_a_policy_there_is_no_advice() {
    let mut case = Case::with(FilterSettings { advice: None, ..settings() });
    let finding = killed(&mut case, "app");
    assert_eq!((finding.cause.unwrap().kind, finding.advice), (CauseKind::ContainerLimit, None));
    assert!(finding.message.ends_with("restart count 1"), "{}", finding.message);

    let policy = AdvicePolicy { bump_up_thousandths: 1500, min_bump_up_bytes: 0 };
    let mut case = Case::with(FilterSettings { advice: Some(policy), ..settings() });
    assert_eq!(killed(&mut case, "app").advice.unwrap().memory_limit_bytes, Some(96 * MIB));
}

#[test]
fn the_message_says_in_brief_what_helps() {
    let id = "'app' (containerd://a) was OOMKilled:";
    for (memory, whole, says) in [
        ("64Mi", None, "memory limit 64 MiB, ran for 1s, restart count 1, try 128Mi"),
        ("0", Some("256Mi"), "memory limit of the Pod 256 MiB, ran for 1s, restart count 1"),
        ("64Mi", Some("48Mi"), "memory limit of the Pod 48 MiB, ran for 1s, restart count 1"),
        ("0", None, "no memory limit, ran for 1s, restart count 1"),
    ] {
        let mut case = Case::new();
        case.container_specs.insert("app", limit(memory));
        if let Some(whole) = whole {
            case.spec = limit(whole);
        }
        let finding = killed(&mut case, "app");
        assert_eq!(finding.message, format!("The previous instance of the container {id} {says}"));
    }
    let mut case = Case::reporting_unrestarted();
    case.sees(&["app T(0,a,OOMKilled,3)"]).deleted(&["app T(0,a,OOMKilled,3)"]).finds(&["a"]);
    let says = "memory limit 64 MiB, ran for 1s, marked OOMKilled, but exited with 3, not restarted";
    assert_eq!(case.found[0].message, format!("The container {id} {says}"));
}

#[test]
fn what_is_unknown_is_no_cause() {
    let mut case = Case::new();
    let mut pod = case.status(&["app R(1,b)+L(a)"]);
    pod.spec = PodSpec::default();
    case.observe(Observation::Changed(Scope::WHOLE, pod)).finds(&["a"]);
    assert_eq!((&case.found[0].cause, &case.found[0].advice), (&None, &None));
    assert!(case.found[0].message.contains("memory limit unknown"), "{}", case.found[0].message);
}

#[test]
fn what_was_seen_last_before_an_unseen_end_belongs_to_the_killed_instance() {
    let mut case = Case::new();
    case.container_specs.insert("app", limit("128Mi"));
    case.container_statuses.insert("app", limit("64Mi"));
    case.sees(&["app R(0,a)"]);
    case.container_statuses.insert("app", limit("128Mi"));
    case.sees(&["app R(1,b)+L(a)"]);
    case.container_specs.insert("app", limit("256Mi"));
    case.container_statuses.insert("app", limit("256Mi"));
    case.sees(&["app R(2,c)+L(b)"]).finds(&["a", "b"]);
    let limits: Vec<_> = case.found.iter().map(|finding| finding.container.memory_limit_bytes).collect();
    assert_eq!(limits, [Some(64 * MIB), Some(128 * MIB)]);

    // Nobody saw under which limit the instance ran that was killed last.
    case.container_specs.insert("app", limit("512Mi"));
    case.container_statuses.insert("app", limit("512Mi"));
    case.sees(&["app R(4,e)+L(d)"]).finds(&["a", "b", "d"]);
    assert_eq!(case.found[2].container.memory_limit_bytes, None);
    assert_eq!((&case.found[2].cause, &case.found[2].advice), (&None, &None));
}

#[test]
fn the_limit_of_an_instance_that_ended_before_the_pod_was_known_counts_unless_the_pod_was_changed() {
    for (generation, known) in [(json!(null), true), (json!(1), true), (json!(2), false)] {
        let mut case = Case::new();
        case.metadata = json!({"generation": generation});
        case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
        let Finding { container, cause, advice, message, .. } = &case.found[0];
        assert_eq!(container.memory_limit_bytes, known.then_some(64 * MIB));
        assert_eq!((cause.is_some(), advice.is_some()), (known, known));
        assert_eq!(message.contains("memory limit unknown"), !known, "{message}");
    }
    let mut case = Case::new();
    case.metadata = json!({"generation": 2});
    case.sees(&["app T(0,a)"]).sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    assert_eq!(case.found[0].container.memory_limit_bytes, Some(64 * MIB));
}

#[test]
fn a_volume_in_memory_counts_where_it_is_mounted() {
    for (volumes, mounts, shown) in [
        (json!([{"name": "tmp", "emptyDir": {"medium": "Memory"}}]), json!([{"name": "tmp"}]), true),
        (
            json!([{"name": "token", "projected": {}}, {"name": "tmp", "emptyDir": {"medium": "Memory"}}]),
            json!([{"name": "token", "mountPath": "/t"}, {"name": "tmp", "mountPath": "/tmp"}]),
            true,
        ),
        (json!([{"name": "tmp", "emptyDir": {"medium": "Memory"}}]), json!([{"name": "other"}]), false),
        (json!([{"name": "tmp", "emptyDir": {}}]), json!([{"name": "tmp"}]), false),
        (json!([{"name": "tmp", "emptyDir": {"medium": ["Memory"]}}, 5]), json!([{"name": "tmp"}]), false),
        (json!("Memory"), json!({"name": "tmp"}), false),
        (json!(null), json!(null), false),
    ] {
        for container in ["app", "init:app", "sidecar:app"] {
            let mut case = Case::new();
            case.spec = json!({"volumes": volumes});
            case.container_specs.insert("app", json!({"volumeMounts": mounts}));
            let text = killed(&mut case, container).cause.unwrap().text;
            let says = "what is in its memory-backed emptyDir 'tmp' counts towards the limit and survives the restart";
            assert_eq!(text.contains(says), shown, "{text}");
        }
    }
}
