//! Answers probes and Prometheus over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! It only shows what [`crate::health`] and [`crate::metrics`] know.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    health::{ProbeAnswer, Readiness},
    logging::LogThrottle,
    metrics::{self, Metrics},
};

/// The most connections open at once. Each further one closes the oldest, so that idle connections, however
/// many, keep no probe waiting.
const MAX_CONNECTIONS: usize = 128;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// How long a connection may be open for its one request and answer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// How long readers of the metrics may share a text.
const TEXT_SHARED_FOR: Duration = Duration::from_secs(5);

/// The least time between two log lines about connections that can't be accepted.
const ACCEPT_LOG_SILENCE: Duration = Duration::from_mins(10);

/// The pause after an error that accepting the next connection would meet as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    let pages = Arc::new(Pages { metrics, readiness, rendered: Mutex::default() });
    let mut connections: VecDeque<AbortOnDropHandle<()>> = VecDeque::new();
    let mut throttle = LogThrottle::new(ACCEPT_LOG_SILENCE, ACCEPT_LOG_SILENCE, 1);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if connections.len() == MAX_CONNECTIONS {
                    connections.retain(|connection| !connection.is_finished());
                }
                if connections.len() == MAX_CONNECTIONS {
                    connections.pop_front();
                }
                let connection = tokio::spawn(converse(stream, Arc::clone(&pages)));
                connections.push_back(AbortOnDropHandle::new(connection));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if throttle.admits((), Instant::now()) {
                    tracing::warn!(%error, "can't accept connections for metrics and probes; trying again");
                }
                // Probably there are no file descriptors left.
                connections.pop_front();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns whether a connection ended before it was accepted, which says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

async fn converse(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(|request: Request<_>| {
        let answer = pages.answer(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics or probes failed"),
        Err(_elapsed) => tracing::debug!("a connection for metrics or probes was too slow"),
    }
}

/// What the endpoint shows.
struct Pages {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    /// The metrics that were rendered last, while somebody still reads them.
    rendered: Mutex<Option<(Instant, Weak<str>)>>,
}

impl Pages {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page = match path {
            "/" => plain(StatusCode::OK, "See /metrics, /healthz and /readyz."),
            "/metrics" => page(StatusCode::OK, metrics::CONTENT_TYPE, Bytes::from_owner(self.metrics())),
            "/healthz" => probe_answer(&self.readiness.health()),
            "/readyz" => probe_answer(&self.readiness.readiness()),
            _ => plain(StatusCode::NOT_FOUND, "Not found. See /metrics, /healthz and /readyz."),
        };
        if page.status() == StatusCode::NOT_FOUND || [Method::GET, Method::HEAD].contains(method) {
            return page;
        }
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.");
        refusal.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    /// Renders the metrics. Readers that come while another still reads share its text for a while: so those
    /// that read slowly hold few texts.
    fn metrics(&self) -> SharedText {
        let now = Instant::now();
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = rendered.as_ref().filter(|(at, _)| now.duration_since(*at) < TEXT_SHARED_FOR);
        let text = recent.and_then(|(_, text)| text.upgrade()).unwrap_or_else(|| {
            self.metrics.ready(self.readiness.readiness().good);
            let text = Arc::from(self.metrics.render(now));
            *rendered = Some((now, Arc::downgrade(&text)));
            text
        });
        SharedText(text)
    }
}

struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn probe_answer(answer: &ProbeAnswer) -> Response<Full<Bytes>> {
    plain(if answer.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &answer.text)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", Bytes::from(format!("{text}\n")))
}

fn page(status: StatusCode, content_type: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A server on a free port of the loopback interface, for as long as the handle lives.
    async fn served() -> (SocketAddr, Readiness, AbortOnDropHandle<()>) {
        let readiness = Readiness::new();
        let listener = bind(ANY_PORT, true).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Metrics::new()), readiness.clone()));
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
        let (address, _, _server) = served().await;
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\noom_event_generator_findings_total 0\n"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn readers_share_a_text_for_a_while_as_long_as_one_reads() {
        let pages =
            Pages { metrics: Arc::default(), readiness: Readiness::new(), rendered: Mutex::default() };
        let (first, second) = (pages.metrics(), pages.metrics());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        tokio::time::advance(TEXT_SHARED_FOR).await;
        let third = pages.metrics();
        assert!(!Arc::ptr_eq(&first.0, &third.0));
        drop(third);
        pages.metrics.unobserved_restarts(1);
        assert!(pages.metrics().0.contains("unobserved_restarts_total 1"));
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

    #[tokio::test]
    async fn a_probe_is_answered_beside_any_number_of_hostile_connections() {
        let (address, _, _server) = served().await;
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
        let (address, _, _server) = served().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn the_head_of_a_request_is_short() {
        let (address, _, _server) = served().await;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD_BYTES));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(long.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
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
