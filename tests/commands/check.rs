//! `check`: the configuration as it holds, and what became of a test finding at a real API server and
//! at Slacks that are well and unwell. No secret is in anything that it prints.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use support::{
    ControlPlane, Error, GrantScope,
    behaviour::{Answer, Behaviour},
    eventually,
    program::{PATIENCE, Program, command},
    slack::Slack,
    sockets::Authority,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Part of every webhook's URL here.
pub const SECRET: &str = "hunter2";

const MESSAGE: &str = "This is a test of kubernetes-oom-event-generator: nothing was killed";

/// What one run printed, and how it ended.
pub struct Checked {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Checked {
    /// The line of a sink.
    pub fn line(&self, sink: &str) -> &str {
        let line = self.stdout.lines().find(|line| line.starts_with(&format!("{sink} (")));
        line.unwrap_or_else(|| panic!("no line of {sink} in\n{}\n{}", self.stdout, self.stderr))
    }
}

/// Runs `check`, and sees that it prints neither a webhook's URL nor the kubeconfig's token.
pub async fn check(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Checked {
    let home = TempDir::new().unwrap();
    let mut command = command();
    command.arg("check").args(arguments).env("HOME", home.path()).env("KUBECONFIG", kubeconfig);
    command.env("NO_PROXY", "127.0.0.1").envs(environment.iter().copied());
    let output = Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let checked = Checked {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    };
    let kubeconfig: Value = fs::read(kubeconfig)
        .ok()
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_default();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap_or(SECRET);
    for secret in [SECRET, token] {
        assert!(!checked.stdout.contains(secret), "{}", checked.stdout);
        assert!(!checked.stderr.contains(secret), "{}", checked.stderr);
    }
    checked
}

async fn cluster() -> &'static ControlPlane {
    ControlPlane::shared().await.unwrap()
}

/// A kubeconfig like another one, with this as its current namespace.
fn in_namespace(directory: &TempDir, kubeconfig: &Path, namespace: &str) -> PathBuf {
    let mut content: Value = serde_json::from_slice(&fs::read(kubeconfig).unwrap()).unwrap();
    content["contexts"][0]["context"]["namespace"] = namespace.into();
    let path = directory.path().join("kubeconfig");
    fs::write(&path, content.to_string()).unwrap();
    path
}

/// A kubeconfig of an API server that isn't there.
fn nowhere(directory: &TempDir) -> PathBuf {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "test", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    let path = directory.path().join("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

/// A configuration file with these sinks beside one of type slack, whose webhook is at this host.
fn with_slack(directory: &TempDir, slack: &str, others: &str) -> String {
    let webhook = directory.path().join("webhook");
    fs::write(&webhook, format!("{slack}/services/T0/B0/{SECRET}\n")).unwrap();
    let team = format!("  team: {{ type: slack, webhook_url_file: {:?} }}\n", webhook.display().to_string());
    let path = directory.path().join("config.yaml");
    fs::write(&path, format!("cluster: prod\nsinks:\n{team}{others}")).unwrap();
    path.display().to_string()
}

/// What `check --send` says of a Slack, and its exit status.
async fn line_of_slack(url: &str, environment: &[(&str, &str)]) -> (String, Option<i32>) {
    let directory = TempDir::new().unwrap();
    let config = with_slack(&directory, url, "");
    let checked = check(&directory.path().join("none"), &["--send", "-c", &config], environment).await;
    (checked.line("team").to_owned(), checked.code)
}

#[tokio::test]
async fn what_it_prints_is_a_configuration_file_and_takes_no_cluster() {
    let directory = TempDir::new().unwrap();
    let none = directory.path().join("none");
    let config = with_slack(&directory, "http://127.0.0.1:9", "  log: { type: stdout }\n");
    let variables = [("OOM_LOOKBACK", "3h"), ("OOM_SHOP_SERVICE_HOST", "10.0.0.1")];
    let checked = check(&none, &["-c", &config], &variables).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(checked.stderr.lines().count(), 3, "{}", checked.stderr);
    assert!(checked.stderr.lines().all(|line| line.starts_with("warning: ")), "{}", checked.stderr);
    assert!(checked.stdout.contains("lookback: 3h                             # $OOM_LOOKBACK\n"));

    let printed = directory.path().join("printed.yaml");
    fs::write(&printed, &checked.stdout).unwrap();
    let again = check(&none, &["-c", printed.to_str().unwrap()], &[]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value).to_owned()).collect()
    };
    assert_eq!(values(&again.stdout), values(&checked.stdout));
}

#[tokio::test]
async fn what_is_wrong_is_told_at_once_and_a_missing_secret_is_wrong() {
    let directory = TempDir::new().unwrap();
    let config = with_slack(&directory, "http://127.0.0.1:9", "lookbak: 1h\n");
    fs::remove_file(directory.path().join("webhook")).unwrap();
    for arguments in [&["-c", &config][..], &["-c", &config, "--send"]] {
        let checked = check(&directory.path().join("none"), arguments, &[]).await;
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""));
        assert_eq!(checked.stderr.lines().count(), 2, "{}", checked.stderr);
        assert!(checked.stderr.contains("lookbak: is no known key (did you mean lookback?)"));
        assert!(checked.stderr.contains("sinks.team.webhook_url_file: names a file that cannot be read"));
    }
}

