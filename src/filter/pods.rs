//! What is remembered of the Pods: 16 bytes of each, which take 32 in their table, and more only of those
//! in which a container ever restarted or was killed. Their keys are hashes.
//!
//! The tables are trees. A hash table would stand in memory twice while it grows, and grow to double
//! its size in a day for the places of Pods that are gone.

use std::collections::BTreeMap;

use super::{container::Container, reading::Reading};
use crate::source::Scope;

/// The Pods that are there, as far as was seen.
#[derive(Debug, Default)]
pub(super) struct Pods {
    seen: BTreeMap<u64, Seen>,
    /// The containers that ever restarted or were killed. Most Pods have none, and don't stand here.
    containers: BTreeMap<u64, Box<[Container]>>,
}

/// What is remembered of every Pod.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The list that showed it last, so that what a relist doesn't show is known to be gone.
    list: u32,
    scope: Scope,
    /// A bit for each of the first 16 containers whose first instance was seen to have ended: all
    /// that is remembered of containers that never restarted.
    first_ended: u16,
}

/// What a Pod without restarts takes, with its key, and what each container takes that ever restarted.
const _: () = assert!(size_of::<(u64, Seen)>() <= 16 && size_of::<Container>() <= 24);

impl Pods {
    /// A Pod is there. The answer is whether it was known.
    pub(super) fn seen(&mut self, pod: u64, scope: Scope, list: u32) -> bool {
        let first_ended = self.seen.get(&pod).map(|seen| seen.first_ended);
        self.seen.insert(pod, Seen { list, scope, first_ended: first_ended.unwrap_or_default() });
        first_ended.is_some()
    }

    /// What is remembered of a container of a Pod that is there, from the moment there is something to
    /// remember. `place` is its place in the status; `watched`, whether its end would have been seen.
    pub(super) fn container(
        &mut self,
        pod: u64,
        name: u32,
        place: usize,
        reading: &Reading<'_>,
        watched: bool,
    ) -> Option<&mut Container> {
        if self.known_container(pod, name).is_none() {
            let seen = self.seen.get_mut(&pod)?;
            if reading.is_clean() {
                seen.first_ended |= bit(place) * u16::from(reading.ended > 0);
                return None;
            }
            // Nobody watched the instances of before the Pod was known, or a mirror pod made anew. A
            // container beyond the sixteenth may have been seen to end once.
            let first_ended = bit(place) == 0 || seen.first_ended & bit(place) != 0;
            let ended = if watched { u32::from(first_ended) } else { reading.ended };
            let containers = self.containers.entry(pod).or_default();
            let others = std::mem::take(containers).into_iter();
            *containers = others.chain([Container::new(name, ended)]).collect();
        }
        self.known_container(pod, name)
    }

    /// What is remembered of a container, if anything is.
    pub(super) fn known_container(&mut self, pod: u64, name: u32) -> Option<&mut Container> {
        self.containers.get_mut(&pod)?.iter_mut().find(|container| container.name == name)
    }

    /// A Pod is gone. The answer is what was remembered of its containers.
    pub(super) fn gone(&mut self, pod: u64) -> Box<[Container]> {
        self.seen.remove(&pod);
        self.containers.remove(&pod).unwrap_or_default()
    }

    /// The Pods of a scope are gone that this list of it didn't show. The answer is what was remembered
    /// of their containers.
    pub(super) fn gone_but_for(&mut self, scope: Scope, list: u32) -> Vec<Container> {
        let missing = self.seen.extract_if(.., |_, seen| seen.scope == scope && seen.list != list);
        missing.filter_map(|(pod, _)| self.containers.remove(&pod)).flatten().collect()
    }

    /// All Pods are gone. The answer is what was remembered of their containers.
    pub(super) fn all_gone(&mut self) -> Vec<Container> {
        self.seen.clear();
        std::mem::take(&mut self.containers).into_values().flatten().collect()
    }

    /// How much is remembered: Pods, containers that ever restarted or were killed, pending kills.
    pub(super) fn remembered(&self) -> usize {
        let containers = self.containers.values().flatten();
        self.seen.len() + containers.map(|container| 1 + usize::from(container.is_pending())).sum::<usize>()
    }
}

/// A container's bit in [`Seen::first_ended`], if it has one.
fn bit(place: usize) -> u16 {
    u32::try_from(place).ok().and_then(|place| 1u16.checked_shl(place)).unwrap_or_default()
}
