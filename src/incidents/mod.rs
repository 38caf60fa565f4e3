//! Says which kills belong together. Goes in: findings, and what the source sees of Pods. Comes out: what a
//! kill's incident tells of it, and which incidents are over.
//!
//! An incident is the kills of one container of one workload, each within an hour of the one before. Pure:
//! kills have the time that their node gave them, and the present comes in as an argument.
//!
//! | file | what it answers |
//! |---|---|
//! | `key` | how are containers and Pods told apart? |
//! | `ongoing` | what is known of an incident that goes on? |
//! | `limits` | was the limit raised, and did it help? |
//! | `running` | what runs in place of what was killed? |
//! | `day` | what does the page show of the last day? |
//!
//! Memory is bounded: of too many incidents, the namespace that has most forgets the one that has been quiet
//! longest.

mod day;
mod key;
mod limits;
mod ongoing;
mod running;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use finding::{Finding, KillHistory, ResolvedIncident};
use jiff::Timestamp;

use self::ongoing::OngoingIncident;
pub use self::{
    day::{RecentIncident, RecentIncidents},
    key::{ContainerKey, KeyMaker},
};
use crate::{
    filter::workload,
    source::{
        Observation, Scope,
        objects::{Phase, Pod},
    },
};

/// How long after its last kill an incident is over.
pub const QUIET_AFTER: Duration = Duration::from_hours(1);

/// How many incidents are remembered.
const MAX_INCIDENTS: usize = 2048;

/// An incident that is over.
#[derive(Clone, Debug)]
pub struct QuietIncident {
    /// What is said of it.
    pub resolved: ResolvedIncident,
    /// Its last kill, as far as a `match` asks for it.
    pub last: Arc<Finding>,
}

/// The incidents that go on.
#[derive(Debug, Default)]
pub struct Incidents {
    keys: KeyMaker,
    /// Boxed, because a map has room for more than it holds.
    by_key: BTreeMap<ContainerKey, Box<OngoingIncident>>,
    /// The last kill of each incident; one entry an incident.
    by_time: BTreeSet<(Timestamp, ContainerKey)>,
    namespaces: HashMap<u64, AffectedNamespace>,
    recent: RecentIncidents,
}

/// A namespace that has incidents.
#[derive(Debug, Default)]
struct AffectedNamespace {
    incidents: usize,
    /// The list that shows its Pods, if any has since the incidents began.
    scope: Option<Scope>,
}

impl Incidents {
    /// Takes in a kill that was found just now. Sets the finding's incident, and returns what that tells of
    /// the kill. Without any time, the kill belongs to no incident.
    pub fn add(&mut self, finding: &mut Finding) -> KillHistory {
        let Some(at) = killed_at(finding) else { return KillHistory::default() };
        let key = self.keys.container(finding);
        let pod = self.keys.pod_of_few(&finding.pod.uid);
        let known = self.by_key.get(&key);
        // It may be older than what is remembered.
        let is_history = known.is_some_and(|incident| later(at, QUIET_AFTER) < incident.since());
        let is_new = known.is_none_or(|incident| later(incident.last(), QUIET_AFTER) < at);
        let known = if is_history { None } else { self.remove(key).filter(|_| !is_new) };
        let mut incident = known.unwrap_or_else(|| OngoingIncident::new(finding, at));
        incident.add(finding, at, pod);
        finding.incident = Some(incident.summary());
        let history = incident.history(finding);
        if !is_history {
            self.insert(key, incident);
        }
        history
    }

    /// Takes in a kill that was found, and counted, before the program started. Its incident may be over.
    pub fn remember(&mut self, finding: &Finding, now: Timestamp) {
        let Some(at) = killed_at(finding).filter(|at| later(*at, QUIET_AFTER) > now) else { return };
        let key = self.keys.container(finding);
        let pod = self.keys.pod_of_few(&finding.pod.uid);
        let mut incident = self.remove(key).unwrap_or_else(|| OngoingIncident::new(finding, at));
        incident.remember(finding, at, pod);
        self.recent.remember(key, finding, at, &incident.summary());
        self.insert(key, incident);
    }

    /// Shows the page a kill that [`Incidents::add`] took in, once its cause and advice are known.
    pub fn show(&mut self, finding: &Arc<Finding>) {
        if let Some(at) = killed_at(finding) {
            self.recent.add(self.keys.container(finding), finding, at);
        }
    }

