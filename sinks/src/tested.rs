//! What became of a test finding.

use std::time::Duration;

use crate::Outcome;

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
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

impl Tested {
    /// What an outcome means for a test that, delivered, is found at `place`.
    pub fn new(outcome: Outcome, place: String) -> Self {
        match outcome {
            Outcome::Delivered | Outcome::Duplicate => Self::Delivered { place },
            Outcome::Retry { reason, after } => Self::Retry { reason, after },
            Outcome::Refused { reason } | Outcome::Gone { reason } => Self::Refused { reason },
        }
    }
}
