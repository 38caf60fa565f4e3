//! Answers a request with what health and metrics know.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use tokio::time::Instant;

use crate::{
    health::{ProbeAnswer, Readiness},
    metrics::{self, Metrics},
};

/// A rendering of the metrics serves for so many times as long as it took, so that those who ask all the time
/// take up no more than a tenth of the processor with it.
const SERVES_TIMES_AS_LONG: u32 = 9;

/// How long readers share one text while any of them still reads it, so that slow readers hold few texts.
const SERVES_WHILE_READ: Duration = Duration::from_secs(5);

/// What the endpoint shows.
pub(super) struct Pages {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    rendered: Mutex<Option<Rendering>>,
}

impl Pages {
    pub(super) fn new(metrics: Arc<Metrics>, readiness: Readiness) -> Self {
        Self { metrics, readiness, rendered: Mutex::default() }
    }

    /// Returns the answer to a request.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
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
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    /// Renders the metrics, unless the last rendering still serves.
    fn metrics(&self) -> RenderedText {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        if let Some(last) = rendered.as_ref().filter(|last| last.serves(begun)) {
            return RenderedText(Arc::clone(&last.text));
        }
        self.metrics.ready(self.readiness.readiness().good);
        let text = Arc::from(self.metrics.render(begun));
        let rendering = rendered.insert(Rendering { begun, took: begun.elapsed(), text });
        RenderedText(Arc::clone(&rendering.text))
    }
}

/// The metrics as they were rendered last.
struct Rendering {
    begun: Instant,
    took: Duration,
    text: Arc<str>,
}

impl Rendering {
    fn serves(&self, now: Instant) -> bool {
        let is_read = Arc::strong_count(&self.text) > 1;
        let at_least = if is_read { SERVES_WHILE_READ } else { Duration::ZERO };
        now.duration_since(self.begun) < at_least.max(self.took * (1 + SERVES_TIMES_AS_LONG))
    }
}

/// A rendering that several answers share.
struct RenderedText(Arc<str>);

impl AsRef<[u8]> for RenderedText {
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
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metrics after one more restart.
    fn restarted(pages: &Pages) -> RenderedText {
        pages.metrics.unobserved_restarts(1);
        pages.metrics()
    }

    #[tokio::test(start_paused = true)]
    async fn the_metrics_say_whether_it_is_ready() {
        let pages = Pages::new(Arc::default(), Readiness::new());
        let pods = pages.readiness.register("pods", true);
        assert!(pages.metrics().0.contains("\noom_event_generator_ready 0\n"));
        pods.listed();
        assert!(pages.metrics().0.contains("\noom_event_generator_ready 1\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_of_the_metrics_share_a_text() {
        let pages = Pages::new(Arc::default(), Readiness::new());
        drop(restarted(&pages));
        let first = restarted(&pages);
        assert!(first.0.contains("unobserved_restarts_total 2"));
        tokio::time::advance(SERVES_WHILE_READ / 2).await;
        let second = restarted(&pages);
        assert!(Arc::ptr_eq(&first.0, &second.0));
        tokio::time::advance(SERVES_WHILE_READ / 2).await;
        assert!(restarted(&pages).0.contains("unobserved_restarts_total 4"));
    }

    #[tokio::test(start_paused = true)]
    async fn rendering_takes_a_tenth_of_the_time_at_most() {
        let took = Duration::from_millis(20);
        let rendering = Rendering { begun: Instant::now(), took, text: "".into() };
        assert!(
            rendering.serves(rendering.begun + 9 * took) && !rendering.serves(rendering.begun + 10 * took)
        );
    }
}
