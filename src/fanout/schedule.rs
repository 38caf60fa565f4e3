//! Says what is due when for one sink: gathering, turns and retries.
//!
//! Pure: the time comes in as an argument. Findings go in ([`Schedule::add`]) and come out when they are due
//! ([`Schedule::take`]); what failed goes back in ([`Schedule::retry`]). `groups.rs` gathers, and `turns.rs`
//! lets what is due take turns. When too much waits, whoever has most waiting loses some
//! ([`Schedule::reduce`]).

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use sinks::Grouping;
use tokio::time::Instant;

use super::{
    groups::{Excess, Groups},
    queue::PendingDelivery,
    rhythm::ToldBefore,
    turns::FairQueue,
};
use crate::incidents::ContainerKey;

#[derive(Debug)]
pub(super) struct Schedule {
    grouping: Grouping,
    /// Whether the sink can tell kills as a count.
    can_count: bool,
    groups: Groups,
    /// Due and never tried.
    due: FairQueue,
    /// Due for a retry.
    again: FairQueue,
    /// To be retried later. The number tells apart what is due at the same time.
    retries: BTreeMap<(Instant, u64), PendingDelivery>,
    retries_ever: u64,
    shares: Shares,
}

impl Schedule {
    /// Schedules for a sink that tells up to `max_named` findings of a group one by one and the rest as a
    /// count, if it can. Remembers at most `max_groups` groups.
    pub(super) fn new(grouping: Grouping, max_named: Option<usize>, max_groups: usize) -> Self {
        Self {
            grouping,
            can_count: max_named.is_some(),
            groups: Groups::new(grouping, max_named, max_groups),
            due: FairQueue::default(),
            again: FairQueue::default(),
            retries: BTreeMap::new(),
            retries_ever: 0,
            shares: Shares::default(),
        }
    }

    /// Takes in a new finding.
    pub(super) fn add(&mut self, pending: PendingDelivery, now: Instant) {
        let key = pending.key;
        if self.grouping == Grouping::NONE {
            self.due.push(pending);
        } else if !self.groups.add(pending, now) {
            return;
        }
        self.shares.add(key);
    }

    /// Takes in that an earlier run of the program told of a kill.
    pub(super) fn remember(&mut self, key: ContainerKey, told: &ToldBefore, now: Instant) {
        if !self.grouping.interval.is_zero() {
            self.groups.remember(key, told, now);
        }
    }

    /// Takes back what failed, due again at `at`.
    pub(super) fn retry(&mut self, pending: PendingDelivery, at: Instant) {
        self.shares.add(pending.key);
        self.retries_ever += 1;
        self.retries.insert((at, self.retries_ever), pending);
    }

    /// Reduces what waits of the workload that has most waiting in the namespace that has most waiting; of
    /// equals, that of `newcomer`. Returns the newest finding, which must be dropped, unless another now counts
    /// it.
    pub(super) fn reduce(&mut self, newcomer: ContainerKey) -> Option<PendingDelivery> {
        let (namespace, workload) = self.shares.greediest(newcomer)?;
        let excess = self.groups.reduce(namespace, workload).or_else(|| {
            let pending = self.due.pop_newest(namespace, workload);
            let pending = pending.or_else(|| self.again.pop_newest(namespace, workload));
            pending
                .or_else(|| self.pop_newest_retry(workload))
                .map(|pending| Excess::Taken(Box::new(pending)))
        })?;
        self.shares.remove(namespace, workload);
        match excess {
            Excess::Counted => None,
            Excess::Taken(pending) => Some(*pending),
        }
    }

    fn pop_newest_retry(&mut self, workload: u64) -> Option<PendingDelivery> {
        let (at, _) = self.retries.iter().rev().find(|(_, pending)| pending.key.workload == workload)?;
        let at = *at;
        self.retries.remove(&at)
    }

