//! Decides which kills are reported. Goes in: what the source saw, and when. Comes out: findings.
//!
//! Pure: no clock, no I/O, no `async`. Two witnesses of kills feed it, the statuses of Pods and `Started`
//! Events, and one of their causes, Events about nodes. A Pod's status passes through these files in this order:
//!
//! | file | what it answers |
//! |---|---|
//! | `reading` | what does a status say? |
//! | `pods` | what is remembered of this Pod and its containers? |
//! | `container` | what does the status lead to, with what is remembered? |
//! | `kill` | what is known of a kill that is shown for the first time? |
//! | `describe`, `workload` | what does a finding say? |
//!
//! `past`, `reported`, `starts`, `nodes` and `restarts` tell what `container`, `kill` and `describe` ask for: earlier
//! reports, recent Events, restart policies.

mod container;
mod describe;
mod kill;
mod nodes;
mod past;
mod pods;
mod reading;
mod reported;
mod restarts;
mod starts;
mod workload;

use std::{collections::HashMap, time::Duration};

use container::RememberedContainer;
use finding::{AdvicePolicy, Finding};
use jiff::Timestamp;
use kill::ShownContainer;
use past::Past;
use pods::RememberedPods;
use reading::StatusReading;
use starts::ToldStart;
pub(crate) use workload::workload;

use crate::{
    config::Namespaces,
    source::{
        Observation, Scope,
        objects::{ContainerStatus, Pod, Started},
    },
};

/// What the filter is told once.
#[derive(Clone, Debug)]
pub struct FilterSettings {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The namespaces whose kills are reported.
    pub namespaces: Namespaces,
    /// How old a kill's restart (without one, its end) may be if a list shows it in a Pod that wasn't known.
    pub lookback: Duration,
    /// Whether to report kills that no restart follows.
    pub report_unrestarted: bool,
    /// How to advise on limits, if at all.
    pub advice: Option<AdvicePolicy>,
}

/// What the filter concludes from an observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    /// A kill is to be reported.
    Finding(Box<Finding>),
    /// Instances of a container ended unseen, so how they ended is unknown.
    UnobservedEnds {
        /// The Pod's namespace.
        namespace: String,
        /// The Pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// How many instances.
        instances: u32,
    },
}

/// Decides which kills are reported.
#[derive(Debug)]
pub struct Filter {
    settings: FilterSettings,
    past: Past,
    pods: RememberedPods,
    lists: HashMap<Scope, NewestList>,
}

/// The newest list of a scope.
#[derive(Clone, Copy, Debug, Default)]
struct NewestList {
    number: u32,
    /// What happened no later than this is history, in Pods that were not known before this list.
    horizon: Option<Timestamp>,
}

impl Filter {
    /// Makes a filter that knows nothing yet.
    pub fn new(settings: FilterSettings) -> Self {
        Self { settings, past: Past::default(), pods: RememberedPods::default(), lists: HashMap::new() }
    }

    /// Takes in an observation that was made at `now`.
    pub fn observe(&mut self, observation: Observation, now: Option<Timestamp>) -> Vec<Conclusion> {
        match observation {
            Observation::Reported { namespace, event, .. } => {
                self.past.remember_reported(&namespace, &event);
                Vec::new()
            }
            Observation::ReadBack { .. } => Vec::new(),
            Observation::ListBegins { scope, in_sync } => {
                let list = self.lists.entry(scope).or_default();
                list.number = list.number.wrapping_add(1);
                list.horizon = in_sync.checked_sub(self.settings.lookback).ok();
                Vec::new()
            }
            Observation::Listed(scope, pod) => {
                let horizon = self.lists.entry(scope).or_default().horizon;
                self.shown(scope, &pod, horizon, now)
            }
            Observation::Changed(scope, pod) => {
                let outlived = self.pods.outlived_by(self.past.pod_key(&pod), &pod);
                let mut conclusions = self.gone(outlived, now);
                conclusions.extend(self.shown(scope, &pod, None, now));
                conclusions
            }
            Observation::ListEnds(scope) => self.list_ends(scope, now),
            Observation::Deleted(scope, pod) => self.deleted(scope, &pod, now),
            Observation::Started(started) => self.started(&started, now),
            Observation::NodeRanOut(oom) => {
                self.past.remember_node_oom(&oom.node, oom.at);
                Vec::new()
            }
        }
    }

    /// Returns whether an Event tells of a kill that was found, as far as own Events have been read.
    pub fn was_reported(&self, finding: &Finding) -> bool {
        self.past.has_event(&finding.namespace, &finding.pod.name, &finding.id)
    }

