//! Credential plugins: programs that a kubeconfig names to be run for a token or a client certificate
//! (`client.authentication.k8s.io`).
//!
//! One runs at a time, whoever asks. It is ended after a minute, with all that it started. Requests wait for
//! it, but not long: they fail, and are tried again by whoever sent them.
//!
//! | what | when |
//! |---|---|
//! | it is run | for the first request; when what it gave ends within a minute; when the API server refuses that |
//! | it is not run again | within 10 s of the end of a run: that one's result, or error, holds |
//! | it is nobody's to talk to | it has no standard input, and is told so; nothing that it prints is shown, as tokens stand in it |

mod answer;
mod process;

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tls::IdentityError;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};

use crate::authorization::{Granted, TokenError};

/// How long a plugin may run.
const RUN_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a request waits for a plugin. Less than whoever sent it waits for an answer, so that they are
/// told what is waited for.
const REQUEST_PATIENCE: Duration = Duration::from_secs(20);

/// The least time between the end of a run and the next.
const RUN_INTERVAL: Duration = Duration::from_secs(10);

/// How long before their end credentials are replaced.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// What to do about a plugin that fails.
macro_rules! try_kubectl {
    () => {
        ". Run `kubectl get pods` with the same kubeconfig to see what it says"
    };
}

/// How a plugin is run.
#[derive(PartialEq)]
pub(crate) struct PluginCommand {
    /// A path, or a name that is looked for in `$PATH`.
    pub program: String,
    pub arguments: Vec<String>,
    /// Added to this program's own.
    pub environment: Vec<(String, String)>,
    /// The version that it answers in.
    pub api_version: String,
    /// What it is told, in `$KUBERNETES_EXEC_INFO`.
    pub info: String,
    /// How to install it.
    pub install_hint: Option<String>,
}

