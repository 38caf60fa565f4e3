//! What the status of an answer means, for every receiver.
//!
//! | status | meaning | what follows |
//! |---|---|---|
//! | 2xx | [`Success`](StatusMeaning::Success) | it is delivered, if the receiver's own rules agree |
//! | 408, 425, 429, 5xx | [`Transient`](StatusMeaning::Transient) | it is tried again |
//! | 3xx | [`Redirect`](StatusMeaning::Redirect) | it is refused: a secret would go elsewhere |
//! | 401, 403, 404, 410 | [`Denied`](StatusMeaning::Denied) | it is refused, unless a file with a secret may change |
//! | any other | [`Refused`](StatusMeaning::Refused) | it is refused |

use std::time::Duration;

use reqwest::StatusCode;

use crate::AttemptOutcome;

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusMeaning {
    /// The receiver took it.
    Success,
    /// The receiver may take it later.
    Transient,
    /// The receiver is elsewhere.
    Redirect,
    /// The URL or another secret is wrong.
    Denied,
    /// The receiver doesn't take it.
    Refused,
}

impl StatusMeaning {
    /// Returns what a status means.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            401 | 403 | 404 | 410 => Self::Denied,
            408 | 425 | 429 | 500.. => Self::Transient,
            _ => Self::Refused,
        }
    }
}

/// Returns the outcome of what a receiver didn't take. If a secret stands in a file (`may_change`), a denial may be
/// over when the file changes.
pub(crate) fn undelivered(
    meaning: StatusMeaning,
    reason: String,
    after: Option<Duration>,
    may_change: bool,
) -> AttemptOutcome {
    match meaning {
        StatusMeaning::Transient => AttemptOutcome::Retry { reason, after },
        StatusMeaning::Denied if may_change => AttemptOutcome::Retry { reason, after },
        _ => AttemptOutcome::Refused { reason },
    }
}
