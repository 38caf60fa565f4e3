//! Gathers findings about one container of one workload, a group, until they are due.
//!
//! The first finding of a group waits [`Grouping::wait`] for others. How long what is added later waits, at
//! most [`Grouping::interval`], says `rhythm.rs`. When an interval passes with nothing added, the group is
//! forgotten; with an interval of zero that is at once, and the next finding is a first one again.
//!
//! For a sink that can tell a count, a group holds a bounded number of findings and counts the others.

use std::collections::{BTreeMap, BTreeSet};

use sinks::Grouping;
use tokio::time::Instant;

use super::{
    later,
    queue::PendingDelivery,
    rhythm::{MessageRhythm, ToldBefore},
};
use crate::incidents::ContainerKey;

#[derive(Debug)]
pub(super) struct Groups {
    grouping: Grouping,
    /// How many findings a group holds before it only counts the others, if the sink can tell a count.
    max_named: Option<usize>,
    /// How many groups are remembered.
    capacity: usize,
    by_key: BTreeMap<ContainerKey, Group>,
    /// When each of the groups is due; one entry a group.
    by_time: BTreeSet<(Instant, ContainerKey)>,
}

#[derive(Debug)]
struct Group {
    gathered: Vec<PendingDelivery>,
    rhythm: MessageRhythm,
    /// When what is gathered is due; if there is nothing, when the group is forgotten.
    due: Instant,
}

/// What became of a finding that a workload has too much.
#[derive(Debug)]
pub(super) enum Excess {
    /// Another finding counts it.
    Counted,
    /// It waits no longer, and must be dropped.
    Taken(Box<PendingDelivery>),
}

impl Groups {
    pub(super) fn new(grouping: Grouping, max_named: Option<usize>, capacity: usize) -> Self {
        let (by_key, by_time) = (BTreeMap::new(), BTreeSet::new());
        Self { grouping, max_named, capacity, by_key, by_time }
    }

    /// Adds a finding to its group. Returns whether the group holds it, rather than counts it.
    pub(super) fn add(&mut self, pending: PendingDelivery, now: Instant) -> bool {
        let key = pending.key;
        let Some(mut group) = self.remove(key) else {
            let mut rhythm = MessageRhythm::new(self.grouping);
            let due = rhythm.add(pending.pod(), now);
            self.insert(key, Group { gathered: vec![pending], rhythm, due });
            return true;
        };
        let due = group.rhythm.add(pending.pod(), now);
        group.due = if group.gathered.is_empty() { due } else { due.min(group.due) };
        let is_full = self.max_named.is_some_and(|most| group.gathered.len() >= most);
        let is_held = if let Some(last) = group.gathered.last_mut().filter(|_| is_full) {
            last.count(pending);
            false
        } else {
            group.gathered.push(pending);
            true
        };
        self.insert(key, group);
        is_held
    }

    /// Takes in that an earlier run of the program told of a kill in a group.
    pub(super) fn remember(&mut self, key: ContainerKey, told: &ToldBefore, now: Instant) {
        let known = self.remove(key);
        let rhythm = MessageRhythm::new(self.grouping);
        let mut group = known.unwrap_or(Group { gathered: Vec::new(), rhythm, due: now });
        group.rhythm.remember(told);
        let forgotten = group.rhythm.previous().map(|previous| later(previous, self.grouping.interval));
        group.due = match forgotten {
            Some(forgotten) if group.gathered.is_empty() => forgotten,
            _ => group.rhythm.due_after_all(now),
        };
        if group.due > now || !group.gathered.is_empty() {
            self.insert(key, group);
        }
    }

    /// Returns when the next group is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes what the groups that are due have gathered. Forgets those that have gathered nothing.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PendingDelivery> {
        let mut taken = Vec::new();
        while let Some((_, key)) = self.by_time.first().filter(|(at, _)| *at <= now).copied() {
            let Some(Group { gathered, mut rhythm, .. }) = self.remove(key) else { continue };
            let previous = rhythm.previous();
            let goes_on = !gathered.is_empty() && !self.grouping.interval.is_zero();
            let next = goes_on.then(|| rhythm.told(gathered.iter().map(PendingDelivery::pod), now));
            if goes_on {
                let due = later(now, self.grouping.interval);
                self.insert(key, Group { gathered: Vec::new(), rhythm, due });
            }
            taken.extend(gathered.into_iter().map(|pending| pending.due(now, previous, next)));
        }
        taken
    }

    /// Takes everything that is gathered, and forgets all groups.
    pub(super) fn take_all(&mut self, now: Instant) -> Vec<PendingDelivery> {
        let mut taken = Vec::new();
        while let Some((_, key)) = self.by_time.first().copied() {
            let Some(Group { gathered, rhythm, .. }) = self.remove(key) else { continue };
            let previous = rhythm.previous();
            taken.extend(gathered.into_iter().map(|pending| pending.due(now, previous, None)));
        }
        taken
    }

    /// Takes a finding away from the workload's largest group, if it has gathered any: has another finding of
    /// the workload count it if the sink can tell a count, else takes it out.
    pub(super) fn reduce(&mut self, namespace: u64, workload: u64) -> Option<Excess> {
        let mut groups: Vec<&mut Vec<PendingDelivery>> = self
            .by_key
            .range_mut(ContainerKey::of_workload(namespace, workload))
            .map(|(_, group)| &mut group.gathered)
            .filter(|gathered| !gathered.is_empty())
            .collect();
        groups.sort_by_key(|gathered| gathered.len());
        let newest = groups.last_mut()?.pop()?;
        // Where each group had one, another group counts it.
        let keeper = groups.into_iter().rev().find_map(|gathered| gathered.last_mut());
        Some(match keeper {
            Some(keeper) if self.max_named.is_some() => {
                keeper.count(newest);
                Excess::Counted
            }
            _ => Excess::Taken(Box::new(newest)),
        })
    }

    fn insert(&mut self, key: ContainerKey, group: Group) {
        self.by_time.insert((group.due, key));
        self.by_key.insert(key, group);
        if self.by_key.len() > self.capacity {
            self.forget_one();
        }
    }

    fn remove(&mut self, key: ContainerKey) -> Option<Group> {
        let group = self.by_key.remove(&key)?;
        self.by_time.remove(&(group.due, key));
        Some(group)
    }

    /// Forgets a group that has gathered nothing: of the namespace that has most of them, the one that is due
    /// first.
    fn forget_one(&mut self) {
        let idle: Vec<(&ContainerKey, &Group)> =
            self.by_key.iter().filter(|(_, group)| group.gathered.is_empty()).collect();
        let namespaces = idle.chunk_by(|(a, _), (b, _)| a.namespace == b.namespace);
        let greediest = namespaces.max_by_key(|groups| groups.len()).unwrap_or_default();
        let first = greediest.iter().min_by_key(|(_, group)| group.due);
        if let Some(key) = first.map(|(key, _)| **key) {
            self.remove(key);
        }
    }
}
