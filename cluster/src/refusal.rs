//! What an API server means by an error: its status, in whatever form it comes.

use std::{fmt, time::Duration};

use http::{Response, StatusCode};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::timeout;
use untrusted::{one_line, read_up_to, retry_after};

use crate::protobuf::{WireMessage, WireValue, open_envelope};

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

impl WireMessage for Status {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            3 => self.message = value.text().into_owned(),
            4 => self.reason = value.text().into_owned(),
            5 => self.details = value.message(),
            6 => self.code = value.number().and_then(|code| u16::try_from(code).ok()).unwrap_or_default(),
            _ => {}
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(default)]
    retry_after_seconds: Option<u64>,
    #[serde(default)]
    causes: Option<Vec<StatusCause>>,
}

impl WireMessage for Details {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            4 => self.causes.get_or_insert_default().extend(value.message::<StatusCause>()),
            5 => self.retry_after_seconds = value.number().and_then(|seconds| u64::try_from(seconds).ok()),
            _ => {}
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct StatusCause {
    #[serde(default)]
    reason: String,
}

impl WireMessage for StatusCause {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 1 {
            self.reason = value.text().into_owned();
        }
    }
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
        let refusal = Self::of_body(&bytes);
        // Proxies and the API server's own flow control answer in plain text.
        let message = match refusal.message {
            nothing if nothing.is_empty() => String::from_utf8_lossy(&bytes).into_owned(),
            message => message,
        };
        let asked = retry_after(&head.headers).or(refusal.retry_after);
        let asked = asked.filter(|pause| !pause.is_zero());
        Self { code: head.status, message, retry_after: asked, ..refusal }
    }

    /// Reads a status in JSON; one that can't be read is an error of the API server's.
    pub fn of_json(json: &[u8]) -> Self {
        Self::of(serde_json::from_slice(json).unwrap_or_default())
    }

    /// Reads a status in Protobuf, without its envelope; one that can't be read is an error of the API server's.
    pub fn of_protobuf(bytes: &[u8]) -> Self {
        Self::of(Status::decode(bytes).unwrap_or_default())
    }

    /// Reads a status, in JSON or in an envelope.
    fn of_body(bytes: &[u8]) -> Self {
        match open_envelope(bytes) {
            Ok(status) => Self::of_protobuf(status),
            Err(_) => Self::of_json(bytes),
        }
    }

    fn of(status: Status) -> Self {
        let Status { code, reason, message, details } = status;
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
            assert!(Refusal::of_json(status.as_bytes()).is_expired(), "{status}");
        }
    }

    #[test]
    fn what_does_not() {
        for (status, code) in [
            (r#"{"code": 504, "message": "timeout", "details": {"causes": null}}"#, 504),
            ("{}", 500),
            (r#"{"code": 65535}"#, 500),
        ] {
            let refusal = Refusal::of_json(status.as_bytes());
            assert!(!refusal.is_expired() && refusal.code == code, "{status}");
        }
    }

    #[test]
    fn a_status_in_protobuf_says_the_same() {
        let status = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x40\x0a\x06\x0a\x00\x12\x00\x1a\x00\x12\x07Failure\
                       \x1a\x02no\x22\x07Timeout\x2a\x1d\x22\x19\x0a\x17ResourceVersionTooLarge\x28\x07\x30\xf8\x03";
        let refusal = Refusal::of_body(status);
        assert_eq!((refusal.code.as_u16(), &*refusal.reason, &*refusal.message), (504, "Timeout", "no"));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
        assert!(refusal.is_expired());
        for cut in 0..status.len() - 1 {
            assert!(!Refusal::of_body(&status[..cut]).is_expired());
        }
    }
}
