//! What an API server means by an error: its status, in whatever form it comes.

use std::{fmt, time::Duration};

use http::{Response, StatusCode};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;
use untrusted::{one_line, read_up_to, retry_after};

/// How much of an error's body is read.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// How long an error's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// An error that an API server, or a proxy before it, answered with.
#[derive(Debug)]
pub struct Refusal {
    /// The answer's status code.
    pub code: StatusCode,
    /// The API server's word for it, such as `AlreadyExists`; empty if a proxy answers.
    pub reason: String,
    /// What it says. Of another's making: it comes from webhooks too.
    pub message: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    causes: Vec<StatusCause>,
}

/// `metav1.Status`, as far as it is read.
#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    retry_after_seconds: Option<u64>,
    #[serde(default)]
    causes: Option<Vec<StatusCause>>,
}

#[derive(Debug, Deserialize)]
struct StatusCause {
    #[serde(default)]
    reason: String,
}

impl Refusal {
    /// Reads an answer that is no success. It counts though its body breaks off.
    ///
    /// # Cancel safety
    ///
    /// The answer is lost.
    pub async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let mut bytes = Vec::new();
        let whole =
            matches!(timeout(BODY_TIMEOUT, read_up_to(body, MAX_BODY_BYTES, &mut bytes)).await, Ok(Ok(())));
        if !whole {
            bytes.clear();
        }
        let text = String::from_utf8_lossy(&bytes);
        let refusal = Self::of_status(&text);
        // Proxies and the API server's own flow control answer in plain text.
        let message = if refusal.message.is_empty() { text.into_owned() } else { refusal.message };
        let asked = retry_after(&head.headers).or(refusal.retry_after);
        let asked = asked.filter(|pause| !pause.is_zero());
        Self { code: head.status, message, retry_after: asked, ..refusal }
    }

    /// Reads a status (JSON); one that can't be read is an error of the API server's.
    pub fn of_status(json: &str) -> Self {
        let Status { code, reason, message, details } = serde_json::from_str(json).unwrap_or_default();
        let Details { retry_after_seconds, causes } = details.unwrap_or_default();
        Self {
            code: StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            reason,
            message,
            retry_after: retry_after_seconds.map(Duration::from_secs),
            causes: causes.unwrap_or_default(),
        }
    }

    /// Returns whether a resourceVersion is too old, or the API server knows nothing of it yet. The second
    /// is what it says after it was restored from a backup; older ones give no cause for it
    /// (`apimachinery`: `IsTooLargeResourceVersion`).
    pub fn is_expired(&self) -> bool {
        self.code == StatusCode::GONE
            || self.reason == "Expired"
            || self.message.contains("Too large resource version")
            || self.has_cause("ResourceVersionTooLarge")
    }

    /// Returns whether it gives a cause of that reason.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.causes.iter().any(|cause| cause.reason == reason)
    }
}

/// The code and what it says, on one line and not too long.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match one_line(&self.message) {
            nothing if nothing.is_empty() => "no reason given".to_owned(),
            message => message,
        };
        write!(f, "{}: {message}", self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_demands_a_list() {
        for status in [
            r#"{"code": 410}"#,
            r#"{"reason": "Expired"}"#,
            r#"{"code": 504, "reason": "Timeout", "message": "Timeout: Too large resource version: 9, current: 5"}"#,
            r#"{"code": 504, "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}}"#,
        ] {
            assert!(Refusal::of_status(status).is_expired(), "{status}");
        }
    }

    #[test]
    fn what_does_not() {
        for (status, code) in [
            (r#"{"code": 504, "message": "timeout", "details": {"causes": null}}"#, 504),
            ("{}", 500),
            (r#"{"code": 65535}"#, 500),
        ] {
            let refusal = Refusal::of_status(status);
            assert!(!refusal.is_expired() && refusal.code == code, "{status}");
        }
    }
}
