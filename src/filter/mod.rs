//! Decides which kills are reported. Goes in: what the source saw, and when. Comes out: findings.
//!
//! Pure: no clock, no I/O, no `async`. Two witnesses feed it, statuses of Pods and `Started`
//! Events; [`container`] says what each leads to, [`reading`] what a status says, [`describe`]
//! what a finding tells, [`pods`] what is known of a Pod. This file says when that is asked, and when
//! it is forgotten.

mod container;
mod describe;
mod pods;
mod reading;
mod starts;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use container::{Background, Container, Report};
use finding::{Finding, event_name};
use jiff::Timestamp;
use pods::Pods;
use reading::{End, Reading};
use starts::Starts;

use crate::{
    config::Namespaces,
    source::{
        Observation, Scope,
        objects::{ContainerList, ContainerStatus, Phase, Pod, Started},
    },
};

/// What the filter is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The namespaces whose kills are reported.
    pub namespaces: Namespaces,
    /// How far back a list is news, in containers that weren't known.
    pub lookback: Duration,
    /// Whether kills are reported that no restart follows.
    pub report_unrestarted: bool,
}

/// What came of an observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A kill to report.
    Finding(Box<Finding>),
    /// Instances of a container ended that nobody saw end: how, can't be known.
    Unobserved {
        /// The Pod's namespace.
        namespace: String,
        /// The Pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// How many.
        instances: u32,
    },
}

/// Decides which kills are reported.
#[derive(Debug)]
pub struct Filter {
    settings: Settings,
    memory: Memory,
    pods: Pods,
    lists: HashMap<Scope, List>,
}

/// The newest list of a scope.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    number: u32,
    /// What restarted no later than this is history to a Pod that this list shows first.
    horizon: Option<Timestamp>,
}

/// What is remembered beside the Pods.
#[derive(Debug, Default)]
struct Memory {
    hasher: RandomState,
    /// The program's own Events that stood in the cluster when it started.
    reported: HashSet<u64>,
    starts: Starts,
    /// Settled kills of Pods that are gone. A mirror pod is made anew within seconds and shows the
    /// same kill again; a restored etcd brings any Pod back.
    departed: VecDeque<u64>,
}

/// How many kills of Pods that are gone are remembered: 32 KiB.
const DEPARTED: usize = 4096;

impl Filter {
    /// A filter that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, memory: Memory::default(), pods: Pods::default(), lists: HashMap::new() }
    }

    /// Takes in an observation that was made at `now`.
    pub fn observe(&mut self, observation: Observation, now: Option<Timestamp>) -> Vec<Verdict> {
        match observation {
            Observation::Reported { namespace, event } => {
                let event = self.memory.hasher.hash_one((namespace, event));
                self.memory.reported.insert(event);
                Vec::new()
            }
            Observation::ListBegins { scope, in_sync } => {
                let list = self.lists.entry(scope).or_default();
                list.number = list.number.wrapping_add(1);
                list.horizon = in_sync.checked_sub(self.settings.lookback).ok();
                Vec::new()
            }
            Observation::Listed(scope, pod) => {
                let horizon = self.lists.entry(scope).or_default().horizon;
                self.pod(scope, &pod, horizon, now)
            }
            Observation::Changed(scope, pod) => self.pod(scope, &pod, None, now),
            Observation::ListEnds(scope) => self.list_ends(scope, now),
            Observation::Deleted(scope, pod) => self.deleted(scope, &pod, now),
            Observation::Started(started) => self.started(&started, now),
        }
    }

    /// How much it remembers: Pods, containers that ever restarted or were killed, pending kills.
    pub fn remembered(&self) -> usize {
        self.pods.remembered()
    }

    /// The pending kills, when nothing more will be seen.
    pub fn finish(&mut self) -> Vec<Verdict> {
        let left = self.pods.all_gone();
        self.gone(left, None)
    }

    fn pod(
        &mut self,
        scope: Scope,
        pod: &Pod,
        horizon: Option<Timestamp>,
        now: Option<Timestamp>,
    ) -> Vec<Verdict> {
        if !self.settings.namespaces.selects(&pod.metadata.namespace) {
            return Vec::new();
        }
        let key = self.memory.pod(pod);
        let list = self.lists.entry(scope).or_default().number;
        let known = self.pods.seen(key, scope, list);
        let mut verdicts = Vec::new();
        for (place, (list, status)) in pod.statuses().enumerate() {
            let reading = Reading::of(status);
            let name = self.memory.container(&status.name);
            let watched = known && !pod.is_mirror();
            let Some(container) = self.pods.container(key, name, place, &reading, watched) else { continue };
            let sight = Sight {
                settings: &self.settings,
                memory: &self.memory,
                pod,
                list,
                status,
                horizon: horizon.filter(|_| !known),
            };
            let outcome = container.status(&reading, &sight);
            verdicts.extend(findings(outcome.reports, now));
            if outcome.unobserved > 0 {
                verdicts.push(Verdict::Unobserved {
                    namespace: pod.metadata.namespace.clone(),
                    pod: pod.metadata.name.clone(),
                    container: status.name.clone(),
                    instances: outcome.unobserved,
                });
            }
        }
        verdicts
    }

    fn deleted(&mut self, scope: Scope, pod: &Pod, now: Option<Timestamp>) -> Vec<Verdict> {
        let mut verdicts = self.pod(scope, pod, None, now);
        let gone = self.pods.gone(self.memory.pod(pod));
        verdicts.extend(self.gone(gone, now));
        verdicts
    }

    fn list_ends(&mut self, scope: Scope, now: Option<Timestamp>) -> Vec<Verdict> {
        let list = self.lists.entry(scope).or_default().number;
        let gone = self.pods.gone_but_for(scope, list);
        self.gone(gone, now)
    }

    /// What is pending in containers whose Pods are gone, oldest first.
    fn gone(&mut self, gone: impl IntoIterator<Item = Container>, now: Option<Timestamp>) -> Vec<Verdict> {
        let mut reports: Vec<Report> = Vec::new();
        for mut container in gone {
            reports.extend(container.over(self.settings.report_unrestarted));
            self.memory.departed.extend(container.settled());
        }
        let excess = self.memory.departed.len().saturating_sub(DEPARTED);
        self.memory.departed.drain(..excess);
        reports.sort_by_cached_key(|(draft, _)| (draft.killed.finished_at, draft.id.clone()));
        findings(reports, now).collect()
    }

    fn started(&mut self, started: &Started, now: Option<Timestamp>) -> Vec<Verdict> {
        if !self.settings.namespaces.selects(&started.namespace) {
            return Vec::new();
        }
        let key = self.memory.key(&started.namespace, &started.pod, &started.event_uid);
        let name = self.memory.container(&started.container);
        self.memory.starts.remember(key, name, started.at);
        let report = self.pods.known_container(key, name).and_then(|container| container.started(started.at));
        findings(report, now).collect()
    }
}

