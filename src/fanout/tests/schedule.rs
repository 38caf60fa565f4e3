//! What is due when.

use super::{
    super::{later, schedule::Schedule},
    fakes::*,
};

const HOURLY: Grouping = Grouping { wait: Duration::from_secs(2), interval: Duration::from_hours(1) };

const FIRST_WAIT: Duration = Duration::from_mins(5);

/// A kill in a Pod of this number.
fn in_pod(pod: usize) -> PendingDelivery {
    let mut finding = Arc::unwrap_or_clone(finding("shop", "app", pod));
    finding.pod.uid = pod.to_string();
    pending_for(finding)
}

/// Schedules for a sink that takes every finding by itself.
fn every_finding(grouping: Grouping) -> Schedule {
    Schedule::new(grouping, None, 100)
}

fn take(schedule: &mut Schedule, now: Instant) -> Vec<String> {
    let taken = schedule.take(100, now, |_| true);
    taken.iter().map(|pending| pending.delivery.finding.message.clone()).collect()
}

#[test]
fn without_grouping_a_finding_is_due_at_once_and_leaves_no_trace() {
    let (mut schedule, now) = (every_finding(Grouping::NONE), Instant::now());
    schedule.add(pending("shop", "app", 1), now);
    assert_eq!(schedule.next(now, |_| true), Some(now));
    assert_eq!(take(&mut schedule, now), ["1"]);
    assert!(schedule.next(now, |_| true).is_none() && schedule.len() == 0);
}

#[test]
fn a_group_waits_at_first_and_then_for_each_interval() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    schedule.add(pending("shop", "app", 1), start);
    schedule.add(pending("shop", "app", 2), start + SECOND);
    assert_eq!(take(&mut schedule, start + SECOND), [""; 0]);
    let first = schedule.next(start, |_| true).unwrap();
    assert_eq!(first, start + HOURLY.wait);
    assert_eq!(take(&mut schedule, first), ["1", "2"]);

    schedule.add(pending("shop", "app", 3), first + SECOND);
    schedule.add(pending("shop", "app", 4), first + 9 * SECOND);
    let second = schedule.next(start, |_| true).unwrap();
    assert_eq!(second, first + FIRST_WAIT, "five minutes once");
    assert_eq!(schedule.len(), 2);
    assert_eq!(take(&mut schedule, second), ["3", "4"]);

    schedule.add(pending("shop", "app", 5), second + SECOND);
    let third = schedule.next(start, |_| true).unwrap();
    assert_eq!(third, second + HOURLY.interval);
    assert_eq!(take(&mut schedule, third), ["5"]);
}

#[test]
fn a_kill_after_the_wait_is_over_waits_for_others_only() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    schedule.add(pending("shop", "app", 1), start);
    take(&mut schedule, start + HOURLY.wait);
    let now = start + 10 * 60 * SECOND;
    schedule.add(pending("shop", "app", 2), now);
    assert_eq!(schedule.next(now, |_| true), Some(now + HOURLY.wait));
}

#[test]
fn a_pod_that_was_not_named_breaks_the_wait_after_twice_as_long_each_time() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    schedule.add(in_pod(0), start);
    let mut last = start + HOURLY.wait;
    assert_eq!(take(&mut schedule, last), ["0"]);
    let minute = 60 * SECOND;
    for (pod, wait) in [
        (1, minute / 2),
        (2, minute),
        (3, 2 * minute),
        (4, 4 * minute),
        // Whoever was named waits as long as all others.
        (4, 5 * minute),
        (5, 8 * minute),
        (5, HOUR),
        (6, 16 * minute),
        (7, 32 * minute),
        (8, HOUR),
        (9, HOUR),
    ] {
        schedule.add(in_pod(pod), last + SECOND);
        assert_eq!(schedule.next(last, |_| true), Some(last + wait), "pod {pod}");
        last += wait;
        assert_eq!(take(&mut schedule, last), [pod.to_string()]);
    }
}

#[test]
fn ten_times_as_many_kills_break_the_wait() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    schedule.add(in_pod(0), start);
    let first = start + HOURLY.wait;
    take(&mut schedule, first);
    (0..8).for_each(|_| schedule.add(in_pod(0), first + SECOND));
    assert_eq!(schedule.next(first, |_| true), Some(first + FIRST_WAIT));
    schedule.add(in_pod(0), first + SECOND);
    assert_eq!(schedule.next(first, |_| true), Some(first + 30 * SECOND), "the tenth");
    let second = first + 30 * SECOND;
    assert_eq!(take(&mut schedule, second).len(), 9);
    (0..89).for_each(|_| schedule.add(in_pod(0), second + SECOND));
    assert_eq!(schedule.next(second, |_| true), Some(second + FIRST_WAIT));
    schedule.add(in_pod(0), second + SECOND);
    assert_eq!(schedule.next(second, |_| true), Some(second + 60 * SECOND), "the hundredth");
}

