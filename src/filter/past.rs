//! What is remembered besides the Pods: kills that were reported before the program started, settled
//! kills of Pods that are gone, mirror pods that were deleted, and what Events told of starts and of nodes.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use finding::{KillId, event_name};
use jiff::Timestamp;

use super::{
    nodes::NodeOoms,
    reading::InstanceEnd,
    reported::ReportedKills,
    starts::{RecentStarts, ToldStart},
};
use crate::source::objects::{ContainerList, Pod, Started};

/// How many kills of Pods that are gone are remembered, in 32 KiB.
const MAX_DEPARTED_KILLS: usize = 4096;

/// How many mirror pods are remembered that were deleted, and that came back, in 8 KiB each.
const MAX_MIRRORS: usize = 1024;

/// The bits in which the keys of Pods of one name differ.
pub(super) const LOWER_HALF: u64 = 0xFFFF_FFFF;

/// What is remembered besides the Pods. Its keys are hashes.
#[derive(Debug, Default)]
pub(super) struct Past {
    hasher: RandomState,
    /// The program's own Events that stood in the cluster when it started.
    reported: ReportedKills,
    /// Settled kills of Pods that are gone. A mirror pod is made anew within seconds and shows the
    /// same kill again; a restored etcd brings any Pod back.
    departed: VecDeque<u64>,
    /// Mirror pods that were deleted.
    deleted_mirrors: VecDeque<u64>,
    /// Those that came back without restarts. Their static pods may have been started anew: then
    /// `restartCount` begins at 0 again, and the count of an Event doesn't.
    begun_anew: VecDeque<u64>,
    starts: RecentStarts,
    nodes: NodeOoms,
}

impl Past {
    /// Returns the key of a Pod. Its Events have the same.
    /// Pods of the same name have keys whose upper halves are the same.
    pub(super) fn pod_key(&self, pod: &Pod) -> u64 {
        self.key(&pod.metadata.namespace, &pod.metadata.name, pod.event_uid())
    }

    /// Returns the key of the Pod that an Event is about.
    pub(super) fn pod_key_of_event(&self, started: &Started) -> u64 {
        self.key(&started.namespace, &started.pod, &started.event_uid)
    }

    /// Returns the key of a container within its Pod.
    pub(super) fn container_key(&self, name: &str) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(name).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Returns the key of a kill. It is made of what the kill's identity is made of.
    pub(super) fn kill_key(&self, pod: &Pod, list: ContainerList, name: &str, end: &InstanceEnd<'_>) -> u64 {
        match &end.terminated.container_id {
            Some(id) => self.hasher.hash_one((&pod.metadata.namespace, id)),
            None => self.hasher.hash_one((&pod.metadata.uid, list, name, end.moment())),
        }
    }

    /// Takes in that an Event of the program's own stands in the cluster.
    pub(super) fn remember_reported(&mut self, namespace: &str, event: &str) {
        self.reported.insert(self.hasher.hash_one(namespace), self.hasher.hash_one(event));
    }

    /// Takes in the keys of settled kills whose Pods are gone.
    pub(super) fn remember_departed(&mut self, kills: impl Iterator<Item = u64>) {
        self.departed.extend(kills);
        let excess = self.departed.len().saturating_sub(MAX_DEPARTED_KILLS);
        self.departed.drain(..excess);
    }

    /// Returns whether a kill was settled in a Pod that is gone.
    pub(super) fn has_departed(&self, kill: u64) -> bool {
        self.departed.contains(&kill)
    }

    /// Returns whether any Event of the program's own stood in the cluster when it started.
    pub(super) fn has_events(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Returns whether the Event of this kill in this Pod did.
    pub(super) fn has_event(&self, namespace: &str, pod: &str, id: &KillId) -> bool {
        let event = event_name(pod, id);
        self.reported.contains(self.hasher.hash_one(namespace), self.hasher.hash_one(event))
    }

    /// Takes in that an Event told of a start.
    pub(super) fn remember_start(&mut self, pod: u64, container: u32, start: ToldStart) {
        self.starts.remember(pod, container, start);
    }

    /// Returns the starts of a container that Events told of last and whose counts prove something.
    pub(super) fn told_starts(&self, pod: &Pod, container: &str) -> impl Iterator<Item = ToldStart> {
        let key = self.pod_key(pod);
        let starts = self.starts.of(key, self.container_key(container));
        let is_trusted = self.trusts_counts(key);
        starts.filter(move |_| is_trusted)
    }

    /// Takes in that a mirror pod was deleted.
    pub(super) fn remember_deleted_mirror(&mut self, pod: u64) {
        remember(pod, &mut self.deleted_mirrors);
    }

    /// Takes in that a mirror pod is shown with the status of a container.
    pub(super) fn remember_mirror(&mut self, pod: u64, ever_restarted: bool) {
        let deleted = self.deleted_mirrors.iter().position(|mirror| *mirror == pod);
        if deleted.and_then(|place| self.deleted_mirrors.remove(place)).is_some() && !ever_restarted {
            remember(pod, &mut self.begun_anew);
        }
    }

    /// Returns whether the counts of Events prove something of the containers of this Pod.
    pub(super) fn trusts_counts(&self, pod: u64) -> bool {
        !self.deleted_mirrors.contains(&pod) && !self.begun_anew.contains(&pod)
    }

    /// Takes in that an Event told of a node that ran out of memory.
    pub(super) fn remember_node_oom(&mut self, node: &str, at: Timestamp) {
        self.nodes.remember(node, at);
    }

    /// Returns whether an Event told that a node ran out of memory within a minute of this time.
    pub(super) fn node_ran_out(&self, node: &str, at: Timestamp) -> bool {
        self.nodes.ran_out(node, at)
    }

    /// Returns a Pod's key. The name is part of it, because anybody may create a Pod that claims to mirror
    /// another one.
    fn key(&self, namespace: &str, name: &str, event_uid: &str) -> u64 {
        let (name, pod) = (self.hasher.hash_one((namespace, name)), self.hasher.hash_one(event_uid));
        name & !LOWER_HALF | pod & LOWER_HALF
    }
}

fn remember(pod: u64, mirrors: &mut VecDeque<u64>) {
    if !mirrors.contains(&pod) {
        mirrors.push_back(pod);
        let excess = mirrors.len().saturating_sub(MAX_MIRRORS);
        mirrors.drain(..excess);
    }
}
