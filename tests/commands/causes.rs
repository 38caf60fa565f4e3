//! Why a container was killed and what to try, as `replay` says it: each kind of cause, each addition to its text,
//! each rule of the advice.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::{pod_dsl::PodDsl, program::command};

const MIB: u64 = 1 << 20;
const OWN: &str = "it reached its own memory limit of 64 MiB";
const NO_LIMIT: &str = "neither it nor its Pod has a memory limit: its node, or the node's share for Pods, ran out of \
                        memory";
const NODE: &str = "its node n1 ran out of memory, and neither it nor its Pod has a memory limit";
const VOLUME: &str =
    "what is in its memory-backed emptyDir 'tmp' counts towards the limit and survives the restart";
const RAISE: &str = "raise the limit to 128Mi; where a chart or GitOps writes it, change it there";
const RAISE_SOMEWHERE: &str = "raise the limit to 128Mi where it is written (a manifest, a chart, GitOps)";
const LEAK: &str = "find out what grows before you raise the limit once more: it was raised within this incident and \
                    the container was killed again, so it leaks memory, more likely than not";

/// What a watch of the Pods of the Deployment `cart` recorded.
struct RecordedWatch {
    shown: PodDsl,
    recorded: String,
}

impl RecordedWatch {
    fn new() -> Self {
        let mut shown = PodDsl::at("2026-03-01T12:00:00Z".parse().unwrap());
        shown.metadata = owned("apps/v1", "ReplicaSet", "cart-6c9f7");
        Self { shown, recorded: String::new() }
    }

    fn with(change: impl FnOnce(&mut PodDsl)) -> Self {
        let mut watched = Self::new();
        change(&mut watched.shown);
        watched
    }

    fn sees(mut self, container: &str) -> Self {
        let mut object = self.shown.object(&[container]);
        object["kind"] = "Pod".into();
        self.line(&object)
    }

    /// An instance is killed and started again.
    fn killed(self, container: &str) -> Self {
        self.sees(&format!("{container} T(0,a)")).sees(&format!("{container} R(1,b)+L(a)"))
    }

    /// An Event about a node.
    fn node_event(self, node: &str, reason: &str, at: Timestamp) -> Self {
        self.line(&json!({
            "kind": "Event", "metadata": {"name": "n1.1", "namespace": "default", "uid": "e"},
            "involvedObject": {"kind": "Node", "name": node, "uid": node}, "reason": reason, "type": "Warning",
            "firstTimestamp": at.to_string(), "lastTimestamp": at.to_string(), "count": 1,
        }))
    }

    fn line(mut self, object: &Value) -> Self {
        self.recorded += &json!({"type": "MODIFIED", "object": object}).to_string();
        self.recorded += "\n";
        self
    }

