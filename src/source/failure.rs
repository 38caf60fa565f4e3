//! Why a request failed: the cause, which decides what is done next, and a sentence that says what was
//! tried, what the answer was and what to do.

use std::{error::Error, fmt, time::Duration};

use cluster::{Refusal, RequestError};
use http::StatusCode;
use thiserror::Error;
use untrusted::{one_line, with_causes};

/// A request that failed. Shown, it is one line of bounded length that holds no secret.
#[derive(Debug, Error)]
pub struct RequestFailure {
    /// What was tried, such as `list pods in the whole cluster`.
    pub(super) tried: String,
    #[source]
    pub(super) cause: FailureCause,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(super) enum FailureCause {
    /// The API server answered with an error, at once or within a watch.
    #[error("the API server answers {refusal}")]
    /// `remedy` says what to do, and is never cut.
    Refused { refusal: Refusal, remedy: String },
    /// The API server's versions went back: it was restored from a backup.
    #[error("the versions went back, from {from} to {to}")]
    WentBack { from: String, to: String },
    /// There was no answer, or it broke off.
    #[error("no answer from the API server: {}. Is it up, and is its address right?", with_causes(.0.as_ref()))]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// There are no credentials for it, or no TLS with the API server.
    #[error("{0}")]
    NotSent(RequestError),
    /// There was no answer in time, or no more of it.
    #[error("the API server was silent for {0:?}")]
    Silent(Duration),
    /// There was an answer, but it is of no use.
    #[error("the API server's answer is of no use: {}", with_causes(.0.as_ref()))]
    Unusable(#[source] Box<dyn Error + Send + Sync>),
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The resourceVersion is too old, or newer than all that the API server knows: list again.
    Expired,
    /// See [`FailureCause::WentBack`]: list again.
    WentBack,
    /// The API server answered with an error.
    Refused(StatusCode),
    /// See [`FailureCause::Unreachable`].
    Unreachable,
    /// See [`FailureCause::NotSent`].
    NotSent,
    /// See [`FailureCause::Silent`].
    Silent,
    /// See [`FailureCause::Unusable`].
    Unusable,
}

impl RequestFailure {
    pub(super) fn kind(&self) -> FailureKind {
        match &self.cause {
            FailureCause::WentBack { .. } => FailureKind::WentBack,
            FailureCause::Refused { refusal, .. } if refusal.is_expired() => FailureKind::Expired,
            FailureCause::Refused { refusal, .. } => FailureKind::Refused(refusal.code),
            FailureCause::Unreachable(_) => FailureKind::Unreachable,
            FailureCause::NotSent(_) => FailureKind::NotSent,
            FailureCause::Silent(_) => FailureKind::Silent,
            FailureCause::Unusable(_) => FailureKind::Unusable,
        }
    }

    /// Returns how long the API server asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            FailureCause::Refused { refusal, .. } => refusal.retry_after,
            _ => None,
        }
    }

    /// Returns whether the account lacks a right.
    pub fn is_forbidden(&self) -> bool {
        self.kind() == FailureKind::Refused(StatusCode::FORBIDDEN)
    }

    /// Returns what was tried and why it failed, on one line, without what to do.
    pub fn problem(&self) -> String {
        one_line(&format!("can't {}: {}", self.tried, self.cause))
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem())?;
        match &self.cause {
            FailureCause::Refused { remedy, .. } => f.write_str(remedy),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_refusal_does_not_hide_what_to_do() {
        let refusal =
            Refusal::of_json(format!(r#"{{"code": 403, "message": "{}"}}"#, "long ".repeat(500)).as_bytes());
        let cause = FailureCause::Refused { refusal, remedy: ". Grant the right".to_owned() };
        let shown = RequestFailure { tried: "list pods".to_owned(), cause }.to_string();
        assert!(shown.starts_with("can't list pods: the API server answers 403"), "{shown}");
        assert!(shown.ends_with("…. Grant the right"), "{shown}");
    }
}