    /// Takes in what the source saw of a Pod, or that a list began or ended.
    pub fn see(&mut self, observation: &Observation) {
        if self.by_key.is_empty() {
            return;
        }
        match observation {
            Observation::Listed(scope, pod) | Observation::Changed(scope, pod) => {
                self.seen(*scope, pod, false);
            }
            Observation::Deleted(scope, pod) => self.seen(*scope, pod, true),
            Observation::ListBegins { scope, .. } => {
                self.of_scope(*scope).for_each(OngoingIncident::list_begins);
            }
            Observation::ListEnds(scope) => self.of_scope(*scope).for_each(OngoingIncident::list_ends),
            _ => {}
        }
    }

    /// Returns the incidents that are over at this time, and forgets them.
    pub fn over(&mut self, now: Timestamp) -> Vec<QuietIncident> {
        let mut over = Vec::new();
        while let Some((last, key)) = self.by_time.first().copied()
            && later(last, QUIET_AFTER) <= now
        {
            over.extend(self.remove(key).map(OngoingIncident::end));
        }
        over
    }

    /// Returns what the page shows. It goes on to follow what is added here.
    pub fn recent(&self) -> RecentIncidents {
        self.recent.clone()
    }

    /// Returns how many incidents are remembered.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Returns whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes in what is seen of a Pod, or seen last.
    fn seen(&mut self, scope: Scope, pod: &Pod, is_gone: bool) {
        let namespace = self.keys.namespace(&pod.metadata.namespace);
        let Some(affected) = self.namespaces.get_mut(&namespace) else { return };
        affected.scope = Some(scope);
        let hash = self.keys.pod_of_few(&pod.metadata.uid);
        let is_gone = is_gone || pod.status.phase == Phase::Over;
        let workload = self.keys.workload(&pod.metadata.namespace, &workload(pod));
        for (_, incident) in self.by_key.range_mut(ContainerKey::of_workload(namespace, workload)) {
            incident.seen(pod, hash, is_gone);
        }
    }

    /// Returns the incidents of the namespaces whose Pods a list shows.
    fn of_scope(&mut self, scope: Scope) -> impl Iterator<Item = &mut OngoingIncident> {
        let namespaces = &self.namespaces;
        let is_shown =
            move |namespace| namespaces.get(&namespace).is_some_and(|affected| affected.scope == Some(scope));
        let incidents = self.by_key.iter_mut();
        incidents.filter(move |(key, _)| is_shown(key.namespace)).map(|(_, incident)| &mut **incident)
    }

    fn insert(&mut self, key: ContainerKey, incident: OngoingIncident) {
        self.by_time.insert((incident.last(), key));
        self.by_key.insert(key, Box::new(incident));
        self.namespaces.entry(key.namespace).or_default().incidents += 1;
        if self.by_key.len() > MAX_INCIDENTS {
            self.forget_one();
        }
    }

    fn remove(&mut self, key: ContainerKey) -> Option<OngoingIncident> {
        let incident = self.by_key.remove(&key)?;
        self.by_time.remove(&(incident.last(), key));
        if let Some(affected) = self.namespaces.get_mut(&key.namespace) {
            affected.incidents -= 1;
            if affected.incidents == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
        Some(*incident)
    }

    /// Forgets an incident: of the namespace that has most of them, the one that has been quiet longest.
    fn forget_one(&mut self) {
        let greediest = self.namespaces.iter().max_by_key(|(_, affected)| affected.incidents);
        let Some(namespace) = greediest.map(|(namespace, _)| *namespace) else { return };
        let quietest = self.by_time.iter().find(|(_, key)| key.namespace == namespace);
        if let Some(key) = quietest.map(|(_, key)| *key) {
            self.remove(key);
        }
    }
}

/// Returns the time after `duration`, at most the last that there is: nodes may give any time.
fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns when an instance was killed, as closely as it is known; no later than it was detected, whatever
/// its node's clock says.
fn killed_at(finding: &Finding) -> Option<Timestamp> {
    let restarted_at = finding.restarted.as_ref().and_then(|restarted| restarted.started_at);
    let known = finding.killed.finished_at.or(restarted_at);
    known.map_or(finding.detected_at, |at| Some(finding.detected_at.map_or(at, |detected| at.min(detected))))
}

#[cfg(test)]
mod tests;
