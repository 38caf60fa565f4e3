//! What the tests stand on: a real control plane and fake servers, the program as a process, a notation
//! for Pods, what is logged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "only tests read it"
)]

pub mod api_server;
pub mod behaviour;
pub mod browser;
mod control_plane;
pub mod hostile;
pub mod log;
pub mod pod_dsl;
pub mod program;
pub mod protobuf;
pub mod slack;
pub mod sockets;
pub mod tools;

use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use tokio::time::{Instant, sleep};

pub use control_plane::*;

/// What was tried, why it failed and, where there is a remedy, what to do.
///
/// `Debug` is the same sentence, because that is what a test that fails shows.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(tried: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("{tried}: {cause}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Asks again and again until there is an answer, for at most `within`.
///
/// # Errors
///
/// There was none in that time; `what` says what was waited for.
pub async fn eventually<T>(
    what: impl fmt::Display,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Error> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(Error(format!("{what} did not happen within {within:?}")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Writes to stderr past the test harness, which would show it only after the test.
fn say(what: &str) {
    // Without a stderr there is nobody to tell.
    writeln!(io::stderr(), "tests: {what}").ok();
}
