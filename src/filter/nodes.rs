//! When nodes ran out of memory, by the word of Events. That there is no Event proves nothing.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use jiff::{SignedDuration, Timestamp};

/// How far from such an Event a kill may be, by the node's clock, to be put down to it.
const MAX_DISTANCE: SignedDuration = SignedDuration::from_mins(1);

/// How many Events are remembered, in 16 KiB.
const MAX_NODE_OOMS: usize = 1024;

/// The Events that came last. Nodes are remembered by a hash of their names.
#[derive(Debug, Default)]
pub(super) struct NodeOoms {
    hasher: RandomState,
    recent: VecDeque<(u64, Timestamp)>,
}

impl NodeOoms {
    /// Takes in that a node ran out of memory.
    pub(super) fn remember(&mut self, node: &str, at: Timestamp) {
        if self.recent.len() == MAX_NODE_OOMS {
            self.recent.pop_front();
        }
        self.recent.push_back((self.hasher.hash_one(node), at));
    }

    /// Returns whether a node is known to have run out of memory within a minute of this time.
    pub(super) fn ran_out(&self, node: &str, at: Timestamp) -> bool {
        let node = self.hasher.hash_one(node);
        let is_near = |told: Timestamp| told.duration_since(at).abs() <= MAX_DISTANCE;
        self.recent.iter().any(|(of, told)| *of == node && is_near(*told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten_and_no_more() {
        let mut nodes = NodeOoms::default();
        let second = |second| Timestamp::from_second(second).unwrap();
        nodes.remember("first", second(0));
        (1..1024).for_each(|at| nodes.remember("n", second(at)));
        assert!(nodes.ran_out("first", second(60)) && !nodes.ran_out("first", second(61)));
        nodes.remember("n", second(1024));
        assert!(!nodes.ran_out("first", second(0)));
        assert!(nodes.ran_out("n", second(1084)) && !nodes.ran_out("n", second(1085)));
    }
}
