//! Counts how often nodes ran out of memory, for a bounded number of nodes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use untrusted::clean;

/// The most series. One more replaces that of the node that ran out the longest ago.
const MAX_NODES: usize = 1000;

/// The longest label, as long as the longest name in Kubernetes.
const MAX_LABEL_BYTES: usize = 253;

/// The counters of all nodes. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct NodeOomCounters {
    pub(super) counters: Family<NodeLabels, Counter>,
    /// The nodes, the one that ran out last at the end.
    by_time: Arc<Mutex<VecDeque<NodeLabels>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NodeLabels {
    node: String,
}

impl NodeOomCounters {
    /// Counts that a node ran out of memory.
    pub fn count(&self, node: &str) {
        let node = clean(&node[..node.floor_char_boundary(MAX_LABEL_BYTES)]).into_owned();
        let labels = NodeLabels { node };
        self.counters.get_or_create(&labels).inc();
        // Each change is complete in itself, so one that panicked left nothing half-done.
        let mut by_time = self.by_time.lock().unwrap_or_else(PoisonError::into_inner);
        by_time.retain(|other| *other != labels);
        by_time.push_back(labels);
        if by_time.len() > MAX_NODES
            && let Some(oldest) = by_time.pop_front()
        {
            self.counters.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_that_ran_out_last_are_counted() {
        let nodes = NodeOomCounters::default();
        nodes.count("often");
        for number in 0..MAX_NODES {
            nodes.count(&format!("n{number}"));
            nodes.count("often");
        }
        let count = |node: &str| {
            nodes.counters.get(&NodeLabels { node: node.to_owned() }).map(|counter| counter.get())
        };
        assert_eq!((count("n0"), count("n1"), count("often")), (None, Some(1), Some(1001)));
    }
}
