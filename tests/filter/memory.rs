//! How much the filter allocates: memory follows what is wrong, not what exists.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    filter::Filter,
    source::{Observation, Scope, objects::Pod},
};
use serde_json::json;

use super::case::{Case, settings};

/// What a Pod may take that never restarted, what one may that did, and each container that did, in
/// bytes. A tree keeps a third of its places free.
const POD: u64 = 32;
const RESTARTED_POD: u64 = 80;
const CONTAINER: u64 = 24;
/// What a kill may take until its container restarts, whatever stands in its Pod.
const PENDING_KILL: u64 = 4096;
const PODS: u64 = 100_000;

#[test]
fn a_hundred_thousand_pods_stay_small() {
    let running = Case::new().status(&["app R(0,a)", "init:setup T(0,x,Completed,0)"]);
    let restarted = Case::new().status(&["app R(1,b)+L(a,Error)", "init:setup T(0,x,Completed,0)"]);
    let empty = list(0, &running);
    let (without, with) = ((list(PODS, &running) - empty) / PODS, (list(PODS, &restarted) - empty) / PODS);
    assert!(without <= POD, "{without} bytes a Pod");
    assert!(with <= RESTARTED_POD + CONTAINER, "{with} bytes a Pod with a container that restarted");
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
fn a_day_of_deployments_leaves_nothing() {
    let (running, mut filter) = (Case::new().status(&["app R(0,a)"]), Filter::new(settings()));
    let mut deploy = |numbers: std::ops::Range<u64>| {
        let allocated = allocation_counter::measure(|| {
            for number in numbers {
                let pod = |number: u64| {
                    let mut pod = running.clone();
                    pod.metadata.uid = number.to_string();
                    pod
                };
                filter.observe(Observation::Changed(Scope::WHOLE, pod(number)), None);
                if let Some(old) = number.checked_sub(10_000) {
                    filter.observe(Observation::Deleted(Scope::WHOLE, pod(old)), None);
                }
            }
        });
        (allocated.bytes_current, allocated.bytes_max)
    };
    let (begun, _) = deploy(0..10_000);
    let (left, most) = deploy(10_000..100_000);
    assert!(left < begun / 10, "{left} bytes beside {begun}");
    assert!(most < u64::try_from(begun).unwrap() / 10, "{most} bytes beside {begun}");
}

#[test]
fn a_hostile_pod_makes_its_kills_no_larger() {
    let long = "x".repeat(1 << 20);
    let labels: BTreeMap<_, _> = (0..30_000).map(|number| (format!("label-{number}"), &long[..20])).collect();
    let names = 0..60;
    let container = |number| json!({"name": format!("c{number}"), "image": long});
    let killed = json!({"terminated": {"reason": "OOMKilled", "containerID": long}});
    let status = |number| json!({"name": format!("c{number}"), "containerID": long, "state": killed});
    let spelled = json!({
        "metadata": {
            "name": long, "namespace": "shop", "uid": long, "labels": labels,
            "annotations": {"kubernetes.io/config.mirror": long},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": long, "name": long, "controller": true}],
        },
        "spec": {"nodeName": long, "containers": names.clone().map(container).collect::<Vec<_>>()},
        "status": {"containerStatuses": names.clone().map(status).collect::<Vec<_>>()},
    })
    .to_string();
    let mut filter = Filter::new(settings());
    let allocated = allocation_counter::measure(|| {
        let pod: Box<Pod> = serde_json::from_str(&spelled).unwrap();
        filter.observe(Observation::Changed(Scope::WHOLE, pod), None);
    });
    assert_eq!(filter.remembered(), 1 + 60 * 2);
    let pending = u64::try_from(allocated.bytes_current).unwrap() / 60;
    assert!(pending <= PENDING_KILL, "{pending} bytes a pending kill");
    let decoded = allocated.bytes_max;
    assert!(decoded < 60 * PENDING_KILL * 2 + (2 << 20), "{decoded} bytes at most");
}

/// What a filter takes, in bytes, that is shown so many Pods in a list.
fn list(pods: u64, shown: &Pod) -> u64 {
    let mut kept = None;
    let allocated = allocation_counter::measure(|| {
        let mut filter = Filter::new(settings());
        let in_sync = Timestamp::UNIX_EPOCH;
        filter.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync }, None);
        for number in 0..pods {
            let mut pod = Box::new(shown.clone());
            pod.metadata.uid = number.to_string();
            filter.observe(Observation::Listed(Scope::WHOLE, pod), None);
        }
        filter.observe(Observation::ListEnds(Scope::WHOLE), None);
        kept = Some(filter);
    });
    drop(kept);
    u64::try_from(allocated.bytes_current).unwrap()
}
