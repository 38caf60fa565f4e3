//! How it goes with one watch: since when it isn't in sync, how fast it may ask, and what was said
//! about it.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    failure::{Failure, Kind},
    pace::Pace,
};

/// How it goes with one watch.
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
    said: Vec<Kind>,
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
            undecodable: false,
        }
    }

    /// Whether the failure is part of good days: once in a while a version is too old. etcd forgets
    /// old ones after 5 minutes, and nothing tells a quiet watch of Events of newer ones.
    pub(super) fn is_routine(&mut self, failure: &Failure) -> bool {
        failure.is_expired() && !std::mem::replace(&mut self.expired, true)
    }

    /// Takes in a failure. The answer is whether it is to be said: the first of its kind is.
    pub(super) fn failed(&mut self, failure: &Failure) -> bool {
        self.pace.failed(failure.retry_after);
        match failure.kind {
            Kind::Silent => self.is_silent = true,
            Kind::Unreachable => {}
            _ => self.useless += 1,
        }
        let is_new = !self.said.contains(&failure.kind);
        if is_new {
            self.said.push(failure.kind);
        }
        is_new
    }

    /// Takes in that a list is complete, which was begun then.
    pub(super) fn listed(&mut self, begun: Moment) {
        self.pace.followed();
        self.in_sync = begun;
        (self.useless, self.undecodable) = (0, false);
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