#[test]
fn no_wait_is_longer_than_the_interval() {
    let grouping = Grouping { interval: 10 * SECOND, ..HOURLY };
    let (mut schedule, start) = (every_finding(grouping), Instant::now());
    schedule.add(in_pod(0), start);
    let mut last = start + HOURLY.wait;
    take(&mut schedule, last);
    for pod in [0, 1, 2, 2] {
        schedule.add(in_pod(pod), last + SECOND);
        last += 10 * SECOND;
        assert_eq!(schedule.next(start, |_| true), Some(last));
        take(&mut schedule, last);
    }
}

#[test]
fn a_delivery_says_when_the_next_one_comes_at_the_latest() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    let next = |schedule: &mut Schedule, at| schedule.take(9, at, |_| true)[0].delivery.next;
    schedule.add(in_pod(0), start);
    let first = start + HOURLY.wait;
    assert_eq!(next(&mut schedule, first), Some(first + FIRST_WAIT));
    schedule.add(in_pod(0), first + SECOND);
    let second = first + FIRST_WAIT;
    assert_eq!(next(&mut schedule, second), Some(second + HOUR));
    schedule.add(in_pod(0), second + SECOND);
    schedule.hurry(9, second + SECOND);
    assert_eq!(next(&mut schedule, second + SECOND), None, "nothing comes after the last");

    let mut schedule = every_finding(Grouping { interval: Duration::ZERO, ..HOURLY });
    schedule.add(in_pod(0), start);
    assert_eq!(next(&mut schedule, first), None, "nothing is gathered");
}

#[test]
fn a_group_is_forgotten_after_an_interval_with_nothing_added() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    schedule.add(pending("shop", "app", 1), start);
    let first = schedule.next(start, |_| true).unwrap();
    take(&mut schedule, first);
    assert_eq!(schedule.len(), 0);
    let second = schedule.next(start, |_| true).unwrap();
    assert_eq!(take(&mut schedule, second), [""; 0]);
    assert_eq!(schedule.next(start, |_| true), None);

    schedule.add(pending("shop", "app", 2), second);
    assert_eq!(schedule.next(start, |_| true), Some(second + HOURLY.wait), "it is a first one again");
}

#[test]
fn with_an_interval_of_zero_nothing_waits_longer_than_the_first_wait() {
    let grouping = Grouping { interval: Duration::ZERO, ..HOURLY };
    let (mut schedule, start) = (every_finding(grouping), Instant::now());
    schedule.add(pending("shop", "app", 1), start);
    assert_eq!(take(&mut schedule, start + HOURLY.wait), ["1"]);
    assert_eq!(schedule.next(start, |_| true), None);
}

#[test]
fn containers_namespaces_and_workloads_are_groups_of_their_own_and_share_a_batch() {
    let (mut schedule, now) = (every_finding(HOURLY), Instant::now());
    let mut other_workload = Arc::unwrap_or_clone(finding("shop", "app", 4));
    other_workload.pod.workload.name = "other".to_owned();
    schedule.add(pending("shop", "app", 1), now);
    schedule.add(pending("shop", "helper", 2), now);
    schedule.add(pending("bank", "app", 3), now);
    schedule.add(pending_for(other_workload), now);
    assert_eq!(take(&mut schedule, now + HOURLY.wait).len(), 4);
    // Each is remembered, so what is added to one waits for the interval.
    schedule.add(pending("bank", "app", 5), now + HOURLY.wait);
    assert_eq!(take(&mut schedule, now + 2 * HOURLY.wait), [""; 0]);
}

#[test]
fn a_retry_is_due_at_its_time_and_after_what_was_never_tried() {
    let (mut schedule, start) = (every_finding(Grouping::NONE), Instant::now());
    schedule.add(pending("shop", "app", 1), start);
    let failed = schedule.take(1, start, |_| true).remove(0);
    schedule.retry(failed, start + SECOND);
    assert_eq!(schedule.next(start, |_| true), Some(start + SECOND));
    assert_eq!(take(&mut schedule, start), [""; 0]);
    schedule.add(pending("shop", "app", 2), start + SECOND);
    assert_eq!(take(&mut schedule, start + SECOND), ["2", "1"]);
}

#[test]
fn what_may_not_go_waits_and_holds_up_nothing() {
    let (mut schedule, now) = (every_finding(Grouping::NONE), Instant::now());
    let stuck = pending("stuck", "app", 1);
    let namespace = stuck.key.namespace;
    let may = |other| other != namespace;
    schedule.add(stuck, now);
    schedule.retry(pending("stuck", "app", 2), now);
    assert_eq!(schedule.take(5, now, may).len(), 0);
    assert_eq!(schedule.next(now, may), None);
    schedule.add(pending("shop", "app", 3), now + SECOND);
    assert_eq!(schedule.next(now, may), Some(now));
    let taken = schedule.take(5, now + SECOND, may);
    assert_eq!(taken.iter().map(|it| it.delivery.finding.message.as_str()).collect::<Vec<_>>(), ["3"]);
    assert_eq!(take(&mut schedule, now), ["1", "2"]);
}

