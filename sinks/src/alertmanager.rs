//! The `alertmanager` sink: one alert for each container of a workload, which Alertmanager groups, routes and silences.
//!
//! Goes in: findings. Comes out: requests to every replica of an Alertmanager, which it answers per alert.
//! Alertmanager keeps alerts in memory only, and expects to be told again: [`ActiveAlerts`] remembers those that have
//! not ended, and a task sends them every minute. What becomes of those requests is in no finding's outcome.

mod active;
mod alert;
mod replicas;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use finding::{Finding, ResolvedIncident, TestFinding};
use jiff::Timestamp;
use settings::{ConfigSection, quote};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
    TestOutcome,
};
use active::ActiveAlerts;
use alert::{Alert, AlertLabels, is_label_name};
use replicas::{ReplicaUrl, Replicas, SentAlerts};

/// `type: alertmanager`.
pub const TYPE: SinkType = SinkType { name: "alertmanager", tells_resolved: true, read, ..SinkType::PLAIN };

/// The most findings in a call, and so the most alerts in a request.
const BATCH: usize = 64;

/// How often alerts that have not ended are sent again.
const RESEND_INTERVAL: Duration = Duration::from_mins(1);

/// How long after its last kill an incident is over, and its alert with `send_resolved` resolved.
const QUIET_AFTER: Duration = Duration::from_hours(1);

/// How long a test's alert lasts at most.
const MAX_TEST: Duration = Duration::from_mins(5);

/// How long one call may take: a request to all replicas at once and, where one finds an alert bad, one for each.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The settings of an `alertmanager` sink.
#[derive(Clone, Debug)]
struct AlertmanagerSettings {
    urls: Vec<ReplicaUrl>,
    resolve_after: Duration,
    /// Whether its alert is resolved when an incident is over.
    sends_resolved: bool,
    labels: BTreeMap<String, String>,
}

fn read(section: &mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>> {
    let urls = read_urls(section);
    let resolve_after = section.duration("resolve_after", Duration::from_hours(1));
    if resolve_after.is_zero() {
        section.error("resolve_after", "is 0s, so each alert would end at once", "a duration such as 1h");
    }
    let sends_resolved = section.is_true("send_resolved");
    let labels = read_labels(section);
    Some(Arc::new(AlertmanagerSettings { urls: urls?, resolve_after, sends_resolved, labels }))
}

fn read_urls(section: &mut ConfigSection<'_>) -> Option<Vec<ReplicaUrl>> {
    let expected =
        r#"a list of the URLs of all replicas, such as ["http://alertmanager-operated.monitoring:9093"]"#;
    if !section.has("urls") {
        section.get::<Vec<String>>("urls", expected);
        section.missing("urls", expected);
        return None;
    }
    let written: Vec<String> = section.get("urls", expected)?;
    if written.is_empty() {
        section.error("urls", "is empty", expected);
    }
    let mut urls = Vec::new();
    for text in &written {
        match ReplicaUrl::parse(text) {
            Ok(url) => urls.push(url),
            Err(problem) => section.error("urls", format!("has one that {problem}"), expected),
        }
    }
    Some(urls)
}

fn read_labels(section: &mut ConfigSection<'_>) -> BTreeMap<String, String> {
    let expected = "names with texts, such as { team: shop }";
    let labels: BTreeMap<String, String> = section.get_or("labels", BTreeMap::new(), expected);
    for name in labels.keys().filter(|name| !is_label_name(name)) {
        section.error(
            "labels",
            format!("has {}", quote(name)),
            "names of a-z, A-Z, 0-9 and _, not beginning with a digit",
        );
    }
    labels
}

impl SinkSettings for AlertmanagerSettings {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        Ok(Arc::new(AlertmanagerSink::new(self, RESEND_INTERVAL)?))
    }
}

/// Sends alerts.
struct AlertmanagerSink {
    resolve_after: Duration,
    sends_resolved: bool,
    labels: BTreeMap<String, String>,
    resend_interval: Duration,
    resending: Once,
    shared: Arc<SharedAlerts>,
}

/// What the task that sends again needs, too.
struct SharedAlerts {
    replicas: Replicas,
    active: Mutex<ActiveAlerts>,
    /// Whether one replica left out what another took, when alerts were last sent.
    leaves_out: AtomicBool,
}

impl AlertmanagerSink {
    fn new(settings: &AlertmanagerSettings, resend_interval: Duration) -> Result<Self, SinkBuildError> {
        let replicas = Replicas::new(settings.urls.clone())?;
        Ok(Self {
            resolve_after: settings.resolve_after,
            sends_resolved: settings.sends_resolved,
            labels: settings.labels.clone(),
            resend_interval,
            resending: Once::new(),
            shared: Arc::new(SharedAlerts {
                replicas,
                active: Mutex::default(),
                leaves_out: AtomicBool::new(false),
            }),
        })
    }

