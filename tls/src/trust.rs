//! Which servers are trusted.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use thiserror::Error;

/// Which servers are trusted.
#[derive(Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those whose certificate an authority of this system signed, or of `$SSL_CERT_FILE` and
    /// `$SSL_CERT_DIR`.
    System,
    /// Those whose certificate is one of these, or signed by one of these.
    Certificates(Vec<CertificateDer<'static>>),
    /// Every server, whatever it shows.
    Anyone,
}

/// A text has no certificate in it.
#[derive(Debug, Error)]
#[error("there is no certificate in it")]
pub struct NoCertificate;

impl Trust {
    /// Reads certificates (PEM). Those that can't be read are passed over, as kubectl and curl do.
    ///
    /// # Errors
    ///
    /// No certificate can be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, NoCertificate> {
        let usable =
            |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).filter(usable).collect();
        if certificates.is_empty() { Err(NoCertificate) } else { Ok(Self::Certificates(certificates)) }
    }
}
