//! What the failure of a request means: its kind, which decides what is done next, and a sentence
//! that says what was tried, what the answer was and what to do.

use std::{fmt, time::Duration};

use http::StatusCode;
use untrusted::one_line;

/// Why a request failed. Shows the sentence: one line, of bounded length, without a secret.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: FailureKind,
    /// How long the API server asked to be left alone.
    pub retry_after: Option<Duration>,
    sentence: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The resourceVersion is too old, or the API server knows nothing of it: list again.
    Expired,
    /// The API server answered with an error.
    Answered(StatusCode),
    /// There was an answer, but it is of no use.
    Unusable,
    /// An answer of more bytes than are taken in.
    TooLong,
    /// There was no answer in time, or no more of it.
    Silent,
    /// There was no answer, or it broke off.
    Unreachable,
}

impl Failure {
    /// A failure to do what is said here, such as `can't list pods: no answer`.
    pub(super) fn new(kind: FailureKind, sentence: &str) -> Self {
        Self { kind, retry_after: None, sentence: one_line(sentence) }
    }

    /// The API server asked to be left alone for so long.
    pub(super) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Whether the resource must be listed again.
    pub(super) fn is_expired(&self) -> bool {
        self.kind == FailureKind::Expired
    }

    /// Whether the account lacks a right.
    pub(super) fn is_forbidden(&self) -> bool {
        self.kind == FailureKind::Answered(StatusCode::FORBIDDEN)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
