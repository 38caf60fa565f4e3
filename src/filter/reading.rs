//! What one status says about the instances of a container.
//!
//! | `state` | `lastState` | the ends it shows, each with the instance started after it |
//! |---|---|---|
//! | running x | - | none |
//! | running x | a | a, then x |
//! | terminated x | - | x, then none yet |
//! | terminated x | a | a, then x; x, then none yet |
//! | terminated x, which never ran | a | a, then none yet; x, then none yet |
//! | waiting | - | none |
//! | waiting | a | a, then none yet; `restartCount` and `containerID` are those of a |
//! | waiting | made up | one that says nothing; `restartCount` is that of the next instance |
//!
//! A `state` that is missing, or an end in it that the kubelet made up, reads as waiting.

use finding::Restarted;
use jiff::Timestamp;

use crate::source::objects::{ContainerStatus, Terminated};

/// The reasons of ends that the kubelet makes up, without ID and times, when the runtime no longer
/// knows the container. They say neither how an instance ended nor that another one was started: a
/// container that is waiting while its Pod is deleted reads `ContainerStatusUnknown` too.
const MADE_UP_REASONS: [&str; 2] = ["ContainerStatusUnknown", "RestartingAllContainers"];

/// The reasons of instances that were created but never ran, as CRI runtimes and `cri-dockerd`
/// write them.
const NEVER_RAN_REASONS: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// An instance of a container that a status shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownInstance<'a> {
    pub container_id: Option<&'a str>,
    pub started_at: Option<Timestamp>,
    /// The latest time that is known of it: of its start or its end.
    pub newest_time: Option<Timestamp>,
    /// How many instances came before it. Unknown also if the instance ran before the count fell to 0.
    pub ordinal: Option<u32>,
}

/// The end of an instance that a status shows, and the instance that was started after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceEnd<'a> {
    pub terminated: &'a Terminated,
    pub ordinal: Option<u32>,
    pub successor: Option<ShownInstance<'a>>,
}

impl InstanceEnd<'_> {
    /// Returns what tells the end from others of its container where the instance has no ID: its time, or
    /// without one its place among them.
    pub(super) fn moment(&self) -> String {
        let ordinal = || self.ordinal.map(|ordinal| ordinal.to_string()).unwrap_or_default();
        self.terminated.finished_at.map_or_else(ordinal, |time| time.to_string())
    }
}

/// One status of a container, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusReading<'a> {
    /// `restartCount`, if the status gives it.
    pub restart_count: Option<u32>,
    /// How many instances have ended; if the count is unknown, how many that the status shows in `state`.
    pub ended: u32,
    /// The instance in `state`, if it ran.
    current: Option<ShownInstance<'a>>,
    /// The ends it shows, oldest first.
    ends: [Option<InstanceEnd<'a>>; 2],
}

impl<'a> StatusReading<'a> {
    /// Reads a status.
    pub(super) fn of(status: &'a ContainerStatus) -> Self {
        let ordinal = status.restart_count;
        let count = ordinal.unwrap_or_default();
        let running = status.state.running;
        let ended = status.state.terminated.as_ref().filter(|end| running.is_none() && !is_made_up(end));
        let last = status.last_state.terminated.as_ref();
        let last = last.filter(|last| !ended.is_some_and(|ended| is_same(last, ended)));
        let waits = running.is_none() && ended.is_none();
        let waits_after = last.filter(|last| waits && !is_made_up(last));

        let current = match (running, ended) {
            (Some(running), _) => Some(ShownInstance {
                container_id: status.container_id.as_deref(),
                started_at: running.started_at,
                newest_time: running.started_at,
                ordinal,
            }),
            (None, ended) => ended.and_then(|ended| ran(ended, ordinal)),
        };
        let before = ordinal.and_then(|ordinal| ordinal.checked_sub(1));
        let last_ordinal = if waits_after.is_some() { ordinal } else { before };
        Self {
            restart_count: ordinal,
            ended: count.saturating_add(u32::from(ended.or(waits_after).is_some())),
            current,
            ends: [
                last.map(|terminated| InstanceEnd { terminated, ordinal: last_ordinal, successor: current }),
                ended.map(|terminated| InstanceEnd { terminated, ordinal, successor: None }),
            ],
        }
    }

    /// Returns whether it is the first instance and was not killed, so that there is nothing to remember.
    pub(super) fn is_clean(&self) -> bool {
        self.restart_count.is_none_or(|count| count == 0) && self.kills().next().is_none()
    }

    /// Returns how the newest instance ended if the container neither runs nor waits to be started.
    pub(super) fn standing_end(&self) -> Option<&'a Terminated> {
        let [_, ended] = self.ends;
        ended.map(|ended| ended.terminated)
    }

    /// Returns the ends it shows, oldest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = InstanceEnd<'a>> + use<'a> {
        self.ends.into_iter().flatten()
    }

    /// Returns the ends that were OOM kills, oldest first. The exit code doesn't matter: the kill of a
    /// child process marks its container whatever that exits with, and 137 is any SIGKILL.
    pub(super) fn kills(&self) -> impl Iterator<Item = InstanceEnd<'a>> + use<'a> {
        self.ends().filter(|end| end.terminated.reason == "OOMKilled")
    }

    /// Returns the latest time in it, by its node's clock. An older status has no later one,
    /// unless the clock was set back.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        let ends = self.ends().map(|end| end.terminated.finished_at.max(end.terminated.started_at));
        ends.chain(self.current.map(|current| current.started_at)).max().flatten()
    }

    /// Returns the instances that it shows and that ran, oldest first.
    pub(super) fn instances(&self) -> impl Iterator<Item = ShownInstance<'a>> + use<'a> {
        let [last, _] = self.ends;
        last.and_then(|last| ran(last.terminated, last.ordinal)).into_iter().chain(self.current)
    }
}

/// Returns the instance that ended, if it ran.
fn ran(end: &Terminated, ordinal: Option<u32>) -> Option<ShownInstance<'_>> {
    let instance = ShownInstance {
        container_id: end.container_id.as_deref(),
        started_at: end.started_at,
        newest_time: end.finished_at.max(end.started_at),
        ordinal,
    };
    (!is_made_up(end) && !NEVER_RAN_REASONS.contains(&end.reason.as_str())).then_some(instance)
}

fn is_made_up(end: &Terminated) -> bool {
    end.container_id.is_none() && MADE_UP_REASONS.contains(&end.reason.as_str())
}

/// Returns whether both are the end of one instance, which some kubelets show in `state` and `lastState`.
fn is_same(one: &Terminated, other: &Terminated) -> bool {
    let whole = |end: &Terminated| (end.started_at, end.finished_at, end.exit_code);
    one.container_id == other.container_id
        && (one.container_id.is_some() || (whole(one) == whole(other) && one.reason == other.reason))
}

impl From<ShownInstance<'_>> for Restarted {
    fn from(instance: ShownInstance<'_>) -> Self {
        Self {
            container_id: instance.container_id.map(str::to_owned),
            started_at: instance.started_at,
            restart_count: instance.ordinal,
        }
    }
}
