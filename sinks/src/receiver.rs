//! What sinks that post to a receiver by HTTP share: which URLs they take, secrets that change while the program
//! runs, requests, and what the answers mean.
//!
//! | file | what it answers |
//! |---|---|
//! | [`ReceiverUrl`] | where may findings be sent? |
//! | [`ReceiverClient`] | what did the receiver answer, or why did it not? |
//! | [`StatusMeaning`] | what follows from a status? |
//! | [`SecretMask`] | which parts of an answer may be shown? |

mod client;
mod mask;
mod status;
mod url;

use secrecy::SecretString;
use settings::{SecretFileError, SecretSource};
use tokio::{task::spawn_blocking, time::Instant};

use crate::AttemptOutcome;

pub(crate) use client::{ReceiverAnswer, ReceiverClient};
pub(crate) use mask::SecretMask;
pub(crate) use status::{StatusMeaning, undelivered};
pub(crate) use url::{EXPECTED_URL, ReceiverUrl, UNENCRYPTED};

/// Returns a secret as its file holds it now.
///
/// # Cancel safety
///
/// Cancel safe.
pub(crate) async fn current(source: &SecretSource) -> Result<SecretString, SecretFileError> {
    if !source.is_file() {
        return source.read();
    }
    let source = source.clone();
    // A file may be on a network that hangs.
    let read = spawn_blocking(move || source.read()).await;
    read.unwrap_or_else(|error| Err(SecretFileError::Unreadable(error.into())))
}

/// Sends requests one after another, and returns an outcome for each. After one that must be retried the others are not
/// sent, because they would fail in the same way; nor are they after `last_start`.
///
/// # Cancel safety
///
/// What was sent may arrive.
pub(crate) async fn one_by_one(
    requests: impl ExactSizeIterator<Item = impl Future<Output = AttemptOutcome>>,
    last_start: Instant,
) -> Vec<AttemptOutcome> {
    let number = requests.len();
    let mut outcomes = Vec::with_capacity(number);
    let mut rest = AttemptOutcome::Retry {
        reason: "the receiver took too long for the messages before it".into(),
        after: None,
    };
    for request in requests {
        if Instant::now() > last_start {
            break;
        }
        let outcome = request.await;
        outcomes.push(outcome.clone());
        if matches!(outcome, AttemptOutcome::Retry { .. }) {
            rest = outcome;
            break;
        }
    }
    outcomes.resize(number, rest);
    outcomes
}

#[cfg(test)]
mod tests;
