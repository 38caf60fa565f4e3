//! Answers probes and Prometheus over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! It only shows what [`crate::health`] and [`crate::metrics`] know.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    health::{ProbeAnswer, Readiness},
    metrics::{self, Metrics},
};

/// The most connections open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may be open for its one request and answer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// The program can't listen on the address.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen on {address} for metrics and probes: {source}. \
     Set server.listen to a free address, or server to null"
)]
pub struct BindError {
    /// The configured address.
    pub address: SocketAddr,
    source: io::Error,
}

/// Listens on the address; on `0.0.0.0` if it is `[::]` and IPv6 is off.
///
/// Outside of a Pod, logs a warning and returns `None` if the port is taken.
///
/// # Errors
///
/// The program can't listen on the address. A port that is taken is an error only in a Pod, because probes
/// need it there.
pub async fn bind(address: SocketAddr, in_pod: bool) -> Result<Option<TcpListener>, BindError> {
    let bound = match (TcpListener::bind(address).await, without_ipv6(address)) {
        // If the port is taken, listening on its IPv4 half alone would be a surprise.
        (Err(error), Some(fallback)) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(fallback).await.map_err(|_| error)
        }
        (bound, _) => bound,
    };
    match bound {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                tracing::info!("listening on {address}");
            }
            Ok(Some(listener))
        }
        Err(source) => {
            let taken = source.kind() == io::ErrorKind::AddrInUse;
            let error = BindError { address, source };
            if in_pod || !taken {
                return Err(error);
            }
            tracing::warn!("{error}. Continuing without metrics and probes");
            Ok(None)
        }
    }
}

fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    everywhere.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

/// Answers requests, one per connection, until it is dropped.
///
/// # Cancel safety
///
/// Dropping it closes the listener and every connection.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Readiness) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&metrics), readiness.clone()));
                }
                Err(error) => {
                    // Probably there are no file descriptors left, and an immediate retry would fail too.
                    tracing::warn!(%error, "could not accept a connection for metrics and probes");
                    sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
}

async fn converse(stream: TcpStream, metrics: Arc<Metrics>, readiness: Readiness) {
    let service = service_fn(|request: Request<_>| {
        let answer = answer(request.method(), request.uri().path(), &metrics, &readiness);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics or probes failed"),
        Err(_elapsed) => tracing::debug!("a connection for metrics or probes was too slow"),
    }
}

fn answer(method: &Method, path: &str, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    let page = match path {
        "/" => plain(StatusCode::OK, "See /metrics, /healthz and /readyz."),
        "/metrics" => {
            metrics.ready(readiness.readiness().good);
            page(StatusCode::OK, metrics::CONTENT_TYPE, metrics.render(Instant::now()))
        }
        "/healthz" => probe_answer(&readiness.health()),
        "/readyz" => probe_answer(&readiness.readiness()),
        _ => plain(StatusCode::NOT_FOUND, "Not found. See /metrics, /healthz and /readyz."),
    };
    if page.status() == StatusCode::NOT_FOUND || [Method::GET, Method::HEAD].contains(method) {
        return page;
    }
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.");
    refusal.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    refusal
}

fn probe_answer(answer: &ProbeAnswer) -> Response<Full<Bytes>> {
    plain(if answer.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &answer.text)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A server on a free port of the loopback interface, for as long as the set lives.
    async fn served() -> (SocketAddr, Readiness, JoinSet<()>) {
        let readiness = Readiness::new();
        let listener = bind(ANY_PORT, true).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::new(Metrics::new()), readiness.clone()));
        (address, readiness, server)
    }

    /// The whole answer to a request, which the server ends by closing the connection.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_come_in_the_text_format() {
        let (address, _, _server) = served().await;
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\noom_event_generator_findings_total 0\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_200_or_503_with_the_reasons() {
        let (address, readiness, _server) = served().await;
        let pods = readiness.register("pods");
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\npods: not yet listed\n"), "{answer}");
        assert!(ask(address, "GET /metrics").await.contains("\noom_event_generator_ready 0\n"));
        pods.listed();
        assert!(ask(address, "GET /metrics").await.contains("\noom_event_generator_ready 1\n"));
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = ask(address, "GET /healthz?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_are_404_and_other_methods_405() {
        let (address, _, _server) = served().await;
        assert!(ask(address, "GET /").await.contains("/readyz"));
        assert!(ask(address, "GET /metrics/").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "POST /elsewhere").await.starts_with("HTTP/1.1 404 "));
        let refusal = ask(address, "DELETE /metrics").await;
        assert!(refusal.starts_with("HTTP/1.1 405 ") && refusal.contains("allow: GET, HEAD"), "{refusal}");
        let head = ask(address, "HEAD /healthz").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn a_garbled_request_ends_its_connection_alone() {
        let (address, _, _server) = served().await;
        assert!(ask(address, "\u{1}").await.starts_with("HTTP/1.1 400 "));
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_closed_and_make_room() {
        let (address, _, _server) = served().await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        // Time runs on only when everything waits, and then the idle ones are the first to be cut.
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
        for mut stream in idle {
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_in_a_pod_and_a_warning_outside() {
        let listener = bind(ANY_PORT, true).await.unwrap().unwrap();
        let taken = listener.local_addr().unwrap();
        let error = bind(taken, true).await.unwrap_err();
        assert!(error.to_string().contains(&format!("can't listen on {taken}")), "{error}");
        assert!(bind(taken, false).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_an_error_anywhere() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(bind(elsewhere, false).await.is_err());
    }

    #[test]
    fn only_the_address_for_everything_has_a_fallback() {
        let parse = |address: &str| address.parse::<SocketAddr>().unwrap();
        assert_eq!(without_ipv6(parse("[::]:10254")), Some(parse("0.0.0.0:10254")));
        assert_eq!(without_ipv6(parse("[::1]:10254")), None);
        assert_eq!(without_ipv6(parse("127.0.0.1:10254")), None);
    }
}
