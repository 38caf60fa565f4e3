//! A kill that a status shows for the first time: what is known of it, found out once.

use std::num::NonZeroU64;

use finding::{Finding, KillId, Restarted};
use jiff::Timestamp;

use super::{
    FilterSettings,
    describe::{self, KilledLimits},
    past::Past,
    reading::{InstanceEnd, ShownInstance, StatusReading},
    restarts::may_restart,
    starts::{ToldStart, is_later},
};
use crate::source::objects::{ContainerList, ContainerStatus, Phase, Pod, Terminated};

/// A kill that the memory of its container doesn't know.
#[derive(Debug)]
pub(super) enum NewKill {
    /// It was reported before, or is history. Its key is to be remembered.
    NoNews(u64),
    /// It is to be reported: an instance was started after it, or nothing may start one.
    Decided(PendingKill),
    /// A start after it may still come.
    Pending(PendingKill),
}

/// A kill that waits for the start after it.
#[derive(Debug)]
pub(super) struct PendingKill {
    pub key: u64,
    /// How many instances came before the one that was killed, if that is known.
    ordinal: Option<u32>,
    /// Whether it ended before the horizon: then only a later start makes it news.
    pub is_history: bool,
    /// The finding without `detected_at` and message; while pending, also without the restart.
    pub finding: Finding,
}

/// The memory limit that was in force when a container was last seen, and how many instances came before the
/// one that it had then.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitBefore {
    pub limit: Option<NonZeroU64>,
    pub ordinal: u32,
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
}

impl ShownContainer<'_> {
    /// Returns the key of a kill: as unique as its identity, and much cheaper.
    pub(super) fn key(&self, end: &InstanceEnd<'_>) -> u64 {
        self.past.kill_key(self.pod, self.list, &self.status.name, end)
    }

    /// Returns whether nothing of the Pod will be started again.
    pub(super) fn is_over(&self) -> bool {
        self.pod.status.phase == Phase::Over
    }

    /// Returns whether the status shows that the container ended for good.
    pub(super) fn is_final(&self, reading: &StatusReading<'_>) -> bool {
        let is_final = |end| !may_restart(self.pod, self.list, &self.status.name, end);
        self.is_over() || reading.standing_end().is_some_and(is_final)
    }

    /// Returns a start like that of which an Event told, unless Events prove nothing.
    pub(super) fn told_start(
        &self,
        is_like_that: impl Fn(ToldStart) -> bool,
        proves_nothing: bool,
    ) -> Option<Restarted> {
        let mut starts = self.past.told_starts(self.pod, &self.status.name);
        starts.find(|start| !proves_nothing && is_like_that(*start)).map(|start| start.restarted())
    }

    /// Finds out what is known of a kill that the container's memory doesn't know. `count_fell` says
    /// whether its `restartCount` ever fell. Returns nothing if the container won't start again and such kills
    /// aren't reported.
    pub(super) fn judge(
        &self,
        key: u64,
        end: &InstanceEnd<'_>,
        count_fell: bool,
        is_final: bool,
        before: LimitBefore,
    ) -> Option<NewKill> {
        let ended = end.terminated.finished_at;
        let told = || self.told_start(|start| start.is_after(end.ordinal, ended), count_fell || is_final);
        let restarted = end.successor.map(Restarted::from).or_else(told);
        let is_decided = restarted.is_some() || is_final;
        if restarted.is_none() && is_final && !self.settings.report_unrestarted {
            return None;
        }
        let id = describe::identity(self.pod, self.list, &self.status.name, end);
        let decided_at = restarted.as_ref().and_then(|next| next.started_at).or(ended);
        if self.was_reported(key, &id, end.terminated) || (is_decided && self.is_history(decided_at)) {
            return Some(NewKill::NoNews(key));
        }
        let cluster = self.settings.cluster.as_deref();
        let limits = self.limits(end, before);
        let draft = describe::draft(cluster, id, self.pod, self.list, self.status, end.terminated, limits);
        let kill = PendingKill {
            key,
            ordinal: end.ordinal,
            is_history: self.is_history(ended),
            finding: Finding { restarted, ..draft },
        };
        Some(if is_decided { NewKill::Decided(kill) } else { NewKill::Pending(kill) })
    }

    /// Returns the memory limit of the container that is in force.
    pub(super) fn limit(&self) -> Option<NonZeroU64> {
        self.pod.memory_limit(self.list, self.status).and_then(NonZeroU64::new)
    }

    /// Returns the limits that a killed instance ran under. A status that shows an instance after it may be
    /// of a time when the container was resized already: then what was seen before counts, or nothing is
    /// known.
    fn limits(&self, end: &InstanceEnd<'_>, before: LimitBefore) -> Option<KilledLimits> {
        let (shown, whole) = (self.limit(), self.pod.whole_memory_limit());
        let own = match before.limit {
            _ if end.successor.is_none() => shown,
            Some(limit) if end.ordinal == Some(before.ordinal) => Some(limit),
            Some(limit) if shown != Some(limit) => return None,
            None if self.pod.metadata.generation > 1 => return None,
            _ => shown,
        };
        Some(KilledLimits { own: own.map(NonZeroU64::get), whole })
    }

    fn was_reported(&self, key: u64, id: &KillId, end: &Terminated) -> bool {
        let has_event =
            |id: &KillId| self.past.has_event(&self.pod.metadata.namespace, &self.pod.metadata.name, id);
        self.past.has_departed(key)
            || (self.past.has_events()
                && (has_event(id) || describe::earlier_identity(end).as_ref().is_some_and(has_event)))
    }

    fn is_history(&self, at: Option<Timestamp>) -> bool {
        self.horizon.is_some_and(|horizon| at.is_none_or(|at| at <= horizon))
    }
}

