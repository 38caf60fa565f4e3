//! How etcd and kube-apiserver are told to run: their command lines and ports.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use super::{
    binaries::Binaries,
    process::{Directory, Process},
};
use crate::Error;

/// Where the servers listen, on the loopback address.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    pub(crate) fn free() -> io::Result<Self> {
        Ok(Self { etcd: free_port()?, etcd_peer: free_port()?, api_server: free_port()? })
    }

    pub(crate) fn etcd_url(self) -> Result<http::Uri, Error> {
        let url = format!("http://127.0.0.1:{}", self.etcd);
        url.parse().map_err(|error| Error::new(format!("reading the URL {url}"), error))
    }
}

/// A port below those that the kernel gives to outgoing connections, so that it stays free while the
/// API server is stopped.
fn free_port() -> io::Result<u16> {
    loop {
        let [low, high, ..] = random().to_le_bytes();
        let port = 20_000 + u16::from_le_bytes([low, high]) % 12_000;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// A number that no other control plane has, nor is it a secret worth more than a test.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Starts etcd, which is not ready yet.
pub(crate) fn start_etcd(binaries: &Binaries, directory: &Directory, ports: Ports) -> Result<Process, Error> {
    let Ports { etcd, etcd_peer, .. } = ports;
    let command = [
        binaries.etcd.display().to_string(),
        "--unsafe-no-fsync".into(),
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
        format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
        format!("--listen-peer-urls=http://127.0.0.1:{etcd_peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{etcd_peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{etcd_peer}"),
    ];
    Process::start(command, directory.join("etcd.log"), Some(directory))
        .map_err(|error| Error::new("starting etcd", error))
}

/// Starts kube-apiserver, which is not ready yet.
pub(crate) fn start_api_server(
    binaries: &Binaries,
    directory: &Directory,
    ports: Ports,
    event_ttl: Option<Duration>,
) -> Result<Process, Error> {
    // Which it makes before it reads it: the key of its own certificate signs tokens as well.
    let key = directory.join("certificates/apiserver.key");
    let key = key.display();
    let mut command = vec![
        binaries.kube_apiserver.display().to_string(),
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        format!("--secure-port={}", ports.api_server),
        format!("--cert-dir={}", directory.join("certificates").display()),
        format!("--token-auth-file={}", directory.join("tokens.csv").display()),
        format!("--service-account-signing-key-file={key}"),
        format!("--service-account-key-file={key}"),
    ];
    let fixed = [
        "--service-account-issuer=https://control-plane.test",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        // It won't start on a loopback address otherwise.
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        // It would demand a default service account, which only a controller makes.
        "--disable-admission-plugins=ServiceAccount",
    ];
    command.extend(fixed.map(String::from));
    command.extend(event_ttl.map(|ttl| format!("--event-ttl={}s", ttl.as_secs())));
    Process::start(command, directory.join("kube-apiserver.log"), Some(directory))
        .map_err(|error| Error::new("starting kube-apiserver", error))
}
