//! How it goes with one watch: since when it isn't in sync, how fast it may ask, and what was said
//! about it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    failure::{Failure, FailureKind},
    pace::Pace,
};

/// How long the log is quiet about trouble that lasts.
const QUIET: Duration = Duration::from_mins(10);

/// How it goes with one watch.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Trouble {
    pub pace: Pace,
    /// When what the API server said was last known to be all there was to say.
    pub in_sync: Moment,
    /// Watches in a row that were answered, but with nothing of use.
    pub useless: u32,
    /// Whether a watch has gone silent, and none has said anything since.
    pub is_silent: bool,
    /// Whether a version was too old, and no watch has worked since.
    expired: bool,
    /// What was said since all was well.
    said: Vec<FailureKind>,
    /// When anything was said last.
    spoke: Instant,
    /// Whether there was a list yet.
    has_listed: bool,
    /// Whether an object that can't be read was spoken of since the last list.
    undecodable: bool,
}

/// A moment by two clocks: one stands still while the machine sleeps, the other may be set.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    steady: Instant,
    wall: Timestamp,
}

impl Trouble {
    /// None so far.
    pub(super) fn none() -> Self {
        Self {
            pace: Pace::new(),
            in_sync: Moment::now(),
            useless: 0,
            is_silent: false,
            expired: false,
            said: Vec::new(),
            spoke: Instant::now(),
            has_listed: false,
            undecodable: false,
        }
    }

    /// Whether the failure is part of good days: once in a while a version is too old. etcd forgets
    /// old ones after 5 minutes, and nothing tells a quiet watch of Events of newer ones.
    pub(super) fn is_routine(&mut self, failure: &Failure) -> bool {
        failure.is_expired() && !std::mem::replace(&mut self.expired, true)
    }

    /// Takes in a failure. The answer is whether it is to be said: the first of its kind is, and one
    /// after a long silence.
    pub(super) fn failed(&mut self, failure: &Failure) -> bool {
        self.pace.failed(failure.retry_after);
        match failure.kind {
            FailureKind::Silent => self.is_silent = true,
            FailureKind::Unreachable => {}
            _ => self.useless += 1,
        }
        let is_new = !self.said.contains(&failure.kind);
        if is_new {
            self.said.push(failure.kind);
        }
        let is_said = is_new || self.spoke.elapsed() >= QUIET;
        if is_said {
            self.spoke = Instant::now();
        }
        is_said
    }

    /// Takes in that a list is complete, which was begun then. The answer is whether it is the first.
    pub(super) fn listed(&mut self, begun: Moment) -> bool {
        self.pace.followed();
        self.in_sync = begun;
        (self.useless, self.undecodable) = (0, false);
        !std::mem::replace(&mut self.has_listed, true)
    }

    /// Takes in that an object can't be read. The answer is whether it is to be said aloud: the
    /// first since the last list is.
    pub(super) fn undecodable(&mut self) -> bool {
        !std::mem::replace(&mut self.undecodable, true)
    }

    /// All is well. The answer is whether anything was said that no longer holds.
    pub(super) fn well(&mut self) -> bool {
        self.pace.well();
        let was_said = !self.said.is_empty();
        self.said.clear();
        (self.useless, self.is_silent, self.expired) = (0, false, false);
        was_said
    }
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: Timestamp::now() }
    }

    /// When it was by the wall clock; where the clocks disagree, the earlier.
    pub(super) fn timestamp(self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.steady.elapsed()).unwrap_or(SignedDuration::MAX);
        Timestamp::now().checked_sub(elapsed).map_or(self.wall, |steady| steady.min(self.wall))
    }
}
