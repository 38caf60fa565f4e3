//! What one status says about the instances of a container, whatever state it is written in.
//!
//! | `state` | `lastState` | the ends it shows, and the instance after each |
//! |---|---|---|
//! | running x | - | none |
//! | running x | a | a, then x |
//! | terminated x | - | x, then nothing yet |
//! | terminated x | a | a, then x; x, then nothing yet |
//! | terminated x, which never came to run | a | a, then nothing yet; x, then nothing yet |
//! | waiting | - | none |
//! | waiting | a | a, then nothing yet: here `restartCount` and `containerID` are the dead instance's |
//! | waiting | made up | one that tells nothing: here `restartCount` is already that of the instance to come |
//!
//! An end that the kubelet made up in `state` reads as waiting, and so does no state at all.

use finding::Restarted;
use jiff::Timestamp;

use crate::source::objects::{ContainerStatus, Terminated};

/// The reasons of ends that the kubelet makes up, without ID and times, once the runtime no longer
/// knows the container. They tell neither how an instance ended nor that one was started: a
/// container that waits when its Pod is deleted reads `ContainerStatusUnknown`, too.
const MADE_UP: [&str; 2] = ["ContainerStatusUnknown", "RestartingAllContainers"];

/// The reasons of instances that were created and never came to run: those of the CRI's runtimes
/// and of `cri-dockerd`.
const NEVER_RAN: [&str; 2] = ["StartError", "ContainerCannotRun"];

/// An instance of a container that a status shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance<'a> {
    pub container_id: Option<&'a str>,
    pub started_at: Option<Timestamp>,
    /// How many instances came before it; unknown of the one before the count fell.
    pub ordinal: Option<u32>,
}

/// An instance that ended, and the one that was started after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub terminated: &'a Terminated,
    pub ordinal: Option<u32>,
    pub successor: Option<Instance<'a>>,
}

/// One status, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// `restartCount` as it stands.
    pub restart_count: u32,
    /// How many instances have ended.
    pub ended: u32,
    /// The instance in `state`, if it ran.
    current: Option<Instance<'a>>,
    /// The ends that are shown, oldest first.
    ends: [Option<End<'a>>; 2],
}

impl<'a> Reading<'a> {
    pub(super) fn of(status: &'a ContainerStatus) -> Self {
        let count = status.restart_count;
        let running = status.state.running;
        let ended = status.state.terminated.as_ref().filter(|end| running.is_none() && !is_made_up(end));
        let last = status.last_state.terminated.as_ref();
        let last = last.filter(|last| !ended.is_some_and(|ended| is_same(last, ended)));
        let waits = running.is_none() && ended.is_none();
        let waits_after = last.filter(|last| waits && !is_made_up(last));

        let current = match (running, ended) {
            (Some(running), _) => Some(Instance {
                container_id: status.container_id.as_deref(),
                started_at: running.started_at,
                ordinal: Some(count),
            }),
            (None, ended) => ended.and_then(|ended| ran(ended, Some(count))),
        };
        let ordinal = if waits_after.is_some() { Some(count) } else { count.checked_sub(1) };
        Self {
            restart_count: count,
            ended: count.saturating_add(u32::from(ended.or(waits_after).is_some())),
            current,
            ends: [
                last.map(|terminated| End { terminated, ordinal, successor: current }),
                ended.map(|terminated| End { terminated, ordinal: Some(count), successor: None }),
            ],
        }
    }

    /// Whether there is nothing to remember: it is the first instance, and it wasn't killed.
    pub(super) fn is_clean(&self) -> bool {
        self.restart_count == 0 && self.kills().next().is_none()
    }

    /// The ends that are shown, oldest first.
    pub(super) fn ends(&self) -> impl Iterator<Item = End<'a>> + use<'a> {
        self.ends.into_iter().flatten()
    }

    /// The ends that were OOM kills, oldest first. The exit code says nothing about that: a child
    /// process' kill marks its container, and 137 is any SIGKILL.
    pub(super) fn kills(&self) -> impl Iterator<Item = End<'a>> + use<'a> {
        self.ends().filter(|end| end.terminated.reason == "OOMKilled")
    }

    /// The latest time in it: what tells an older status from a newer one, on its node's clock.
    pub(super) fn newest_time(&self) -> Option<Timestamp> {
        let ends = self.ends().map(|end| end.terminated.finished_at.max(end.terminated.started_at));
        ends.chain(self.current.map(|current| current.started_at)).max().flatten()
    }

    /// The instances that are shown and ran, oldest first.
    pub(super) fn instances(&self) -> impl Iterator<Item = Instance<'a>> + use<'a> {
        let [last, _] = self.ends;
        last.and_then(|last| ran(last.terminated, last.ordinal)).into_iter().chain(self.current)
    }
}

/// The instance that ended so, if it ran.
fn ran(end: &Terminated, ordinal: Option<u32>) -> Option<Instance<'_>> {
    let instance =
        Instance { container_id: end.container_id.as_deref(), started_at: end.started_at, ordinal };
    (!is_made_up(end) && !NEVER_RAN.contains(&end.reason.as_str())).then_some(instance)
}

fn is_made_up(end: &Terminated) -> bool {
    end.container_id.is_none() && MADE_UP.contains(&end.reason.as_str())
}

/// Whether both are the end of one instance: some kubelets show it in `state` and `lastState`.
fn is_same(one: &Terminated, other: &Terminated) -> bool {
    let whole = |end: &Terminated| (end.started_at, end.finished_at, end.exit_code);
    one.container_id == other.container_id
        && (one.container_id.is_some() || (whole(one) == whole(other) && one.reason == other.reason))
}

impl From<Instance<'_>> for Restarted {
    fn from(instance: Instance<'_>) -> Self {
        Self {
            container_id: instance.container_id.map(str::to_owned),
            started_at: instance.started_at,
            restart_count: instance.ordinal,
        }
    }
}