    /// Begins to send again what has not ended, once. The task ends with the sink.
    fn resend(&self) {
        self.resending.call_once(|| {
            let (shared, period) = (Arc::downgrade(&self.shared), self.resend_interval);
            tokio::spawn(async move {
                let mut tick = interval(period);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                tick.tick().await;
                let mut was_taken = true;
                loop {
                    tick.tick().await;
                    let Some(shared) = shared.upgrade() else { return };
                    let untaken = shared.send_again().await;
                    if let Some(reason) = untaken.as_ref().filter(|_| was_taken) {
                        tracing::warn!(reason, "alerts could not be sent again; trying again every minute");
                    }
                    was_taken = untaken.is_none();
                }
            });
        });
    }
}

impl SharedAlerts {
    fn active<T>(&self, change: impl FnOnce(&mut ActiveAlerts) -> T) -> T {
        change(&mut self.active.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends everything that has not ended, and forgets what is refused. Returns why no replica took some of it.
    async fn send_again(&self) -> Option<String> {
        let alerts = self.active(|active| active.at(Timestamp::now()));
        let mut untaken = None;
        for alerts in alerts.chunks(BATCH) {
            for (alert, outcome) in alerts.iter().zip(self.send(alerts).await) {
                untaken = outcome.failure().map(str::to_owned).or(untaken);
                if matches!(outcome, AttemptOutcome::Refused { .. }) {
                    self.active(|active| active.remove(&alert.labels));
                }
            }
        }
        untaken
    }

    /// Sends alerts. Logs when a replica begins to leave out what another takes.
    async fn send(&self, alerts: &[Alert]) -> Vec<AttemptOutcome> {
        let SentAlerts { outcomes, left_out } = self.replicas.send(alerts).await;
        let reason = left_out.filter(|_| outcomes.contains(&AttemptOutcome::Delivered));
        let left_out_before = self.leaves_out.swap(reason.is_some(), Ordering::Relaxed);
        if let Some(reason) = reason.filter(|_| !left_out_before) {
            tracing::warn!(reason, "a replica of Alertmanager does not take what another does");
        }
        outcomes
    }
}

#[async_trait]
impl Sink for AlertmanagerSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: BATCH, concurrency: 1, interval: Duration::ZERO, timeout: TIMEOUT }
    }

    /// Sends the alert of a finding again until it ends, as whoever delivered it would have.
    fn remember(&self, finding: &Finding) {
        let now = Timestamp::now();
        // Whoever may write Events may have written when it was detected.
        let at = finding.detected_at.unwrap_or(now).min(now);
        let lasts =
            if self.sends_resolved { self.resolve_after.min(QUIET_AFTER) } else { self.resolve_after };
        let alert = Alert::of(finding, &self.labels, now, at + lasts);
        if self.shared.active(|active| active.restore(alert, now)) {
            self.resend();
        }
    }

    fn stand_by(&self) {
        self.shared.active(|active| *active = ActiveAlerts::default());
    }

    /// Sends the alerts of a batch, each container once, to all replicas.
    ///
    /// # Cancel safety
    ///
    /// Alertmanager recognises an alert by its labels, so a repetition changes nothing.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        self.resend();
        let now = Timestamp::now();
        let mut alerts: BTreeMap<AlertLabels, Alert> = BTreeMap::new();
        let labels: Vec<_> = batch
            .iter()
            .map(|delivery| {
                let alert = Alert::of(&delivery.finding, &self.labels, now, now + self.resolve_after);
                let alert = self.shared.active(|active| active.continued(alert, now));
                let labels = alert.labels.clone();
                let earlier = alerts.remove(&labels);
                alerts.insert(labels.clone(), alert.after(earlier));
                labels
            })
            .collect();
        let sent: Vec<Alert> = alerts.into_values().collect();
        let outcomes: BTreeMap<_, _> =
            sent.iter().map(|alert| &alert.labels).zip(self.shared.send(&sent).await).collect();
        for alert in
            sent.iter().filter(|alert| outcomes.get(&alert.labels) == Some(&AttemptOutcome::Delivered))
        {
            self.shared.active(|active| active.put(alert.clone()));
        }
        labels.iter().filter_map(|labels| outcomes.get(labels).cloned()).collect()
    }

    /// Ends the alerts of incidents that are over.
    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let now = Timestamp::now();
        let ended: Vec<_> =
            resolved.iter().map(|incident| Alert::ended(incident, &self.labels, now)).collect();
        let outcomes = self.shared.send(&ended).await;
        self.shared.active(|active| ended.iter().for_each(|alert| active.remove(&alert.labels)));
        outcomes
    }

    async fn deliver_test(&self, test: &TestFinding) -> TestOutcome {
        let (finding, now) = (test.finding(), Timestamp::now());
        let alert = Alert::of(&finding, &self.labels, now, now + self.resolve_after.min(MAX_TEST));
        let SentAlerts { mut outcomes, left_out } = self.shared.replicas.send(&[alert]).await;
        let nobody = || AttemptOutcome::Refused { reason: "there is no replica".to_owned() };
        let but = left_out.map(|reason| format!("; but {reason}")).unwrap_or_default();
        let place = format!("an alert with the label test=\"true\", {:?}{but}", TestFinding::MESSAGE);
        TestOutcome::new(outcomes.pop().unwrap_or_else(nobody), place)
    }
}

#[cfg(test)]
mod tests;
