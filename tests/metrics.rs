//! Against a real Prometheus that scrapes the program: what the alerts and the dashboard ask for is
//! what `/metrics` shows, and a workload's first kill alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::Value;
use support::{
    ControlPlane, Error, Leash, eventually,
    program::{PATIENCE, Program},
    tools::{self, file},
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::cluster::kills::{cluster, kill_once};

const RULES: &str = "helm/kubernetes-oom-event-generator/files/alerts.yaml";
const DASHBOARD: &str = "helm/kubernetes-oom-event-generator/files/dashboard.json";

/// The beginning of the name of every metric.
const PREFIX: &str = "oom_event_generator_";

/// A command of Prometheus.
async fn tool(name: &str) -> Command {
    Command::new(tools::tool(name).await)
}

/// A Prometheus that scrapes one program every second, as the chart tells the Prometheus Operator to.
struct Prometheus {
    url: String,
    _process: Child,
    _leash: Leash,
    _directory: TempDir,
}

/// A value, and the series it is of.
#[derive(Debug, Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Prometheus {
    async fn scraping(target: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (config, log) = (directory.path().join("prometheus.yaml"), directory.path().join("log"));
        let labels = "{ cluster: test, namespace: monitoring, pod: oom-0, container: generator }";
        let yaml = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n\
             - job_name: oom\n  \
               honor_labels: true\n  \
               static_configs: [{{ targets: [\"{target}\"], labels: {labels} }}]\n",
            file(RULES).display()
        );
        fs::write(&config, yaml).unwrap();
        let process = tool("prometheus")
            .await
            .arg("--web.listen-address=127.0.0.1:0")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let leash = Leash::on(process.id().unwrap()).unwrap();
        let url = eventually("the address of Prometheus", PATIENCE, async || {
            let log = fs::read_to_string(&log).unwrap();
            let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
            Some(format!("http://{}", line.split_once("address=")?.1))
        });
        let url = url.await.unwrap();
        Self { url, _process: process, _leash: leash, _directory: directory }
    }

    /// What an expression evaluates to then, in seconds since 1970.
    async fn ask(&self, expression: &str, time: u64) -> Result<Vec<Sample>, String> {
        let time = format!("--time={time}");
        let arguments = ["query", "instant", "--format=json", &time, &self.url, expression];
        let output = tool("promtool").await.args(arguments).output().await.unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Waits until an expression has a value.
    async fn sees(&self, expression: &str) {
        let seen = eventually(expression, PATIENCE, async || {
            let answer = self.ask(expression, now()).await.ok()?;
            (!answer.is_empty()).then_some(())
        });
        seen.await.unwrap();
    }

    /// The labels of each metric of the program.
    async fn exposed(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut exposed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for sample in self.ask(&format!("{{__name__=~\"{PREFIX}.*\"}}"), now()).await.unwrap() {
            let name = sample.metric["__name__"].clone();
            exposed.entry(name).or_default().extend(sample.metric.into_keys());
        }
        exposed
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The words between the two, wherever they stand in the text.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

/// The labels that an expression names, and those that the text made from its result does.
fn labels<'a>(expression: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    let grouped = ["by (", "on ("].into_iter().flat_map(|begin| between(expression, begin, ")"));
    let matched = between(expression, "{", "}").flat_map(|matchers| matchers.split(','));
    let matched = matched.filter_map(|matcher| matcher.split(['=', '!']).next());
    let legend =
        between(text, "{{", "}}").filter(|word| word.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let annotated = text.split("$labels.").skip(1);
    let annotated =
        annotated.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
    let named = grouped.flat_map(|names| names.split(',')).chain(matched).chain(legend).chain(annotated);
    named.map(str::trim).filter(|label| !label.is_empty())
}

/// Fails unless the program exposes every metric of the expression, and the labels with them.
#[track_caller]
fn is_exposed(expression: &str, text: &str, exposed: &BTreeMap<String, BTreeSet<String>>) {
    let words = expression.split(|c: char| !c.is_alphanumeric() && c != '_');
    let metrics: Vec<_> = words.filter(|word| word.starts_with(PREFIX)).collect();
    assert!(!metrics.is_empty(), "no metric of the program in {expression}");
    let known = |name| exposed.get(name).unwrap_or_else(|| panic!("{name} is not exposed: {expression}"));
    let known: BTreeSet<_> = metrics.into_iter().flat_map(known).map(String::as_str).collect();
    for label in labels(expression, text) {
        assert!(known.contains(label), "no metric has the label {label}: {expression} {text}");
    }
}

/// The expression as Grafana sends it.
fn as_sent(expression: &str) -> String {
    let values = [("$__rate_interval", "10m"), ("$__interval", "5m"), ("$__range", "1h")];
    let values = values.into_iter().chain([("$cluster", ".*"), ("$namespace", ".*")]);
    let sent = values.fold(expression.to_owned(), |sent, (name, value)| sent.replace(name, value));
    assert!(!sent.contains('$'), "{sent}");
    sent
}

#[tokio::test]
async fn a_first_kill_alerts_and_every_query_is_about_what_is_exposed() -> Result<(), Error> {
    // A cluster of its own: in the shared one, other tests would deliver the kill first.
    let cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("metrics").await?;
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::ready(&cluster.kubeconfig(), &[], &include).await;
    let prometheus = Prometheus::scraping(&program.address().unwrap()).await;
    prometheus.sees("oom_event_generator_ready == 1").await;
    prometheus.sees("oom_event_generator_findings_total == 0").await;

    kill_once(&namespace, "cart").await;
    let kill = format!("namespace=\"{}\", workload=\"cart\", container=\"app\"", namespace.name());
    prometheus.sees(&format!("oom_event_generator_kills_total{{{kill}, job=\"oom\"}} == 1")).await;
    prometheus
        .sees(&format!("ALERTS{{alertname=\"ContainerOOMKilled\", alertstate=\"firing\", {kill}}}"))
        .await;
    prometheus.sees("oom_event_generator_deliveries_total{outcome=\"delivered\"} == 1").await;
    let others = prometheus
        .ask("ALERTS{alertname!=\"ContainerOOMKilled\", alertstate=\"firing\"}", now())
        .await
        .unwrap();
    assert!(others.is_empty(), "{others:?}");

    let exposed = prometheus.exposed().await;
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(file(RULES)).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    for rule in groups.flat_map(|group| group["rules"].as_array().unwrap()) {
        let expression = rule["expr"].as_str().unwrap();
        is_exposed(expression, &rule["annotations"].to_string(), &exposed);
        prometheus.ask(expression, now()).await.unwrap();
    }

    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file(DASHBOARD)).unwrap()).unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let asked = between(definition, "label_values(", ")").next().unwrap();
        let (series, label) = asked.rsplit_once(", ").unwrap();
        let values = prometheus.ask(&as_sent(series), now()).await.unwrap();
        assert!(values.iter().any(|value| value.metric.contains_key(label)), "{definition}");
    }
    // What looks at whole five minutes sees the kill when they are over.
    let then = now().next_multiple_of(300);
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            // Nothing of that kind happens here.
            if expression.contains("container_oom_events_total") || expression.contains("node_oom_total") {
                continue;
            }
            is_exposed(expression, target["legendFormat"].as_str().unwrap(), &exposed);
            let answer = prometheus.ask(&as_sent(expression), then).await.unwrap();
            let is_shown = |sample: &Sample| sample.value.1.parse::<f64>().is_ok_and(f64::is_finite);
            assert!(answer.iter().any(is_shown), "{}: {answer:?}: {expression}", panel["title"]);
        }
    }
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn promtool_finds_nothing_to_mend_in_the_metrics() -> Result<(), Error> {
    let namespace = cluster().await.namespace("lint").await?;
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::ready(&cluster().await.kubeconfig(), &[], &include).await;
    kill_once(&namespace, "cart").await;
    let metrics = eventually("a kill", PATIENCE, async || {
        let answer = program.get("/metrics").await?;
        let (_, metrics) = answer.split_once("\r\n\r\n")?;
        metrics.contains("kills_total{").then(|| metrics.to_owned())
    });
    let metrics = metrics.await?;
    let mut promtool = tool("promtool").await;
    let promtool = promtool.args(["check", "metrics"]);
    let mut check =
        promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let output = check.wait_with_output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}\n{metrics}");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
