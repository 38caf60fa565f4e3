//! Why a container was killed, what to try, and which kills belong together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text;

/// Why a container was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What ran out of memory.
    pub kind: CauseKind,
    /// One clause for people, such as "it reached its own memory limit of 64 MiB".
    #[serde(deserialize_with = "text::bounded")]
    pub text: String,
}

/// What ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The container reached its own limit.
    ContainerLimit,
    /// The Pod as a whole reached its limit: only the Pod has one, or it is the smaller.
    PodLimit,
    /// Neither container nor Pod has a limit: the node, or its share for Pods, ran out.
    NoLimit,
    /// There is no limit, and an Event tells that the node ran out within a minute of the kill.
    Node,
    /// A process in the container was killed, and the container then ended with another exit code.
    ChildProcess,
}

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// The limit to try, in bytes; `None` where a number would be a guess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// A shell command that sets this limit, where `kubectl` can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub command: Option<String>,
    /// The advice in a sentence for people.
    #[serde(deserialize_with = "text::bounded")]
    pub text: String,
}

/// Kills of the same container of the same workload, each within an hour of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// How many there are, this one included.
    pub kills: u64,
    /// When the first instance was killed.
    pub since: Timestamp,
    /// In how many Pods.
    pub pods: u64,
}
