//! Gathers findings about one container of one workload, a group, until they are due.
//!
//! The first finding of a group waits [`Grouping::wait`] for others. What is added later waits until
//! [`Grouping::interval`] has passed since the group was last due. When an interval passes with nothing
//! added, the group is forgotten; with an interval of zero that is at once, and the next finding is a first
//! one again.
//!
//! For a sink that can tell a count, a group holds a bounded number of findings and counts the others.

use std::collections::{BTreeMap, BTreeSet};

use sinks::Grouping;
use tokio::time::Instant;

use super::{
    later,
    queue::{GroupKey, PendingDelivery},
};

#[derive(Debug)]
pub(super) struct Groups {
    grouping: Grouping,
    /// How many findings a group holds before it only counts the others, if the sink can tell a count.
    max_named: Option<usize>,
    /// How many groups are remembered.
    capacity: usize,
    by_key: BTreeMap<GroupKey, Group>,
    /// When each of the groups is due; one entry a group.
    by_time: BTreeSet<(Instant, GroupKey)>,
}

#[derive(Debug)]
struct Group {
    gathered: Vec<PendingDelivery>,
    /// When the group was last due, if it was before.
    previous: Option<Instant>,
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
        if let Some(Group { gathered, .. }) = self.by_key.get_mut(&key) {
            let is_full = self.max_named.is_some_and(|most| gathered.len() >= most);
            if let Some(last) = gathered.last_mut().filter(|_| is_full) {
                last.count(pending);
                return false;
            }
            gathered.push(pending);
        } else {
            let due = later(now, self.grouping.wait);
            self.insert(key, Group { gathered: vec![pending], previous: None, due });
        }
        true
    }

    /// Returns when the next group is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes what the groups that are due have gathered. Forgets those that have gathered nothing.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PendingDelivery> {
        let mut taken = Vec::new();
        while let Some((_, key)) = self.by_time.first().filter(|(at, _)| *at <= now).copied() {
            let Some(group) = self.remove(key) else { continue };
            if !group.gathered.is_empty() && !self.grouping.interval.is_zero() {
                let due = later(now, self.grouping.interval);
                self.insert(key, Group { gathered: Vec::new(), previous: Some(now), due });
            }
            taken.extend(group.into_deliveries(now));
        }
        taken
    }

    /// Takes everything that is gathered, and forgets all groups.
    pub(super) fn take_all(&mut self, now: Instant) -> Vec<PendingDelivery> {
        let mut taken = Vec::new();
        while let Some((_, key)) = self.by_time.first().copied() {
            taken.extend(self.remove(key).into_iter().flat_map(|group| group.into_deliveries(now)));
        }
        taken
    }

    /// Takes a finding away from the workload's largest group, if it has gathered any: has another finding of
    /// the workload count it if the sink can tell a count, else takes it out.
    pub(super) fn reduce(&mut self, namespace: u64, workload: u64) -> Option<Excess> {
        let key = |container| GroupKey { namespace, workload, container };
        let mut groups: Vec<&mut Vec<PendingDelivery>> = self
            .by_key
            .range_mut(key(u64::MIN)..=key(u64::MAX))
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

    fn insert(&mut self, key: GroupKey, group: Group) {
        self.by_time.insert((group.due, key));
        self.by_key.insert(key, group);
        if self.by_key.len() > self.capacity {
            self.forget_one();
        }
    }

    fn remove(&mut self, key: GroupKey) -> Option<Group> {
        let group = self.by_key.remove(&key)?;
        self.by_time.remove(&(group.due, key));
        Some(group)
    }

    /// Forgets a group that has gathered nothing: of the namespace that has most of them, the one that is due
    /// first.
    fn forget_one(&mut self) {
        let idle: Vec<(&GroupKey, &Group)> =
            self.by_key.iter().filter(|(_, group)| group.gathered.is_empty()).collect();
        let namespaces = idle.chunk_by(|(a, _), (b, _)| a.namespace == b.namespace);
        let greediest = namespaces.max_by_key(|groups| groups.len()).unwrap_or_default();
        let first = greediest.iter().min_by_key(|(_, group)| group.due);
        if let Some(key) = first.map(|(key, _)| **key) {
            self.remove(key);
        }
    }
}

impl Group {
    fn into_deliveries(self, now: Instant) -> impl Iterator<Item = PendingDelivery> {
        let previous = self.previous;
        self.gathered.into_iter().map(move |mut pending| {
            pending.since = now;
            pending.delivery.previous = previous;
            pending
        })
    }
}