#[test]
fn what_is_gathered_after_the_first_message_knows_when_that_was_due() {
    let (mut schedule, start) = (every_finding(HOURLY), Instant::now());
    let mut previous = Vec::new();
    for number in 0..3 {
        schedule.add(pending("shop", "app", number), start);
        let due = schedule.next(start, |_| true).unwrap();
        previous.extend(schedule.take(9, due, |_| true).into_iter().map(|it| it.delivery.previous));
    }
    let first = start + HOURLY.wait;
    assert_eq!(previous, [None, Some(first), Some(first + FIRST_WAIT)]);
}

#[test]
fn a_batch_takes_no_more_than_asked() {
    let (mut schedule, now) = (every_finding(Grouping::NONE), Instant::now());
    (0..5).for_each(|number| schedule.add(pending("shop", "app", number), now));
    assert_eq!(schedule.take(3, now, |_| true).len(), 3);
    assert_eq!(schedule.take(3, now, |_| true).len(), 2);
}

#[test]
fn in_a_hurry_everything_is_due() {
    let (mut schedule, now) = (every_finding(HOURLY), Instant::now());
    schedule.add(pending("shop", "app", 1), now);
    let retried = schedule.take(1, now + HOURLY.wait, |_| true).remove(0);
    schedule.retry(retried, now + Duration::from_hours(2));
    schedule.add(pending("shop", "app", 2), now);
    schedule.hurry(1, now);
    assert_eq!(take(&mut schedule, now), ["2", "1"]);
    assert_eq!(schedule.next(now, |_| true), None);
}

#[test]
fn namespaces_take_turns_and_so_do_the_workloads_of_each() {
    let (mut schedule, now) = (every_finding(Grouping::NONE), Instant::now());
    let of = |namespace: &str, workload: &str, number| {
        let mut finding = Arc::unwrap_or_clone(finding(namespace, "app", number));
        finding.pod.workload.name = workload.to_owned();
        pending_for(finding)
    };
    (0..4).for_each(|number| schedule.add(of("shop", "cart", number), now));
    (4..6).for_each(|number| schedule.add(of("shop", "search", number), now));
    (6..8).for_each(|number| schedule.add(of("bank", "vault", number), now));
    assert_eq!(take(&mut schedule, now), ["0", "6", "4", "7", "1", "5", "2", "3"]);
}

#[test]
fn only_so_many_groups_are_remembered_and_the_greedy_namespace_forgets_first() {
    let (mut schedule, start) = (Schedule::new(HOURLY, None, 10), Instant::now());
    schedule.add(pending("shop", "app", 0), start);
    take(&mut schedule, start + HOURLY.wait);
    let now = start + SECOND * 10;
    let mut at = now;
    for number in 0..50 {
        schedule.add(pending("hostile", &number.to_string(), number), at);
        take(&mut schedule, at + HOURLY.wait);
        // Groups that are due at the same time are forgotten in any order.
        at += Duration::from_millis(1);
    }
    let later = now + SECOND * 10;
    schedule.add(pending("shop", "app", 1), later);
    schedule.add(pending("hostile", "0", 2), later);
    assert_eq!(take(&mut schedule, later + HOURLY.wait), ["2"], "only the other is remembered");
}

#[test]
fn a_full_group_is_counted_with_its_first_and_last_kills() {
    let (mut schedule, now) = (Schedule::new(HOURLY, Some(2), 100), Instant::now());
    for number in 0..9 {
        let mut finding = Arc::unwrap_or_clone(finding("shop", "app", number));
        finding.pod.uid = (number % 4).to_string();
        schedule.add(pending_for(finding), now);
    }
    assert_eq!(schedule.len(), 2);
    let taken = schedule.take(9, now + HOURLY.wait, |_| true);
    let told: Vec<&str> = taken.iter().map(|it| it.delivery.finding.message.as_str()).collect();
    assert_eq!(told, ["0", "1"]);
    let more = taken[1].delivery.more.as_ref().unwrap();
    assert_eq!((more.kills, more.pods, more.pods_are_more, more.last.message.as_str()), (7, 4, false, "8"));
    assert!(taken[0].delivery.more.is_none());
}

#[test]
fn in_a_hurry_each_workload_keeps_its_share_and_counts_the_rest() {
    let (mut schedule, now) = (Schedule::new(HOURLY, Some(200), 100), Instant::now());
    for number in 0..30 {
        schedule.add(pending("shop", &(number % 5).to_string(), number), now);
    }
    schedule.add(pending("bank", "app", 30), now);
    schedule.hurry(4, now);
    let taken = schedule.take(99, now, |_| true);
    let mut told: Vec<_> = taken
        .iter()
        .map(|it| (&*it.delivery.finding.namespace, it.delivery.more.as_ref().map(|more| more.kills)))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("bank", None), ("shop", None), ("shop", Some(28))]);
}

#[test]
fn an_absurd_duration_is_a_century() {
    assert!(later(Instant::now(), Duration::MAX) > Instant::now());
}