    fn findings(&self) -> Vec<Value> {
        let mut replay = command();
        let mut replay =
            replay.args(["replay", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        replay.stdin.take().unwrap().write_all(self.recorded.as_bytes()).unwrap();
        findings(&replay.wait_with_output().unwrap())
    }

    fn last(&self) -> Value {
        self.findings().pop().expect(&self.recorded)
    }
}

fn findings(output: &Output) -> Vec<Value> {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The metadata of a Pod with this controlling owner.
fn owned(api_version: &str, kind: &str, name: &str) -> Value {
    let owner =
        json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true});
    json!({"labels": {"pod-template-hash": "6c9f7"}, "ownerReferences": [owner], "generation": 1})
}

fn limit(memory: &str) -> Value {
    json!({"resources": {"limits": {"memory": memory}}})
}

/// What kubectl is to do about the container of a workload.
fn set(rest: &str, memory: &str) -> Value {
    json!(format!("kubectl --namespace shop set resources {rest} --limits memory={memory}"))
}

#[track_caller]
fn assert_cause(finding: &Value, kind: &str, text: &str) {
    assert_eq!(finding["cause"], json!({"kind": kind, "text": text}), "{}", finding["message"]);
}

#[track_caller]
fn assert_advice(finding: &Value, mib: u64, command: &Value, text: &str) {
    let advice = &finding["advice"];
    let given = (advice["memoryLimitBytes"].as_u64(), &advice["command"], advice["text"].as_str());
    assert_eq!(given, (Some(mib * MIB), command, Some(text)));
}

#[test]
fn each_kind_of_cause() {
    let mount = |shown: &mut PodDsl| {
        let volume = json!({"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]});
        shown.spec.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
        let spec = shown.container_specs.entry("app").or_insert_with(|| json!({}));
        spec["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
    };
    let huge = json!({"resources": {"limits": {"hugepages-2Mi": "100Mi", "cpu": "1"}}});
    let no_requests = json!({"resources": {"limits": {"memory": "64Mi"}, "requests": {}}});
    let of_pod = |memory: &str| format!("its Pod as a whole reached the Pod's memory limit of {memory}");
    for (container, of_pods, mounts, kind, text) in [
        (limit("64Mi"), None, false, "container_limit", OWN.to_owned()),
        (no_requests, None, false, "container_limit", OWN.to_owned()),
        (limit("64Mi"), None, true, "container_limit", format!("{OWN}; {VOLUME}")),
        (limit("64Mi"), Some("256Mi"), false, "container_limit", OWN.to_owned()),
        (limit("64Mi"), Some("64Mi"), false, "container_limit", OWN.to_owned()),
        (
            limit("64Mi"),
            Some("48Mi"),
            false,
            "pod_limit",
            of_pod("48 MiB") + ", below the container's own of 64 MiB",
        ),
        (json!({"resources": {}}), Some("1Gi"), false, "pod_limit", of_pod("1 GiB")),
        (json!({"resources": {}}), Some("1Gi"), true, "pod_limit", format!("{}; {VOLUME}", of_pod("1 GiB"))),
        (json!({"resources": {}}), None, false, "no_limit", NO_LIMIT.to_owned()),
        (json!({"resources": {}}), None, true, "no_limit", NO_LIMIT.to_owned()),
        (huge, None, false, "no_limit", NO_LIMIT.to_owned()),
    ] {
        let watched = RecordedWatch::with(|shown| {
            if let Some(memory) = of_pods {
                shown.spec = limit(memory);
            }
            shown.container_specs.insert("app", container);
            if mounts {
                mount(shown);
            }
        });
        let finding = watched.killed("app").last();
        assert_cause(&finding, kind, &text);
        assert_eq!(finding.get("advice").is_some(), kind == "container_limit", "{text}");
    }
    for code in [0, 1, 3, 143] {
        let killed = RecordedWatch::new().sees(&format!("app T(0,a,OOMKilled,{code})"));
        let finding = killed.sees(&format!("app R(1,b)+L(a,OOMKilled,{code})")).last();
        let text = format!("a process in it ran out of memory, and it then ended with exit code {code}");
        assert_cause(&finding, "child_process", &text);
        assert_eq!(finding.get("advice"), None);
    }
}

#[test]
fn an_event_within_a_minute_shows_that_the_node_ran_out() {
    for (memory, node, reason, seconds, kind, text) in [
        ("0", "n1", "SystemOOM", 0, "node", NODE),
        ("0", "n1", "OOMKilling", 60, "node", NODE),
        ("0", "n1", "SystemOOM", -60, "node", NODE),
        ("0", "n1", "SystemOOM", 61, "no_limit", NO_LIMIT),
        ("0", "n1", "SystemOOM", -61, "no_limit", NO_LIMIT),
        ("0", "n2", "SystemOOM", 0, "no_limit", NO_LIMIT),
        ("0", "n1", "NodeNotReady", 0, "no_limit", NO_LIMIT),
        ("64Mi", "n1", "SystemOOM", 0, "container_limit", OWN),
    ] {
        let watched = RecordedWatch::with(|shown| _ = shown.container_specs.insert("app", limit(memory)));
        let watched = watched.sees("app T(0,a)");
        let at = watched.shown.end_of("a") + SignedDuration::from_secs(seconds);
        assert_cause(&watched.node_event(node, reason, at).sees("app R(1,b)+L(a)").last(), kind, text);
    }
}

#[test]
fn three_kills_at_the_start_show_that_the_limit_does_not_suffice() {
    let mut watched = RecordedWatch::new();
    for (count, (killed, next)) in ["a", "b", "c", "d"].iter().zip(["b", "c", "d", "e"]).enumerate() {
        watched = watched.sees(&format!("app T({count},{killed})"));
        watched = watched.sees(&format!("app R({},{next})+L({killed})", count + 1));
    }
    let findings = watched.findings();
    for (finding, kills) in findings.iter().zip(1..) {
        let start = format!(
            "; it never ran longer than 10 s in {kills} kills, so the limit doesn't suffice to start"
        );
        let text = OWN.to_owned() + if kills < 3 { "" } else { &start };
        assert_cause(finding, "container_limit", &text);
        assert_advice(finding, 128, &set("deployment/cart --containers app", "128Mi"), RAISE);
    }
    assert_eq!(findings.len(), 4);
}

#[test]
fn a_limit_that_was_raised_in_vain_gives_no_number() {
    for (minutes, effect) in [(0, "that didn't help"), (5, "it only runs longer, for 5m 1s instead of 1s")] {
        let mut watched = RecordedWatch::new().killed("app");
        // Somebody does as advised, and the Deployment starts another Pod.
        watched.shown.metadata = owned("apps/v1", "ReplicaSet", "cart-7d8b4");
        watched.shown.metadata["labels"]["pod-template-hash"] = "7d8b4".into();
        watched.shown.pod.uid = "uid-2".to_owned();
        watched.shown.pod.name = "cart-7d8b4-k9k".to_owned();
        watched.shown.container_specs.insert("app", limit("128Mi"));
        watched = watched.sees("app R(0,c)");
        watched.shown.pass(SignedDuration::from_mins(minutes));
        let finding = watched.sees("app T(0,c)").sees("app R(1,d)+L(c)").last();
        let text = format!(
            "it reached its own memory limit of 128 MiB; the limit was raised from 64 MiB to 128 MiB at 12:00 UTC, within \
             this incident, and {effect}"
        );
        assert_cause(&finding, "container_limit", &text);
        assert_eq!(finding["advice"], json!({"text": LEAK}));
    }
}

#[test]
fn after_a_resize_in_place_the_limit_of_the_killed_instance_counts() {
    let mut watched = RecordedWatch::new().sees("app R(0,a)").sees("app T(0,a)");
    watched.shown.metadata["generation"] = 2.into();
    watched.shown.container_specs.insert("app", limit("128Mi"));
    watched.shown.container_statuses.insert("app", limit("128Mi"));
    let finding = watched.sees("app R(1,b)+L(a)").last();
    assert_cause(&finding, "container_limit", OWN);
    assert_advice(&finding, 128, &set("deployment/cart --containers app", "128Mi"), RAISE);
}

#[test]
fn each_way_to_write_a_limit_is_read_and_answered_in_one_that_people_write() {
    for (memory, own, mib, written) in [
        ("1.5Gi", "1.5 GiB", 1920, "1920Mi"),
        ("100e6", "95.3 MiB", 192, "192Mi"),
        ("128974848", "123 MiB", 224, "224Mi"),
        ("129M", "123 MiB", 224, "224Mi"),
        ("512Mi", "512 MiB", 640, "640Mi"),
        ("600Mi", "600 MiB", 768, "768Mi"),
        ("1Gi", "1 GiB", 1280, "1280Mi"),
        ("4Gi", "4 GiB", 5120, "5Gi"),
        ("7Mi", "7 MiB", 14, "14Mi"),
    ] {
        let watched = RecordedWatch::with(|shown| _ = shown.container_specs.insert("app", limit(memory)));
        let finding = watched.killed("app").last();
        assert_cause(&finding, "container_limit", &format!("it reached its own memory limit of {own}"));
        let command = set("deployment/cart --containers app", written);
        assert_advice(&finding, mib, &command, &RAISE.replace("128Mi", written));
    }
    // A tenth of a byte is one.
    let watched = RecordedWatch::with(|shown| _ = shown.container_specs.insert("app", limit("0.1")));
    assert_eq!(watched.killed("app").last()["advice"]["memoryLimitBytes"], 2);
}

#[test]
fn the_command_names_what_kubectl_can_change_and_nothing_else() {
    let rollout = json!({
        "labels": {"rollouts-pod-template-hash": "6c9f7"},
        "ownerReferences": owned("apps/v1", "ReplicaSet", "cart-6c9f7")["ownerReferences"],
    });
    let config = json!({
        "annotations": {"openshift.io/deployment-config.name": "cart"},
        "ownerReferences": owned("v1", "ReplicationController", "cart-3")["ownerReferences"],
    });
    let scheduled = "2026-02-28T23:59:00Z".parse::<Timestamp>().unwrap().as_second() / 60;
    for (metadata, container, command) in [
        (owned("apps/v1", "ReplicaSet", "cart-6c9f7"), "app", Some("deployment/cart --containers app")),
        (owned("apps/v1", "StatefulSet", "db"), "app", Some("statefulset/db --containers app")),
        (owned("apps/v1", "DaemonSet", "a.b"), "init:migrate", Some("daemonset/a.b --containers migrate")),
        (
            owned("batch/v1", "Job", &format!("report-{scheduled}")),
            "sidecar:proxy",
            Some("cronjob/report --containers proxy"),
        ),
        (owned("apps/v1", "StatefulSet", "$(x);'"), "app", Some(r"'statefulset/$(x);'\''' --containers app")),
        (owned("apps/v1", "StatefulSet", "db"), "a;b", Some("statefulset/db --containers 'a;b'")),
        (owned("apps/v1", "StatefulSet", "db"), "a\nb", None),
        (owned("apps/v1", "StatefulSet", "db"), "*", None),
        (owned("apps/v1", "StatefulSet", "db"), "ephemeral:debug", None),
        (owned("apps/v1", "ReplicaSet", "bare"), "app", None),
        (owned("batch/v1", "Job", "import"), "app", None),
        (owned("v1", "Node", "n1"), "app", None),
        (owned("apps.kruise.io/v1beta1", "StatefulSet", "db"), "app", None),
        (rollout, "app", None),
        (config, "app", None),
        (json!({}), "app", None),
    ] {
        let described = format!("{metadata} {container}");
        let watched = RecordedWatch::with(|shown| shown.metadata = metadata);
        let advice = watched.killed(container).last()["advice"].clone();
        let expected = command.map_or(Value::Null, |rest| set(rest, "128Mi"));
        assert_eq!(advice["command"], expected, "{described}");
        let text = if command.is_some() { RAISE } else { RAISE_SOMEWHERE };
        assert_eq!((&advice["text"], &advice["memoryLimitBytes"]), (&json!(text), &json!(128 * MIB)));
    }
}

#[test]
fn a_container_gets_no_command_for_a_limit_above_that_of_its_pod() {
    for (of_pod, given) in [("80Mi", false), ("127Mi", false), ("128Mi", true)] {
        let finding = RecordedWatch::with(|shown| shown.spec = limit(of_pod)).killed("app").last();
        assert_cause(&finding, "container_limit", OWN);
        if given {
            assert_advice(&finding, 128, &set("deployment/cart --containers app", "128Mi"), RAISE);
        } else {
            let text = format!(
                "raise the limit to 128Mi, and that of the Pod, which is {of_pod}, where they are written"
            );
            assert_advice(&finding, 128, &Value::Null, &text);
        }
    }
}

#[test]
fn no_recording_gets_a_wrong_cause() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");
    let mut kinds = Vec::new();
    for name in [
        "both",
        "bystander",
        "child",
        "crash-loop",
        "first",
        "init",
        "never",
        "sidecar",
        "sigkill",
        "static-pod",
        "made-up/never-beside-sidecar",
        "made-up/own-start-always",
        "made-up/own-start-never",
        "made-up/pod-resize-deferred",
        "made-up/pod-status-without-memory",
        "made-up/rollout-and-deployment-config",
        "made-up/start-errors",
        "made-up/virtual-kubelet",
        "made-up/windows",
    ] {
        let mut replay = command();
        replay.arg("replay").arg(format!("{folder}/{name}.jsonl")).env("OOM_REPORT_UNRESTARTED", "true");
        for finding in findings(&replay.output().unwrap()) {
            let of_pod = "its Pod as a whole reached the Pod's memory limit of 256 MiB";
            let code = &finding["killed"]["exitCode"];
            let child = format!("a process in it ran out of memory, and it then ended with exit code {code}");
            let kills = finding["incident"]["kills"].as_u64().unwrap_or_default();
            let at_start = format!(
                "{OWN}; it never ran longer than 10 s in {kills} kills, so the limit doesn't suffice to start"
            );
            let (kind, text) = match name {
                "child" | "made-up/windows" => ("child_process", child.as_str()),
                "made-up/pod-resize-deferred" | "made-up/pod-status-without-memory" => ("pod_limit", of_pod),
                "crash-loop" if kills >= 3 => ("container_limit", at_start.as_str()),
                _ => ("container_limit", OWN),
            };
            assert_cause(&finding, kind, text);
            // None of them is of a workload that kubectl can change.
            if kind == "container_limit" {
                assert_advice(&finding, 128, &Value::Null, RAISE_SOMEWHERE);
            }
            kinds.push(kind);
        }
    }
    let count = |kind| kinds.iter().filter(|found| **found == kind).count();
    assert_eq!((count("container_limit"), count("pod_limit"), count("child_process")), (43, 2, 3));
}