impl PendingKill {
    /// Returns whether this end in a status is this kill.
    pub(super) fn is_shown_as(&self, end: &InstanceEnd<'_>) -> bool {
        let (killed, shown) = (&self.finding.killed, end.terminated);
        let is_at_once = killed.finished_at == shown.finished_at
            && (shown.finished_at.is_some() || self.ordinal == end.ordinal);
        killed.container_id == shown.container_id && (shown.container_id.is_some() || is_at_once)
    }

    /// Returns whether the instance was started after this kill. The count or the times show it, for the
    /// count can fall: only one instance runs at a time.
    pub(super) fn precedes(&self, instance: &ShownInstance<'_>) -> bool {
        let killed = &self.finding.killed;
        let is_other =
            instance.container_id.is_none() || instance.container_id != killed.container_id.as_deref();
        let is_counted_later = instance.ordinal > self.ordinal;
        let is_seen_later = instance.newest_time.is_some_and(|time| is_later(time, killed.finished_at));
        is_other && (is_counted_later || is_seen_later)
    }

    /// Returns whether the other kill is later, by their times.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let ended = |kill: &Self| kill.finding.killed.finished_at;
        ended(self).zip(ended(other)).is_some_and(|(this, other)| this < other)
    }

    /// Returns whether this Pod takes the place of the killed one, which had the same namespace and name: nothing
    /// shows that it was created before the kill, as one is that a stale answer shows.
    pub(super) fn is_outlived_by(&self, pod: &Pod) -> bool {
        let Finding { namespace, pod: killed, .. } = &self.finding;
        let is_namesake = *namespace == pod.metadata.namespace && killed.name == pod.metadata.name;
        let times = self.finding.killed.finished_at.zip(pod.metadata.creation_timestamp);
        is_namesake && times.is_none_or(|(ended, created)| ended <= created)
    }

    /// Returns whether the start that an Event told of is after this kill.
    pub(super) fn is_followed_by(&self, start: ToldStart) -> bool {
        start.is_after(self.ordinal, self.finding.killed.finished_at)
    }
}
