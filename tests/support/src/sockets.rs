//! The whole program, and the misbehaving API server behind real sockets and certificates.

use std::{
    fs,
    future::pending,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::{
    api_server::ApiServer,
    eventually,
    pod_dsl::id,
    program::{PATIENCE, Program},
};

/// An API server, and the files that say where it is and who may ask it.
pub struct FakeCluster {
    pub server: ApiServer,
    files: TempDir,
}

impl FakeCluster {
    pub fn new() -> Self {
        Self { server: ApiServer::new(), files: TempDir::new().unwrap() }
    }

    /// Writes a file that the kubeconfig may name, all of it at once.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let (new, path) = (self.files.path().join("new"), self.files.path().join(name));
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// Writes the kubeconfig: the address, what else is known of the server, and the credentials.
    pub fn write_kubeconfig(&self, address: &str, server: &Value, user: &Value) {
        let mut server = server.clone();
        server["server"] = address.into();
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        self.write("kubeconfig", &kubeconfig.to_string());
    }

    /// Returns the path of the kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("kubeconfig")
    }

    /// The program, which sees the cluster. It prints its findings, and writes Events.
    pub async fn program(&self) -> Program {
        let sinks = ["--sink", "stdout", "--sink", "kubernetes"];
        Program::ready(&self.kubeconfig(), &sinks, &[]).await
    }

    /// The program as this environment has it.
    pub async fn program_in(&self, environment: &[(&str, &str)]) -> Program {
        Program::ready(&self.kubeconfig(), &[], environment).await
    }

    /// Waits until these kills are found, each once, and each has an Event.
    pub async fn finds(&self, program: &Program, instances: &[&str]) {
        let expected: Vec<_> = instances.iter().map(|instance| id(instance)).collect();
        let found = eventually(format!("{instances:?}"), PATIENCE, async || {
            let mut found: Vec<_> = program
                .findings()
                .into_iter()
                .map(|finding| finding["killed"]["containerId"].as_str().unwrap().to_owned())
                .collect();
            found.sort();
            let events = self.server.objects("events").len();
            (found.len() >= expected.len() && events >= expected.len()).then_some((found, events))
        });
        let (found, events) = found.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
        assert_eq!((found, events), (expected.clone(), expected.len()), "{}", program.stderr());
    }
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Serves with a new certificate of its making.
    pub fn certify(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned)).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The way of one program to an API server. While it is cut, no byte passes; connections that were open then never pass
/// one again.
pub struct CutLine {
    kubeconfig: PathBuf,
    is_cut: watch::Sender<bool>,
    _directory: TempDir,
    _connections: JoinSet<()>,
}

impl CutLine {
    /// A way that is open to the API server of a kubeconfig, which is on this machine.
    pub async fn to(kubeconfig: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let content = fs::read_to_string(kubeconfig).unwrap();
        let address = content.split("https://").nth(1).unwrap().split('"').next().unwrap();
        let target: SocketAddr = address.parse().unwrap();
        let through = content.replace(address, &listener.local_addr().unwrap().to_string());
        let directory = TempDir::new().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        fs::write(&kubeconfig, through).unwrap();
        let (is_cut, cut) = watch::channel(false);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(pass(stream, target, cut.clone()));
            }
        });
        Self { kubeconfig, is_cut, _directory: directory, _connections: connections }
    }

    /// The kubeconfig of one who goes this way.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Cuts the line, or opens it again.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

async fn pass(mut stream: TcpStream, target: SocketAddr, mut cut: watch::Receiver<bool>) {
    cut.wait_for(|is_cut| !is_cut).await.unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    let was_cut = async { cut.wait_for(|is_cut| *is_cut).await.map(drop) };
    tokio::select! {
        // How a connection ends is the affair of both ends.
        _ = copy_bidirectional(&mut stream, &mut server) => return,
        _ = was_cut => {}
    }
    pending::<()>().await;
}
