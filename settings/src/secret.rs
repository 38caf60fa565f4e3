//! Secrets that stand in the configuration, or in a file that may change while the program runs.

use std::{fs::File, io, io::Read, path::PathBuf};

use secrecy::SecretString;

/// The longest secret. A file that is longer holds something else.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// It stands in the configuration.
    Value(SecretString),
    /// It stands in a file, which is read again each time: whoever rotates a Secret changes it.
    File(PathBuf),
}

/// Why a file has no secret.
#[derive(Debug)]
pub enum SecretFileError {
    /// It can't be read.
    Unreadable(io::Error),
    /// It is longer than any secret.
    TooLong,
    /// There is nothing in it.
    Empty,
}

impl SecretSource {
    /// Returns whether it stands in a file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Returns the secret as it is now, without line breaks at its end. Blocks while it reads a file.
    ///
    /// # Errors
    ///
    /// The file has none. The error doesn't show where it is: somebody may have written the secret there.
    pub fn read(&self) -> Result<SecretString, SecretFileError> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(SecretFileError::Unreadable)?;
        file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).map_err(SecretFileError::Unreadable)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_SECRET_BYTES) {
            return Err(SecretFileError::TooLong);
        }
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() { Err(SecretFileError::Empty) } else { Ok(secret.into()) }
    }
}

impl std::fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "names a file that cannot be read ({error})"),
            Self::TooLong => write!(f, "names a file of more than {MAX_SECRET_BYTES} bytes"),
            Self::Empty => f.write_str("is empty"),
        }
    }
}

impl std::error::Error for SecretFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own text is part of this error's text.
            Self::Unreadable(error) => error.source(),
            Self::TooLong | Self::Empty => None,
        }
    }
}
