//! Answers a request with what health, metrics and incidents know.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    health::{ProbeAnswer, Readiness},
    incidents::RecentIncidents,
    metrics::{self, Metrics},
    page::{self, PageContent},
};

/// A rendering of metrics or page serves for so many times as long as it took, so that those who ask all the time
/// take up no more than a tenth of the processor with it.
const SERVES_TIMES_AS_LONG: u32 = 9;

/// How long readers share one text while any of them still reads it, so that slow readers hold few texts.
const SERVES_WHILE_READ: Duration = Duration::from_secs(5);

/// What the endpoint shows.
pub(super) struct Pages {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    page: Option<PageSource>,
    rendered_metrics: Mutex<Option<Rendering>>,
    rendered_page: Mutex<Option<Rendering>>,
}

/// Where the page for people takes from what it shows.
#[derive(Debug)]
pub struct PageSource {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// What is watched, such as `the whole cluster`.
    pub watched: String,
    /// The names of the sinks.
    pub sinks: Vec<String>,
    /// What was killed.
    pub incidents: RecentIncidents,
}

impl Pages {
    pub(super) fn new(metrics: Arc<Metrics>, readiness: Readiness, page: Option<PageSource>) -> Self {
        let (rendered_metrics, rendered_page) = Default::default();
        Self { metrics, readiness, page, rendered_metrics, rendered_page }
    }

    /// Returns the answer to a request.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page = match path {
            "/" => self.page(),
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

    fn metrics(&self) -> RenderedText {
        render(&self.rendered_metrics, |now| {
            self.metrics.ready(self.readiness.readiness().good);
            self.metrics.render(now)
        })
    }

    fn page(&self) -> Response<Full<Bytes>> {
        let Some(source) = &self.page else {
            return plain(StatusCode::OK, "See /metrics, /healthz and /readyz.");
        };
        let text = render(&self.rendered_page, |_| self.draw(source));
        let mut answer = page(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_owner(text));
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn draw(&self, source: &PageSource) -> String {
        let now = Timestamp::now();
        let sinks: Vec<_> = source.sinks.iter().map(|sink| self.metrics.figures(sink)).collect();
        page::page(&PageContent {
            cluster: source.cluster.as_deref(),
            watched: &source.watched,
            now,
            health: &self.readiness.health(),
            readiness: &self.readiness.readiness(),
            incidents: &source.incidents.of_last_day(now),
            sinks: &sinks,
        })
    }
}

/// Renders a text, unless the last rendering still serves.
fn render(last: &Mutex<Option<Rendering>>, render: impl FnOnce(Instant) -> String) -> RenderedText {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    if let Some(last) = last.as_ref().filter(|last| last.serves(begun)) {
        return RenderedText(Arc::clone(&last.text));
    }
    let text = Arc::from(render(begun));
    let rendering = last.insert(Rendering { begun, took: begun.elapsed(), text });
    RenderedText(Arc::clone(&rendering.text))
}

/// A text as it was rendered last.
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
        let pages = Pages::new(Arc::default(), Readiness::new(), None);
        let pods = pages.readiness.register("pods", true);
        assert!(pages.metrics().0.contains("\noom_event_generator_ready 0\n"));
        pods.listed();
        assert!(pages.metrics().0.contains("\noom_event_generator_ready 1\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_of_the_metrics_share_a_text() {
        let pages = Pages::new(Arc::default(), Readiness::new(), None);
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
