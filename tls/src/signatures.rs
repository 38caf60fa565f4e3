//! Which signatures can be checked: those of ring, and those that OpenSSL makes by `-sha512` with an elliptic
//! curve and by the curve P-521, which ring does not have.
//!
//! Only signatures are checked here, nothing is signed: no secret is involved.

use std::sync::{Arc, LazyLock};

use p384::ecdsa::signature::hazmat::PrehashVerifier;
use rustls::{
    SignatureScheme,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring},
    pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id},
};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The bytes of a number in the field of P-521.
const P521_FIELD_BYTES: usize = 66;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(extended_ring()));

/// Returns ring, and what is added to it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

fn extended_ring() -> CryptoProvider {
    let ring = ring::default_provider();
    let known = ring.signature_verification_algorithms;
    let added = [P384_SHA512, P521_SHA256, P521_SHA384, P521_SHA512];
    let all: Vec<_> = known.all.iter().copied().chain(added).collect();
    // TLS 1.2 means by this scheme any curve with SHA-512, TLS 1.3 the first of these.
    let scheme: (_, &[_]) = (SignatureScheme::ECDSA_NISTP521_SHA512, &[P521_SHA512, P384_SHA512]);
    let mapping: Vec<_> = known.mapping.iter().copied().chain([scheme]).collect();
    CryptoProvider {
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: all.leak(),
            mapping: mapping.leak(),
        },
        ..ring
    }
}

/// Checks a signature: public key, message, signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

/// ECDSA over one curve with one hash.
#[derive(Debug)]
struct Ecdsa {
    curve: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

const P384_SHA512: &dyn SignatureVerificationAlgorithm = &Ecdsa {
    curve: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA512,
    verify: |key, message, signature| p384(key, &Sha512::digest(message), signature),
};
const P521_SHA256: &dyn SignatureVerificationAlgorithm = &Ecdsa {
    curve: alg_id::ECDSA_P521,
    signature: alg_id::ECDSA_SHA256,
    verify: |key, message, signature| p521(key, &Sha256::digest(message), signature),
};
const P521_SHA384: &dyn SignatureVerificationAlgorithm = &Ecdsa {
    curve: alg_id::ECDSA_P521,
    signature: alg_id::ECDSA_SHA384,
    verify: |key, message, signature| p521(key, &Sha384::digest(message), signature),
};
const P521_SHA512: &dyn SignatureVerificationAlgorithm = &Ecdsa {
    curve: alg_id::ECDSA_P521,
    signature: alg_id::ECDSA_SHA512,
    verify: |key, message, signature| p521(key, &Sha512::digest(message), signature),
};

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.curve
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, message, signature).ok_or(InvalidSignature)
    }
}

fn p384(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(hash, &signature).ok()
}

fn p521(key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    let signature = p521::ecdsa::Signature::from_der(signature).ok()?;
    // The crate refuses a hash shorter than half of the field. Leading zeros don't change the number.
    let mut padded = [0; P521_FIELD_BYTES];
    padded[P521_FIELD_BYTES.checked_sub(hash.len())?..].copy_from_slice(hash);
    p521::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?.verify_prehash(&padded, &signature).ok()
}