#[tokio::test]
async fn a_reader_that_has_had_enough_is_no_failure() {
    let mut command = command();
    command.arg("check").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Command::from(command).spawn().unwrap();
    drop(child.stdout.take());
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test]
async fn the_test_stands_on_the_pod_that_the_downward_api_names() -> Result<(), Error> {
    let namespace = cluster().await.namespace("check").await?;
    let pod = namespace
        .create_pod(json!({"metadata": {"name": "oom-0"}, "spec": {"containers": [{"name": "app"}]}}))
        .await?;
    let directory = TempDir::new().unwrap();
    let slack = Slack::good().await;
    let others = "  events: { type: kubernetes, match: { namespaces: [other] } }\n  log: { type: stdout }\n";
    let config = with_slack(&directory, &slack.host(), others);
    let variables = [("POD_NAMESPACE", namespace.name()), ("POD_NAME", "oom-0")];
    let checked = check(&cluster().await.kubeconfig(), &["--send", "-c", &config], &variables).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    let (name, say) = (namespace.name(), format!("delivered: look there for {MESSAGE:?}"));
    assert_eq!(
        checked.line("events"),
        format!(
            "events (kubernetes): delivered: an Event TestFinding on Pod oom-0 in namespace {name}: kubectl describe \
             pod oom-0 --namespace {name}"
        )
    );
    assert_eq!(checked.line("log"), format!("log (stdout): {say}"));
    assert_eq!(checked.line("team"), format!("team (slack): {say}"));
    let lines: Vec<_> = checked.stdout.lines().collect();
    let findings: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(findings.len(), 1, "{}", checked.stdout);
    assert_eq!((&findings[0]["test"], &findings[0]["cluster"]), (&json!(true), &json!("prod")));
    let order: Vec<_> = lines.iter().filter_map(|line| Some(line.split_once(" (")?.0)).collect();
    assert_eq!(order, ["events", "log", "team"]);

    let events = namespace.events("TestFinding").await?;
    let [Event { involved_object, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(involved_object.kind.as_deref(), Some("Pod"));
    assert_eq!(involved_object.uid, pod.metadata.uid);
    assert_eq!(events[0].type_.as_deref(), Some("Normal"));
    assert_eq!(events[0].message.as_deref(), Some(MESSAGE));
    assert_eq!(events[0].count, Some(1));
    let source = events[0].source.as_ref().unwrap();
    for component in [&source.component, &events[0].reporting_component] {
        assert_eq!(component.as_deref(), Some("oom-event-generator"));
    }
    assert!(events[0].first_timestamp.is_some() && events[0].first_timestamp == events[0].last_timestamp);
    // Nothing here is what the program reads back as a kill that was reported.
    assert_eq!(namespace.events("PreviousContainerWasOOMKilled").await?, []);
    Ok(())
}

#[tokio::test]
async fn without_a_pod_the_test_stands_on_the_namespace_that_kubectl_would_use() -> Result<(), Error> {
    let namespace = cluster().await.namespace("check").await?;
    let directory = TempDir::new().unwrap();
    let kubeconfig = in_namespace(&directory, &cluster().await.kubeconfig(), namespace.name());
    for _ in 0..2 {
        let checked = check(&kubeconfig, &["--send"], &[("POD_NAME", "")]).await;
        let name = namespace.name();
        assert_eq!(
            checked.line("events"),
            format!(
                "events (kubernetes): delivered: an Event TestFinding on Namespace {name}: kubectl get events --namespace \
                 {name} --field-selector reason=TestFinding"
            )
        );
        assert_eq!(checked.code, Some(0));
        assert_eq!(checked.stderr, "");
    }
    let events = namespace.events("TestFinding").await?;
    assert_eq!(events.len(), 2, "each test is an Event of its own");
    assert_eq!(events[0].involved_object.kind.as_deref(), Some("Namespace"));
    assert_eq!(events[0].involved_object.name.as_deref(), Some(namespace.name()));
    Ok(())
}

#[tokio::test]
async fn a_pod_that_cannot_be_found_is_said() -> Result<(), Error> {
    let namespace = cluster().await.namespace("check").await?;
    let name = namespace.name();
    let variables = [("POD_NAMESPACE", name), ("POD_NAME", "oom-0")];
    let show = format!("kubectl get events --namespace {name} --field-selector reason=TestFinding");
    let place =
        format!("events (kubernetes): delivered: an Event TestFinding on Pod oom-0 in namespace {name}");

    let checked = check(&cluster().await.kubeconfig(), &["--send"], &variables).await;
    let line = format!("{place}; there is no such Pod, so only this shows it: {show}");
    assert_eq!((checked.line("events"), checked.code), (line.as_str(), Some(0)));

    let rules = json!([{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]);
    let token = namespace.service_account_token("writer", GrantScope::Namespaces(&[name]), rules).await?;
    let checked = check(&cluster().await.kubeconfig_for(&token)?, &["--send"], &variables).await;
    let line = checked.line("events");
    assert!(line.starts_with(&format!("{place}; its UID can't be learned: ")), "{line}");
    assert!(line.contains("cannot list resource \"pods\"") && line.ends_with(&show), "{line}");
    assert_eq!(checked.code, Some(0));
    assert_eq!(namespace.events("TestFinding").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_missing_rule_is_named_with_whom_to_grant_it() -> Result<(), Error> {
    let namespace = cluster().await.namespace("check").await?;
    let name = namespace.name();
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let token = namespace.service_account_token("reader", GrantScope::Namespaces(&[name]), rules).await?;
    let kubeconfig = cluster().await.kubeconfig_for(&token)?;
    let checked = check(&kubeconfig, &["--send"], &[("POD_NAMESPACE", name)]).await;
    let line = checked.line("events");
    let begin = format!(
        "events (kubernetes): failed: creating an Event in namespace {name}: 403 Forbidden: events is forbidden:"
    );
    assert!(line.starts_with(&begin), "{line}");
    let grant = format!(
        "Grant it to ServiceAccount {name}/reader: a Role in namespace {name}, or a ClusterRole, with the rule apiGroups \
         [\"\"], resources [\"events\"], verbs [\"create\"]. The running program would try again, for up to 1h"
    );
    assert!(line.ends_with(&grant), "{line}");
    assert_eq!(checked.code, Some(1));
    assert_eq!(checked.stderr, "the test did not reach every sink; what failed: events\n");
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_said() -> Result<(), Error> {
    let kubeconfig = cluster().await.kubeconfig();
    let checked = check(&kubeconfig, &["--send"], &[("POD_NAMESPACE", "nowhere")]).await;
    assert_eq!(
        checked.line("events"),
        "events (kubernetes): failed: creating an Event in namespace nowhere: there is no such namespace, or it is being \
         deleted. Name another in $POD_NAMESPACE, or with `kubectl config set-context --current --namespace=NAME`"
    );
    assert_eq!(checked.code, Some(1));
    Ok(())
}

#[tokio::test]
async fn where_no_cluster_can_be_had_the_other_sinks_are_tried() {
    let slack = Slack::good().await;
    let directory = TempDir::new().unwrap();
    let config = with_slack(&directory, &slack.host(), "  events: { type: kubernetes }\n");
    let missing = directory.path().join("none");
    for (kubeconfig, said) in [
        (nowhere(&directory), "failed: creating an Event in namespace default: "),
        (missing, "failed: can't use the kubeconfig "),
    ] {
        let checked = check(&kubeconfig, &["--send", "-c", &config], &[("POD_NAME", "oom-0")]).await;
        let line = checked.line("events");
        assert!(line.starts_with(&format!("events (kubernetes): {said}")), "{line}");
        assert!(checked.line("team").starts_with("team (slack): delivered: "), "{}", checked.stdout);
        assert_eq!(checked.code, Some(1));
    }
    assert_eq!(slack.messages().len(), 2);
}

#[tokio::test]
async fn what_slack_answers_is_told_with_the_remedy() {
    for (code, word, said) in [
        (403, "action_prohibited", "forbids posting there: ask them, or use another channel"),
        (403, "invalid_token", "create a new one and configure its URL"),
        (404, "no_service", "create a new one and configure its URL"),
        (410, "channel_is_archived", "Restore the channel, or create a webhook for another one"),
        (500, "rollup_error", "500 Internal Server Error, rollup_error"),
    ] {
        let slack = Slack::always(Behaviour::says(code, word)).await;
        let (line, status) = line_of_slack(&slack.host(), &[]).await;
        assert!(line.starts_with(&format!("team (slack): failed: posting to Slack: {code} ")), "{line}");
        assert!(line.contains(word) && line.contains(said), "{line}");
        // A file has the URL, and may get another.
        assert!(line.ends_with(". The running program would try again, for up to 1h"), "{line}");
        assert_eq!(status, Some(1));
        assert_eq!(slack.messages().len(), 1, "one attempt");
    }
    let busy = Slack::always(Behaviour::says(429, "rate_limited").and_asks_for(30)).await;
    let (line, status) = line_of_slack(&busy.host(), &[]).await;
    assert_eq!(
        line,
        "team (slack): failed: posting to Slack: 429 Too Many Requests, rate_limited. The running program would try \
         again after 30s, for up to 1h"
    );
    assert_eq!(status, Some(1));
}

#[tokio::test]
async fn a_slack_that_is_not_there_or_hangs_is_told_with_the_remedy() {
    let slack = Slack::always(Behaviour::fails(Answer::Never)).await;
    let hangs = slack.host();
    for (url, said) in [("http://127.0.0.1:9", "Connection refused"), (&hangs, "timed out")] {
        let (line, status) = line_of_slack(url, &[]).await;
        assert!(
            line.starts_with("team (slack): failed: posting to Slack: ") && line.contains(said),
            "{line}"
        );
        assert!(line.contains("Check that Slack can be reached from here"), "{line}");
        assert_eq!(status, Some(1));
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_told_with_the_remedy_and_the_remedy_helps() {
    let authority = Authority::new();
    let slack = Slack::listen_as(Some(authority.certify()), |_| Behaviour::good()).await;
    let url = format!("https://{}", slack.address);
    let (line, status) = line_of_slack(&url, &[]).await;
    assert!(line.contains("invalid peer certificate: UnknownIssuer"), "{line}");
    assert!(
        line.contains("Name the file of the certificate authorities to trust in $SSL_CERT_FILE"),
        "{line}"
    );
    assert_eq!(status, Some(1));

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("authority.pem");
    fs::write(&file, authority.pem()).unwrap();
    let (line, status) = line_of_slack(&url, &[("SSL_CERT_FILE", file.to_str().unwrap())]).await;
    assert!(line.starts_with("team (slack): delivered: "), "{line}");
    assert_eq!(status, Some(0));
}

#[tokio::test]
async fn a_signal_ends_it() {
    let slack = Slack::always(Behaviour::fails(Answer::Never)).await;
    let directory = TempDir::new().unwrap();
    let config = with_slack(&directory, &slack.host(), "");
    let mut program =
        Program::start(&directory.path().join("none"), &["check", "--send", "-c", &config], &[]);
    eventually("a request to Slack", PATIENCE, async || (!slack.messages().is_empty()).then_some(()))
        .await
        .unwrap();
    program.signal("TERM").await;
    assert!(!program.ended().await.success());
}
