//! What is remembered of the Pods: 16 bytes of each, which take 32 in their table, and more only of
//! those in which a container ever restarted, was killed or resized. Their keys are hashes.
//!
//! The tables are trees. A hash table would be in memory twice while it grows, and within a day would
//! double its size for Pods that are gone.

use std::collections::{BTreeMap, VecDeque};

use super::{container::RememberedContainer, past::LOWER_HALF, reading::StatusReading};
use crate::source::{Scope, objects::Pod};

/// How many mirror pods are kept after they were deleted.
const MAX_ORPHANS: usize = 64;

/// The Pods that exist, as far as was seen.
#[derive(Debug, Default)]
pub(super) struct RememberedPods {
    pods: BTreeMap<u64, RememberedPod>,
    /// The containers that ever restarted, were killed or resized, by their Pods. Most Pods have none.
    containers: BTreeMap<u64, Box<[RememberedContainer]>>,
    /// Mirror pods that were deleted while a kill was pending, the one that was deleted last at the end.
    orphans: VecDeque<u64>,
}

/// What is remembered of every Pod.
#[derive(Clone, Copy, Debug)]
struct RememberedPod {
    /// The number of the list that showed it last. A Pod that the next list doesn't show is gone.
    list: u32,
    scope: Scope,
    /// A bit for each of the first 16 containers whose first instance was seen to end. Of containers
    /// that never restarted nothing else is remembered.
    first_ended: u16,
}

/// What a Pod without restarts takes, with its key, and what each container that ever restarted takes.
const _: () = assert!(size_of::<(u64, RememberedPod)>() <= 16 && size_of::<RememberedContainer>() <= 32);

impl RememberedPods {
    /// Takes in that a Pod exists. Returns whether it was known.
    pub(super) fn exists(&mut self, pod: u64, scope: Scope, list: u32) -> bool {
        self.orphans.retain(|orphan| *orphan != pod);
        let first_ended = self.pods.get(&pod).map(|known| known.first_ended);
        self.pods.insert(pod, RememberedPod { list, scope, first_ended: first_ended.unwrap_or_default() });
        first_ended.is_some()
    }

    /// Returns what is remembered of a container of a Pod that exists, from the first status on that
    /// gives something to remember. `place` is its place in the Pod's status; `resized` says
    /// whether it is being resized, `watched` whether its end would have been seen.
    pub(super) fn container(
        &mut self,
        pod: u64,
        name: u32,
        place: usize,
        reading: &StatusReading<'_>,
        resized: bool,
        watched: bool,
    ) -> Option<&mut RememberedContainer> {
        if self.known_container(pod, name).is_none() {
            let known = self.pods.get_mut(&pod)?;
            if reading.is_clean() && !resized {
                known.first_ended |= bit(place) * u16::from(reading.ended > 0);
                return None;
            }
            // Nobody watched the instances from before the Pod was known, or before a mirror pod was
            // made anew. A container beyond the sixteenth may have been seen to end once.
            let first_ended = bit(place) == 0 || known.first_ended & bit(place) != 0;
            let ended = if watched { u32::from(first_ended) } else { reading.ended };
            let containers = self.containers.entry(pod).or_default();
            let others = std::mem::take(containers).into_iter();
            *containers = others.chain([RememberedContainer::new(name, ended)]).collect();
        }
        self.known_container(pod, name)
    }

    /// Returns what is remembered of a container, if anything is.
    pub(super) fn known_container(&mut self, pod: u64, name: u32) -> Option<&mut RememberedContainer> {
        self.containers.get_mut(&pod)?.iter_mut().find(|container| container.name == name)
    }

    /// Forgets a Pod that is gone. Returns what was remembered of its containers.
    pub(super) fn gone(&mut self, pod: u64) -> Box<[RememberedContainer]> {
        self.pods.remove(&pod);
        self.containers.remove(&pod).unwrap_or_default()
    }

    /// Takes in that a mirror pod was deleted. Its containers may run on, and then it is soon made anew: while
    /// a kill is pending, it is kept until a list doesn't show it. Returns what was remembered of the
    /// containers of the Pod that is forgotten, which is another if too many are kept.
    pub(super) fn mirror_gone(&mut self, pod: u64) -> Box<[RememberedContainer]> {
        let mut containers = self.containers.get(&pod).into_iter().flatten();
        if containers.all(|container| container.pending().is_none()) {
            return self.gone(pod);
        }
        self.orphans.push_back(pod);
        let excess = if self.orphans.len() > MAX_ORPHANS { self.orphans.pop_front() } else { None };
        excess.map(|orphan| self.gone(orphan)).unwrap_or_default()
    }

    /// Forgets the Pods whose place this one takes, unless it is known: those of its name in which a kill is
    /// pending. Returns what was remembered of their containers.
    pub(super) fn outlived_by(&mut self, key: u64, pod: &Pod) -> Vec<RememberedContainer> {
        if self.pods.contains_key(&key) {
            return Vec::new();
        }
        let namesakes = self.containers.range(key & !LOWER_HALF..=key | LOWER_HALF);
        let outlived = namesakes.filter(|(_, containers)| {
            containers.iter().filter_map(RememberedContainer::pending).any(|kill| kill.is_outlived_by(pod))
        });
        let outlived: Vec<u64> = outlived.map(|(key, _)| *key).collect();
        outlived.into_iter().flat_map(|key| self.gone(key)).collect()
    }

    /// Forgets the Pods of a scope that this list of it didn't show. Returns what was remembered of
    /// their containers.
    pub(super) fn gone_but_for(&mut self, scope: Scope, list: u32) -> Vec<RememberedContainer> {
        let missing = self.pods.extract_if(.., |_, pod| pod.scope == scope && pod.list != list);
        let containers = missing.filter_map(|(pod, _)| self.containers.remove(&pod)).flatten().collect();
        self.orphans.retain(|orphan| self.pods.contains_key(orphan));
        containers
    }

    /// Forgets all Pods. Returns what was remembered of their containers.
    pub(super) fn all_gone(&mut self) -> Vec<RememberedContainer> {
        self.pods.clear();
        self.orphans.clear();
        std::mem::take(&mut self.containers).into_values().flatten().collect()
    }

    /// Returns how much is remembered: Pods, containers that ever restarted, were killed or resized, pending
    /// kills.
    pub(super) fn remembered(&self) -> usize {
        let containers = self.containers.values().flatten();
        self.pods.len()
            + containers.map(|container| 1 + usize::from(container.pending().is_some())).sum::<usize>()
    }
}

/// Returns a container's bit in [`RememberedPod::first_ended`], or 0 if it has none.
fn bit(place: usize) -> u16 {
    u32::try_from(place).ok().and_then(|place| 1u16.checked_shl(place)).unwrap_or_default()
}
