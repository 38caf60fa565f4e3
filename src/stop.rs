//! Says when to stop. The first SIGTERM or SIGINT asks to stop and deliver what is queued, the second to
//! stop at once. A program whose only output is stdout also stops when stdout is closed.

use std::{io, thread};

use rustix::{
    event::{PollFd, PollFlags, poll},
    stdio::stdout,
};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The system doesn't let the program listen to signals.
#[derive(Debug, Error)]
#[error("can't listen to signals")]
pub struct SignalError(#[source] io::Error);

/// Whether the program has been asked to stop. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Listens to the signals from now on.
    ///
    /// # Errors
    ///
    /// The system refuses it.
    pub fn on_signals() -> Result<Self, SignalError> {
        let stop = Self::default();
        let mut terminate = signal(SignalKind::terminate()).map_err(SignalError)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(SignalError)?;
        let told = stop.clone();
        tokio::spawn(async move {
            for token in [told.asked, told.at_once] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(stop)
    }

    /// Asks to stop, as the first signal does.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Waits until the program is asked to stop.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Returns a token that is cancelled when the program is asked to stop at once.
    pub fn at_once(&self) -> CancellationToken {
        self.at_once.clone()
    }

    /// Asks to stop as soon as nobody can read from stdout any more.
    pub fn when_stdout_closes(&self) {
        let asked = self.asked.clone();
        thread::spawn(move || {
            // With no events requested, poll returns only when a pipe has lost its reader, which it always
            // reports. For a file or a terminal it never returns.
            let waited = poll(&mut [PollFd::new(&stdout(), PollFlags::empty())], None);
            match waited {
                Ok(_) => asked.cancel(),
                Err(error) => tracing::debug!("can't tell when stdout is closed: {error}"),
            }
        });
    }
}
