//! How much memory incidents take: what is remembered is bounded, whatever happens.

use finding::Finding;
use jiff::{SignedDuration, Timestamp};
use kubernetes_oom_event_generator::incidents::Incidents;

const INCIDENTS: usize = 4096;
const KILLS: usize = 100_000;
/// Less than this for all of them together, which is what a program of 32 MB can spare.
const MAX_BYTES: u64 = 12 * 1024 * 1024;

#[test]
fn a_hundred_thousand_kills_a_day_in_thousands_of_incidents_stay_small() {
    let begin: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut incidents = Incidents::default();
    let allocated = allocation_counter::measure(|| {
        for number in 0..KILLS {
            let at = begin + SignedDuration::from_millis(i64::try_from(number).unwrap() * 800);
            let mut kill = Finding::full();
            kill.namespace = format!("shop-{}", number % 64);
            kill.pod.workload.name = format!("cart-{}", number % (INCIDENTS + 900));
            kill.pod.uid = number.to_string();
            (kill.killed.finished_at, kill.detected_at) = (Some(at), Some(at));
            incidents.add(&mut kill);
            incidents.show(&std::sync::Arc::new(kill));
            incidents.over(at);
        }
    });
    println!("{} incidents take {} bytes", incidents.len(), allocated.bytes_current);
    assert!(incidents.len() <= INCIDENTS && incidents.len() > INCIDENTS / 2, "{}", incidents.len());
    assert!(u64::try_from(allocated.bytes_current).unwrap() < MAX_BYTES, "{}", allocated.bytes_current);
}
