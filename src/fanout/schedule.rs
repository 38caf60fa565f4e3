//! What is due when? The bookkeeping of one courier: groups, what is due, and retries.
//!
//! Pure: the time comes in as an argument. Findings go in ([`Schedule::add`]) and come out as
//! [`PendingDelivery`]s when they are due ([`Schedule::take`]); what failed goes back in
//! ([`Schedule::retry`]).
//!
//! A group is one container of one workload. Its first finding waits [`Grouping::wait`] for others;
//! what is added later waits until [`Grouping::interval`] has passed since the group was last due.
//! When an interval passes with nothing added, the group is forgotten; with an interval of zero,
//! that is at once, and the next finding is a first one again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use finding::{Finding, Workload};
use sinks::{Delivery, Grouping};
use tokio::time::Instant;

/// A finding on its way.
#[derive(Debug)]
pub(super) struct PendingDelivery {
    pub(super) delivery: Delivery,
    /// When it was first due.
    pub(super) since: Instant,
    /// How often it was tried in vain.
    pub(super) failures: usize,
    /// How often it paused since others of its call were stored.
    pub(super) pauses: usize,
    /// Why it failed last.
    pub(super) reason: Option<String>,
}

#[derive(Debug)]
pub(super) struct Schedule {
    grouping: Grouping,
    groups: HashMap<GroupKey, FindingGroup>,
    /// When each of the groups is due; one entry a group.
    group_times: BTreeSet<(Instant, GroupKey)>,
    /// Due and never tried, the oldest first.
    due: VecDeque<PendingDelivery>,
    /// By when they are due; the number tells apart what is due at the same time.
    retries: BTreeMap<(Instant, u64), PendingDelivery>,
    retries_ever: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct GroupKey {
    namespace: String,
    workload: Workload,
    container: String,
}

/// What a group waits with.
#[derive(Debug, Default)]
struct FindingGroup {
    findings: Vec<Arc<Finding>>,
    /// When the group was last due, if it was before.
    previous: Option<Instant>,
}

impl FindingGroup {
    fn into_parcels(self, now: Instant) -> impl Iterator<Item = PendingDelivery> {
        let Self { findings, previous } = self;
        findings.into_iter().map(move |finding| PendingDelivery::new(Delivery { finding, previous }, now))
    }
}

impl GroupKey {
    fn of(finding: &Finding) -> Self {
        Self {
            namespace: finding.namespace.clone(),
            workload: finding.pod.workload.clone(),
            container: finding.container.name.clone(),
        }
    }
}

impl Schedule {
    pub(super) fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            groups: HashMap::new(),
            group_times: BTreeSet::new(),
            due: VecDeque::new(),
            retries: BTreeMap::new(),
            retries_ever: 0,
        }
    }

    /// Takes in a new finding.
    pub(super) fn add(&mut self, finding: Arc<Finding>, now: Instant) {
        if self.grouping == Grouping::NONE {
            self.due.push_back(PendingDelivery::new(Delivery { finding, previous: None }, now));
            return;
        }
        let group = GroupKey::of(&finding);
        if let Some(gathered) = self.groups.get_mut(&group) {
            gathered.findings.push(finding);
        } else {
            self.group_times.insert((later(now, self.grouping.wait), group.clone()));
            self.groups.insert(group, FindingGroup { findings: vec![finding], previous: None });
        }
    }

    /// Takes back what failed, due again at `at`.
    pub(super) fn retry(&mut self, parcel: PendingDelivery, at: Instant) {
        self.retries_ever += 1;
        self.retries.insert((at, self.retries_ever), parcel);
    }

    /// At most `most` of what is due by now and `may` go: first what was never tried, so that what
    /// fails again and again holds up nothing.
    pub(super) fn take(
        &mut self,
        most: usize,
        now: Instant,
        may: impl Fn(&Finding) -> bool,
    ) -> Vec<PendingDelivery> {
        self.close_groups(now);
        let mut taken = Vec::new();
        let mut place = 0;
        while taken.len() < most
            && let Some(parcel) = self.due.get(place)
        {
            if may(&parcel.delivery.finding) {
                taken.extend(self.due.remove(place));
            } else {
                place += 1;
            }
        }
        let retries = self.retries.iter().take_while(|((at, _), _)| *at <= now);
        let retries = retries.filter(|(_, parcel)| may(&parcel.delivery.finding)).map(|(key, _)| *key);
        let retries: Vec<_> = retries.take(most - taken.len()).collect();
        taken.extend(retries.iter().filter_map(|key| self.retries.remove(key)));
        taken
    }

    /// When to call [`Schedule::take`] next: it may still find nothing then, but never does
    /// before. `None` if there is nothing to wait for.
    pub(super) fn next(&self, may: impl Fn(&Finding) -> bool) -> Option<Instant> {
        let due = self.due.iter().find(|parcel| may(&parcel.delivery.finding)).map(|parcel| parcel.since);
        let group = self.group_times.first().map(|(at, _)| *at);
        let retry = self.retries.iter().find(|(_, parcel)| may(&parcel.delivery.finding));
        [due, group, retry.map(|((at, _), _)| *at)].into_iter().flatten().min()
    }

    /// Whether something waits that failed before.
    pub(super) fn has_retries(&self) -> bool {
        !self.retries.is_empty()
    }

    /// Whether nothing waits. (A group that is only remembered doesn't.)
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
            && self.retries.is_empty()
            && self.groups.values().all(|gathered| gathered.findings.is_empty())
    }

    /// Makes everything due now, for when nothing more will come.
    pub(super) fn hurry(&mut self, now: Instant) {
        for (_, group) in mem::take(&mut self.group_times) {
            let gathered = self.groups.remove(&group).unwrap_or_default();
            self.due.extend(gathered.into_parcels(now));
        }
        for parcel in mem::take(&mut self.retries).into_values() {
            self.retry(parcel, now);
        }
    }

    /// Everything that waits, in no particular order; nothing is left.
    pub(super) fn take_all(&mut self, now: Instant) -> Vec<PendingDelivery> {
        self.hurry(now);
        self.take(usize::MAX, now, |_| true)
    }

    /// What the groups that are due have gathered becomes due; those that have gathered nothing
    /// are forgotten.
    fn close_groups(&mut self, now: Instant) {
        while let Some((at, _)) = self.group_times.first()
            && *at <= now
            && let Some((_, group)) = self.group_times.pop_first()
        {
            let gathered = self.groups.remove(&group).unwrap_or_default();
            let forgotten = gathered.findings.is_empty() || self.grouping.interval.is_zero();
            self.due.extend(gathered.into_parcels(now));
            if !forgotten {
                self.groups
                    .insert(group.clone(), FindingGroup { previous: Some(now), ..FindingGroup::default() });
                self.group_times.insert((later(now, self.grouping.interval), group));
            }
        }
    }
}

