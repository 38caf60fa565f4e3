//! `replay`: what it finds in each recording of a real kubelet, and what it says about bad input.

use std::{
    io::{self, BufRead, BufReader, Seek, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::program::command as program;

fn recording(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name).with_extension("jsonl")
}

fn replay(name: &str, report_unrestarted: bool) -> Vec<Value> {
    let output = program()
        .arg("replay")
        .arg(recording(name))
        .env("OOM_REPORT_UNRESTARTED", report_unrestarted.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    findings(&output)
}

fn findings(output: &Output) -> Vec<Value> {
    let schema: Value = serde_json::from_str(include_str!("../../finding/oom-finding.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let lines = text(&output.stdout);
    let finding = |line: &str| {
        let finding = serde_json::from_str(line).unwrap();
        schema.validate(&finding).unwrap();
        finding
    };
    lines.lines().map(finding).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What stands in the findings at a JSON pointer.
fn at<'a>(findings: &'a [Value], pointer: &str) -> Vec<&'a Value> {
    findings.iter().map(|finding| finding.pointer(pointer).unwrap_or(&Value::Null)).collect()
}

#[test]
fn each_recording_gives_its_findings() {
    for (name, restarted, unrestarted, container, kind) in [
        ("first", 1, 0, "app", "container"),
        ("bystander", 1, 0, "hungry", "container"),
        ("child", 2, 0, "app", "container"),
        ("crash-loop", 23, 1, "app", "container"),
        ("init", 2, 0, "migrate", "init"),
        ("sidecar", 2, 0, "proxy", "sidecar"),
        ("never", 0, 1, "app", "container"),
        ("sigkill", 0, 0, "app", "container"),
        ("static-pod", 1, 0, "app", "container"),
    ] {
        let found = replay(name, false);
        assert_eq!(found.len(), restarted, "{name}");
        let all = replay(name, true);
        assert_eq!(all.len(), restarted + unrestarted, "{name}");
        assert_eq!(
            all.iter().filter(|finding| finding["restarted"].is_null()).count(),
            unrestarted,
            "{name}"
        );
        for finding in &all {
            assert_eq!(finding["container"]["name"], container, "{name}");
            assert_eq!(finding["container"]["type"], kind, "{name}");
            assert_eq!(finding["container"]["memoryLimitBytes"], 64 << 20, "{name}");
        }
    }
}

#[test]
fn what_other_clusters_were_reported_to_show_is_read_right() {
    for (name, reported, pointer, restarted, unrestarted) in [
        ("own-start-never", 1, "/restarted", json!([]), json!([null])),
        ("own-start-always", 1, "/restarted/startedAt", json!(["2026-03-02T10:00:21Z"]), json!([])),
        ("pod-resize-deferred", 1, "/pod/memoryLimitBytes", json!([256 << 20]), json!([])),
        ("pod-status-without-memory", 1, "/pod/memoryLimitBytes", json!([256 << 20]), json!([])),
        ("start-errors", 1, "/restarted/restartCount", json!([3]), json!([])),
        ("windows", 1, "/killed/exitCode", json!([-532_462_766]), json!([])),
        ("never-beside-sidecar", 1, "/container/name", json!([]), json!(["main"])),
        (
            "rollout-and-deployment-config",
            3,
            "/pod/workload/kind",
            json!(["Rollout", "Rollout", "DeploymentConfig"]),
            json!([]),
        ),
        ("rollout-and-deployment-config", 3, "/pod/workload/name", json!(["web", "web", "shop"]), json!([])),
        ("virtual-kubelet", 2, "/restarted/restartCount", json!([1, 2]), json!([])),
    ] {
        let name = format!("made-up/{name}");
        let found = replay(&name, false);
        assert_eq!(json!(at(&found, pointer)), restarted, "{name}");
        let all = replay(&name, true);
        assert_eq!(all.len(), reported, "{name}");
        let alone = all.iter().filter(|finding| finding["restarted"].is_null()).cloned().collect::<Vec<_>>();
        assert_eq!(json!(at(&alone, pointer)), unrestarted, "{name}");
    }
}

#[test]
fn what_nothing_may_restart_is_reported_while_its_pod_lives_on() {
    let mut command = program();
    command.args(["replay", "-"]).env("OOM_REPORT_UNRESTARTED", "true");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let recorded = std::fs::read(recording("made-up/never-beside-sidecar")).unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&recorded).unwrap();
    let mut printed = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut printed).unwrap();
    assert!(printed.contains("not restarted"), "{printed}");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_killed_instances_are_named_each_once() {
    let found = replay("crash-loop", true);
    let mut ids: Vec<_> = at(&found, "/killed/containerId").into_iter().map(Value::to_string).collect();
    let mut kills: Vec<_> = at(&found, "/id").into_iter().map(Value::to_string).collect();
    ids.sort();
    ids.dedup();
    kills.sort();
    kills.dedup();
    assert_eq!((ids.len(), kills.len()), (24, 24));
    assert!(ids[0].starts_with("\"containerd://"));
    assert_eq!(at(&found, "/restarted/restartCount")[22], 23);
}

#[test]
fn an_incident_counts_the_kills_of_a_recorded_watch() {
    let found = replay("crash-loop", true);
    assert_eq!(at(&found, "/incident/kills"), (1..=24).collect::<Vec<_>>());
    assert_eq!(at(&found, "/incident/pods"), [1; 24]);
    let since = at(&found, "/incident/since");
    assert!(since.iter().all(|since| **since == found[0]["killed"]["finishedAt"]), "{since:?}");
}

#[test]
fn a_single_state_of_a_pod_tells_of_no_incident() {
    let recorded = std::fs::read_to_string(recording("crash-loop")).unwrap();
    let last: Value = serde_json::from_str(recorded.lines().last().unwrap()).unwrap();
    let pod = &last["object"];
    for input in [pod.clone(), json!({"kind": "List", "items": [pod]}), last.clone()] {
        let output = replay_stdin(input.to_string().as_bytes());
        let found = findings(&output);
        assert_eq!(found.len(), 1, "{}", text(&output.stderr));
        assert_eq!(found[0].get("incident"), None);
    }
}

#[test]
fn two_containers_are_told_apart() {
    let found = replay("both", false);
    assert_eq!(at(&found, "/container/name"), ["a", "b"]);
    let id = |finding: &Value| finding["killed"]["containerId"].as_str().unwrap()[..19].to_owned();
    assert_eq!(found.iter().map(id).collect::<Vec<_>>(), ["containerd://db4e74", "containerd://61c131"]);
}

#[test]
fn a_childs_kill_keeps_its_parents_exit_code() {
    let found = replay("child", false);
    assert_eq!(at(&found, "/killed/exitCode"), [3, 3]);
    assert!(found[0]["message"].as_str().unwrap().contains("marked OOMKilled, but exited with 3"));
}

#[test]
fn a_static_pod_is_found_by_its_mirror() {
    let found = replay("static-pod", false);
    assert_eq!(found[0]["pod"]["workload"]["kind"], "Node");
    assert_eq!(found[0]["pod"]["node"], "node-a");
}

#[test]
fn a_finding_of_the_first_recording_in_full() {
    let found = replay("first", false);
    let id = "containerd://ef83b8";
    assert!(found[0]["killed"]["containerId"].as_str().unwrap().starts_with(id));
    assert_eq!(found[0]["detectedAt"], "2026-11-22T16:17:31.835722Z");
    assert_eq!(found[0]["pod"]["workload"], json!({"kind": "Pod", "name": "first"}));
    assert_eq!(found[0]["restarted"], json!({"startedAt": "2026-11-22T16:17:31Z"}));
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("The previous instance of the container 'app' ({id}")), "{message}");
    assert!(message.ends_with("was OOMKilled: memory limit 64 MiB, ran for 1s, try 128Mi"), "{message}");
}

