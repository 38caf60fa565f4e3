//! What time is it by the API server? Its answers say so. How old a kill is counts by its clock: this
//! machine's may be wrong, and nothing else in the cluster goes by that.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// A difference that is told.
const TOLD_DIFFERENCE: SignedDuration = SignedDuration::from_mins(1);

/// The API server's clock, compared with this machine's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerClock(Arc<Mutex<ClockDifference>>);

#[derive(Debug, Default)]
struct ClockDifference {
    /// How far the API server's clock is ahead.
    ahead: SignedDuration,
    is_told: bool,
}

impl ServerClock {
    /// Takes in the date of an answer that came at `now`. A large difference is logged once.
    pub(super) fn heard(&self, date: Timestamp, now: Timestamp) {
        let mut difference = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = date.duration_since(now);
        difference.ahead = ahead;
        if ahead.abs() > TOLD_DIFFERENCE && !std::mem::replace(&mut difference.is_told, true) {
            tracing::warn!(
                "this machine's clock is {:#} {} the API server's, by which the age of kills is counted; \
                 detectedAt goes by this machine's. Synchronise the clocks",
                SignedDuration::from_secs(ahead.abs().as_secs()),
                if ahead.is_positive() { "behind" } else { "ahead of" },
            );
        }
    }

    /// Returns what a moment by this machine's clock is by the API server's.
    pub(super) fn at(&self, moment: Timestamp) -> Timestamp {
        let difference = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.saturating_add(difference.ahead).unwrap_or(moment)
    }
}
