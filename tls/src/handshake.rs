//! Why there is no TLS connection, and what to do.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use thiserror::Error as ThisError;

use crate::verifier::{is_authority, webpki_error};

/// Why there is no TLS connection, and what to do: about the server's certificate, the client's, or what the
/// two sides have in common.
#[derive(Clone, Debug, ThisError, PartialEq)]
pub enum HandshakeError {
    /// No authority that is trusted signed it.
    #[error("invalid peer certificate: UnknownIssuer, that is, signed by no authority that is trusted here")]
    UnknownIssuer,
    /// It shows an authority's certificate that isn't trusted itself.
    #[error(
        "invalid peer certificate: the server shows an authority's certificate as its own, and it is not one \
         that is trusted here"
    )]
    AuthorityAsServer,
    /// Its time is over.
    #[error("invalid peer certificate: it has expired. Renew it; and see that the clock is right here")]
    Expired,
    /// Its time has not come.
    #[error(
        "invalid peer certificate: it is not valid yet. See that the clocks are right, here and where it is \
         issued"
    )]
    NotValidYet,
    /// It is for another name.
    #[error(
        "invalid peer certificate: {0}. Reissue it with the name as subjectAltName (a common name doesn't \
         count), or use a name that it has"
    )]
    WrongName(CertificateError),
    /// It is for another purpose.
    #[error(
        "invalid peer certificate: it is not meant for servers. Reissue it with the extended key usage \
         serverAuth"
    )]
    WrongPurpose,
    /// It, or one that leads to its authority, is signed in a way that can't be checked.
    #[error(
        "invalid peer certificate: it, or one that it is signed by, has a signature that this program can't \
         check ({0}). Reissue it, signed with SHA-256 by a key of RSA (2048 bits or more), ECDSA P-256, \
         P-384 or P-521, or Ed25519"
    )]
    UncheckedSignature(&'static str),
    /// An authority of the right name is trusted, but its key is another, or too short.
    #[error(
        "invalid peer certificate: BadSignature, that is, an authority of the name is trusted here, but did \
         not sign it (was the authority made anew?), or has an RSA key of fewer than 2048 bits"
    )]
    BadSignature,
    /// It is X.509 v1.
    #[error(
        "invalid peer certificate: it is X.509 version 1. Reissue it as version 3, with a subjectAltName"
    )]
    Version1,
    /// It is something else.
    #[error("invalid peer certificate: {0}. Reissue it")]
    Certificate(String),
    /// The server sees nothing in common.
    #[error(
        "the server refuses the TLS handshake: it speaks no TLS 1.2 or 1.3, or its key is of a kind that \
         this program can't check. Give it a key of RSA (2048 bits or more), ECDSA P-256 or P-384, or \
         Ed25519; of P-521 only with TLS 1.3"
    )]
    NothingInCommon,
    /// The server wants another client certificate.
    #[error(
        "the server refuses the client certificate ({0:?}), or wants one. Issue one by an authority that it \
         trusts"
    )]
    ClientRefused(AlertDescription),
    /// The other side speaks something else.
    #[error("what answers does not speak TLS. Is the port right, and is it https?")]
    NoTls,
    /// Something else.
    #[error("the TLS handshake failed: {0}")]
    Other(String),
}

impl HandshakeError {
    /// Returns why there is no TLS connection, if that is what caused an error.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref() {
                return Some(Self::of(error));
            }
            // An I/O error doesn't name what is in it as its source.
            let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = within.map(|within| within as _).or_else(|| error.source());
        }
        None
    }

    /// Returns whether the connection would come about if another certificate was trusted. What to do then depends
    /// on where the authorities are named.
    pub fn is_distrust(&self) -> bool {
        matches!(self, Self::UnknownIssuer | Self::BadSignature | Self::AuthorityAsServer)
    }

    fn of(error: &rustls::Error) -> Self {
        use AlertDescription as Alert;
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError),
            ) => Self::ClientRefused(*alert),
            rustls::Error::AlertReceived(
                Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity,
            )
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NothingInCommon,
            rustls::Error::InvalidMessage(_) => Self::NoTls,
            error => Self::Other(error.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as C;
        match error {
            C::UnknownIssuer => Self::UnknownIssuer,
            C::Expired | C::ExpiredContext { .. } => Self::Expired,
            C::NotValidYet | C::NotValidYetContext { .. } => Self::NotValidYet,
            C::NotValidForName | C::NotValidForNameContext { .. } => Self::WrongName(error.clone()),
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::WrongPurpose,
            C::BadSignature => Self::BadSignature,
            C::UnsupportedSignatureAlgorithmContext { signature_algorithm_id: id, .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id: id, .. } => {
                Self::UncheckedSignature(signature_name(id))
            }
            error if is_authority(error) => Self::AuthorityAsServer,
            error => match webpki_error(error) {
                Some(webpki::Error::UnsupportedCertVersion) => Self::Version1,
                _ => Self::Certificate(error.to_string()),
            },
        }
    }
}

/// Returns the name of a signature's algorithm, by its object identifier (DER).
fn signature_name(id: &[u8]) -> &'static str {
    const NAMES: [(&[u8], &str); 8] = [
        (&[42, 134, 72, 134, 247, 13, 1, 1, 4], "RSA with MD5"),
        (&[42, 134, 72, 134, 247, 13, 1, 1, 5], "RSA with SHA-1"),
        (&[42, 134, 72, 134, 247, 13, 1, 1, 10], "RSA-PSS with unusual parameters"),
        (&[42, 134, 72, 206, 61, 4, 1], "ECDSA with SHA-1"),
        (&[42, 134, 72, 206, 61, 4, 3, 2], "ECDSA with SHA-256 over an unusual curve"),
        (&[42, 134, 72, 206, 61, 4, 3, 3], "ECDSA with SHA-384 over an unusual curve"),
        (&[42, 134, 72, 206, 61, 4, 3, 4], "ECDSA with SHA-512 over P-256 or an unusual curve"),
        (&[43, 101, 113], "Ed448"),
    ];
    // What stands around it are a tag, a length and parameters.
    let named =
        NAMES.iter().find(|(identifier, _)| id.windows(identifier.len()).any(|part| part == *identifier));
    named.map_or("of an unusual kind", |(_, name)| name)
}
