//! Gathers kills in rows, and puts the rows in order.

use std::{cmp::Reverse, collections::BTreeMap};

use finding::Finding;

use crate::cli::SortOrder;

/// A kill, and how often its container was restarted.
#[derive(Clone, Debug)]
pub struct ListedKill {
    /// The kill.
    pub finding: Finding,
    /// The container's `restartCount` in its Pod, as far as it is known.
    pub restarts: Option<u32>,
}

/// What has a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSubject {
    /// A container of a workload.
    Workload,
    /// A container of a Pod.
    Pod,
}

/// The kills of one container of a workload or of a Pod; at least one.
#[derive(Debug)]
pub struct KillRow {
    pub(super) newest: Finding,
    earlier: Vec<Finding>,
    /// How often the container was restarted in each Pod, by the Pods' names.
    pub(super) restarts: BTreeMap<String, Option<u32>>,
}

impl KillRow {
    fn new(kill: ListedKill) -> Self {
        let restarts = BTreeMap::from([(kill.finding.pod.name.clone(), kill.restarts)]);
        Self { newest: kill.finding, earlier: Vec::new(), restarts }
    }

    fn add(&mut self, kill: ListedKill) {
        let restarts = self.restarts.entry(kill.finding.pod.name.clone()).or_default();
        *restarts = kill.restarts.max(*restarts);
        let is_newer = kill.finding.killed.finished_at > self.newest.killed.finished_at;
        let earlier = if is_newer { std::mem::replace(&mut self.newest, kill.finding) } else { kill.finding };
        self.earlier.push(earlier);
    }

    /// Returns the kills, the newest first.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let mut earlier: Vec<&Finding> = self.earlier.iter().collect();
        earlier.sort_by_key(|finding| Reverse(finding.killed.finished_at));
        std::iter::once(&self.newest).chain(earlier)
    }

    fn kills(&self) -> usize {
        1 + self.earlier.len()
    }

    /// Returns how often the container was restarted in all of these Pods.
    pub(super) fn restarts(&self) -> Option<u64> {
        let known: Vec<u64> = self.restarts.values().flatten().map(|count| u64::from(*count)).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// Returns what tells the row from others, in the order of names.
    fn key(finding: &Finding, subject: RowSubject) -> (String, String, String, String, Option<String>) {
        let Finding { namespace, pod, container, .. } = finding;
        let (kind, name) = (pod.workload.kind.clone(), pod.workload.name.clone());
        let of_pod = (subject == RowSubject::Pod).then(|| pod.name.clone());
        (namespace.clone(), name, kind, container.name.clone(), of_pod)
    }
}

/// Returns the rows for these kills in that order.
pub fn rows(
    kills: impl IntoIterator<Item = ListedKill>,
    subject: RowSubject,
    order: SortOrder,
) -> Vec<KillRow> {
    let mut rows = BTreeMap::<_, KillRow>::new();
    for kill in kills {
        let key = KillRow::key(&kill.finding, subject);
        match rows.get_mut(&key) {
            Some(row) => row.add(kill),
            None => drop(rows.insert(key, KillRow::new(kill))),
        }
    }
    let mut rows: Vec<KillRow> = rows.into_values().collect();
    match order {
        SortOrder::Name => {}
        SortOrder::Time => rows.sort_by_key(|row| Reverse(row.newest.killed.finished_at)),
        SortOrder::Kills => {
            rows.sort_by_key(|row| Reverse((row.kills(), row.restarts(), row.newest.killed.finished_at)));
        }
    }
    rows
}