#[test]
fn the_configuration_of_namespaces_and_cluster_holds() {
    let run = |key: &str, value: &str| {
        findings(&program().arg("replay").arg(recording("first")).env(key, value).output().unwrap())
    };
    assert_eq!(run("OOM_CLUSTER", "prod")[0]["cluster"], "prod");
    assert_eq!(run("OOM_NAMESPACES__EXCLUDE", "[lab-*]").len(), 0);
    assert_eq!(run("OOM_NAMESPACES__INCLUDE", "[other]").len(), 0);
    assert_eq!(run("OOM_NAMESPACES__INCLUDE", "[lab-first]").len(), 1);
}

#[test]
fn a_broken_line_is_named_after_the_findings_before_it() {
    let mut recorded = std::fs::read_to_string(recording("first")).unwrap();
    recorded.push_str("{\"type\":\"ADDED\"}\n");
    let output = replay_stdin(recorded.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(findings(&output).len(), 1);
    let said = text(&output.stderr);
    assert!(said.starts_with("stdin: line 12: missing field `object`"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn a_table_is_refused_with_what_to_do() {
    let output =
        replay_stdin(b"NAME   READY   STATUS    RESTARTS   AGE\ncart   1/1     Running   0          5m\n");
    assert_eq!(output.status.code(), Some(1));
    let expected = "stdin: line 1: this is no JSON but begins with `NAME`. Expected what `kubectl get pods -o json` \
                    prints, with or without `--watch` and `--output-watch-events`\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn what_people_have_at_hand_gives_the_finding_of_the_recording() {
    let recorded = std::fs::read_to_string(recording("first")).unwrap();
    let changes: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_pod = |change: &&Value| change["object"]["kind"] == "Pod";
    let objects: Vec<Value> = changes.iter().map(|change| change["object"].clone()).collect();
    let pods: Vec<Value> = changes.iter().filter(is_pod).map(|change| change["object"].clone()).collect();
    let last = pods.last().unwrap();
    let mut bare = last.clone();
    bare.as_object_mut().unwrap().retain(|key, _| !["kind", "apiVersion"].contains(&key.as_str()));
    let pretty =
        |values: &[Value]| values.iter().map(|value| format!("{value:#}")).collect::<Vec<_>>().join("\n");
    let utf16 = |bytes: fn(u16) -> [u8; 2]| {
        let text = format!("\u{feff}{}", recorded.replace('\n', "\r\n"));
        text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    for (what, input) in [
        ("a byte order mark and CR LF", format!("\u{feff}{}", recorded.replace('\n', "\r\n")).into_bytes()),
        ("UTF-16, little end first", utf16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(u16::to_be_bytes)),
        ("UTF-16 without a mark, little end first", utf16(u16::to_le_bytes)[2..].to_vec()),
        ("UTF-16 without a mark, big end first", utf16(u16::to_be_bytes)[2..].to_vec()),
        ("a List of changes", json!({"kind": "List", "items": changes}).to_string().into_bytes()),
        ("a List of Pods without a kind", json!({"items": [bare], "kind": "List"}).to_string().into_bytes()),
        ("nothing between the changes", recorded.replace('\n', "").into_bytes()),
        ("a pretty array of changes", format!("{:#}", Value::from(changes.clone())).into_bytes()),
        ("a watch without its events", pretty(&pods).into_bytes()),
        ("one Pod", last.to_string().into_bytes()),
        ("a List", json!({"apiVersion": "v1", "items": [last], "kind": "List"}).to_string().into_bytes()),
        ("a PodList", json!({"kind": "PodList", "items": [bare]}).to_string().into_bytes()),
        (
            "a List of Pods and Events",
            format!("{:#}", json!({"kind": "List", "items": objects})).into_bytes(),
        ),
        (
            "Events of events.k8s.io",
            pretty(&changes.iter().cloned().map(newer).collect::<Vec<_>>()).into_bytes(),
        ),
    ] {
        let output = replay_stdin(&input);
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        let found = findings(&output);
        assert_eq!(found.len(), 1, "{what}");
        let id = found[0]["killed"]["containerId"].as_str().unwrap();
        assert!(id.starts_with("containerd://ef83b8"), "{what}: {id}");
    }
}

/// The change of an Event as `events.k8s.io/v1` has it.
fn newer(mut change: Value) -> Value {
    let object = change["object"].as_object_mut().unwrap();
    if object["kind"] == "Event" {
        object.insert("apiVersion".to_owned(), "events.k8s.io/v1".into());
        for (core, newer) in [
            ("involvedObject", "regarding"),
            ("message", "note"),
            ("count", "deprecatedCount"),
            ("firstTimestamp", "deprecatedFirstTimestamp"),
            ("lastTimestamp", "deprecatedLastTimestamp"),
            ("source", "deprecatedSource"),
            ("reportingComponent", "reportingController"),
        ] {
            let value = object.remove(core).unwrap_or_default();
            object.insert(newer.to_owned(), value);
        }
    }
    change
}

/// What `replay -` answers to this input.
fn replay_stdin(input: &[u8]) -> Output {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    program().args(["replay", "-"]).stdin(file).output().unwrap()
}

#[test]
fn a_line_on_stderr_says_what_there_was() {
    let said = |input: &[u8]| {
        let output = replay_stdin(input);
        assert!(output.status.success());
        text(&output.stderr)
    };
    let recorded = std::fs::read(recording("first")).unwrap();
    assert_eq!(said(&recorded), "11 objects, 1 kill\n");
    let forbidden = json!({"kind": "Status", "message": "pods is forbidden", "code": 403}).to_string();
    let expected = "1 object, but no Pod or Event: 1 of kind Status (“pods is forbidden”). Expected what ";
    assert!(said(forbidden.as_bytes()).starts_with(expected), "{}", said(forbidden.as_bytes()));
    assert!(said(b"").starts_with("nothing to read. Expected what `kubectl get pods -o json` prints"));
}

#[test]
fn the_items_of_a_list_give_their_findings_before_its_end() {
    let mut child = program().arg("replay").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let list = std::fs::read_to_string(recording("first")).unwrap().trim_end().replace('\n', ",");
    pipe.write_all(format!("{{\"apiVersion\":\"v1\",\"items\":[{list}").as_bytes()).unwrap();
    let mut line = String::new();
    io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"schema\":\"oom-finding/v1\""), "{line}");
    pipe.write_all(b"],\"kind\":\"List\"}").unwrap();
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_finding_is_printed_while_the_pipe_stays_open() {
    let mut child = program().arg("replay").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(std::fs::read_to_string(recording("first")).unwrap().trim_end().as_bytes()).unwrap();
    let mut line = String::new();
    io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"schema\":\"oom-finding/v1\""), "{line}");
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_missing_file_is_named() {
    let output = program().args(["replay", "/nowhere/at.all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("can't read /nowhere/at.all: "), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let command = format!(
        "set -o pipefail; '{}' replay '{}' | head -1",
        support::program::path().display(),
        recording("crash-loop").display()
    );
    let output = Command::new("bash").args(["-c", &command]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    assert_eq!(findings(&output).len(), 1);
}

#[test]
fn a_table_has_a_row_for_each_container_of_a_workload() {
    let output =
        program().args(["replay", "--output", "table"]).arg(recording("crash-loop")).output().unwrap();
    let table = text(&output.stdout);
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].starts_with("NAMESPACE  "), "{table}");
    assert_eq!(rows.len(), 2, "{table}");
    assert!(
        rows[1].contains("Pod/crash-loop") && rows[1].contains("  23  ") && rows[1].contains("  64 MiB  "),
        "{table}"
    );
    let nothing = program().args(["replay", "-o", "table"]).arg(recording("sigkill")).output().unwrap();
    assert_eq!(text(&nothing.stdout), "No OOM kill: nothing in the recording shows one.\n");
    assert!(nothing.status.success());
}

#[test]
fn a_sink_or_a_match_that_it_cannot_honour_is_refused() {
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    let said = refused(program().args(["replay", "--sink", "slack"]).arg(recording("first")));
    assert!(said.contains("leave out --sink slack"), "{said}");
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config
        .write_all(
            b"sinks: { team: { type: slack, webhook_url_file: /nowhere, match: { containers: [app] } } }",
        )
        .unwrap();
    let said = refused(program().args(["replay", "-c"]).arg(config.path()).arg(recording("first")));
    assert!(said.contains("sinks.team.match") && said.contains("every finding is printed"), "{said}");
    let said =
        refused(program().arg("replay").arg(recording("first")).env("OOM_SINKS__X__MATCH__CONTAINERS", "a"));
    assert!(said.contains("$OOM_SINKS__X__MATCH__CONTAINERS"), "{said}");
}
