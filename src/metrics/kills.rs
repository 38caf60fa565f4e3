//! Counts the kills of each container of each workload, and forgets the counts of old kills.
//!
//! Whoever may create Pods chooses the labels, so their number and length are bounded: a hostile namespace
//! crowds out only its own series.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use finding::Finding;
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder},
    metrics::{counter::Counter, family::Family},
};
use tokio::time::Instant;
use untrusted::clean;

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
        let label = |text: &str| clean(&text[..text.floor_char_boundary(MAX_LABEL_BYTES)]).into_owned();
        let workload = &finding.pod.workload;
        Self(Arc::new(KillLabels {
            namespace: label(&finding.namespace),
            workload_kind: label(&workload.kind),
            workload: label(&workload.name),
            container: label(&finding.container.name),
        }))
    }
}

/// When a kill was counted; its number tells kills of one moment apart.
type KillTime = (Instant, u64);

/// A counter of kills for each series. Counting a kill takes the same time however many series there are, up
/// to a logarithm.
#[derive(Default)]
pub(super) struct KillCounters {
    /// The counters. Clones share them.
    pub(super) counters: Family<KillSeries, Counter>,
    /// How many kills were counted.
    counted: u64,
    /// The last kill of each series.
    last: HashMap<KillSeries, KillTime>,
    /// The series by their last kill, the oldest first.
    by_time: BTreeMap<KillTime, KillSeries>,
    /// The last kills of each namespace's series. No namespace is without one.
    namespaces: HashMap<String, BTreeSet<KillTime>>,
}

impl KillCounters {
    /// Counts a kill.
    pub(super) fn count(&mut self, finding: &Finding, now: Instant) {
        let series = KillSeries::of(finding);
        self.counters.get_or_create(&series).inc();
        self.take_out(&series);
        self.put_in(series, now);
        self.forget_after(KEPT_FOR, now);
    }

    /// Forgets the series that are no longer shown.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.forget_after(SHOWN_FOR, now);
    }

    /// Files a series under its new last kill, in place of the oldest of its namespace if that has too many.
    fn put_in(&mut self, series: KillSeries, now: Instant) {
        self.counted += 1;
        let kill = (now, self.counted);
        let siblings = self.namespaces.entry(series.0.namespace.clone()).or_default();
        siblings.insert(kill);
        let oldest = siblings.first().filter(|_| siblings.len() > MAX_SERIES_PER_NAMESPACE);
        let crowded_out = oldest.and_then(|oldest| self.by_time.get(oldest)).cloned();
        self.by_time.insert(kill, series.clone());
        self.last.insert(series, kill);
        if let Some(series) = crowded_out {
            self.forget(&series);
        }
    }

    /// Takes a series out of the files, if it is there. Its counter stays.
    fn take_out(&mut self, series: &KillSeries) {
        let Some(kill) = self.last.remove(series) else { return };
        self.by_time.remove(&kill);
        if let Some(siblings) = self.namespaces.get_mut(&series.0.namespace) {
            siblings.remove(&kill);
            if siblings.is_empty() {
                self.namespaces.remove(&series.0.namespace);
            }
        }
    }

    fn forget(&mut self, series: &KillSeries) {
        self.take_out(series);
        self.counters.remove(series);
    }

    fn forget_after(&mut self, age: Duration, now: Instant) {
        while let Some(((last, _), series)) = self.by_time.first_key_value()
            && now.duration_since(*last) >= age
        {
            self.forget(&series.clone());
        }
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
    fn a_kill_costs_the_same_among_many_workloads() {
        let (mut kills, start) = (KillCounters::default(), Instant::now());
        for number in 0..20_000 {
            kills.count(&finding(&format!("shop-{}", number / 100), &number.to_string(), 1), start);
        }
        // It takes a second, and would take a minute if each kill looked at all series.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(kills.last.len(), 20_000);
    }

    #[test]
    fn what_is_kept_is_what_was_killed_last() {
        let (mut kills, mut now) = (KillCounters::default(), Instant::now());
        let mut random = fastrand::Rng::with_seed(7);
        let mut last: Vec<(KillSeries, Instant)> = Vec::new();
        for _ in 0..6_000 {
            now += Duration::from_secs(random.u64(0..8));
            let kill = finding(
                if random.u8(..) < 240 { "hostile" } else { "shop" },
                &random.u32(0..900).to_string(),
                1,
            );
            kills.count(&kill, now);
            let series = KillSeries::of(&kill);
            last.retain(|(other, at)| *other != series && now.duration_since(*at) < KEPT_FOR);
            let namespace = |other: &KillSeries| other.0.namespace == kill.namespace;
            if last.iter().filter(|(other, _)| namespace(other)).count() == MAX_SERIES_PER_NAMESPACE {
                let oldest = last.iter().position(|(other, _)| namespace(other)).unwrap();
                last.remove(oldest);
            }
            last.push((series, now));
            assert!(kills.by_time.values().eq(last.iter().map(|(series, _)| series)));
        }
        kills.forget_old(now + KEPT_FOR);
        assert!(kills.last.is_empty() && kills.by_time.is_empty() && kills.namespaces.is_empty());
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

    #[test]
    fn a_label_shows_nothing_that_deceives() {
        let (mut kills, mut kill) =
            (KillCounters::default(), Arc::unwrap_or_clone(finding("shop", "app", 1)));
        kill.pod.workload.kind = "\u{1b}[31m\u{202e}\r\n".to_owned();
        kills.count(&kill, Instant::now());
        let KillSeries(labels) = kills.last.into_keys().next().unwrap();
        assert_eq!(labels.workload_kind, "\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}");
    }
}
