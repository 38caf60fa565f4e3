//! What is remembered besides the Pods: kills that were reported before the program started, settled
//! kills of Pods that are gone, and what Events told of starts and of nodes.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use finding::{KillId, event_name};
use jiff::Timestamp;

use super::{
    nodes::NodeOoms,
    reported::ReportedKills,
    starts::{RecentStarts, ToldStart},
};
use crate::source::objects::{ContainerList, Pod, PodMetadata, Started, Terminated};

/// How many kills of Pods that are gone are remembered, in 32 KiB.
const MAX_DEPARTED_KILLS: usize = 4096;

/// What is remembered besides the Pods. Its keys are hashes.
#[derive(Debug, Default)]
pub(super) struct Past {
    hasher: RandomState,
    /// The program's own Events that stood in the cluster when it started.
    reported: ReportedKills,
    /// Settled kills of Pods that are gone. A mirror pod is made anew within seconds and shows the
    /// same kill again; a restored etcd brings any Pod back.
    departed: VecDeque<u64>,
    starts: RecentStarts,
    nodes: NodeOoms,
}

impl Past {
    /// Returns the key of a Pod. Its Events have the same.
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
    pub(super) fn kill_key(&self, pod: &Pod, list: ContainerList, name: &str, end: &Terminated) -> u64 {
        match &end.container_id {
            Some(id) => self.hasher.hash_one((&pod.metadata.namespace, id)),
            None => self.hasher.hash_one((&pod.metadata.uid, list, name, end.finished_at)),
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
    pub(super) fn has_event(&self, pod: &Pod, id: &KillId) -> bool {
        let PodMetadata { namespace, name, .. } = &pod.metadata;
        let event = event_name(name, id);
        self.reported.contains(self.hasher.hash_one(namespace), self.hasher.hash_one(event))
    }

    /// Takes in that an Event told of a start.
    pub(super) fn remember_start(&mut self, pod: u64, container: u32, start: ToldStart) {
        self.starts.remember(pod, container, start);
    }

    /// Returns the newest start of a container that an Event told of.
    pub(super) fn told_start(&self, pod: &Pod, container: &str) -> Option<ToldStart> {
        self.starts.get(self.pod_key(pod), self.container_key(container))
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
        self.hasher.hash_one((namespace, name, event_uid))
    }
}
