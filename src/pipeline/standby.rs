//! What a replica finds while another one leads. It may have to deliver it, if that one dies first.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use finding::Finding;
use tokio::time::Instant;

/// How long a finding is kept at least. A leader that dies is replaced within 20 seconds, and has tried by then.
const MIN_KEPT_FOR: Duration = Duration::from_mins(10);

/// How many findings are kept.
const MAX_KEPT_FINDINGS: usize = 2048;

/// The findings of late, the oldest first.
#[derive(Debug)]
pub(super) struct KeptFindings {
    kept_for: Duration,
    findings: VecDeque<(Instant, Arc<Finding>)>,
}

impl KeptFindings {
    /// Keeps findings for half of `lookback`, in which the Event of one that was told can't have expired: nobody leads
    /// while the API server is away, and then it matters what was found before.
    pub(super) fn new(lookback: Duration) -> Self {
        Self { kept_for: MIN_KEPT_FOR.max(lookback / 2), findings: VecDeque::new() }
    }

    /// Keeps a finding. If there are too many, the namespace that has most loses its oldest.
    pub(super) fn push(&mut self, finding: Arc<Finding>, now: Instant) {
        self.forget(now);
        self.findings.push_back((now, finding));
        if self.findings.len() > MAX_KEPT_FINDINGS
            && let Some(excess) = self.excess()
        {
            self.findings.remove(excess);
        }
    }

    /// Takes all that are kept.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = Arc<Finding>> {
        self.forget(now);
        self.findings.drain(..).map(|(_, finding)| finding)
    }

    fn forget(&mut self, now: Instant) {
        let old = |(found, _): &(Instant, Arc<Finding>)| now.duration_since(*found) > self.kept_for;
        while self.findings.front().is_some_and(old) {
            self.findings.pop_front();
        }
    }

    /// Returns where the oldest finding is of the namespace that has most.
    fn excess(&self) -> Option<usize> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (_, finding) in &self.findings {
            *counts.entry(&finding.namespace).or_default() += 1;
        }
        let (greediest, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        self.findings.iter().position(|(_, finding)| finding.namespace == greediest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKBACK: Duration = Duration::from_hours(1);

    fn of(namespace: &str) -> Arc<Finding> {
        Arc::new(Finding { namespace: namespace.to_owned(), ..Finding::full() })
    }

    #[test]
    fn what_is_found_is_kept_for_half_of_lookback() {
        let (mut kept, start) = (KeptFindings::new(LOOKBACK), Instant::now());
        kept.push(of("old"), start);
        kept.push(of("new"), start + Duration::from_secs(1));
        let namespaces: Vec<_> = kept.take(start + LOOKBACK / 2 + Duration::from_secs(1)).collect();
        assert_eq!(namespaces, [of("new")]);
        assert_eq!(kept.take(start).count(), 0);
    }

    #[test]
    fn a_storm_in_one_namespace_takes_nothing_from_another() {
        let (mut kept, now) = (KeptFindings::new(LOOKBACK), Instant::now());
        kept.push(of("quiet"), now);
        for _ in 0..2 * MAX_KEPT_FINDINGS {
            kept.push(of("storm"), now);
        }
        let all: Vec<_> = kept.take(now).collect();
        assert_eq!(all.len(), MAX_KEPT_FINDINGS);
        assert_eq!(all[0], of("quiet"));
    }
}
