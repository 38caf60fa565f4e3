//! Makes findings of observations: those of the filter, with what their incidents tell.

use std::sync::Arc;

use finding::{AdvicePolicy, Finding};
use jiff::Timestamp;

use crate::{
    config::Config,
    filter::{Conclusion, Filter},
    incidents::{Incidents, RecentIncidents},
    metrics::Metrics,
    source::Observation,
};

/// Filter and incidents.
pub(super) struct Detection {
    filter: Filter,
    incidents: Incidents,
    advice: Option<AdvicePolicy>,
    metrics: Arc<Metrics>,
}

impl Detection {
    /// Knows nothing yet.
    pub(super) fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            filter: Filter::new(super::settings(config)),
            incidents: Incidents::default(),
            advice: config.advice,
            metrics: Arc::clone(metrics),
        }
    }

    /// Returns what the page shows.
    pub(super) fn recent_incidents(&self) -> RecentIncidents {
        self.incidents.recent()
    }

    /// Takes in an observation. Returns what is found by it, and counts what remains unknown.
    pub(super) fn observe(&mut self, observation: Observation, now: Timestamp) -> Vec<Arc<Finding>> {
        self.incidents.see(&observation);
        let conclusions = self.filter.observe(observation, Some(now));
        conclusions.into_iter().filter_map(|conclusion| self.conclude(conclusion)).collect()
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
