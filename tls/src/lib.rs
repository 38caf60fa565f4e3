//! Whom a TLS connection trusts, and why one does not come about: for API servers and for webhooks.
//!
//! | file | what it answers |
//! |---|---|
//! | [`Trust`] | which servers are trusted |
//! | `verifier` | whether a server is one of them |
//! | `signatures` | which signatures can be checked |
//! | [`ClientIdentity`] | which certificate this program shows |
//! | [`HandshakeError`] | why there is no connection, and what to do |
//!
//! What OpenSSL, curl and kubectl accept is accepted too, as far as rustls and ring can be brought to it. The
//! rest is told in a sentence of [`HandshakeError`].

mod handshake;
mod identity;
mod signatures;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;

use std::sync::Arc;

use rustls::{ClientConfig, client::ResolvesClientCert, sign::SingleCertAndKey};
use thiserror::Error;

pub use handshake::HandshakeError;
pub use identity::{ClientIdentity, IdentityError};
pub use trust::{NoCertificate, Trust};

/// Why TLS can't be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// There is nobody to trust.
    #[error(
        "this system has no certificate authorities. Mount them and name their file in $SSL_CERT_FILE, or \
         their folder in $SSL_CERT_DIR"
    )]
    NoAuthorities,
    /// The client certificate can't be shown.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// rustls refuses.
    #[error("TLS can't be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Returns what a TLS client needs: it trusts these servers, and shows this certificate if a server asks for
/// one.
///
/// # Errors
///
/// There is nobody to trust, or the certificate's key is of a kind that can't sign.
pub fn client_config(trust: &Trust, identity: Option<&ClientIdentity>) -> Result<ClientConfig, SetupError> {
    let provider = signatures::provider();
    let verifier = verifier::verifier(trust, &provider)?;
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let certified = identity.certified(&provider)?;
    let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certified));
    Ok(builder.with_client_cert_resolver(resolver))
}
