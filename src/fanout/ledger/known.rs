//! Which findings the ledger has seen in this run: the Events of one that is still on its way must not be taken
//! for what an earlier run left behind, and nobody may have the program recover more than so many.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use finding::{Finding, KillId};

/// How many findings are remembered, in half a megabyte at most.
const MAX_KNOWN: usize = 16 * 1024;

/// How many findings are recovered from the Events of one namespace: whoever may write Events can write any
/// number of them.
const MAX_RECOVERED_PER_NAMESPACE: u32 = 8 * 1024;

#[derive(Debug, Default)]
pub(in crate::fanout) struct KnownFindings {
    hasher: RandomState,
    known: HashSet<u64>,
    /// The same, the newest last.
    order: VecDeque<u64>,
    /// How many findings were recovered from a namespace.
    recovered: HashMap<u64, u32>,
}

impl KnownFindings {
    /// Remembers a finding. Returns whether it is new.
    pub(super) fn insert(&mut self, id: &KillId) -> bool {
        let key = self.hasher.hash_one(id);
        let is_new = self.known.insert(key);
        if is_new {
            self.order.push_back(key);
            if self.order.len() > MAX_KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        is_new
    }

    /// Returns whether a finding is remembered.
    pub(super) fn contains(&self, id: &KillId) -> bool {
        self.known.contains(&self.hasher.hash_one(id))
    }

    /// Remembers a finding that is to be recovered. Returns whether it may be.
    pub(super) fn admit(&mut self, finding: &Finding) -> bool {
        let recovered = self.recovered.entry(self.hasher.hash_one(&finding.namespace)).or_default();
        if *recovered >= MAX_RECOVERED_PER_NAMESPACE {
            return false;
        }
        *recovered += 1;
        self.insert(&finding.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::tests::finding;

    #[test]
    fn a_namespace_recovers_so_many_findings_and_no_more() {
        let mut known = KnownFindings::default();
        assert!(!known.contains(&finding("shop", "app", 0).id));
        let admitted = (0..10_000).filter(|number| known.admit(&finding("shop", "app", *number))).count();
        assert_eq!(admitted, 8192);
        assert!(known.admit(&finding("bank", "app", 0)) && !known.admit(&finding("bank", "app", 0)));
        assert!(known.contains(&finding("shop", "app", 0).id));
    }
}
