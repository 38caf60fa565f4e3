//! Deliveries that take turns: one of each namespace, and of these one of each workload. So whoever has most
//! waiting waits most, and everybody else as if nobody had.

use std::collections::{HashMap, VecDeque};

use super::queue::PendingDelivery;

/// Deliveries of all namespaces.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    namespaces: HashMap<u64, NamespaceQueue>,
    /// The namespaces that have any, that whose turn it is first.
    turns: VecDeque<u64>,
}

/// The deliveries of a namespace.
#[derive(Debug, Default)]
struct NamespaceQueue {
    // Most workloads have one, and a queue has room for four.
    workloads: HashMap<u64, VecDeque<Box<PendingDelivery>>>,
    /// The workloads that have any, that whose turn it is first.
    turns: VecDeque<u64>,
}

impl FairQueue {
    /// Adds a delivery behind those of its workload.
    pub(super) fn push(&mut self, pending: PendingDelivery) {
        let key = pending.key;
        let namespace = self.namespaces.entry(key.namespace).or_insert_with(|| {
            self.turns.push_back(key.namespace);
            NamespaceQueue::default()
        });
        let workload = namespace.workloads.entry(key.workload).or_insert_with(|| {
            namespace.turns.push_back(key.workload);
            VecDeque::new()
        });
        workload.push_back(Box::new(pending));
    }

    /// Returns whether a namespace that `may` go has any.
    pub(super) fn has_any(&self, may: impl Fn(u64) -> bool) -> bool {
        self.turns.iter().any(|namespace| may(*namespace))
    }

    /// Takes the next delivery of a namespace that `may` go.
    pub(super) fn pop(&mut self, may: impl Fn(u64) -> bool) -> Option<PendingDelivery> {
        let place = self.turns.iter().position(|namespace| may(*namespace))?;
        let key = self.turns.remove(place)?;
        let namespace = self.namespaces.get_mut(&key)?;
        let pending = namespace.pop();
        if namespace.turns.is_empty() {
            self.namespaces.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        pending
    }

    /// Takes the newest delivery of a workload.
    pub(super) fn pop_newest(&mut self, namespace: u64, workload: u64) -> Option<PendingDelivery> {
        let queue = self.namespaces.get_mut(&namespace)?;
        let deliveries = queue.workloads.get_mut(&workload)?;
        let pending = deliveries.pop_back();
        if deliveries.is_empty() {
            queue.workloads.remove(&workload);
            queue.turns.retain(|other| *other != workload);
        }
        if queue.turns.is_empty() {
            self.namespaces.remove(&namespace);
            self.turns.retain(|other| *other != namespace);
        }
        pending.map(|pending| *pending)
    }
}

impl NamespaceQueue {
    fn pop(&mut self) -> Option<PendingDelivery> {
        let key = self.turns.pop_front()?;
        let workload = self.workloads.get_mut(&key)?;
        let pending = workload.pop_front();
        if workload.is_empty() {
            self.workloads.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        pending.map(|pending| *pending)
    }
}
