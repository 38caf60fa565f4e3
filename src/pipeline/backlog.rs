//! Findings that lists have brought to light and that wait for room in the queues.
//!
//! While any wait, no list is taken in, so there are never more than one Pod, or the end of a list, shows. But
//! the API server forgets after five minutes where a list stands, so a list waits at most four in all.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use finding::Finding;
use tokio::time::Instant;

use crate::source::Observation;

/// How long one list may wait in all.
const MAX_LIST_WAIT: Duration = Duration::from_mins(4);

#[derive(Debug, Default)]
pub(super) struct Backlog {
    findings: VecDeque<Arc<Finding>>,
    /// Since when any have waited.
    since: Option<Instant>,
    /// How long the list had waited before that.
    waited: Duration,
}

impl Backlog {
    /// Takes note of an observation. Returns whether it is of a list.
    pub(super) fn notice(&mut self, observation: &Observation) -> bool {
        if matches!(observation, Observation::ListBegins { .. }) {
            self.waited = Duration::ZERO;
        }
        matches!(
            observation,
            Observation::ListBegins { .. } | Observation::Listed(..) | Observation::ListEnds(..)
        )
    }

    /// Adds a finding that a list has brought to light.
    pub(super) fn push(&mut self, finding: Arc<Finding>, now: Instant) {
        self.since.get_or_insert(now);
        self.findings.push_back(finding);
    }

    /// Takes the oldest finding.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Arc<Finding>> {
        let finding = self.findings.pop_front();
        if self.findings.is_empty()
            && let Some(since) = self.since.take()
        {
            self.waited += now.duration_since(since);
        }
        finding
    }

    /// Takes all findings.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Finding>> {
        self.findings.drain(..)
    }

    /// Returns whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns until when the findings may wait.
    pub(super) fn waits_until(&self) -> Instant {
        let left = MAX_LIST_WAIT.saturating_sub(self.waited);
        self.since.unwrap_or_else(Instant::now) + left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Scope;

    #[test]
    fn a_list_waits_four_minutes_in_all() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        let list = Observation::ListBegins { scope: Scope::WHOLE, in_sync: jiff::Timestamp::UNIX_EPOCH };
        assert!(backlog.notice(&list));
        backlog.push(Arc::new(Finding::full()), start);
        backlog.push(Arc::new(Finding::full()), start);
        assert_eq!(backlog.waits_until(), start + MAX_LIST_WAIT);
        let minute = Duration::from_mins(1);
        assert!(backlog.pop(start + minute).is_some() && backlog.pop(start + 3 * minute).is_some());
        backlog.push(Arc::new(Finding::full()), start + 10 * minute);
        assert_eq!(backlog.waits_until(), start + 11 * minute);
        assert!(backlog.pop(start + 10 * minute).is_some() && backlog.is_empty());
        backlog.notice(&list);
        backlog.push(Arc::new(Finding::full()), start + 20 * minute);
        assert_eq!(backlog.waits_until(), start + 24 * minute);
    }
}
