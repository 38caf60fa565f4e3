//! Does a connection come about with what OpenSSL makes, and if not, does the error say why and what to do?
//! `certificates.pem` holds certificates of each kind; `make` makes them.

use std::{
    fmt,
    io::{self, Cursor},
    sync::Arc,
};

use p521::{
    SecretKey,
    ecdsa::{Signature, SigningKey as P521Key, signature::hazmat::PrehashSigner},
    pkcs8::DecodePrivateKey,
};
use rustls::{
    ClientConnection, DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection,
    SignatureAlgorithm, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
};
use sha2::{Digest, Sha512};

use super::*;

/// Returns the certificates, or the key, of one kind.
fn pem(name: &str) -> &'static str {
    let all = include_str!("tests/certificates.pem");
    let heading = format!("# {name}\n");
    all.split_once(&heading).unwrap().1.split("\n# ").next().unwrap()
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem(name).as_bytes()).map(Result::unwrap).collect()
}

/// Returns what comes of it when a server shows the first certificate of this kind, and the last is trusted.
fn verified(name: &str) -> Result<(), HandshakeError> {
    let certificates = certificates(name);
    let trust = Trust::Certificates(vec![certificates.last().unwrap().clone()]);
    let verifier = verifier::verifier(&trust, &signatures::provider()).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let result = verifier.verify_server_cert(&certificates[0], &[], &name, &[], UnixTime::now());
    // As it comes from a connection.
    result
        .map(drop)
        .map_err(|error| HandshakeError::find(&io::Error::other(io::Error::other(error))).unwrap())
}

#[test]
fn a_server_is_accepted_or_its_owner_told_what_to_do() {
    // What kubectl 1.37 and curl 8 (OpenSSL 3) do, and what we do: where it isn't "ok", a part of what is said.
    for (name, kubectl, curl, ours) in [
        ("rsa1024-sha256", true, false, "fewer than 2048 bits"),
        ("rsa2048-sha1", false, false, "RSA with SHA-1"),
        ("rsa2048-sha256", true, true, "ok"),
        ("rsa2048-sha384", true, true, "ok"),
        ("rsa2048-sha512", true, true, "ok"),
        ("rsa4096-sha512", true, true, "ok"),
        ("rsa-pss-signature", true, true, "ok"),
        ("p256-sha1", false, false, "ECDSA with SHA-1"),
        ("p256-sha256", true, true, "ok"),
        ("p256-sha384", true, true, "ok"),
        ("p256-sha512", true, true, "ECDSA with SHA-512 over P-256"),
        ("p384-sha256", true, true, "ok"),
        ("p384-sha384", true, true, "ok"),
        ("p384-sha512", true, true, "ok"),
        ("p521-sha256", true, true, "ok"),
        ("p521-sha384", true, true, "ok"),
        ("p521-sha512", true, true, "ok"),
        ("secp256k1-sha256", false, false, "over an unusual curve"),
        ("brainpool256-sha256", false, false, "over an unusual curve"),
        ("ed25519", true, true, "ok"),
        ("ed448", false, true, "Ed448"),
        ("rsa-pss-key-sha256", false, true, "can't check"),
        ("v1-server", false, false, "X.509 version 1"),
        ("v1-authority", true, true, "ok"),
        ("cn-only", false, true, "a common name doesn't count"),
        ("another-name", false, false, "only valid for DnsName(\"elsewhere\")"),
        ("expired", false, false, "it has expired"),
        ("no-purpose", true, true, "ok"),
        ("another-purpose", false, false, "not meant for servers"),
        ("unknown-critical-extension", false, false, "UnsupportedCriticalExtension"),
        ("trusted-itself", true, true, "ok"),
        ("self-signed", true, true, "ok"),
        ("self-signed-authority", true, true, "ok"),
        ("self-signed-another-name", false, false, "only valid for DnsName(\"elsewhere\")"),
    ] {
        let verified = verified(name);
        let said = verified.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(said.contains(ours), "{name}: {said}");
        // Nothing is accepted that neither accepts, and what both accept is refused only if the table says so.
        assert!(ours != "ok" || kubectl || curl, "{name}");
        assert!(
            said == "ok" || said.starts_with("invalid peer certificate: ") && said.len() < 400,
            "{name}: {said}"
        );
    }
}

#[test]
fn an_authority_that_nobody_trusts_is_told() {
    for (trusted, shown, expected) in [
        ("self-signed", "p256-sha256", HandshakeError::UnknownIssuer),
        // Both authorities have the same name.
        ("p384-sha384", "p256-sha256", HandshakeError::BadSignature),
        ("p384-sha384", "self-signed-authority", HandshakeError::AuthorityAsServer),
    ] {
        let verifier =
            verifier::verifier(&Trust::Certificates(certificates(trusted)), &signatures::provider());
        let (verifier, name) = (verifier.unwrap(), ServerName::try_from("localhost").unwrap());
        let shown = &certificates(shown)[0];
        let error = verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).unwrap_err();
        assert_eq!(HandshakeError::find(&error), Some(expected));
    }
}