    /// Takes at most `most` of what is due by now in namespaces that `may` go. What was never tried goes
    /// first, so that what fails again and again delays nothing.
    pub(super) fn take(
        &mut self,
        most: usize,
        now: Instant,
        may: impl Fn(u64) -> bool,
    ) -> Vec<PendingDelivery> {
        self.groups.take_due(now).into_iter().for_each(|pending| self.due.push(pending));
        while let Some(retry) = self.retries.first_entry().filter(|retry| retry.key().0 <= now) {
            self.again.push(retry.remove());
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(pending) = self.due.pop(&may).or_else(|| self.again.pop(&may))
        {
            self.shares.remove(pending.key.namespace, pending.key.workload);
            taken.push(pending);
        }
        taken
    }

    /// Returns when to call [`Schedule::take`] next. It may still find nothing then, but never does before.
    /// `None` if there is nothing to wait for.
    pub(super) fn next(&self, now: Instant, may: impl Fn(u64) -> bool) -> Option<Instant> {
        if self.due.has_any(&may) || self.again.has_any(&may) {
            return Some(now);
        }
        let retry = self.retries.first_key_value().map(|((at, _), _)| *at);
        [self.groups.next(), retry].into_iter().flatten().min()
    }

    /// Returns whether something waits that failed before.
    pub(super) fn has_retries(&self) -> bool {
        self.again.has_any(|_| true) || !self.retries.is_empty()
    }

    /// Returns how many findings wait.
    pub(super) fn len(&self) -> usize {
        self.shares.waiting
    }

    /// Makes everything due now, for when nothing more will come. If that is more than `most` and the sink can
    /// tell a count, each workload keeps its share of `most`, and at least one finding, which counts the rest.
    pub(super) fn hurry(&mut self, most: usize, now: Instant) {
        let retries = mem::take(&mut self.retries).into_values();
        retries.for_each(|pending| self.again.push(pending));
        self.groups.take_all(now).into_iter().for_each(|pending| self.due.push(pending));
        if !self.can_count || self.len() <= most {
            return;
        }
        let each = (most / self.shares.workloads().max(1)).max(1);
        let mut kept: HashMap<u64, Vec<PendingDelivery>> = HashMap::new();
        for pending in self.take(usize::MAX, now, |_| true) {
            let kept = kept.entry(pending.key.workload).or_default();
            let is_full = kept.len() >= each;
            match kept.last_mut().filter(|_| is_full) {
                Some(last) => last.count(pending),
                None => kept.push(pending),
            }
        }
        for pending in kept.into_values().flatten() {
            self.shares.add(pending.key);
            self.due.push(pending);
        }
    }
}

/// How much waits of each namespace, and in it of each workload.
#[derive(Debug, Default)]
struct Shares {
    waiting: usize,
    namespaces: HashMap<u64, NamespaceShare>,
}

#[derive(Debug, Default)]
struct NamespaceShare {
    waiting: usize,
    workloads: HashMap<u64, usize>,
}

impl Shares {
    fn add(&mut self, key: ContainerKey) {
        self.waiting += 1;
        let namespace = self.namespaces.entry(key.namespace).or_default();
        namespace.waiting += 1;
        *namespace.workloads.entry(key.workload).or_default() += 1;
    }

    fn remove(&mut self, namespace: u64, workload: u64) {
        let Some(share) = self.namespaces.get_mut(&namespace) else { return };
        self.waiting -= 1;
        share.waiting -= 1;
        if let Some(waiting) = share.workloads.get_mut(&workload) {
            *waiting -= 1;
            if *waiting == 0 {
                share.workloads.remove(&workload);
            }
        }
        if share.waiting == 0 {
            self.namespaces.remove(&namespace);
        }
    }

    fn workloads(&self) -> usize {
        self.namespaces.values().map(|share| share.workloads.len()).sum()
    }

    /// Returns the namespace that has most waiting, and its workload that has; of equals, that of `newcomer`.
    fn greediest(&self, newcomer: ContainerKey) -> Option<(u64, u64)> {
        let namespaces = self.namespaces.iter();
        let (namespace, share) =
            namespaces.max_by_key(|(key, share)| (share.waiting, **key == newcomer.namespace))?;
        let workloads = share.workloads.iter();
        let (workload, _) = workloads.max_by_key(|(key, waiting)| (**waiting, **key == newcomer.workload))?;
        Some((*namespace, *workload))
    }
}
