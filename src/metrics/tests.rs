//! What stands in `/metrics`, and what it means.

use std::time::Duration;

use super::*;
use crate::fanout::tests::finding;

#[test]
fn every_series_whose_labels_are_known_exists_from_the_start() {
    let metrics = Metrics::new();
    metrics.open_account("team", 4096);
    let text = metrics.render(Instant::now());
    for series in [
        "findings_total 0",
        "deliveries_total{sink=\"team\",outcome=\"delivered\"} 0",
        "deliveries_total{sink=\"team\",outcome=\"duplicate\"} 0",
        "deliveries_total{sink=\"team\",outcome=\"filtered\"} 0",
        "deliveries_total{sink=\"team\",outcome=\"failed\"} 0",
        "deliveries_total{sink=\"team\",outcome=\"dropped\"} 0",
        "deliveries_total{sink=\"team\",outcome=\"handed_over\"} 0",
        "recovered_total{sink=\"team\"} 0",
        "owed 0",
        "delivery_duration_seconds_count{sink=\"team\"} 0",
        "detection_delay_seconds_count 0",
        "queue_length{sink=\"team\"} 0",
        "queue_used{sink=\"team\"} 0",
        "queue_capacity{sink=\"team\"} 4096",
        "watch_events_total{resource=\"pods\"} 0",
        "watch_restarts_total{resource=\"events\"} 0",
        "watch_errors_total{resource=\"pods\"} 0",
        "watch_errors_total{resource=\"own_events\"} 0",
        "undecodable_total{resource=\"events\"} 0",
        "relisted_total{resource=\"pods\"} 0",
        "unobserved_restarts_total 0",
        "ready 0",
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.contains(&format!("\noom_event_generator_{series}\n")), "{series} is not in\n{text}");
    }
}

#[test]
fn counters_are_announced_under_the_name_they_have() {
    let metrics = Metrics::new();
    metrics.watch(WatchedResource::Pods).failed();
    let text = metrics.render(Instant::now());
    assert!(text.contains("# TYPE oom_event_generator_watch_errors_total counter\n"), "{text}");
    assert!(text.contains("# HELP oom_event_generator_watch_errors_total Lists and"), "{text}");
    assert!(text.contains("# TYPE oom_event_generator_detection_delay_seconds histogram\n"), "{text}");
    assert!(!text.contains("EOF"), "{text}");
}

#[test]
fn a_kill_is_counted_for_its_workload_until_an_hour_after_the_last() {
    let (metrics, start) = (Metrics::new(), Instant::now());
    let series = "kills_total{namespace=\"shop\",workload_kind=\"Deployment\",workload=\"cart\",container=\"app\"} 1\n";
    metrics.finding(&finding("shop", "app", 1), start);
    assert!(metrics.render(start + Duration::from_mins(59)).contains(series));
    let text = metrics.render(start + Duration::from_hours(1));
    assert!(!text.contains("kills_total{") && text.contains("findings_total 1\n"), "{text}");
}

#[test]
fn the_delay_is_from_kill_to_detection_and_never_negative() {
    let (metrics, now) = (Metrics::new(), Instant::now());
    let usual = finding("shop", "app", 1);
    metrics.finding(&usual, now);
    let mut ahead = Finding::clone(&usual);
    ahead.killed.finished_at = Some("2026-03-01T13:00:00Z".parse().unwrap());
    metrics.finding(&ahead, now);
    let mut unknown = Finding::clone(&usual);
    unknown.detected_at = None;
    metrics.finding(&unknown, now);
    let text = metrics.render(now);
    assert!(text.contains("detection_delay_seconds_sum 3.123456\n"), "{text}");
    assert!(text.contains("detection_delay_seconds_count 2\n"), "{text}");
}

#[test]
fn what_a_name_contains_does_not_break_the_format() {
    let metrics = Metrics::new();
    metrics.finding(&finding("shop", "a\"\\\nb", 1), Instant::now());
    let text = metrics.render(Instant::now());
    assert!(text.contains("container=\"a\\\"\\\\\u{fffd}b\"} 1"), "{text}");
}
