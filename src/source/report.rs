//! What the outside is told of one watch: in the log, in `/metrics`, in `/readyz`.

use std::time::Duration;

use tokio::time::Instant;
use untrusted::one_line;

use super::{
    answer::MAX_PART_BYTES,
    decode::DecodeError,
    failure::{FailureCause, FailureKind, RequestFailure},
    request::Endpoint,
    trouble::{LOG_QUIET, LOGGED_KINDS, SharedTrouble},
};
use crate::{
    health::{Readiness, WatchHealthHandle},
    logging::LogThrottle,
    metrics::{Metrics, WatchMetrics, WatchedResource},
};

/// What the outside is told of one watch.
pub(super) struct WatchReport {
    /// What is watched, such as `pods in the whole cluster`.
    name: String,
    /// Whether it covers one namespace. Without the right to it, the program watches the others, if any.
    is_namespaced: bool,
    /// `None` once nothing depends on the watch any more, however it is.
    health: Option<WatchHealthHandle>,
    metrics: WatchMetrics,
    failures: LogThrottle<FailureKind>,
    trouble: SharedTrouble,
    undecodable: LogThrottle<()>,
    has_watched: bool,
    /// Whether it is listed anew though all is well.
    is_routine: bool,
}

impl WatchReport {
    /// Registers the watch: the program is not ready before it is listed.
    pub(super) fn new(
        endpoint: &Endpoint,
        resource: WatchedResource,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> Self {
        Self {
            health: Some(readiness.register(endpoint.to_string(), resource == WatchedResource::Pods)),
            metrics: metrics.watch(resource),
            failures: LogThrottle::new(LOG_QUIET, Duration::ZERO, LOGGED_KINDS),
            trouble: endpoint.server.trouble.clone(),
            undecodable: LogThrottle::new(LOG_QUIET, LOG_QUIET, 1),
            name: endpoint.to_string(),
            is_namespaced: endpoint.namespace.is_some(),
            has_watched: false,
            is_routine: false,
        }
    }

    /// Counts an object that came.
    pub(super) fn object(&self) {
        if self.is_routine { self.metrics.relisted() } else { self.metrics.object() }
    }

    /// Tells of an object that can't be read and is passed over.
    pub(super) fn undecodable(&mut self, namespace: &str, name: &str, error: &DecodeError) {
        self.passed_over(&format!("{namespace}/{name}"), &format!("{error}. Please report this bug"));
    }

    /// Tells of an object that is too long and is passed over.
    pub(super) fn too_long(&mut self) {
        self.metrics.object();
        self.passed_over("an object", &format!("it has more than {MAX_PART_BYTES} bytes"));
    }

    fn passed_over(&mut self, object: &str, why: &str) {
        self.metrics.undecodable();
        let name = &self.name;
        let sentence = one_line(&format!(
            "can't read {object} of the {name}, so any kill that only it shows is missed: {why}"
        ));
        if self.undecodable.admits((), Instant::now()) {
            tracing::error!("{sentence}");
        } else {
            tracing::debug!("{sentence}");
        }
    }

    /// Tells that the list is complete.
    pub(super) fn listed(&mut self) {
        self.is_routine = false;
        self.health.iter().for_each(WatchHealthHandle::listed);
    }

    /// Tells that it is listed anew though all is well.
    pub(super) fn relists(&mut self) {
        self.is_routine = true;
        tracing::debug!("listing {} anew, as every few hours", self.name);
    }

    /// Tells that nothing depends on the watch any more.
    pub(super) fn done(&mut self) {
        self.health.take().iter().for_each(WatchHealthHandle::done);
    }

    /// Tells that the program goes on without the list, and what follows from that.
    pub(super) fn given_up(&self, consequence: &'static str) {
        tracing::warn!("{} can't be listed, so the program goes on without: {consequence}", self.name);
        self.health.iter().for_each(|health| health.given_up(consequence));
    }

    /// Tells that a watch follows the list, the first time.
    pub(super) fn watching(&mut self) {
        if !std::mem::replace(&mut self.has_watched, true) {
            tracing::info!("listed {}, watching it from now on", self.name);
        }
    }

    /// Counts a watch that ended, well or not.
    pub(super) fn ended(&self) {
        self.metrics.ended();
    }

    /// Tells that the watch works again.
    pub(super) fn works(&mut self) {
        self.health.iter().for_each(WatchHealthHandle::works);
        if self.failures.well() | self.trouble.said().well() {
            tracing::info!("watching {} again", self.name);
        }
    }

    /// Tells of a request that failed.
    pub(super) fn failed(&mut self, failure: &RequestFailure) {
        self.metrics.failed();
        if let Some(health) = &self.health {
            if failure.is_forbidden() && self.is_namespaced {
                health.forbidden(failure.to_string());
            } else {
                health.broken(failure.to_string());
            }
        }
        let now = Instant::now();
        let is_news = match &failure.cause {
            FailureCause::NotSent(error) => self.trouble.said().admits(one_line(&error.to_string()), now),
            _ => self.failures.admits(failure.kind(), now),
        };
        if is_news {
            tracing::warn!("{failure} (trying again)");
        } else {
            tracing::debug!("{failure}");
        }
    }
}
