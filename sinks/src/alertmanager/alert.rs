//! An alert, as Alertmanager's API v2 takes it. Its labels are those of the chart's alert `ContainerOOMKilled`, so that
//! routes, silences and inhibitions hold for either.

use std::collections::BTreeMap;

use finding::{Finding, ResolvedIncident, TestFinding, Workload};
use jiff::Timestamp;
use serde::Serialize;

/// What tells one alert from another.
pub(super) type AlertLabels = BTreeMap<String, String>;

/// The name that the chart's alert has.
const ALERT_NAME: &str = "ContainerOOMKilled";

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    /// What tells it from others.
    pub(super) labels: AlertLabels,
    /// What it tells people.
    pub(super) annotations: BTreeMap<&'static str, String>,
    /// Since when.
    pub(super) starts_at: Timestamp,
    /// When it is resolved, unless it is sent again before.
    pub(super) ends_at: Timestamp,
}

impl Alert {
    /// Returns the alert of a kill, with more labels.
    pub(super) fn of(
        finding: &Finding,
        more: &BTreeMap<String, String>,
        now: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        let container = &finding.container.name;
        let mut labels =
            labels(finding.cluster.as_deref(), &finding.namespace, &finding.pod.workload, container, more);
        if finding.test {
            labels.insert("test".to_owned(), "true".to_owned());
        }
        let told = [
            ("summary", Some(summary(finding))),
            ("description", Some(description(finding))),
            ("pod", Some(finding.pod.name.clone())),
            ("node", finding.pod.node.clone()),
            ("finding_id", Some(finding.id.as_str().to_owned())),
        ];
        let annotations = told.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
        let since = finding.incident.as_ref().map(|incident| incident.since);
        let since = since.or(finding.killed.finished_at).or(finding.detected_at);
        // A node's clock may be ahead, and what begins after its end is refused.
        Self { labels, annotations, starts_at: since.unwrap_or(now).min(now), ends_at }
    }

    /// Returns the alert of an incident that is over.
    pub(super) fn ended(
        resolved: &ResolvedIncident,
        more: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Self {
        let ResolvedIncident { cluster, namespace, workload, container, incident, message, .. } = resolved;
        Self {
            labels: labels(cluster.as_deref(), namespace, workload, &container.name, more),
            annotations: BTreeMap::from([("summary", message.clone())]),
            starts_at: incident.since.min(now),
            ends_at: now,
        }
    }

    /// Returns the alert with the beginning of an earlier one that it continues.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        let begins = earlier.map_or(self.starts_at, |earlier| earlier.starts_at.min(self.starts_at));
        Self { starts_at: begins, ..self }
    }

    /// Returns the namespace that it is about.
    pub(super) fn namespace(&self) -> &str {
        self.labels.get("namespace").map_or("", String::as_str)
    }
}

fn labels(
    cluster: Option<&str>,
    namespace: &str,
    workload: &Workload,
    container: &str,
    more: &BTreeMap<String, String>,
) -> AlertLabels {
    let own = [
        ("alertname", ALERT_NAME),
        ("severity", "warning"),
        ("cluster", cluster.unwrap_or_default()),
        ("namespace", namespace),
        ("workload_kind", &workload.kind),
        ("workload", &workload.name),
        ("container", container),
    ];
    // An empty label is none.
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(more.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
}

fn summary(finding: &Finding) -> String {
    if finding.test {
        return TestFinding::MESSAGE.to_owned();
    }
    let Finding { container, namespace, pod, .. } = finding;
    format!("{} of {namespace}/{} was OOM-killed", container.name, pod.workload.name)
}

/// Says why it was killed, and what to try.
fn description(finding: &Finding) -> String {
    let cause = finding.cause.as_ref().map(|cause| format!("Why: {}", cause.text));
    let advice = finding.advice.as_ref().map(|advice| match &advice.command {
        Some(command) => format!("Try: {}: {command}", advice.text),
        None => format!("Try: {}", advice.text),
    });
    let sentences = [Some(finding.message.clone()), cause, advice];
    sentences.into_iter().flatten().collect::<Vec<_>>().join(". ")
}

/// Returns whether Alertmanager takes it for a label's name in any version.
pub(super) fn is_label_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}