impl PendingDelivery {
    fn new(delivery: Delivery, since: Instant) -> Self {
        Self { delivery, since, failures: 0, pauses: 0, reason: None }
    }
}

/// That much later. What no clock can show is cut to a century.
pub(super) fn later(now: Instant, duration: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    now + duration.min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::finding, *};

    const SECOND: Duration = Duration::from_secs(1);
    const HOURLY: Grouping = Grouping { wait: Duration::from_secs(2), interval: Duration::from_hours(1) };

    fn take(schedule: &mut Schedule, now: Instant) -> Vec<String> {
        let taken = schedule.take(100, now, |_| true);
        taken.iter().map(|parcel| parcel.delivery.finding.message.clone()).collect()
    }

    #[test]
    fn without_grouping_a_finding_is_due_at_once_and_leaves_no_trace() {
        let (mut schedule, now) = (Schedule::new(Grouping::NONE), Instant::now());
        schedule.add(finding("shop", "app", 1), now);
        assert_eq!(schedule.next(|_| true), Some(now));
        assert_eq!(take(&mut schedule, now), ["1"]);
        assert!(schedule.next(|_| true).is_none() && schedule.groups.is_empty() && schedule.is_empty());
    }

    #[test]
    fn a_group_waits_at_first_and_then_for_each_interval() {
        let (mut schedule, start) = (Schedule::new(HOURLY), Instant::now());
        schedule.add(finding("shop", "app", 1), start);
        schedule.add(finding("shop", "app", 2), start + SECOND);
        assert_eq!(take(&mut schedule, start + SECOND), [""; 0]);
        let first = schedule.next(|_| true).unwrap();
        assert_eq!(first, start + HOURLY.wait);
        assert_eq!(take(&mut schedule, first), ["1", "2"]);

        schedule.add(finding("shop", "app", 3), first + SECOND);
        schedule.add(finding("shop", "app", 4), first + 9 * SECOND);
        let second = schedule.next(|_| true).unwrap();
        assert_eq!(second, first + HOURLY.interval);
        assert!(!schedule.is_empty());
        assert_eq!(take(&mut schedule, second), ["3", "4"]);
    }

    #[test]
    fn a_group_is_forgotten_after_an_interval_with_nothing_added() {
        let (mut schedule, start) = (Schedule::new(HOURLY), Instant::now());
        schedule.add(finding("shop", "app", 1), start);
        let first = schedule.next(|_| true).unwrap();
        take(&mut schedule, first);
        assert!(schedule.is_empty());
        assert_eq!(schedule.groups.len(), 1);
        let second = schedule.next(|_| true).unwrap();
        assert_eq!(take(&mut schedule, second), [""; 0]);
        assert!(
            schedule.groups.is_empty()
                && schedule.group_times.is_empty()
                && schedule.next(|_| true).is_none()
        );

        schedule.add(finding("shop", "app", 2), second);
        assert_eq!(schedule.next(|_| true), Some(second + HOURLY.wait), "it is a first one again");
    }

    #[test]
    fn with_an_interval_of_zero_nothing_waits_longer_than_the_first_wait() {
        let grouping = Grouping { interval: Duration::ZERO, ..HOURLY };
        let (mut schedule, start) = (Schedule::new(grouping), Instant::now());
        schedule.add(finding("shop", "app", 1), start);
        assert_eq!(take(&mut schedule, start + HOURLY.wait), ["1"]);
        assert!(schedule.groups.is_empty() && schedule.group_times.is_empty());
    }

    #[test]
    fn containers_namespaces_and_workloads_are_groups_of_their_own_and_share_a_batch() {
        let (mut schedule, now) = (Schedule::new(HOURLY), Instant::now());
        let mut other_workload = Arc::unwrap_or_clone(finding("shop", "app", 4));
        other_workload.pod.workload.name = "other".to_owned();
        schedule.add(finding("shop", "app", 1), now);
        schedule.add(finding("shop", "helper", 2), now);
        schedule.add(finding("bank", "app", 3), now);
        schedule.add(Arc::new(other_workload), now);
        assert_eq!(schedule.groups.len(), 4);
        assert_eq!(take(&mut schedule, now + HOURLY.wait).len(), 4);
    }

    #[test]
    fn a_retry_is_due_at_its_time_and_after_what_was_never_tried() {
        let (mut schedule, start) = (Schedule::new(Grouping::NONE), Instant::now());
        schedule.add(finding("shop", "app", 1), start);
        let failed = schedule.take(1, start, |_| true).remove(0);
        schedule.retry(failed, start + SECOND);
        assert_eq!(schedule.next(|_| true), Some(start + SECOND));
        assert_eq!(take(&mut schedule, start), [""; 0]);
        schedule.add(finding("shop", "app", 2), start + SECOND);
        assert_eq!(take(&mut schedule, start + SECOND), ["2", "1"]);
    }

    #[test]
    fn what_may_not_go_waits_and_holds_up_nothing() {
        let (mut schedule, now) = (Schedule::new(Grouping::NONE), Instant::now());
        let may = |finding: &Finding| finding.namespace != "stuck";
        schedule.add(finding("stuck", "app", 1), now);
        schedule.retry(
            PendingDelivery::new(Delivery { finding: finding("stuck", "app", 2), previous: None }, now),
            now,
        );
        assert_eq!(schedule.next(may), None);
        schedule.add(finding("shop", "app", 3), now + SECOND);
        assert_eq!(schedule.next(may), Some(now + SECOND));
        let taken = schedule.take(5, now + SECOND, may);
        assert_eq!(taken.iter().map(|it| it.delivery.finding.message.as_str()).collect::<Vec<_>>(), ["3"]);
        assert_eq!(take(&mut schedule, now), ["1", "2"]);
    }

    #[test]
    fn what_is_gathered_after_the_first_message_knows_when_that_was_due() {
        let (mut schedule, start) = (Schedule::new(HOURLY), Instant::now());
        let mut previous = Vec::new();
        for number in 0..3 {
            schedule.add(finding("shop", "app", number), start);
            let due = schedule.next(|_| true).unwrap();
            previous.extend(schedule.take(9, due, |_| true).into_iter().map(|it| it.delivery.previous));
        }
        let first = start + HOURLY.wait;
        assert_eq!(previous, [None, Some(first), Some(first + HOURLY.interval)]);
    }

    #[test]
    fn a_batch_takes_no_more_than_asked() {
        let (mut schedule, now) = (Schedule::new(Grouping::NONE), Instant::now());
        (0..5).for_each(|number| schedule.add(finding("shop", "app", number), now));
        assert_eq!(schedule.take(3, now, |_| true).len(), 3);
        assert_eq!(schedule.take(3, now, |_| true).len(), 2);
    }

    #[test]
    fn in_a_hurry_everything_is_due() {
        let (mut schedule, now) = (Schedule::new(HOURLY), Instant::now());
        schedule.add(finding("shop", "app", 1), now);
        let retried = schedule.take(1, now + HOURLY.wait, |_| true).remove(0);
        schedule.retry(retried, now + Duration::from_hours(2));
        schedule.add(finding("shop", "app", 2), now);
        schedule.hurry(now);
        assert_eq!(take(&mut schedule, now), ["2", "1"]);
        assert!(schedule.groups.is_empty() && schedule.next(|_| true).is_none());
    }

    #[test]
    fn an_absurd_duration_is_a_century() {
        assert!(later(Instant::now(), Duration::MAX) > Instant::now());
    }
}
