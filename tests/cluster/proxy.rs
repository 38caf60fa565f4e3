//! How is the API server reached from where it can't be reached directly? The whole program, an API
//! server behind a certificate, and a proxy, all on real sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::json;
use support::{
    eventually,
    program::PATIENCE,
    sockets::{Authority, FakeCluster},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::source::restarted;

/// What a server was asked.
pub type Log = Arc<Mutex<Vec<String>>>;

/// A proxy that logs what it is asked, and leads everybody who knows the password to `target`.
pub async fn serve_proxy(target: SocketAddr, log: Log, servers: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(tunnel(stream, target, Arc::clone(&log)));
        }
    });
    address
}

async fn tunnel(stream: TcpStream, target: SocketAddr, log: Log) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    log.lock().unwrap().push(head.lines().next().unwrap().to_owned());
    // user:pa55word
    if head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwytu1d29yza==") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let mut target = TcpStream::connect(target).await.unwrap();
        copy_bidirectional(&mut stream, &mut target).await.ok();
    } else {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
    }
}

/// A host that no DNS knows.
const HOST: &str = "kubernetes.example";

/// An API server that has a kill, and a proxy that leads to it.
struct ProxiedCluster {
    cluster: FakeCluster,
    authority: Authority,
    address: SocketAddr,
    proxy: SocketAddr,
    tunnels: Log,
    _servers: JoinSet<()>,
}

impl ProxiedCluster {
    async fn new() -> Self {
        let (cluster, authority) = (FakeCluster::new(), Authority::new());
        let address = cluster.server.listen(Some(authority.certify())).await;
        cluster.server.put("pods", restarted("cart", 1));
        let (mut servers, tunnels) = (JoinSet::new(), Log::default());
        let proxy = serve_proxy(address, Arc::clone(&tunnels), &mut servers).await;
        Self { cluster, authority, address, proxy, tunnels, _servers: servers }
    }

    /// Says where the API server is, and through which proxy. Only the proxy knows where this host is.
    fn write_kubeconfig(&self, host: &str, proxy: Option<&str>) {
        let authority = self.cluster.write("ca.crt", &self.authority.pem());
        let server = json!({
            "certificate-authority": authority,
            "tls-server-name": "localhost",
            "proxy-url": proxy,
        });
        let address = format!("https://{host}:{}", self.address.port());
        self.cluster.write_kubeconfig(&address, &server, &json!({}));
    }

    /// How often the proxy was asked by the time that the kill has its Event.
    async fn tunnels(&self, environment: &[(&str, &str)]) -> usize {
        let program = self.cluster.program_in(environment).await;
        let told = eventually("the Event", PATIENCE, async || {
            (!self.cluster.server.objects("events").is_empty()).then_some(())
        });
        told.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
        assert!(!program.stderr().contains("pa55word"), "{}", program.stderr());
        let tunnels = self.tunnels.lock().unwrap();
        let expected = format!("CONNECT {HOST}:{} HTTP/1.1", self.address.port());
        assert!(tunnels.iter().all(|asked| *asked == expected), "{tunnels:?}");
        tunnels.len()
    }
}

#[tokio::test]
async fn through_the_proxy_of_the_environment() {
    for name in ["HTTPS_PROXY", "https_proxy"] {
        let world = ProxiedCluster::new().await;
        world.write_kubeconfig(HOST, None);
        let proxy = format!("http://user:pa55%77ord@{}", world.proxy);
        assert!(world.tunnels(&[(name, &proxy)]).await > 0, "{name}");
    }
}

#[tokio::test]
async fn past_the_proxy_of_the_environment_to_this_very_machine() {
    let world = ProxiedCluster::new().await;
    world.write_kubeconfig("127.0.0.1", None);
    let proxy = format!("http://{}", world.proxy);
    assert_eq!(world.tunnels(&[("HTTPS_PROXY", &proxy)]).await, 0);
}

#[tokio::test]
async fn through_the_proxy_of_the_kubeconfig_whatever_the_environment_says() {
    let world = ProxiedCluster::new().await;
    world.write_kubeconfig(HOST, Some(&format!("http://user:pa55word@{}", world.proxy)));
    let elsewhere = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", HOST)];
    assert!(world.tunnels(&elsewhere).await > 0);
}