fn findings(
    reports: impl IntoIterator<Item = Report>,
    now: Option<Timestamp>,
) -> impl Iterator<Item = Verdict> {
    let complete = move |(draft, restarted)| Box::new(describe::complete(draft, restarted, now));
    reports.into_iter().map(move |report| Verdict::Finding(complete(report)))
}

impl Memory {
    /// The key of a Pod, which its Events have, too. Anybody may write a Pod that claims to mirror
    /// another; but not under the other's name.
    fn key(&self, namespace: &str, name: &str, event_uid: &str) -> u64 {
        self.hasher.hash_one((namespace, name, event_uid))
    }

    fn pod(&self, pod: &Pod) -> u64 {
        self.key(&pod.metadata.namespace, &pod.metadata.name, pod.event_uid())
    }

    fn container(&self, name: &str) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(name).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// A container in a Pod that is looked at.
struct Sight<'a> {
    settings: &'a Settings,
    memory: &'a Memory,
    pod: &'a Pod,
    list: ContainerList,
    status: &'a ContainerStatus,
    horizon: Option<Timestamp>,
}

impl Background for Sight<'_> {
    fn kill(&self, end: &End<'_>) -> u64 {
        let id = describe::identity(self.pod, self.list, &self.status.name, end.terminated);
        self.memory.hasher.hash_one(id)
    }

    fn was_reported(&self, end: &End<'_>) -> bool {
        let metadata = &self.pod.metadata;
        let event = || {
            let id = describe::identity(self.pod, self.list, &self.status.name, end.terminated);
            self.memory.hasher.hash_one((&metadata.namespace, event_name(&metadata.name, &id)))
        };
        self.memory.departed.contains(&self.kill(end))
            || (!self.memory.reported.is_empty() && self.memory.reported.contains(&event()))
    }

    fn is_history(&self, at: Option<Timestamp>) -> bool {
        self.horizon.is_some_and(|horizon| at.is_none_or(|at| at <= horizon))
    }

    fn describe(&self, end: &End<'_>) -> Finding {
        describe::draft(self.settings.cluster.as_deref(), self.pod, self.list, self.status, end.terminated)
    }

    fn started_at(&self) -> Option<Timestamp> {
        self.memory.starts.get(self.memory.pod(self.pod), self.memory.container(&self.status.name))
    }

    fn is_over(&self) -> bool {
        self.pod.status.phase == Phase::Over
    }

    fn report_unrestarted(&self) -> bool {
        self.settings.report_unrestarted
    }
}
