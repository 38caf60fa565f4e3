//! Counts the kills of each container of each workload, and forgets the counts of old kills.
//!
//! Whoever may create Pods chooses the labels, so their number and length are bounded: a hostile namespace
//! crowds out only its own series.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use finding::Finding;
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder},
    metrics::{counter::Counter, family::Family},
};
use tokio::time::Instant;

/// How long after its last kill a series is shown.
const SHOWN_FOR: Duration = Duration::from_hours(1);

/// How long after its last kill a series is kept if nothing scrapes. It is longer than [`SHOWN_FOR`], so
/// that a scrape sees the series disappear before it begins again: a series that restarts from 1 between
/// two scrapes hides a kill.
const KEPT_FOR: Duration = Duration::from_hours(2);

/// The most series of one namespace. One more replaces that whose last kill is the longest ago.
const MAX_SERIES_PER_NAMESPACE: usize = 500;

/// The longest label, as long as the longest name in Kubernetes. The API server limits neither the kind nor
/// the name of an owner.
const MAX_LABEL_BYTES: usize = 253;

/// The labels of a series. Clones share them, because they take most of its memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KillSeries(Arc<KillLabels>);

impl EncodeLabelSet for KillSeries {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

#[derive(Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KillLabels {
    namespace: String,
    workload_kind: String,
    workload: String,
    container: String,
}

impl KillSeries {
    fn of(finding: &Finding) -> Self {
        let label = |text: &str| text[..text.floor_char_boundary(MAX_LABEL_BYTES)].to_owned();
        let workload = &finding.pod.workload;
        Self(Arc::new(KillLabels {
            namespace: label(&finding.namespace),
            workload_kind: label(&workload.kind),
            workload: label(&workload.name),
            container: label(&finding.container.name),
        }))
    }
}

/// A counter of kills for each series.
#[derive(Default)]
pub(super) struct KillCounters {
    /// The counters. Clones share them.
    pub(super) counters: Family<KillSeries, Counter>,
    /// When the last kill of each series was counted.
    last: HashMap<KillSeries, Instant>,
}

impl KillCounters {
    /// Counts a kill.
    pub(super) fn count(&mut self, finding: &Finding, now: Instant) {
        let series = KillSeries::of(finding);
        self.counters.get_or_create(&series).inc();
        self.last.insert(series, now);
        self.forget_after(KEPT_FOR, now);
        let siblings = || self.last.iter().filter(|(series, _)| series.0.namespace == finding.namespace);
        if siblings().count() > MAX_SERIES_PER_NAMESPACE
            && let Some(oldest) = siblings().min_by_key(|(_, last)| **last).map(|(series, _)| series.clone())
        {
            self.last.remove(&oldest);
            self.counters.remove(&oldest);
        }
    }

    /// Forgets the series that are no longer shown.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.forget_after(SHOWN_FOR, now);
    }

    fn forget_after(&mut self, age: Duration, now: Instant) {
        self.last.retain(|series, last| {
            let is_recent = now.duration_since(*last) < age;
            if !is_recent {
                self.counters.remove(series);
            }
            is_recent
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fanout::tests::finding;

    const MINUTE: Duration = Duration::from_mins(1);

    fn count(kills: &KillCounters, finding: &Finding) -> Option<u64> {
        kills.counters.get(&KillSeries::of(finding)).map(|counter| counter.get())
    }

    #[test]
    fn a_series_is_forgotten_an_hour_after_its_last_kill() {
        let (mut kills, start, kill) = (KillCounters::default(), Instant::now(), finding("shop", "app", 1));
        kills.count(&kill, start);
        kills.count(&kill, start + 30 * MINUTE);
        kills.forget_old(start + 89 * MINUTE);
        assert_eq!(count(&kills, &kill), Some(2));
        kills.forget_old(start + 90 * MINUTE);
        assert_eq!(count(&kills, &kill), None);
    }

    #[test]
    fn a_kill_after_an_hour_goes_on_counting_unless_a_scrape_has_seen_the_series_gone() {
        let (mut kills, start, kill) = (KillCounters::default(), Instant::now(), finding("shop", "app", 1));
        kills.count(&kill, start);
        kills.count(&finding("shop", "other", 1), start + 61 * MINUTE);
        kills.count(&kill, start + 62 * MINUTE);
        assert_eq!(count(&kills, &kill), Some(2));
        kills.forget_old(start + 122 * MINUTE);
        kills.count(&kill, start + 123 * MINUTE);
        assert_eq!(count(&kills, &kill), Some(1));
    }

    #[test]
    fn old_series_are_forgotten_though_nobody_scrapes() {
        let (mut kills, start) = (KillCounters::default(), Instant::now());
        for minute in 0..600 {
            kills.count(&finding(&minute.to_string(), "app", 0), start + minute * MINUTE);
        }
        assert_eq!(kills.last.len(), 120);
    }

    #[test]
    fn a_namespace_that_makes_up_workloads_crowds_out_its_own_alone() {
        let (mut kills, start) = (KillCounters::default(), Instant::now());
        let (victim, first) = (finding("shop", "app", 1), finding("hostile", "0", 1));
        kills.count(&victim, start);
        for number in 0..=MAX_SERIES_PER_NAMESPACE {
            let at = start + Duration::from_millis(u64::try_from(number).unwrap());
            kills.count(&finding("hostile", &number.to_string(), 1), at);
        }
        assert_eq!(kills.last.len(), MAX_SERIES_PER_NAMESPACE + 1);
        assert_eq!((count(&kills, &victim), count(&kills, &first)), (Some(1), None));
    }

    #[test]
    fn an_owner_with_an_endless_name_has_a_short_label() {
        let (mut kills, mut kill) =
            (KillCounters::default(), Arc::unwrap_or_clone(finding("shop", "app", 1)));
        kill.pod.workload.name = "ü".repeat(100_000);
        kill.pod.workload.kind = "k".repeat(100_000);
        kills.count(&kill, Instant::now());
        let KillSeries(labels) = kills.last.into_keys().next().unwrap();
        assert_eq!(labels.workload, "ü".repeat(MAX_LABEL_BYTES / 2));
        assert_eq!(labels.workload_kind.len(), MAX_LABEL_BYTES);
    }
}
