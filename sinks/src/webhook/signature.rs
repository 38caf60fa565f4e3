//! Signs requests as [Standard Webhooks](https://www.standardwebhooks.com) says, so that a receiver knows who sent
//! them, when, and recognises a repetition.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Signs with one secret.
pub(super) struct SigningKey(hmac::Key);

/// Why a text is no secret to sign with.
#[derive(Debug, Error)]
#[error("holds no Base64")]
pub(super) struct SigningSecretError;

impl SigningKey {
    /// Parses a secret: Base64, with or without `whsec_` before it.
    ///
    /// # Errors
    ///
    /// It isn't Base64, or empty.
    pub(super) fn parse(secret: &SecretString) -> Result<Self, SigningSecretError> {
        let text = secret.expose_secret().trim();
        let bytes =
            BASE64.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| SigningSecretError)?;
        if bytes.is_empty() {
            Err(SigningSecretError)
        } else {
            Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
        }
    }

    /// Returns the headers that identify a message, date it (in seconds since 1970) and sign both and the body.
    pub(super) fn headers(&self, id: &str, now: i64, body: &str) -> HeaderMap {
        let signature = hmac::sign(&self.0, format!("{id}.{now}.{body}").as_bytes());
        let signature = format!("v1,{}", BASE64.encode(signature));
        let headers =
            [("webhook-id", id), ("webhook-timestamp", &now.to_string()), ("webhook-signature", &signature)];
        let header = |(name, value): (&'static str, &str)| {
            Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
        };
        headers.into_iter().filter_map(header).collect()
    }
}
