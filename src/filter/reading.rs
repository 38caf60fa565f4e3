//! What one status says about the instances of a container, whatever state it is written in.
//!
//! | `state` | `lastState` | the ends it shows, and the instance after each |
//! |---|---|---|
//! | running x | - | none |
//! | running x | a | a, then x |
//! | terminated x | - | x, then nothing yet |
//! | terminated x | a | a, then x; x, then nothing yet |
//! | waiting, or none | - | none |
//! | waiting, or none | a | a, then nothing yet: here `restartCount` and `containerID` are the dead instance's |

use jiff::Timestamp;
use sinks::Restarted;

use crate::source::objects::{ContainerStatus, Terminated};

/// An instance of a container that a status shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance<'a> {
    pub container_id: Option<&'a str>,
    pub started_at: Option<Timestamp>,
    /// How many instances came before it.
    pub ordinal: u32,
}

/// An instance that ended, and the one that was started after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub terminated: &'a Terminated,
    pub ordinal: u32,
    pub successor: Option<Instance<'a>>,
}

impl End<'_> {
    /// Whether it was an OOM kill. The exit code says nothing about that: a child process' kill
    /// marks its container, and 137 is any SIGKILL.
    pub(super) fn is_kill(&self) -> bool {
        self.terminated.reason == "OOMKilled"
    }
}

/// One status, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// `restartCount` as it stands.
    pub restart_count: u32,
    /// How many instances have ended.
    pub ended: u32,
    /// The instance that runs or, in `state`, ended.
    current: Option<Instance<'a>>,
    /// The ends that are shown, oldest first.
    older: Option<End<'a>>,
    newer: Option<End<'a>>,
}

impl<'a> Reading<'a> {
    pub(super) fn of(status: &'a ContainerStatus) -> Self {
        let count = status.restart_count;
        let instance = |container_id: &'a Option<String>, started_at| Instance {
            container_id: container_id.as_deref(),
            started_at,
            ordinal: count,
        };
        let (current, ended) = match (&status.state.running, &status.state.terminated) {
            (Some(running), _) => (Some(instance(&status.container_id, running.started_at)), None),
            (None, Some(ended)) => (Some(instance(&ended.container_id, ended.started_at)), Some(ended)),
            (None, None) => (None, None),
        };
        let last = status.last_state.terminated.as_ref();
        let repeated = |last: &Terminated| {
            last.container_id.is_some()
                && last.container_id == ended.and_then(|ended| ended.container_id.clone())
        };
        let last = last.filter(|last| !repeated(last));
        let before = if current.is_some() { count.saturating_sub(1) } else { count };
        Self {
            restart_count: count,
            ended: if current.is_some() && ended.is_none() || current.is_none() && last.is_none() {
                count
            } else {
                count.saturating_add(1)
            },
            current,
            older: last.map(|terminated| End { terminated, ordinal: before, successor: current }),
            newer: ended.map(|terminated| End { terminated, ordinal: count, successor: None }),
        }
    }

    /// Whether it is the first instance, and it runs or did what it was to do: nothing to remember.
    pub(super) fn is_clean(&self) -> bool {
        let ended_well = |end: End<'_>| end.terminated.exit_code == 0 && !end.is_kill();
        self.restart_count == 0 && self.ends().all(ended_well)
    }

    /// The ends that are shown, oldest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = End<'a>> + use<'a> {
        self.older.into_iter().chain(self.newer)
    }

    /// The instances that are shown, oldest first. An end without an ID counts as none: the
    /// kubelet writes such ends over older ones (`RestartingAllContainers`,
    /// `ContainerStatusUnknown`).
    pub(super) fn instances(&self) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        let older = self.older.filter(|end| end.terminated.container_id.is_some());
        let older = older.map(|end| Instance {
            container_id: end.terminated.container_id.as_deref(),
            started_at: end.terminated.started_at,
            ordinal: end.ordinal,
        });
        older.into_iter().chain(self.current)
    }

    /// The latest time in it: what tells an older status from a newer one, on its node's clock.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        let ends = self.ends().map(|end| end.terminated.finished_at.max(end.terminated.started_at));
        ends.chain(self.current.map(|current| current.started_at)).max().flatten()
    }
}

impl From<Instance<'_>> for Restarted {
    fn from(instance: Instance<'_>) -> Self {
        Self {
            container_id: instance.container_id.map(str::to_owned),
            started_at: instance.started_at,
            restart_count: Some(instance.ordinal),
        }
    }
}
