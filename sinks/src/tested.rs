//! What became of a test finding.

use std::time::Duration;

use crate::AttemptOutcome;

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// It arrived.
    Delivered {
        /// Where a person finds it.
        place: String,
    },
    /// It did not arrive; a finding would be tried again.
    Retry {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
        /// How long the other side asked to be left alone, if it did.
        after: Option<Duration>,
    },
    /// It did not arrive, nor would a finding ever.
    Refused {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
    },
}

impl TestOutcome {
    /// What an outcome means for a test that, delivered, is found at `place`.
    pub fn new(outcome: AttemptOutcome, place: String) -> Self {
        match outcome {
            AttemptOutcome::Delivered | AttemptOutcome::Duplicate => Self::Delivered { place },
            AttemptOutcome::Retry { reason, after } => Self::Retry { reason, after },
            AttemptOutcome::Refused { reason } | AttemptOutcome::Gone { reason } => Self::Refused { reason },
        }
    }
}
