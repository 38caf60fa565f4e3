//! Which certificate this program shows to a server that asks for one.

use std::sync::Arc;

use rustls::{
    Error as RustlsError, InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use thiserror::Error;

/// A certificate, those that lead from it to its authority, and its key.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why a client certificate can't be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The text has no certificate in it.
    #[error("there is no certificate in the client certificate")]
    NoCertificate,
    /// The text has no key in it.
    #[error(
        "there is no private key in the client key, or it is encrypted. Give it as PEM, without a password"
    )]
    NoKey,
    /// The key can't sign here.
    #[error(
        "the client key is of a kind that this program can't sign with. Issue another client certificate, \
         with a key of ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"
    )]
    UnsupportedKey,
    /// The key is another certificate's.
    #[error("the client key is not that of the client certificate")]
    KeyMismatch,
}

impl ClientIdentity {
    /// Reads a certificate and its key (PEM).
    ///
    /// # Errors
    ///
    /// Either is missing.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::NoKey)?;
        Ok(Self { chain, key })
    }

    /// Returns the certificate with a key that signs. Of an X.509 v1 certificate rustls can't tell whether
    /// the key is its own, so the server is left to say it.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, IdentityError> {
        let key = provider.key_provider.load_private_key(self.key.clone_key());
        let certified =
            CertifiedKey::new(self.chain.clone(), key.map_err(|_| IdentityError::UnsupportedKey)?);
        match certified.keys_match() {
            Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(IdentityError::KeyMismatch)
            }
            _ => Ok(Arc::new(certified)),
        }
    }
}
