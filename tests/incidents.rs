//! How much memory incidents take: what is remembered is bounded, whatever happens.

use std::sync::Arc;

use finding::{Finding, Workload};
use jiff::{SignedDuration, Timestamp};
use kubernetes_oom_event_generator::incidents::Incidents;

const INCIDENTS: usize = 2048;
const KILLS: usize = 100_000;
const MIB: u64 = 1 << 20;

/// Returns the bytes that so many kills take in the end, of workloads whose names have this many characters.
fn bytes_after(kills: usize, name_length: usize, image_length: usize) -> u64 {
    let begin: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let name = |number: usize| format!("{number:0>name_length$}");
    let mut incidents = Incidents::default();
    let allocated = allocation_counter::measure(|| {
        for number in 0..kills {
            let at = begin + SignedDuration::from_millis(i64::try_from(number).unwrap() * 800);
            let mut kill = Finding::full();
            kill.namespace = format!("shop-{}", number % 64);
            kill.pod.workload = Workload { kind: name(0), name: name(number % (INCIDENTS + 900)) };
            kill.container.name = name(0);
            kill.container.image = Some("i".repeat(image_length));
            (kill.pod.name, kill.pod.node) = (name(number), Some(name(1)));
            kill.pod.uid = number.to_string();
            (kill.killed.finished_at, kill.detected_at) = (Some(at), Some(at));
            incidents.add(&mut kill);
            incidents.show(&Arc::new(kill));
            incidents.over(at);
        }
    });
    assert!(incidents.len() <= INCIDENTS && incidents.len() > INCIDENTS / 2, "{}", incidents.len());
    u64::try_from(allocated.bytes_current).unwrap()
}

#[test]
fn a_hundred_thousand_kills_a_day_in_thousands_of_incidents_stay_small() {
    let usual = bytes_after(KILLS, 20, 40);
    let longest = bytes_after(KILLS / 5, 253, 512);
    println!("4096 incidents take {usual} bytes, with the longest names {longest}");
    assert!(usual < 10 * MIB, "{usual}");
    assert!(longest < 18 * MIB, "{longest}");
}
