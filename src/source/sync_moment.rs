//! When was the program last in sync?

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A moment by two clocks: one stands still while the machine sleeps, the other may be set.
#[derive(Clone, Copy)]
pub(super) struct SyncMoment {
    steady: Instant,
    wall: Timestamp,
}

impl SyncMoment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: Timestamp::now() }
    }

    /// Returns when it was by the wall clock; the earlier where the clocks disagree.
    pub(super) fn timestamp(self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.steady.elapsed()).unwrap_or(SignedDuration::MAX);
        Timestamp::now().checked_sub(elapsed).map_or(self.wall, |steady| steady.min(self.wall))
    }
}
