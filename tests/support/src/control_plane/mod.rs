//! A real etcd and kube-apiserver for tests, and a test's way to play the kubelet.
//!
//! [`ControlPlane`] starts them and takes them down whatever happens, [`Namespace`] is where a test
//! plays the kubelet, and [`status`] spells what a kubelet would say of a Pod. There are no nodes, no
//! controllers and no scheduler: nothing happens in this cluster but what the test does.

mod binaries;
mod kubelet;
mod plane;
mod process;
mod recording;
mod servers;
mod service_account;
pub mod status;
mod table;

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};

pub use kubelet::Namespace;
pub use plane::{Builder, ControlPlane};
pub use process::Leash;
pub use service_account::Scope;

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
