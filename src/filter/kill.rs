//! A kill that a status shows for the first time: what is known of it, found out once.

use finding::{Finding, Restarted};
use jiff::Timestamp;

use super::{
    FilterSettings, describe,
    past::Past,
    reading::{InstanceEnd, ShownInstance},
};
use crate::source::objects::{ContainerList, ContainerStatus, Pod};

/// A kill that no memory of the container knows.
#[derive(Debug)]
pub(super) enum NewKill {
    /// It was reported before, or is history. Its key is to be remembered.
    NoNews(u64),
    /// An instance was started after it.
    Restarted(PendingKill),
    /// No instance is known to have been started after it.
    Pending(PendingKill),
}

/// A kill that waits for the start after it.
#[derive(Debug)]
pub(super) struct PendingKill {
    pub key: u64,
    /// How many instances came before the one that was killed.
    ordinal: u32,
    /// Whether it is history, unless a start is still to come.
    pub is_history: bool,
    /// All that a finding says of it but for when it was detected.
    pub finding: Finding,
}

/// A container in a Pod that is looked at, and what the program knows besides.
pub(super) struct ShownContainer<'a> {
    pub settings: &'a FilterSettings,
    pub past: &'a Past,
    pub pod: &'a Pod,
    pub list: ContainerList,
    pub status: &'a ContainerStatus,
    /// What happened no later than this is history.
    pub horizon: Option<Timestamp>,
    /// Whether nothing of the Pod will be started again.
    pub is_over: bool,
}

impl ShownContainer<'_> {
    /// Returns the key of a kill: as unique as its identity, and much cheaper.
    pub(super) fn key(&self, end: &InstanceEnd<'_>) -> u64 {
        self.past.kill_key(self.pod, self.list, &self.status.name, end.terminated)
    }

    /// Finds out what is known of a kill that the container's memory doesn't know.
    pub(super) fn judge(&self, key: u64, end: &InstanceEnd<'_>) -> NewKill {
        let id = describe::identity(self.pod, self.list, &self.status.name, end.terminated);
        let ended = end.terminated.finished_at;
        let restarted = end.successor.map(Restarted::from).or_else(|| self.started_by_event(ended));
        let is_decided = restarted.is_some() || self.is_over;
        let decided_at = restarted.as_ref().and_then(|next| next.started_at).or(ended);
        if self.past.was_reported(key, self.pod, &id) || (is_decided && self.is_history(decided_at)) {
            return NewKill::NoNews(key);
        }
        let is_restarted = restarted.is_some();
        let kill = PendingKill {
            key,
            ordinal: end.ordinal.unwrap_or_default(),
            is_history: self.is_history(ended),
            finding: Finding {
                restarted,
                ..describe::draft(
                    self.settings.cluster.as_deref(),
                    id,
                    self.pod,
                    self.list,
                    self.status,
                    end.terminated,
                )
            },
        };
        if is_restarted { NewKill::Restarted(kill) } else { NewKill::Pending(kill) }
    }

    /// Returns the start after that end that an Event told of before the status came.
    fn started_by_event(&self, ended: Option<Timestamp>) -> Option<Restarted> {
        let at = self.past.started_at(self.pod, &self.status.name)?;
        is_later(at, ended).then(|| started_by_event(at))
    }

    fn is_history(&self, at: Option<Timestamp>) -> bool {
        self.horizon.is_some_and(|horizon| at.is_none_or(|at| at <= horizon))
    }
}

impl PendingKill {
    /// Returns whether this end in a status is this kill.
    pub(super) fn is_shown_as(&self, end: &InstanceEnd<'_>) -> bool {
        let (killed, shown) = (&self.finding.killed, end.terminated);
        killed.container_id == shown.container_id
            && (shown.container_id.is_some() || killed.finished_at == shown.finished_at)
    }

    /// Returns whether the instance was started after this kill. The count or the time shows it, for
    /// the count can fall.
    pub(super) fn precedes(&self, instance: &ShownInstance<'_>) -> bool {
        let ended = self.finding.killed.finished_at;
        instance.ordinal > Some(self.ordinal)
            || instance.started_at.is_some_and(|start| is_later(start, ended))
    }
}

/// Returns what an Event tells of a start.
pub(super) fn started_by_event(at: Timestamp) -> Restarted {
    Restarted { started_at: Some(at), ..Restarted::default() }
}

/// Returns whether the start was after the end. In the same second it may be the killed instance's own.
pub(super) fn is_later(start: Timestamp, end: Option<Timestamp>) -> bool {
    end.is_some_and(|end| end < start)
}
