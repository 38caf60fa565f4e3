use std::net::SocketAddr;

use tls::Trust;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::credentials::Credentials;

/// Answers one request, and returns its head.
async fn serve() -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, server)
}

/// A SOCKS proxy for one connection to whatever is asked for, which leads to `target`. Returns what is asked for.
async fn serve_socks(target: SocketAddr) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        // User and password, and nothing else.
        assert_eq!(greeting, [5, 1, 2]);
        stream.write_all(&[5, 2]).await.unwrap();
        let mut login = [0; 12];
        stream.read_exact(&mut login).await.unwrap();
        assert_eq!(&login, b"\x01\x04user\x05pa ss");
        stream.write_all(&[1, 0]).await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[..4], [5, 1, 0, 3]);
        let mut asked = vec![0; usize::from(head[4]) + 2];
        stream.read_exact(&mut asked).await.unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        copy_bidirectional(&mut stream, &mut TcpStream::connect(target).await.unwrap()).await.ok();
        asked
    });
    (address, proxy)
}

fn access(address: &str, proxy: Option<&str>) -> ClusterAccess {
    ClusterAccess {
        found_by: "a test".to_owned(),
        address: address.parse().unwrap(),
        trust: Trust::System,
        server_name: None,
        proxy: proxy.map(|url| ProxyRoute::parse(url).unwrap()),
        namespace: "default".to_owned(),
        identity: None,
        credentials: Arc::new(Credentials::None),
        impersonation: ["dev", "ops"]
            .map(|group| ("impersonate-group".parse().unwrap(), HeaderValue::from_static(group)))
            .to_vec(),
    }
}

async fn get(access: &ClusterAccess, path: &str) -> Result<Response<Incoming>, legacy::Error> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let request = addressed(request, access, Some(HeaderValue::from_static("Bearer secret"))).unwrap();
    Transport::new(access, None).unwrap().send(request).await
}

#[tokio::test]
async fn a_request_goes_below_the_api_servers_path_in_the_name_of_whom_it_should() {
    let (address, server) = serve().await;
    let access = access(&format!("http://{address}/k8s/clusters/c-1"), None);
    assert!(get(&access, "/api/v1/pods?limit=1").await.unwrap().status().is_success());
    let head = server.await.unwrap();
    assert!(head.starts_with("GET /k8s/clusters/c-1/api/v1/pods?limit=1 HTTP/1.1\r\n"), "{head}");
    for header in [
        &format!("host: {address}"),
        "authorization: Bearer secret",
        "impersonate-group: dev",
        "impersonate-group: ops",
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
}

#[tokio::test]
async fn a_plain_request_is_handed_to_an_http_proxy_as_it_is() {
    let (proxy, server) = serve().await;
    let mut access = access("http://kubernetes.example:8001", Some(&format!("http://user:pa%20ss@{proxy}")));
    access.server_name = Some(ServerName::try_from("localhost").unwrap());
    assert!(get(&access, "/version").await.unwrap().status().is_success());
    let head = server.await.unwrap();
    assert!(head.starts_with("GET http://kubernetes.example:8001/version HTTP/1.1\r\n"), "{head}");
    for header in [
        "host: kubernetes.example:8001",
        "authorization: Bearer secret",
        "proxy-authorization: Basic dXNlcjpwYSBzcw==",
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
}

#[tokio::test]
async fn a_request_goes_through_a_socks_proxy_which_resolves_the_host() {
    let (address, server) = serve().await;
    let (proxy, asked) = serve_socks(address).await;
    let access = access("http://kubernetes.example:8001", Some(&format!("socks5://user:pa%20ss@{proxy}")));
    assert!(get(&access, "/version").await.unwrap().status().is_success());
    assert!(server.await.unwrap().starts_with("GET /version HTTP/1.1\r\n"));
    drop(access);
    assert_eq!(asked.await.unwrap(), b"kubernetes.example\x1f\x41");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_shake_hands_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut access = access(&format!("https://{address}"), None);
    access.trust = Trust::Anyone;
    let error = get(&access, "/version").await.unwrap_err();
    assert!(untrusted::with_causes(&error).contains("no connection within 10s"), "{error:?}");
}
