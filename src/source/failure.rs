//! What the failure of a request means: its kind, which decides what is done next, and a sentence
//! that says what was tried, what the answer was and what to do.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde::Deserialize;

/// How much of a text of another's making is shown, in characters.
const LONGEST: usize = 500;

/// Why a request failed. Shows the sentence: one line, of bounded length, without a secret.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: Kind,
    /// How long the API server asked to be left alone.
    pub retry_after: Option<Duration>,
    sentence: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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

/// What an API server says when it refuses (`metav1.Status`), as far as it is read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    retry_after_seconds: Option<u64>,
    #[serde(default)]
    causes: Option<Vec<Cause>>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
}

impl Failure {
    /// A failure to do what is said here, such as `can't list pods: no answer`.
    pub(super) fn new(kind: Kind, sentence: &str) -> Self {
        Self { kind, retry_after: None, sentence: shown(sentence) }
    }

    /// The API server asked to be left alone for so long.
    pub(super) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Whether the resource must be listed again.
    pub(super) fn is_expired(&self) -> bool {
        self.kind == Kind::Expired
    }

    /// Whether the account lacks a right.
    pub(super) fn is_forbidden(&self) -> bool {
        self.kind == Kind::Answered(StatusCode::FORBIDDEN)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Status {
    /// What kind of failure the API server speaks of.
    pub(super) fn kind(&self) -> Kind {
        // What an API server says that was restored from a backup and has not got there yet. Older
        // ones give no cause (`apimachinery`: `IsTooLargeResourceVersion`).
        let causes = self.details.iter().flat_map(|details| details.causes.iter().flatten());
        let too_large = self.message.contains("Too large resource version")
            || causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge");
        match StatusCode::from_u16(self.code) {
            _ if too_large || self.reason == "Expired" => Kind::Expired,
            Ok(StatusCode::GONE) => Kind::Expired,
            Ok(code) => Kind::Answered(code),
            Err(_) => Kind::Answered(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// How long it asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.details.as_ref()?.retry_after_seconds.map(Duration::from_secs)
    }
}

/// Text that may be of another's making, on one line and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: &str) -> Kind {
        serde_json::from_str::<Status>(status).unwrap().kind()
    }

    #[test]
    fn what_demands_a_list() {
        for status in [
            r#"{"code": 410}"#,
            r#"{"reason": "Expired"}"#,
            r#"{"code": 504, "reason": "Timeout", "message": "Timeout: Too large resource version: 9, current: 5"}"#,
            r#"{"code": 504, "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}}"#,
        ] {
            assert_eq!(kind(status), Kind::Expired, "{status}");
        }
    }

    #[test]
    fn what_does_not() {
        let answered = |code| Kind::Answered(StatusCode::from_u16(code).unwrap());
        assert_eq!(
            kind(r#"{"code": 504, "message": "timeout", "details": {"causes": null}}"#),
            answered(504)
        );
        assert_eq!(kind("{}"), answered(500));
        assert_eq!(kind(r#"{"code": 65535}"#), answered(500));
    }

    #[test]
    fn a_text_is_shown_on_one_line_and_not_whole() {
        assert_eq!(shown(" a\n\u{1b}[31mb \r\n"), "a  [31mb");
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), LONGEST + 1);
    }
}
