//! What a request is authorized by: its `Authorization` header, or a client certificate.

use std::{io, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, header::InvalidHeaderValue};
use thiserror::Error;
use tls::ClientIdentity;

/// What a request is authorized by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    pub authorization: Option<HeaderValue>,
    /// A client certificate, in the place of the kubeconfig's own.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// What is wrong with a token. Doesn't show it.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its file can't be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A header can't hold it.
    #[error("there is a line break, or another character that can't be sent, within it")]
    Unsendable(#[from] InvalidHeaderValue),
}

/// Returns the header for a bearer token. White space around it is no part of it.
///
/// # Errors
///
/// There is nothing in it, or a line break within it.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, TokenError> {
    let token = token.trim();
    if token.is_empty() {
        return Err(TokenError::Empty);
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Returns the header for a user and a password.
///
/// # Errors
///
/// None: base64 has only what a header can hold.
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue, TokenError> {
    let mut header =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_token_is_no_part_of_it() {
        for text in ["secret", "secret\n", " secret\r\n\n"] {
            assert_eq!(bearer(text).unwrap(), "Bearer secret");
        }
    }

    #[test]
    fn what_is_no_token_is_told_without_showing_it() {
        for text in ["", " \n", "sec\nret", "sec\0ret"] {
            let error = bearer(text).unwrap_err().to_string();
            assert!(!error.contains("sec"), "{error}");
        }
        assert_eq!(format!("{:?}", bearer("secret").unwrap()), "Sensitive");
    }
}