#[test]
fn of_a_bundle_what_can_not_be_read_is_passed_over() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("a text\n{broken}{}", pem("self-signed"));
    assert_eq!(Trust::from_pem(bundle.as_bytes()).unwrap(), Trust::Certificates(certificates("self-signed")));
    for nothing in ["", "a text", broken, pem("p521-key")] {
        assert!(Trust::from_pem(nothing.as_bytes()).is_err(), "{nothing}");
    }
}

/// Exchanges what the two have to say, until both are content or one is not.
fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), HandshakeError> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut Cursor::new(bytes)).unwrap();
        let refused = server.process_new_packets();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        receive(client, &bytes)?;
        refused.unwrap();
    }
    Ok(())
}

fn receive(client: &mut ClientConnection, bytes: &[u8]) -> Result<(), HandshakeError> {
    let mut bytes = Cursor::new(bytes);
    while client.read_tls(&mut bytes).unwrap() > 0 {
        client.process_new_packets().map_err(|error| HandshakeError::find(&error).unwrap())?;
    }
    Ok(())
}

fn connection(trust: &Trust, identity: Option<&ClientIdentity>) -> ClientConnection {
    let config = client_config(trust, identity).unwrap();
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

/// A server's key of a kind that ring doesn't have.
#[derive(Clone)]
struct P521ServerKey(P521Key);

impl fmt::Debug for P521ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521ServerKey")
    }
}

impl SigningKey for P521ServerKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP521_SHA512).then(|| Box::new(self.clone()) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521ServerKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature: Signature = self.0.sign_prehash(&Sha512::digest(message)).unwrap();
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}

#[test]
fn a_server_may_have_a_key_of_p521() {
    let key = SecretKey::from_pkcs8_pem(pem("p521-key")).unwrap();
    let key = P521Key::from_bytes(&key.to_bytes()).unwrap();
    let chain = certificates("p521-sha512");
    let trust = Trust::Certificates(vec![chain[1].clone()]);
    let certified = CertifiedKey::new(chain, Arc::new(P521ServerKey(key)));
    let config = ServerConfig::builder_with_provider(signatures::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    assert_eq!(shake_hands(&mut connection(&trust, None), &mut server), Ok(()));
}

/// Wants a certificate, and takes any.
#[derive(Debug)]
struct AnyClientVerifier;

impl ClientCertVerifier for AnyClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Returns the certificate that a server gets to see.
fn shown(identity: &ClientIdentity) -> Vec<CertificateDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(pem("client-p256").as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(signatures::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClientVerifier))
        .with_single_cert(certificates("client-p256"), key)
        .unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    shake_hands(&mut connection(&Trust::Anyone, Some(identity)), &mut server).unwrap();
    server.peer_certificates().unwrap_or_default().to_vec()
}

#[test]
fn a_client_certificate_is_shown_or_its_owner_told_what_to_do() {
    for (name, kubectl, ours) in [
        ("client-v1-rsa2048", true, "ok"),
        ("client-v1-p256", true, "ok"),
        ("client-rsa1024", true, "with a key of ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"),
        ("client-rsa2048", true, "ok"),
        ("client-p256", true, "ok"),
        ("client-p384", true, "ok"),
        ("client-p521", true, "with a key of ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"),
        ("client-ed25519", true, "ok"),
        ("client-pkcs1", true, "ok"),
        ("client-sec1", true, "ok"),
        ("client-encrypted", false, "without a password"),
    ] {
        let text = pem(name).as_bytes();
        let identity = ClientIdentity::from_pem(text, text);
        let ready =
            identity.and_then(|identity| identity.certified(&signatures::provider()).map(|_| identity));
        let said = match ready {
            Ok(identity) => {
                assert_eq!(shown(&identity), certificates(name));
                "ok".to_owned()
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains(ours), "{name}: {said}");
        assert!(ours != "ok" || kubectl, "{name}");
    }
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let identity =
        ClientIdentity::from_pem(pem("client-p256").as_bytes(), pem("client-p384").as_bytes()).unwrap();
    let error = client_config(&Trust::Anyone, Some(&identity)).unwrap_err();
    assert!(matches!(error, SetupError::Identity(IdentityError::KeyMismatch)), "{error}");
}

#[test]
fn what_a_server_answers_instead_of_tls_is_told() {
    let alert = |code| vec![0x15, 3, 3, 0, 2, 2, code];
    for (answer, said) in [
        // What OpenSSL and Go answer whose key has no scheme in common with what is offered.
        (alert(40), "its key is of a kind that this program can't check"),
        (alert(70), "it speaks no TLS 1.2 or 1.3"),
        (alert(48), "the server refuses the client certificate (UnknownCA), or wants one"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not speak TLS"),
    ] {
        let error = receive(&mut connection(&Trust::Anyone, None), &answer).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.to_lowercase().contains("proxy"), "{error}");
    }
}
