//! Makes findings of observations: those of the filter, with what their incidents tell.

use std::sync::Arc;

use finding::{AdvicePolicy, Finding};
use jiff::{SignedDuration, Timestamp};

use crate::{
    config::Config,
    filter::{Conclusion, Filter},
    incidents::{Incidents, QuietIncident, RecentIncidents},
    metrics::Metrics,
    source::Observation,
};

/// How long the program must have seen the cluster before it says that an incident is over.
const MIN_SIGHT: SignedDuration = SignedDuration::from_mins(1);

/// Filter and incidents.
pub struct Detection {
    filter: Filter,
    incidents: Incidents,
    advice: Option<AdvicePolicy>,
    /// Since when the program has seen the cluster.
    sighted_since: Option<Timestamp>,
    metrics: Arc<Metrics>,
}

impl Detection {
    /// Knows nothing yet.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            filter: Filter::new(super::settings(config)),
            incidents: Incidents::default(),
            advice: config.advice,
            sighted_since: None,
            metrics: Arc::clone(metrics),
        }
    }

    /// Returns what the page shows.
    pub fn recent_incidents(&self) -> RecentIncidents {
        self.incidents.recent()
    }

    /// Takes in an observation. Returns what is found by it, and counts what remains unknown.
    pub fn observe(&mut self, observation: Observation, now: Timestamp) -> Vec<Arc<Finding>> {
        self.incidents.see(&observation);
        let conclusions = self.filter.observe(observation, Some(now));
        conclusions.into_iter().filter_map(|conclusion| self.conclude(conclusion)).collect()
    }

    /// Takes in what an earlier run found, so that incidents count on. The same Event may be read several times,
    /// so it has to come before its observation.
    pub fn remember(&mut self, finding: &Finding, now: Timestamp) {
        if !self.was_reported(finding) {
            self.incidents.remember(finding, now);
        }
    }

    /// Returns the incidents that are over, unless the program can't see the cluster, or only has for less than a
    /// minute: kills may be yet to be seen.
    pub fn over(&mut self, now: Timestamp, is_sighted: bool) -> Vec<QuietIncident> {
        if !is_sighted {
            self.sighted_since = None;
            return Vec::new();
        }
        let since = *self.sighted_since.get_or_insert(now);
        if now.duration_since(since) < MIN_SIGHT { Vec::new() } else { self.incidents.over(now) }
    }

    /// Returns whether an Event tells of a kill that was found, as far as own Events have been read.
    pub fn was_reported(&self, finding: &Finding) -> bool {
        self.filter.was_reported(finding)
    }

    fn conclude(&mut self, conclusion: Conclusion) -> Option<Arc<Finding>> {
        match conclusion {
            Conclusion::Finding(finding) => Some(self.complete(*finding)),
            Conclusion::UnobservedEnds { namespace, pod, container, instances } => {
                self.metrics.unobserved_restarts(instances.into());
                tracing::debug!(namespace, pod, container, instances, "nobody saw how these instances ended");
                None
            }
        }
    }

    /// Adds what the incident of a kill tells.
    fn complete(&mut self, mut finding: Finding) -> Arc<Finding> {
        let history = self.incidents.add(&mut finding);
        finding.explain(self.advice.as_ref(), &history);
        tracing::info!(
            namespace = finding.namespace,
            pod = finding.pod.name,
            id = finding.id.as_str(),
            "{}",
            finding.message
        );
        let finding = Arc::new(finding);
        self.incidents.show(&finding);
        finding
    }
}