    /// Returns how much it remembers: Pods, containers that ever restarted or were killed, pending kills.
    pub fn remembered(&self) -> usize {
        self.pods.remembered()
    }

    /// Takes in that nothing more will be seen. Returns the pending kills, if they are to be reported.
    pub fn finish(&mut self) -> Vec<Conclusion> {
        let left = self.pods.all_gone();
        self.gone(left, None)
    }

    fn shown(
        &mut self,
        scope: Scope,
        pod: &Pod,
        horizon: Option<Timestamp>,
        now: Option<Timestamp>,
    ) -> Vec<Conclusion> {
        if !self.settings.namespaces.selects(&pod.metadata.namespace) {
            return Vec::new();
        }
        let Self { settings, past, pods, lists } = self;
        let key = past.pod_key(pod);
        let known = pods.exists(key, scope, lists.entry(scope).or_default().number);
        let watched = known && !pod.is_mirror();
        let horizon = horizon.filter(|_| !known);
        if pod.is_mirror() && pod.statuses().next().is_some() {
            past.remember_mirror(key, pod.statuses().any(|(_, status)| status.restart_count > Some(0)));
        }
        let mut conclusions = Vec::new();
        for (place, (list, status)) in pod.statuses().enumerate() {
            let reading = StatusReading::of(status);
            let name = past.container_key(&status.name);
            let resized = pod.is_being_resized(list, status);
            let container = pods.container(key, name, place, &reading, resized, watched);
            let Some(container) = container else { continue };
            let shown = ShownContainer { settings, past, pod, list, status, horizon };
            let (unobserved, found) = container.status(&reading, &shown);
            let found = found.into_iter().map(|finding| describe::complete(finding, now, settings, past));
            conclusions.extend(found.map(Conclusion::from));
            if unobserved > 0 {
                conclusions.push(Conclusion::unobserved(pod, status, unobserved));
            }
        }
        conclusions
    }

    fn deleted(&mut self, scope: Scope, pod: &Pod, now: Option<Timestamp>) -> Vec<Conclusion> {
        let mut conclusions = self.shown(scope, pod, None, now);
        let key = self.past.pod_key(pod);
        let gone = if pod.is_mirror() {
            self.past.remember_deleted_mirror(key);
            self.pods.mirror_gone(key)
        } else {
            self.pods.gone(key)
        };
        conclusions.extend(self.gone(gone, now));
        conclusions
    }

    fn list_ends(&mut self, scope: Scope, now: Option<Timestamp>) -> Vec<Conclusion> {
        let list = self.lists.entry(scope).or_default().number;
        let gone = self.pods.gone_but_for(scope, list);
        self.gone(gone, now)
    }

    /// Takes in that the Pods of these containers are gone. Returns their pending kills, oldest first.
    fn gone(
        &mut self,
        gone: impl IntoIterator<Item = RememberedContainer>,
        now: Option<Timestamp>,
    ) -> Vec<Conclusion> {
        let mut found: Vec<Finding> = Vec::new();
        for mut container in gone {
            found.extend(container.over(self.settings.report_unrestarted));
            self.past.remember_departed(container.settled());
        }
        found.sort_by_cached_key(|finding| (finding.killed.finished_at, finding.id.clone()));
        found.into_iter().map(|finding| self.conclude(finding, now)).collect()
    }

    fn started(&mut self, started: &Started, now: Option<Timestamp>) -> Vec<Conclusion> {
        if !self.settings.namespaces.selects(&started.namespace) {
            return Vec::new();
        }
        let pod = self.past.pod_key_of_event(started);
        let name = self.past.container_key(&started.container);
        let start = ToldStart { at: started.at, count: started.count };
        self.past.remember_start(pod, name, start);
        let container = self.pods.known_container(pod, name).filter(|_| self.past.trusts_counts(pod));
        let found = container.and_then(|container| container.started(start));
        found.map(|finding| self.conclude(finding, now)).into_iter().collect()
    }

    fn conclude(&self, finding: Finding, now: Option<Timestamp>) -> Conclusion {
        describe::complete(finding, now, &self.settings, &self.past).into()
    }
}

impl From<Finding> for Conclusion {
    fn from(finding: Finding) -> Self {
        Self::Finding(Box::new(finding))
    }
}

impl Conclusion {
    fn unobserved(pod: &Pod, container: &ContainerStatus, instances: u32) -> Self {
        Self::UnobservedEnds {
            namespace: pod.metadata.namespace.clone(),
            pod: pod.metadata.name.clone(),
            container: container.name.clone(),
            instances,
        }
    }
}
