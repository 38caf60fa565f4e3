use std::{fs, net::SocketAddr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::json;
use tls::Trust;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    authorization::bearer,
    credentials::Credentials,
    plugin::{PROCESSES, Plugin, PluginCommand},
};

type TestIssuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> TestIssuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    TestIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns a certificate for this machine, and its key.
fn issue(authority: &TestIssuer) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, authority).unwrap(), key)
}

/// Answers each request with the next status, and notes which certificate the client has shown.
async fn serve(
    authority: &TestIssuer,
    statuses: &'static [u16],
    shown: Arc<Mutex<Vec<Vec<u8>>>>,
) -> SocketAddr {
    let (certificate, key) = issue(authority);
    let mut trusted = RootCertStore::empty();
    trusted.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(trusted.into(), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut statuses = statuses.iter();
        while let Some(status) = statuses.next().copied() {
            let mut status = Some(status);
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    shown.lock().unwrap().push(certificate.clone());
                    let Some(status) = status.take().or_else(|| statuses.next().copied()) else { return };
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    });
    address
}

/// Returns a plugin that prints what stands in a file.
fn plugin(file: &Path) -> Credentials {
    Credentials::Plugin(Plugin::new(PluginCommand {
        program: "cat".to_owned(),
        arguments: vec![file.to_str().unwrap().to_owned()],
        environment: Vec::new(),
        api_version: "v1".to_owned(),
        info: String::new(),
        install_hint: None,
    }))
}

fn access(address: &str, trust: Trust, credentials: Credentials) -> ClusterAccess {
    ClusterAccess {
        found_by: "a test".to_owned(),
        address: address.parse().unwrap(),
        trust,
        server_name: None,
        proxy: None,
        namespace: "default".to_owned(),
        identity: None,
        credentials: Arc::new(credentials),
        impersonation: Vec::new(),
    }
}

async fn pass(duration: Duration) {
    time::pause();
    time::advance(duration).await;
    time::resume();
}

async fn status(client: &Client) -> u16 {
    client.send(Request::get("/version").body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_plugins_certificate_is_shown_and_after_a_refusal_the_next_one() {
    let _alone = PROCESSES.lock().await;
    let (authority, shown) = (authority(), Arc::default());
    let address = serve(&authority, &[200, 401, 200, 200], Arc::clone(&shown)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let print_another = || {
        let (certificate, key) = issue(&authority);
        let status =
            json!({"clientCertificateData": certificate.pem(), "clientKeyData": key.serialize_pem()});
        fs::write(file.path(), json!({"apiVersion": "v1", "status": status}).to_string()).unwrap();
        certificate.der().to_vec()
    };
    let first = print_another();
    let (path, trusted) = (file.path().to_owned(), authority.der().to_vec());
    let client = renewing(move || {
        let trust = Trust::Certificates(vec![CertificateDer::from(trusted.clone())]);
        Ok(access(&format!("https://{address}"), trust, plugin(&path)))
    });
    let client = client.unwrap();
    assert_eq!(status(&client).await, 200);
    let second = print_another();
    // It has one certificate, and no reason to ask for another.
    assert_eq!(status(&client).await, 401);
    assert_eq!(shown.lock().unwrap().as_slice(), [first.clone(), first]);
    pass(Duration::from_secs(10)).await;
    assert_eq!(status(&client).await, 200);
    assert_eq!(status(&client).await, 200);
    assert_eq!(shown.lock().unwrap()[2..], [second.clone(), second]);
}

/// Two that are equal lead to the same answers; so what a plugin gave is thrown away only with the plugin.
#[test]
fn a_route_is_replaced_if_anything_has_changed_and_the_credentials_if_they_come_from_elsewhere() {
    let file = Path::new("credentials");
    let route = ClusterRoute::found(access("http://127.0.0.1", Trust::System, plugin(file))).unwrap();
    let renewed = |address, credentials| route.renewed(access(address, Trust::System, credentials)).unwrap();
    assert!(renewed("http://127.0.0.1", plugin(file)).is_none());
    let moved = renewed("http://127.0.0.2", plugin(file)).unwrap();
    assert!(Arc::ptr_eq(&moved.access.credentials, &route.access.credentials));
    let token = Credentials::Fixed(bearer("secret").unwrap());
    let replaced = renewed("http://127.0.0.1", token).unwrap();
    assert!(!Arc::ptr_eq(&replaced.access.credentials, &route.access.credentials));
}
