//! What became of a test finding, said to the person who sent it.

use std::time::Duration;

use crate::AttemptOutcome;

/// What became of a test finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// It arrived.
    Delivered {
        /// Where to look for it.
        place: String,
    },
    /// It did not arrive; a real finding would be retried.
    Retry {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
        /// How long the other side asks to be left alone, if it does.
        after: Option<Duration>,
    },
    /// It did not arrive, and a real finding would not either.
    Refused {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
    },
}

impl TestOutcome {
    /// Converts an outcome. A test that was delivered is found at `place`.
    pub fn new(outcome: AttemptOutcome, place: String) -> Self {
        match outcome {
            AttemptOutcome::Delivered | AttemptOutcome::Duplicate => Self::Delivered { place },
            AttemptOutcome::Retry { reason, after } => Self::Retry { reason, after },
            AttemptOutcome::Refused { reason } | AttemptOutcome::Gone { reason } => Self::Refused { reason },
        }
    }
}
