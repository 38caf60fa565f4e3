//! Whatever others write, nothing that the program shows deceives whoever reads it. Each way out is a test: what
//! it prints, logs, exposes, posts and writes, and what its commands say.

use std::{fs, process::Stdio};

use serde_json::{Value, json};
use support::{
    api_server::{Asked, status},
    behaviour::Behaviour,
    eventually,
    program::{PATIENCE, Program, command},
    slack::Slack,
    sockets::FakeCluster,
};
use tempfile::TempDir;
use tokio::process::Command;

use crate::source::restarted;

/// What no text may contain: what controls a terminal, has no width, or changes the order in which others are
/// shown. (Unicode: `Cc`, `Zl`, `Zp`, and of `Cf` and `Mn` what is ignored by default.)
const DECEPTIVE: &[(u32, u32)] = &[
    (0x00, 0x1f),
    (0x7f, 0x9f),
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

/// The first and the last of each kind, among words by which the text is known.
fn hostile() -> String {
    let characters = DECEPTIVE.iter().flat_map(|(first, last)| [*first, *last]).filter_map(char::from_u32);
    format!("begin\u{1b}[31m\u{9b}31m\nforged line\r{}end", characters.collect::<String>())
}

/// Fails if a text contains anything that deceives, or nothing of what the hostile wrote.
#[track_caller]
fn is_shown_clean(where_from: &str, text: &str) {
    assert!(text.contains("begin") && text.contains("end"), "{where_from} shows nothing of it: {text:?}");
    for line in text.split('\n') {
        assert!(!line.starts_with("forged"), "{where_from} has a line of theirs: {line:?}");
        let is_deceptive =
            |c: char| DECEPTIVE.iter().any(|(first, last)| (*first..=*last).contains(&c.into()));
        let found: String = line.matches(is_deceptive).collect();
        assert!(found.is_empty(), "{where_from} shows {found:?} in {line:?}");
    }
}

/// A Pod in which everything that its author chooses is hostile.
fn hostile_pod() -> Value {
    let hostile = hostile();
    let mut pod = restarted("cart", 1);
    pod["kind"] = "Pod".into();
    let owner = json!({"apiVersion": "v1", "kind": hostile, "name": hostile, "controller": true});
    pod["metadata"]["ownerReferences"] = json!([owner]);
    pod["metadata"]["labels"] = json!({"app": hostile});
    pod["metadata"]["uid"] = hostile.clone().into();
    pod["spec"] = json!({"nodeName": hostile, "containers": [{"name": hostile, "image": hostile}]});
    let container = &mut pod["status"]["containerStatuses"][0];
    container["name"] = hostile.clone().into();
    container["containerID"] = format!("containerd://{hostile}").into();
    container["lastState"]["terminated"]["containerID"] = format!("containerd://{hostile}").into();
    container["lastState"]["terminated"]["message"] = hostile.into();
    pod
}

/// An API server whose answers are hostile, and where to find it.
async fn hostile_cluster() -> FakeCluster {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    cluster.server.put("pods", hostile_pod());
    cluster
}

/// Denies as a webhook does.
fn denial() -> Value {
    let hostile = hostile();
    status(403, &hostile, &format!("admission webhook \"{hostile}\" denied the request: {hostile}"))
}

/// What one run printed, to stdout and to stderr.
async fn output_of(arguments: &[&str], cluster: &FakeCluster) -> (String, String) {
    let mut command = command();
    command.args(arguments).env("KUBECONFIG", cluster.kubeconfig()).stdin(Stdio::null());
    let output = Command::from(command).output().await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_run_shows_everything_clean() {
    for format in ["text", "json"] {
        let cluster = hostile_cluster().await;
        cluster.server.misbehave_times(1, Behaviour::says(500, hostile()), |asked| asked.is_list("pods"));
        cluster.server.misbehave(Behaviour::refuses(&denial()), Asked::is_of_reported);
        cluster.server.misbehave(Behaviour::refuses(&denial()), Asked::is_of_version);
        cluster.server.misbehave_times(1, Behaviour::refuses(&denial()), |asked| asked.object.is_some());
        let (slack, refusing) = (Slack::good().await, Slack::always(Behaviour::says(404, hostile())).await);
        let urls = [
            ("OOM_SINKS__TEAM__TYPE", "slack"),
            ("OOM_SINKS__TEAM__WEBHOOK_URL", &slack.url()),
            ("OOM_SINKS__REFUSING__TYPE", "slack"),
            ("OOM_SINKS__REFUSING__WEBHOOK_URL", &refusing.url()),
            ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
            ("OOM_SINKS__PRINTED__TYPE", "stdout"),
            ("OOM_LOG__FORMAT", format),
        ];
        let program = Program::start(&cluster.kubeconfig(), &["-v", "2"], &urls);
        let done = eventually("every way out", PATIENCE, async || {
            let done = !cluster.server.objects("events").is_empty()
                && !slack.messages().is_empty()
                && program.stderr().contains("undelivered finding")
                && !program.findings().is_empty();
            done.then_some(())
        });
        done.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));

        is_shown_clean("stdout", &program.stdout());
        is_shown_clean("the log", &program.stderr());
        for path in ["/metrics", "/readyz"] {
            let answer = program.get(path).await.unwrap();
            is_shown_clean(path, answer.split_once("\r\n\r\n").unwrap().1);
        }
        is_shown_clean("Slack", &slack.messages()[0].text);
        let event = &cluster.server.objects("events")[0];
        is_shown_clean("the Event's message", event["message"].as_str().unwrap());
        // What is escaped means what was written.
        let finding = &program.findings()[0];
        assert_eq!(finding["container"]["image"], hostile());
        assert_eq!(program.stop().await, Some(1));
    }
}

#[tokio::test]
async fn commands_show_everything_clean() {
    let (cluster, directory, hostile) = (hostile_cluster().await, TempDir::new().unwrap(), hostile());
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let recording = file("recording", &json!({"type": "ADDED", "object": hostile_pod()}).to_string());
    is_shown_clean("replay", &output_of(&["replay", &recording], &cluster).await.0);
    let broken = file("broken", &json!({"type": hostile, "object": {}}).to_string());
    is_shown_clean("a broken replay", &output_of(&["replay", &broken], &cluster).await.1);

    cluster.server.misbehave(Behaviour::refuses(&denial()), |_| true);
    let escaped: Vec<_> = hostile.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    let escaped = escaped.concat();
    let config = file(
        "config.yaml",
        &format!("cluster: \"{escaped}\"\nsinks: {{ events: {{ type: kubernetes }} }}\n"),
    );
    let (shown, _) = output_of(&["check", "--send", "-c", &config], &cluster).await;
    for part in shown.split("\n\n") {
        is_shown_clean("check", part);
    }
    let config = file("wrong.yaml", &format!("\"{escaped}\": 1\ncluster: 7\n"));
    is_shown_clean("a wrong configuration", &output_of(&["check", "-c", &config], &cluster).await.1);
}
