//! A real Alertmanager has exactly the alerts that it should have, after each step: its own API says so.

use std::{fs, io, net::TcpListener, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use finding::{Finding, KillId};
use kubernetes_oom_event_generator::config::Config;
use serde_json::{Value, json};
use sinks::{AttemptOutcome, Sink, SinkContext};
use support::{eventually, tools};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

/// How long a step may take. Alerts are sent again every minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// An Alertmanager, and the receiver that it notifies.
struct Alertmanager {
    binary: PathBuf,
    directory: TempDir,
    port: u16,
    process: Option<Child>,
    notified: MockServer,
}

impl Alertmanager {
    async fn start() -> Self {
        let binary = tools::tool("alertmanager").await;
        let notified = MockServer::start().await;
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(200)).mount(&notified).await;
        let directory = TempDir::new().unwrap();
        let config = json!({
            "route": {
                "receiver": "all", "group_by": ["alertname", "namespace"],
                "group_wait": "1s", "group_interval": "2s", "repeat_interval": "4h",
            },
            "receivers": [{"name": "all", "webhook_configs": [{"url": notified.uri(), "send_resolved": true}]}],
            "inhibit_rules": [{
                "source_matchers": ["alertname=NodeDown"], "target_matchers": ["alertname=ContainerOOMKilled"],
                "equal": ["cluster"],
            }],
        });
        fs::write(directory.path().join("config.yaml"), config.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut alertmanager = Self { binary, directory, port, process: None, notified };
        alertmanager.run().await;
        alertmanager
    }

    async fn run(&mut self) {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--config.file={}", self.directory.path().join("config.yaml").display()))
            .arg(format!("--storage.path={}", self.directory.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.process = Some(command.spawn().unwrap());
        eventually("Alertmanager", PATIENCE, async || self.get("alerts").await).await.unwrap();
    }

    async fn stop(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn get(&self, what: &str) -> Option<Value> {
        let answer = self.ask("GET", what, "").await.ok()?;
        serde_json::from_str(answer.strip_prefix("HTTP/1.0 200 OK")?.split_once("\r\n\r\n")?.1).ok()
    }

    async fn post(&self, what: &str, body: &Value) {
        let answer = self.ask("POST", what, &body.to_string()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    }

    async fn ask(&self, method: &str, what: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!(
            "{method} /api/v2/{what} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until its alerts, sorted by their workloads, are as they should be.
    async fn has(&self, what: &str, should_be: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut last = Vec::new();
        let alerts = eventually(what, PATIENCE, async || {
            last.clone_from(self.get("alerts").await?.as_array()?);
            last.sort_by_key(|alert| alert["labels"]["workload"].to_string());
            should_be(&last).then(|| last.clone())
        })
        .await;
        alerts.unwrap_or_else(|error| panic!("{error}: {last:#?}"))
    }

    /// How many notifications there were of alerts that fire.
    async fn notifications(&self) -> usize {
        let requests = self.notified.received_requests().await.unwrap();
        requests.iter().filter(|it| it.body_json::<Value>().unwrap()["status"] == "firing").count()
    }
}

fn sink(urls: &[String], resolve_after: &str) -> Arc<dyn Sink> {
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("config.yaml");
    let settings = json!({"type": "alertmanager", "urls": urls, "resolve_after": resolve_after});
    fs::write(&config, json!({"sinks": {"alerts": settings}}).to_string()).unwrap();
    let sinks = Config::load(Some(&config), &[], []).unwrap().config.sinks;
    sinks[0].settings.build(&SinkContext { kubernetes: None, only_stdout: false }).unwrap()
}

fn kill(workload: &str, number: usize) -> Finding {
    let mut finding = Finding { id: KillId::new(&[workload, &number.to_string()]), ..Finding::full() };
    workload.clone_into(&mut finding.pod.workload.name);
    finding
}

async fn delivers(sink: &Arc<dyn Sink>, finding: Finding) {
    assert_eq!(sink.deliver(&[finding.into()]).await, [AttemptOutcome::Delivered]);
}

#[tokio::test]
async fn it_groups_silences_and_inhibits_alerts_as_those_of_the_charts_rule() {
    let alertmanager = Alertmanager::start().await;
    let sink = sink(&[alertmanager.url()], "1h");
    delivers(&sink, kill("cart", 1)).await;
    alertmanager.has("an alert", |alerts| alerts.len() == 1).await;
    let of_the_rule = json!({"labels": {
        "alertname": "ContainerOOMKilled", "severity": "warning", "cluster": "prod", "namespace": "shop",
        "workload_kind": "Deployment", "workload": "cart", "container": "app", "prometheus": "monitoring/k8s",
    }});
    alertmanager.post("alerts", &json!([of_the_rule])).await;
    alertmanager.has("both alerts", |alerts| alerts.len() == 2).await;
    let groups = alertmanager.get("alerts/groups").await.unwrap();
    assert_eq!(groups.as_array().unwrap().len(), 1, "{groups}");
    assert_eq!(groups[0]["alerts"].as_array().unwrap().len(), 2, "{groups}");

    let down = json!([{"labels": {"alertname": "NodeDown", "cluster": "prod"}}]);
    alertmanager.post("alerts", &down).await;
    let is_inhibited =
        |alert: &Value| alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty());
    alertmanager
        .has("inhibited alerts", |alerts| alerts.iter().filter(|it| is_inhibited(it)).count() == 2)
        .await;

    let matcher =
        json!({"name": "alertname", "value": "ContainerOOMKilled", "isRegex": false, "isEqual": true});
    let now = jiff::Timestamp::now();
    let silence = json!({
        "matchers": [matcher], "createdBy": "test", "comment": "test",
        "startsAt": now.to_string(), "endsAt": (now + Duration::from_hours(1)).to_string(),
    });
    alertmanager.post("silences", &silence).await;
    delivers(&sink, kill("cart", 2)).await;
    let is_silenced =
        |alert: &Value| alert["status"]["silencedBy"].as_array().is_some_and(|by| !by.is_empty());
    alertmanager
        .has("silenced alerts", |alerts| alerts.iter().filter(|it| is_silenced(it)).count() == 2)
        .await;
}

#[tokio::test]
async fn a_further_kill_extends_an_alert_without_a_notification_and_it_resolves_by_itself() {
    let alertmanager = Alertmanager::start().await;
    let sink = sink(&["http://127.0.0.1:9".to_owned(), alertmanager.url()], "8s");
    delivers(&sink, kill("cart", 1)).await;
    let first = alertmanager.has("an alert", |alerts| alerts.len() == 1).await.remove(0);
    eventually("a notification", PATIENCE, async || (alertmanager.notifications().await == 1).then_some(()))
        .await
        .unwrap();
    delivers(&sink, kill("cart", 2)).await;
    let extended = |alerts: &[Value]| alerts.len() == 1 && alerts[0]["endsAt"] != first["endsAt"];
    let second = alertmanager.has("a longer alert", extended).await.remove(0);
    assert_eq!(second["startsAt"], first["startsAt"]);
    assert_eq!(second["annotations"]["finding_id"], kill("cart", 2).id.as_str());
    alertmanager.has("no alert", <[Value]>::is_empty).await;
    assert_eq!(alertmanager.notifications().await, 1);
}

#[tokio::test]
async fn a_restart_of_either_loses_no_alert() {
    let mut alertmanager = Alertmanager::start().await;
    let first = sink(&[alertmanager.url()], "1h");
    delivers(&first, kill("cart", 1)).await;
    let before = alertmanager.has("an alert", |alerts| alerts.len() == 1).await.remove(0);
    alertmanager.stop().await;
    let outcomes = first.deliver(&[kill("search", 1).into()]).await;
    let [AttemptOutcome::Retry { reason, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert!(reason.contains("Check that Alertmanager at 127.0.0.1:"), "{reason}");
    // As the next run of the program reads it from its Event.
    let next_run = sink(&[alertmanager.url()], "1h");
    next_run.remember(&Finding { detected_at: Some(jiff::Timestamp::now()), ..kill("recorded", 1) });
    alertmanager.run().await;
    let again = alertmanager.has("the alerts again", |alerts| alerts.len() == 2).await;
    assert_eq!(again[1]["labels"]["workload"], "recorded");
    next_run.stand_by();
    let again = again[0].clone();
    for field in ["labels", "annotations", "startsAt", "endsAt"] {
        assert_eq!(again[field], before[field]);
    }
    drop(first);
    let second = sink(&[alertmanager.url()], "1h");
    delivers(&second, kill("cart", 2)).await;
    let extended = |alerts: &[Value]| alerts[0]["endsAt"] != before["endsAt"];
    let after = alertmanager.has("the same alert, longer", extended).await.remove(0);
    assert_eq!((&after["labels"], &after["startsAt"]), (&before["labels"], &before["startsAt"]));
    assert_eq!(second.resolve(&[finding::ResolvedIncident::full()]).await, [AttemptOutcome::Delivered]);
    alertmanager.has("the other alert", |alerts| alerts.len() == 1).await;
}
