//! Answers probes and Prometheus over HTTP, `/healthz`, `/readyz`, `/metrics`, and people: the page at `/`.
//!
//! It only shows what [`crate::health`] and [`crate::metrics`] know. Whoever reaches its port may do what they
//! like there, and a probe must be answered all the same, with little memory:
//!
//! | what they do | what happens |
//! |---|---|
//! | open connections, however many | each is accepted, and the oldest makes room (see [`MAX_CONNECTIONS`]) |
//! | open them faster than the program can follow | they wait in line; the pipeline has its turn after each |
//! | leave a head unfinished, or make it long | it has [`HEAD_TIMEOUT`] and [`MAX_HEAD_BYTES`] |
//! | send a body, or a second request | it isn't read; the connection is closed after one answer |
//! | read the answer slowly, or never | they have [`CONNECTION_LIFETIME`], and share the text of metrics and page |
//! | ask for metrics or page all the time | rendering each takes a tenth of the processor at most |
//! | use up the open files | the oldest connection makes room |
//!
//! A connection takes some 20 KB, and 48 KB in the system at most.

mod listen;
mod pages;

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

pub use self::listen::{BindError, bind};
pub use self::pages::PageSource;
use self::pages::Pages;
use crate::{health::Readiness, logging::LogThrottle, metrics::Metrics};

/// The most connections open at once; fewer if the system allows few open files, which the pipeline needs too.
const MAX_CONNECTIONS: usize = 128;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// How long a connection may be open for its one request and answer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// The least time between two log lines about connections that can't be accepted.
const ACCEPT_LOG_SILENCE: Duration = Duration::from_mins(10);

/// The pause before accepting again after an error that would come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests, one per connection, until it is dropped.
///
/// # Cancel safety
///
/// Dropping it closes the listener and every connection.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    page: Option<PageSource>,
) {
    let pages = Arc::new(Pages::new(metrics, readiness, page));
    let places = places();
    let mut connections: VecDeque<AbortOnDropHandle<()>> = VecDeque::new();
    let mut throttle = LogThrottle::new(ACCEPT_LOG_SILENCE, ACCEPT_LOG_SILENCE, 1);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if connections.len() >= places {
                    connections.retain(|connection| !connection.is_finished());
                }
                if connections.len() >= places {
                    connections.pop_front();
                }
                let connection = tokio::spawn(serve_connection(stream, Arc::clone(&pages)));
                connections.push_back(AbortOnDropHandle::new(connection));
            }
            Err(error) if broke_before_accept(&error) => {}
            Err(error) => {
                if throttle.admits((), Instant::now()) {
                    tracing::warn!(%error, "can't accept connections for metrics and probes; trying again");
                }
                // Probably there are no file descriptors left. One that is still open holds one.
                connections.retain(|connection| !connection.is_finished());
                if connections.pop_front().is_none() {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // The connection gets to read its request before others can crowd it out, and the pipeline goes on.
        yield_now().await;
    }
}

/// Returns how many connections may be open at once: at most a quarter of the files that the process may open.
fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    files.map_or(MAX_CONNECTIONS, |files| MAX_CONNECTIONS.min(files / 4))
}

/// Returns whether a connection ended before it was accepted, which says nothing about the next one.
fn broke_before_accept(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

async fn serve_connection(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(|request: Request<_>| {
        let answer = pages.answer(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics or probes failed"),
        Err(_elapsed) => tracing::debug!("a connection for metrics or probes was too slow"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A server on a free port of the loopback interface, for as long as the handle lives.
    fn served() -> (SocketAddr, Readiness, AbortOnDropHandle<()>) {
        let readiness = Readiness::new();
        let listener = bind(ANY_PORT, true).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Metrics::new()), readiness.clone(), None));
        (address, readiness, AbortOnDropHandle::new(server))
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
        let (address, _, _server) = served();
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\noom_event_generator_findings_total 0\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_200_or_503_with_the_reasons() {
        let (address, readiness, _server) = served();
        let pods = readiness.register("pods", true);
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\npods: not yet listed\n"), "{answer}");
        pods.listed();
        let answer = ask(address, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = ask(address, "GET /healthz?verbose").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_are_404_and_other_methods_405() {
        let (address, _, _server) = served();
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
        let (address, _, _server) = served();
        assert!(ask(address, "\u{1}").await.starts_with("HTTP/1.1 400 "));
        assert!(ask(address, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_connection_has_one_answer_whatever_follows_the_request() {
        let (address, _, _server) = served();
        let request = b"GET /healthz HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nbody\r\nGET /";
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_probe_is_answered_beside_any_number_of_hostile_connections() {
        let (address, _, _server) = served();
        let mut hostile = Vec::new();
        for number in 0..5_000 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let sent = ["", "G", "GET /metrics HTTP/1.1\r\nHost: test\r\nX: "][number % 3];
            // The server may have closed it already, to make room.
            stream.write_all(sent.as_bytes()).await.unwrap_or_default();
            hostile.push(stream);
            if number % 500 == 499 {
                let begun = Instant::now();
                let answer = ask(address, "GET /healthz").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_request_must_come_soon() {
        let (address, _, _server) = served();
        let mut idle = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn the_head_of_a_request_is_short() {
        let (address, _, _server) = served();
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD_BYTES));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(long.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
    }
}
