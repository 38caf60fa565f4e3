//! `replay`: what it finds in each recording of a real kubelet, and what it says about bad input.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
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
    assert_eq!(found[0]["pod"]["workload"], serde_json::json!({"kind": "Pod", "name": "first"}));
    assert_eq!(found[0]["restarted"], serde_json::json!({"startedAt": "2026-11-22T16:17:31Z"}));
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("The previous instance of the container 'app' ({id}")), "{message}");
    assert!(message.ends_with("was OOMKilled: memory limit 64 MiB, ran for 1s"), "{message}");
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
    let mut child =
        program().arg("replay").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().unwrap();
    child.stdin.take().unwrap().write_all(recorded.as_bytes()).unwrap();
    let mut printed = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut printed).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(printed.lines().count(), 1);
    assert!(said.starts_with("stdin: line 12: missing field `object`"), "{said}");
    assert_eq!(said.lines().count(), 1);
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
