//! The memory limits that a container was killed under within an incident. Kills may come in any order.

use std::time::Duration;

use finding::{Finding, RaisedLimit};
use jiff::Timestamp;

/// How many limits of an incident are remembered. Nobody changes one that often within an hour of the last kill.
const MAX_LIMITS: usize = 8;

/// The limits of an incident.
#[derive(Debug, Default)]
pub(super) struct KillLimits(Vec<LimitUse>);

/// What is known of the kills under one limit.
#[derive(Clone, Copy, Debug)]
struct LimitUse {
    /// In bytes.
    limit: u64,
    /// When the first instance started that is known to have had it; if that is unknown, its end.
    since: Timestamp,
    longest_run: Option<Duration>,
}

impl KillLimits {
    /// Takes in a kill.
    pub(super) fn add(&mut self, finding: &Finding, at: Timestamp) {
        let Some(limit) = finding.container.memory_limit_bytes else { return };
        let since = finding.killed.started_at.unwrap_or(at);
        let run = ran_for(finding);
        if let Some(known) = self.0.iter_mut().find(|known| known.limit == limit) {
            known.since = known.since.min(since);
            known.longest_run = known.longest_run.max(run);
            return;
        }
        if self.0.len() == MAX_LIMITS {
            self.0.remove(0);
        }
        self.0.push(LimitUse { limit, since, longest_run: run });
    }

    /// Returns whether the limit of a kill was raised within the incident: from which, and since when.
    pub(super) fn raised_to(&self, limit: Option<u64>) -> Option<RaisedLimit> {
        let now = self.0.iter().find(|known| Some(known.limit) == limit)?;
        let lower = self.0.iter().filter(|known| known.limit < now.limit && known.since < now.since);
        let before = lower.max_by_key(|known| known.limit)?;
        Some(RaisedLimit {
            from: before.limit,
            to: now.limit,
            at: now.since,
            longest_run_before: before.longest_run,
            longest_run_since: now.longest_run,
        })
    }
}

/// Returns how long the killed instance had run.
pub(super) fn ran_for(finding: &Finding) -> Option<Duration> {
    let ran = finding.killed.finished_at?.duration_since(finding.killed.started_at?);
    ran.try_into().ok()
}
