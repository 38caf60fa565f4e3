//! Which kills were reported before the program started. Whoever may write Events in a namespace may write
//! as many that look like the program's own as they like, so each namespace has a share of what is remembered: what
//! exceeds it costs that namespace alone, whose kills may be reported again.

use std::collections::{HashMap, HashSet};

/// How many Events are remembered, in about 1 MiB.
const MAX_REPORTED_EVENTS: usize = 64 * 1024;
/// How many of one namespace, as long as there is room.
const MAX_EVENTS_PER_NAMESPACE: usize = 8 * 1024;

/// The program's own Events that stood in the cluster when it started, by namespace. All keys are hashes.
#[derive(Debug)]
pub(super) struct ReportedKills {
    namespaces: HashMap<u64, HashSet<u64>>,
    /// How many there are.
    total: usize,
    /// How many a namespace may have. It is halved whenever there are too many.
    share: usize,
}

impl Default for ReportedKills {
    fn default() -> Self {
        Self { namespaces: HashMap::new(), total: 0, share: MAX_EVENTS_PER_NAMESPACE }
    }
}

impl ReportedKills {
    /// Takes in an Event, if its namespace has room for it.
    pub(super) fn insert(&mut self, namespace: u64, event: u64) {
        let events = self.namespaces.entry(namespace).or_default();
        if events.len() < self.share && events.insert(event) {
            self.total += 1;
            while self.total > MAX_REPORTED_EVENTS && self.share > 1 {
                self.halve_shares();
            }
        }
    }

    /// Returns whether it is remembered.
    pub(super) fn contains(&self, namespace: u64, event: u64) -> bool {
        self.namespaces.get(&namespace).is_some_and(|events| events.contains(&event))
    }

    /// Returns whether none is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    fn halve_shares(&mut self) {
        self.share /= 2;
        for events in self.namespaces.values_mut().filter(|events| events.len() > self.share) {
            *events = events.iter().copied().take(self.share).collect();
        }
        self.total = self.namespaces.values().map(HashSet::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_million_events_of_one_namespace_cost_no_other() {
        let mut reported = ReportedKills::default();
        (0..1000).for_each(|event| reported.insert(1, event));
        (0..2_000_000).for_each(|event| reported.insert(2, event));
        (0..1000).for_each(|event| reported.insert(3, event));
        assert!((0..1000).all(|event| reported.contains(1, event) && reported.contains(3, event)));
        assert_eq!(reported.total, 2000 + MAX_EVENTS_PER_NAMESPACE);
        assert!(!reported.contains(1, 1000) && !reported.contains(4, 0));
    }

    #[test]
    fn many_large_namespaces_leave_a_share_to_the_small_ones() {
        let mut reported = ReportedKills::default();
        (0..100).for_each(|event| reported.insert(1, event));
        for namespace in 2..100 {
            (0..10_000).for_each(|event| reported.insert(namespace, event));
            assert!(reported.total <= MAX_REPORTED_EVENTS);
        }
        (0..100).for_each(|event| reported.insert(100, event));
        assert!((0..100).all(|event| reported.contains(1, event) && reported.contains(100, event)));
    }
}
