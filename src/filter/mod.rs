//! Decides which kills are reported. Goes in: what the source saw, and when. Comes out: findings.
//!
//! Pure: no clock, no I/O, no `async`. Two witnesses feed it, statuses of Pods and `Started`
//! Events; [`container`] says what each leads to, [`reading`] what a status says, [`describe`]
//! what a finding tells. This file keeps the Pods: what is known, and when it is forgotten.

mod container;
mod describe;
mod reading;
mod starts;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use container::{Background, Container, Report};
use jiff::Timestamp;
use reading::{End, Reading};
use sinks::{Finding, kubernetes::event_name};
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
    pods: HashMap<u64, PodState>,
    lists: HashMap<Scope, List>,
}

/// What is remembered of a Pod.
#[derive(Debug)]
struct PodState {
    /// The list that showed it last, so that what a relist doesn't show is known to be gone.
    list: u32,
    scope: Scope,
    /// A bit for each of the first 16 containers whose first instance was seen to have ended: all
    /// that is remembered of containers that never restarted.
    first_ended: u16,
    /// Those that ever restarted or were killed.
    containers: Box<[Container]>,
}

/// What a Pod without restarts takes, with its key, and what each container takes that ever restarted.
const _: () = assert!(size_of::<(u64, PodState)>() <= 32 && size_of::<Container>() <= 32);

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
        Self { settings, memory: Memory::default(), pods: HashMap::new(), lists: HashMap::new() }
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
        let containers = self.pods.values().flat_map(|state| &state.containers);
        self.pods.len() + containers.map(|container| 1 + usize::from(container.is_pending())).sum::<usize>()
    }

    /// The pending kills, when nothing more will be seen.
    pub fn finish(&mut self) -> Vec<Verdict> {
        let left: Vec<_> = self.pods.drain().map(|(_, state)| state).collect();
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
        let known = self.pods.contains_key(&key);
        let new = PodState { list, scope, first_ended: 0, containers: Box::default() };
        let state = self.pods.entry(key).or_insert(new);
        (state.list, state.scope) = (list, scope);
        let mut verdicts = Vec::new();
        for (place, (list, status)) in pod.statuses().enumerate() {
            let reading = Reading::of(status);
            let name = self.memory.container(&status.name);
            let watched = known && !pod.is_mirror();
            let Some(container) = state.container(name, place, &reading, watched) else { continue };
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
        let gone = self.pods.remove(&self.memory.pod(pod));
        verdicts.extend(self.gone(gone, now));
        verdicts
    }

    fn list_ends(&mut self, scope: Scope, now: Option<Timestamp>) -> Vec<Verdict> {
        let list = self.lists.entry(scope).or_default().number;
        let gone = self.pods.extract_if(|_, state| state.scope == scope && state.list != list);
        let gone: Vec<_> = gone.map(|(_, state)| state).collect();
        self.gone(gone, now)
    }

    /// What is pending in Pods that are gone, oldest first.
    fn gone(&mut self, gone: impl IntoIterator<Item = PodState>, now: Option<Timestamp>) -> Vec<Verdict> {
        let mut reports: Vec<Report> = Vec::new();
        for mut container in gone.into_iter().flat_map(|state| state.containers) {
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
        let state = self.pods.get_mut(&key);
        let container =
            state.and_then(|state| state.containers.iter_mut().find(|container| container.name == name));
        let report = container.and_then(|container| container.started(started.at));
        findings(report, now).collect()
    }
}

impl PodState {
    /// What is remembered of a container, from the moment there is something to remember.
    fn container(
        &mut self,
        name: u32,
        place: usize,
        reading: &Reading<'_>,
        watched: bool,
    ) -> Option<&mut Container> {
        let found = self.containers.iter().position(|container| container.name == name);
        let position = match found {
            Some(position) => position,
            None if reading.is_clean() => {
                self.first_ended |= bit(place) * u16::from(reading.ended > 0);
                return None;
            }
            None => {
                // Nobody watched the instances of before the Pod was known, or a mirror pod made
                // anew. A container beyond the sixteenth may have been seen to end once.
                let first_ended = bit(place) == 0 || self.first_ended & bit(place) != 0;
                let ended = if watched { u32::from(first_ended) } else { reading.ended };
                let containers = std::mem::take(&mut self.containers);
                self.containers = containers.into_iter().chain([Container::new(name, ended)]).collect();
                self.containers.len() - 1
            }
        };
        self.containers.get_mut(position)
    }
}

/// A container's bit in [`PodState::first_ended`], if it has one.
fn bit(place: usize) -> u16 {
    u32::try_from(place).ok().and_then(|place| 1u16.checked_shl(place)).unwrap_or_default()
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