/// Why a plugin gives no credentials. Shows nothing that it was called with or printed.
#[derive(Debug, Error)]
pub enum PluginError {
    /// It can't be started.
    #[error("can't run the credential plugin {program}: {error}. Is it installed, and in $PATH here?{hint}")]
    NotStarted {
        /// Its name or path.
        program: String,
        /// Why.
        error: io::Error,
        /// How to install it.
        hint: String,
    },
    /// It has not ended, or not in time.
    #[error(
        "the credential plugin {program} takes too long; it is stopped after {}s{}",
        RUN_TIMEOUT.as_secs(),
        try_kubectl!()
    )]
    Hangs {
        /// Its name or path.
        program: String,
    },
    /// It ends with an error.
    #[error("the credential plugin {program} failed ({status}){}", try_kubectl!())]
    Failed {
        /// Its name or path.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// What it prints can't be read.
    #[error("can't read what the credential plugin {program} prints: {error}")]
    Unreadable {
        /// Its name or path.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// What it prints is of no use.
    #[error("the credential plugin {program} gives no credentials: {reason}{}", try_kubectl!())]
    Useless {
        /// Its name or path.
        program: String,
        /// Why.
        reason: UselessAnswer,
    },
}

/// Why what a plugin prints is of no use.
#[derive(Debug, Error)]
pub enum UselessAnswer {
    /// It is something else.
    #[error("it prints no ExecCredential")]
    NoCredential,
    /// It is of another version.
    #[error("it answers in another apiVersion than the kubeconfig names")]
    AnotherVersion,
    /// There is nothing in it.
    #[error("there is neither a token nor a client certificate with its key in what it prints")]
    Nothing,
    /// When it ends can't be read.
    #[error("its expirationTimestamp is not a time")]
    Expiry,
    /// The token can't be sent.
    #[error("its token can't be used: {0}")]
    Token(#[from] TokenError),
    /// The certificate can't be used.
    #[error("its client certificate can't be used: {0}")]
    Identity(#[from] IdentityError),
}

/// What a plugin gave.
#[derive(Clone)]
struct PluginGrant {
    granted: Granted,
    /// When it ends, if the plugin says so.
    expires: Option<Timestamp>,
}

/// A credential plugin, and what it gave. Two are equal if they are run alike.
pub(crate) struct Plugin {
    command: Arc<PluginCommand>,
    state: Mutex<PluginState>,
}

enum PluginState {
    NeverRun,
    /// `ended` has something in it once it has ended.
    Running {
        ended: watch::Receiver<Option<PluginRun>>,
        task: AbortHandle,
    },
    Ended {
        run: PluginRun,
        is_refused: bool,
    },
}

/// A run that has ended.
#[derive(Clone)]
struct PluginRun {
    result: Result<PluginGrant, Arc<PluginError>>,
    at: Instant,
}

impl PluginRun {
    /// Returns whether the plugin is to be run again.
    fn is_stale(&self, is_refused: bool, now: Instant, wall: Timestamp) -> bool {
        let expires = |expires: Timestamp| expires.duration_since(wall) < EXPIRY_MARGIN;
        let is_of_use = self.result.as_ref().is_ok_and(|grant| !grant.expires.is_some_and(expires));
        (is_refused || !is_of_use) && now.duration_since(self.at) >= RUN_INTERVAL
    }

    fn granted(self) -> Result<Granted, Arc<PluginError>> {
        self.result.map(|grant| grant.granted)
    }
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Self) -> bool {
        self.command == other.command
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let PluginState::Running { task, .. } = &*self.state() {
            // This ends the program too.
            task.abort();
        }
    }
}

impl Plugin {
    pub(crate) fn new(command: PluginCommand) -> Self {
        Self { command: Arc::new(command), state: Mutex::new(PluginState::NeverRun) }
    }

    /// Returns what the plugin gave, or runs it.
    ///
    /// # Errors
    ///
    /// It fails, or has not ended after 20 s.
    ///
    /// # Cancel safety
    ///
    /// It goes on.
    pub(crate) async fn get(&self) -> Result<Granted, Arc<PluginError>> {
        let mut ended = match self.ended_or_running() {
            Ok(run) => return run.granted(),
            Err(ended) => ended,
        };
        let ended = timeout(REQUEST_PATIENCE, ended.wait_for(Option::is_some)).await;
        match ended.ok().and_then(Result::ok).and_then(|run| run.clone()) {
            Some(run) => run.granted(),
            None => Err(Arc::new(PluginError::Hangs { program: self.command.program.clone() })),
        }
    }

    /// Takes in that the API server refuses what the plugin gave.
    pub(crate) fn refused(&self) {
        if let PluginState::Ended { is_refused, .. } = &mut *self.state() {
            *is_refused = true;
        }
    }

    /// Returns the last run if what came of it holds, else what tells of the end of the one that goes on, or
    /// that begins now.
    fn ended_or_running(&self) -> Result<PluginRun, watch::Receiver<Option<PluginRun>>> {
        let mut state = self.state();
        if let PluginState::Running { ended, .. } = &*state {
            let run = ended.borrow().clone();
            match run {
                Some(run) => *state = PluginState::Ended { run, is_refused: false },
                None => return Err(ended.clone()),
            }
        }
        if let PluginState::Ended { run, is_refused } = &*state
            && !run.is_stale(*is_refused, Instant::now(), Timestamp::now())
        {
            return Ok(run.clone());
        }
        if matches!(*state, PluginState::NeverRun) {
            tracing::info!("waiting for the credential plugin {}", self.command.program);
        }
        let (send, ended) = watch::channel(None);
        let command = Arc::clone(&self.command);
        let task = tokio::spawn(async move {
            let result = process::run(&command).await.map_err(Arc::new);
            send.send_replace(Some(PluginRun { result, at: Instant::now() }));
        });
        *state = PluginState::Running { ended: ended.clone(), task: task.abort_handle() };
        Err(ended)
    }

    fn state(&self) -> MutexGuard<'_, PluginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by tests that run programs: one that was just written can't be run while another is being started.
#[cfg(test)]
pub(crate) static PROCESSES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
mod tests;
