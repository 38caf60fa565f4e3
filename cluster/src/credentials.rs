//! Where what a request is authorized by comes from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::Instant;

use crate::{
    authorization::{Granted, TokenError, bearer},
    plugin::{Plugin, PluginError},
};

/// How long a token that was read from a file is used.
const TOKEN_FILE_INTERVAL: Duration = Duration::from_mins(1);

/// Where the `Authorization` header of requests comes from. Two are equal if they read it from the same
/// place.
#[derive(PartialEq)]
pub(crate) enum Credentials {
    /// There is none.
    None,
    /// A token, or a user and a password.
    Fixed(HeaderValue),
    /// A file that is read again each minute.
    TokenFile(TokenFile),
    /// A program that is run.
    Plugin(Plugin),
}

impl Credentials {
    /// Returns what the next request is authorized by.
    ///
    /// # Errors
    ///
    /// A credential plugin gives none.
    ///
    /// # Cancel safety
    ///
    /// A credential plugin goes on, for the next one who asks.
    pub(crate) async fn get(&self) -> Result<Granted, Arc<PluginError>> {
        let authorization = match self {
            Self::None => return Ok(Granted::default()),
            Self::Fixed(authorization) => authorization.clone(),
            Self::TokenFile(file) => file.authorization(Instant::now()),
            Self::Plugin(plugin) => return plugin.get().await,
        };
        Ok(Granted { authorization: Some(authorization), identity: None })
    }

    /// Takes in that the API server refuses the credentials: the next request tries to get others.
    pub(crate) fn refused(&self) {
        match self {
            Self::None | Self::Fixed(_) => {}
            Self::TokenFile(file) => file.refused(),
            Self::Plugin(plugin) => plugin.refused(),
        }
    }
}

/// A token in a file.
pub(crate) struct TokenFile {
    path: PathBuf,
    last: Mutex<ReadToken>,
}

struct ReadToken {
    authorization: HeaderValue,
    at: Instant,
    is_refused: bool,
}

impl PartialEq for TokenFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl TokenFile {
    /// Reads the token for the first time.
    ///
    /// # Errors
    ///
    /// It can't be read, or is no token.
    pub(crate) fn open(path: PathBuf) -> Result<Self, TokenError> {
        let authorization = read_token(&path)?;
        let last = Mutex::new(ReadToken { authorization, at: Instant::now(), is_refused: false });
        Ok(Self { path, last })
    }

    /// Returns the token, read again if the last time is a minute ago or it was refused. One that can't be
    /// read any more holds on: some remove the file once the program has it.
    fn authorization(&self, now: Instant) -> HeaderValue {
        let mut last = self.last();
        if last.is_refused || now.duration_since(last.at) >= TOKEN_FILE_INTERVAL {
            let authorization = read_token(&self.path).unwrap_or_else(|_| last.authorization.clone());
            *last = ReadToken { authorization, at: now, is_refused: false };
        }
        last.authorization.clone()
    }

    fn refused(&self) {
        self.last().is_refused = true;
    }

    fn last(&self) -> MutexGuard<'_, ReadToken> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, TokenError> {
    bearer(&fs::read_to_string(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_each_minute_and_after_a_refusal() {
        let path = std::env::temp_dir().join(format!("token-{}", std::process::id()));
        let write = |token: &str| fs::write(&path, token).unwrap();
        write("first\n");
        let file = TokenFile::open(path.clone()).unwrap();
        let start = Instant::now();
        write("second");
        assert_eq!(file.authorization(start + TOKEN_FILE_INTERVAL / 2), "Bearer first");
        assert_eq!(file.authorization(start + TOKEN_FILE_INTERVAL), "Bearer second");
        write("third");
        file.refused();
        assert_eq!(file.authorization(start + TOKEN_FILE_INTERVAL), "Bearer third");
        fs::remove_file(&path).unwrap();
        assert_eq!(file.authorization(start + 3 * TOKEN_FILE_INTERVAL), "Bearer third");
    }
}
