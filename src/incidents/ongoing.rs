//! What is known of one incident that goes on.

use std::{sync::Arc, time::Duration};

use finding::{
    AffectedPod, Change, Finding, Gone, Incident, KillEvidence, KillHistory, KillId, Killed,
    ResolvedContainer, ResolvedIncident, ResolvedSchema, Restarted,
};
use jiff::Timestamp;
use untrusted::clean;

use super::{
    QuietIncident,
    limits::{KillLimits, ran_for},
    running::IncidentPods,
};
use crate::source::objects::Pod;

#[derive(Debug)]
pub(super) struct OngoingIncident {
    kills: u64,
    /// The first kill.
    since: Timestamp,
    /// The last kill.
    last: Timestamp,
    /// In how many Pods there were kills before the program started.
    pods_before: u64,
    pods: IncidentPods,
    limits: KillLimits,
    longest_run: Option<Duration>,
    /// Whether it is known of each kill how long the instance had run.
    all_runs_are_known: bool,
    /// The first kill that was taken in, and the limit and the image at it. There may be earlier ones, from
    /// before the program started.
    first: Timestamp,
    first_limit: Option<u64>,
    first_image: Option<String>,
    /// The last kill, without what no `match` asks for.
    finding: Finding,
}

impl OngoingIncident {
    /// Makes the incident that a kill begins, which is yet to be added.
    pub(super) fn new(finding: &Finding, at: Timestamp) -> Self {
        Self {
            kills: 0,
            since: at,
            last: at,
            pods_before: 0,
            pods: IncidentPods::default(),
            limits: KillLimits::default(),
            longest_run: None,
            all_runs_are_known: true,
            first: at,
            first_limit: finding.container.memory_limit_bytes,
            first_image: finding.container.image.clone(),
            finding: lean(finding),
        }
    }

    /// Returns when the last kill was.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    /// Returns when the first kill was.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// Takes in a kill that was found just now.
    pub(super) fn add(&mut self, finding: &Finding, at: Timestamp, pod: u32) {
        self.kills += 1;
        self.take_in(finding, at, pod);
    }

    /// Takes in a kill that was found, and counted in its own incident, before the program started.
    pub(super) fn remember(&mut self, finding: &Finding, at: Timestamp, pod: u32) {
        self.take_in(finding, at, pod);
        let known = finding.incident.as_ref();
        self.kills = known.map_or(self.kills + 1, |incident| incident.kills.max(self.kills));
        self.since = known.map_or(self.since, |incident| incident.since.min(self.since));
        self.pods_before = known.map_or(0, |incident| incident.pods).max(self.pods_before);
    }

    fn take_in(&mut self, finding: &Finding, at: Timestamp, pod: u32) {
        self.since = self.since.min(at);
        if at < self.first {
            self.first = at;
            self.first_limit = finding.container.memory_limit_bytes;
            self.first_image.clone_from(&finding.container.image);
        }
        if at >= self.last {
            self.last = at;
            self.finding = lean(finding);
        }
        self.pods.add(pod);
        self.limits.add(finding, at);
        let run = ran_for(finding);
        self.all_runs_are_known &= run.is_some();
        self.longest_run = self.longest_run.max(run);
    }

    /// Returns what is said of it in each finding.
    pub(super) fn summary(&self) -> Incident {
        let pods = u64::try_from(self.pods.count()).unwrap_or(u64::MAX);
        Incident { kills: self.kills, since: self.since, pods: pods.max(self.pods_before) }
    }

    /// Returns what it tells of a kill that was added last.
    pub(super) fn history(&self, finding: &Finding) -> KillHistory {
        KillHistory {
            kills: self.kills,
            longest_run: self.longest_run.filter(|_| self.all_runs_are_known),
            raised: self.limits.raised_to(finding.container.memory_limit_bytes),
        }
    }

    /// Takes in what a Pod of the workload shows.
    pub(super) fn seen(&mut self, pod: &Pod, hash: u32, is_gone: bool) {
        if is_gone {
            self.pods.gone(hash);
        } else {
            self.pods.seen(pod, hash, &self.finding.container.name);
        }
    }

    /// Takes in that a list of its namespace begins.
    pub(super) fn list_begins(&mut self) {
        self.pods.list_begins();
    }

    /// Takes in that a list of its namespace is complete.
    pub(super) fn list_ends(&mut self) {
        self.pods.list_ends();
    }

    /// Ends it, because it has been quiet for long.
    pub(super) fn end(self) -> QuietIncident {
        let incident = self.summary();
        let newest = self.pods.newest();
        let limit = newest.map_or(self.finding.container.memory_limit_bytes, |running| running.limit);
        let image = newest.map_or(&self.finding.container.image, |running| &running.image);
        let gone = self.pods.are_gone().then(|| newest.map_or(Gone::Workload, |_| Gone::Pods));
        let memory_limit_bytes =
            (limit != self.first_limit).then_some(Change { from: self.first_limit, to: limit });
        let image = self.first_image.clone().zip(image.clone()).filter(|(from, to)| from != to);
        let Finding { cluster, namespace, pod, container, .. } = &self.finding;
        let resolved = ResolvedIncident {
            schema: ResolvedSchema::V1,
            id: KillId::new(&[
                "resolved",
                namespace,
                &pod.workload.kind,
                &pod.workload.name,
                &container.name,
                &incident.since.to_string(),
            ]),
            cluster: cluster.clone(),
            namespace: namespace.clone(),
            workload: pod.workload.clone(),
            container: ResolvedContainer { name: container.name.clone(), kind: container.kind },
            message: message(&self.finding, &incident),
            incident,
            last_kill: self.last,
            memory_limit_bytes,
            image: image.map(|(from, to)| Change { from, to }),
            gone,
        };
        QuietIncident { resolved, last: Arc::new(self.finding) }
    }
}

/// Says in a sentence that an incident is over.
fn message(finding: &Finding, incident: &Incident) -> String {
    let Finding { namespace, pod: AffectedPod { workload, .. }, container, .. } = finding;
    let Incident { kills, since, pods } = incident;
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    let message = format!(
        "The container '{}' of {} {} in namespace {namespace} has not been OOMKilled for an hour: {kills} kill{} in \
         {pods} Pod{} since {since}",
        container.name,
        workload.kind,
        workload.name,
        plural(*kills),
        plural(*pods),
    );
    clean(&message).into_owned()
}

/// Returns a finding without what neither a `match` nor the end of an incident asks for.
fn lean(finding: &Finding) -> Finding {
    let Finding { pod, killed, .. } = finding;
    Finding {
        pod: AffectedPod {
            name: pod.name.clone(),
            uid: String::new(),
            node: None,
            memory_limit_bytes: pod.memory_limit_bytes,
            workload: pod.workload.clone(),
            event_uid: String::new(),
            labels: pod.labels.clone(),
            asks_to_be_ignored: pod.asks_to_be_ignored,
        },
        killed: Killed { container_id: None, ..*killed },
        restarted: finding.restarted.as_ref().map(|_| Restarted::default()),
        cause: None,
        advice: None,
        message: String::new(),
        evidence: KillEvidence::default(),
        ..finding.clone()
    }
}
