//! What a finding says was in force: as the status has it, for the spec may ask for what isn't so yet.

use serde_json::{Value, json};

use super::case::Case;

const MIB: u64 = 1 << 20;

fn memory(limit: &str, request: &str) -> Value {
    json!({"limits": {"memory": limit}, "requests": {"memory": request}})
}

fn killed(case: &mut Case, kind: &str) -> finding::Finding {
    case.sees(&[&format!("{kind}app T(0,a)")]).sees(&[&format!("{kind}app R(1,b)+L(a)")]).finds(&["a"]);
    case.found[0].clone()
}

#[test]
fn the_limit_of_the_pod_is_that_of_its_status() {
    let spec = memory("512Mi", "512Mi");
    for (status, expected) in [
        (memory("256Mi", "256Mi"), 256),
        (json!({"limits": {"memory": "256Mi"}}), 256),
        (json!({"limits": {"cpu": "20m"}, "requests": {"cpu": "20m"}}), 512),
        (json!({}), 512),
        (json!(null), 512),
    ] {
        let mut case = Case::new();
        case.spec = json!({"resources": spec});
        case.pod_status = json!({"resources": status});
        assert_eq!(killed(&mut case, "").pod.memory_limit_bytes, Some(expected * MIB), "{status}");
    }
    let mut case = Case::new();
    case.pod_status = json!({"resources": memory("256Mi", "256Mi")});
    assert_eq!(killed(&mut case, "").pod.memory_limit_bytes, Some(256 * MIB));
}

#[test]
fn limit_and_request_of_a_container_are_those_of_its_status() {
    for kind in ["", "init:", "sidecar:"] {
        for (status, limit, request) in [
            (json!({"resources": memory("32Mi", "16Mi")}), 32, 16),
            (json!({"resources": memory("32Mi", "16Mi"), "allocatedResources": {"memory": "8Mi"}}), 32, 16),
            (json!({"allocatedResources": {"memory": "8Mi"}}), 64, 8),
            (json!({"resources": {"limits": {"cpu": "1"}}}), 64, 48),
            (json!({"resources": null, "allocatedResources": null}), 64, 48),
        ] {
            let mut case = Case::new();
            case.container_specs.insert("app", json!({"resources": memory("64Mi", "48Mi")}));
            case.container_statuses.insert("app", status.clone());
            let container = killed(&mut case, kind).container;
            assert_eq!(container.memory_limit_bytes, Some(limit * MIB), "{kind} {status}");
            assert_eq!(container.memory_request_bytes, Some(request * MIB), "{kind} {status}");
        }
    }
}

#[test]
fn a_resize_after_the_kill_changes_nothing_of_what_was_in_force() {
    let mut case = Case::new();
    case.pod_status = json!({"resources": memory("256Mi", "256Mi")});
    case.container_statuses.insert("app", json!({"resources": memory("32Mi", "16Mi")}));
    case.sees(&["app T(0,a)"]);
    case.pod_status = json!({"resources": memory("512Mi", "512Mi")});
    case.container_statuses.insert("app", json!({"resources": memory("64Mi", "48Mi")}));
    case.sees(&["app R(1,b)+L(a)"]).finds(&["a"]);
    assert_eq!(case.found[0].pod.memory_limit_bytes, Some(256 * MIB));
    assert_eq!(case.found[0].container.memory_limit_bytes, Some(32 * MIB));
    assert_eq!(case.found[0].container.memory_request_bytes, Some(16 * MIB));
}
