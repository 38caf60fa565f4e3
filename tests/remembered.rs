//! How much the filter allocates: memory follows what is wrong, not what exists.

use allocation_counter::AllocationInfo;
use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    filter::Filter,
    source::{Observation, Scope, objects::Pod},
};

use crate::notation::{Case, settings};

/// What a Pod may take that never restarted, what one may that did, and each container that did, in
/// bytes. A hash table keeps up to half of its places free, so what Pods take is up to twice that.
const POD: u64 = 16;
const RESTARTED_POD: u64 = 40;
const CONTAINER: u64 = 24;
const PODS: u64 = 100_000;

#[test]
fn a_hundred_thousand_pods_stay_small() {
    let running = Case::new().status(&["app R(0,a)", "init:setup T(0,x,Completed,0)"]);
    let restarted = Case::new().status(&["app R(1,b)+L(a,Error)", "init:setup T(0,x,Completed,0)"]);
    let taken = |pods, shown| u64::try_from(list(pods, 0, shown).bytes_current).unwrap();
    let empty = taken(0, &running);
    let (without, with) = ((taken(PODS, &running) - empty) / PODS, (taken(PODS, &restarted) - empty) / PODS);
    assert!(without <= 2 * POD, "{without} bytes a Pod");
    assert!(with <= 2 * RESTARTED_POD + CONTAINER, "{with} bytes a Pod with a container that restarted");
}

#[test]
fn a_pod_without_kills_allocates_nothing() {
    let mut filter = Filter::new(settings());
    for statuses in [
        ["app R(0,a)", "init:setup T(0,x,Completed,0)"],
        ["app R(1,b)+L(a,Error)", "init:setup T(0,x,Completed,0)"],
    ] {
        let mut case = Case::new();
        let mut see = || Observation::Changed(Scope::WHOLE, case.status(&statuses));
        filter.observe(see(), None);
        let again = see();
        let allocated = allocation_counter::measure(|| drop(filter.observe(again, None)));
        assert_eq!(allocated.count_total, 0);
    }
}

#[test]
fn a_list_that_says_its_length_is_never_copied() {
    let running = Case::new().status(&["app R(0,a)"]);
    let spare = |said| {
        let allocated = list(PODS, said, &running);
        allocated.bytes_max - u64::try_from(allocated.bytes_current).unwrap()
    };
    assert!(spare(0) > PODS * POD / 2, "{} bytes", spare(0));
    assert!(spare(100_000) < PODS, "{} bytes", spare(100_000));
    assert!(spare(usize::MAX) < PODS, "{} bytes", spare(usize::MAX));
}

/// What a filter takes that is shown so many Pods in a list, which says that it has so many.
fn list(pods: u64, said: usize, shown: &Pod) -> AllocationInfo {
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let mut filter = Filter::new(settings());
        let in_sync = Timestamp::UNIX_EPOCH;
        filter.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync, pods: said }, None);
        for number in 0..pods {
            let mut pod = Box::new(shown.clone());
            pod.metadata.uid = number.to_string();
            filter.observe(Observation::Listed(Scope::WHOLE, pod), None);
        }
        filter.observe(Observation::ListEnds(Scope::WHOLE), None);
        kept = Some(filter);
    });
    drop(kept);
    allocated
}
