//! When to stop: at the first SIGTERM or SIGINT what is queued is still delivered, at the second
//! the program stops at once. If stdout is all that it is run for, it stops when that is closed.

use std::{io, thread};

use rustix::{
    event::{PollFd, PollFlags, poll},
    stdio::stdout,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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
    /// If the system refuses that.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
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
    /// Dropping it loses nothing.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Is cancelled when the program is asked to stop at once.
    pub fn at_once(&self) -> CancellationToken {
        self.at_once.clone()
    }

    /// Asks to stop as soon as nobody can read from stdout any more.
    pub fn when_stdout_closes(&self) {
        let asked = self.asked.clone();
        thread::spawn(move || {
            // Without events asked for, poll waits for what it can't be kept from telling: that a
            // pipe has lost its reader. It never returns for a file or a terminal.
            let waited = poll(&mut [PollFd::new(&stdout(), PollFlags::empty())], None);
            match waited {
                Ok(_) => asked.cancel(),
                Err(error) => tracing::debug!("can't tell when stdout is closed: {error}"),
            }
        });
    }
}
