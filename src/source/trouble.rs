//! Trouble that all watches share, which one of them tells.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::logging::LogThrottle;

/// How long the log is quiet about trouble that lasts.
pub(super) const LOG_QUIET: Duration = Duration::from_mins(10);
/// How many kinds of trouble are remembered, so that kinds that take turns are logged once each.
pub(super) const LOGGED_KINDS: usize = 16;

/// What was said of why requests can't be sent. It is so for all watches, so that one of them says it. Clones
/// are the same.
#[derive(Clone)]
pub(super) struct SharedTrouble(Arc<Mutex<LogThrottle<String>>>);

impl SharedTrouble {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(LogThrottle::new(LOG_QUIET, Duration::ZERO, LOGGED_KINDS))))
    }

    /// Returns what was said.
    pub(super) fn said(&self) -> MutexGuard<'_, LogThrottle<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
