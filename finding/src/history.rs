//! What the incident of a kill tells of the kill, beside its number.

use std::time::Duration;

use jiff::Timestamp;

/// What the kills of an incident, up to one of them, tell of that one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillHistory {
    /// How many kills there were, this one included.
    pub kills: u64,
    /// How long the longest instance ran; `None` if that is unknown of any.
    pub longest_run: Option<Duration>,
    /// The last time that the container's memory limit was raised, if it was killed under the lower and
    /// under the higher one.
    pub raised: Option<RaisedLimit>,
}

/// A memory limit that was raised within an incident, and did not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedLimit {
    /// The limit before, in bytes.
    pub from: u64,
    /// The limit since, in bytes.
    pub to: u64,
    /// Since when an instance with the higher limit is known.
    pub at: Timestamp,
    /// How long instances ran at most under the lower limit, if it is known.
    pub longest_run_before: Option<Duration>,
    /// How long instances ran at most under the higher limit, if it is known.
    pub longest_run_since: Option<Duration>,
}
