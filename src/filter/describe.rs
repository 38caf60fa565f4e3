//! Puts what a Pod shows of a kill into a finding.

use finding::{AffectedContainer, AffectedPod, Finding, KillEvidence, KillHistory, KillId, Killed, Schema};
use jiff::Timestamp;

use super::{
    FilterSettings,
    past::Past,
    reading::InstanceEnd,
    workload::{is_built_in, workload},
};
use crate::source::objects::{ContainerList, ContainerStatus, Pod, Terminated};

/// Returns the identity of a kill: of its namespace and the instance's ID. The Pod isn't part of it: a
/// mirror pod that is made anew has another UID and the same containers. Virtual kubelets leave the ID
/// empty, and some the time of the end.
pub(super) fn identity(pod: &Pod, list: ContainerList, container: &str, end: &InstanceEnd<'_>) -> KillId {
    if let Some(id) = &end.terminated.container_id {
        return KillId::new(&[&pod.metadata.namespace, id]);
    }
    let list = list.kind(None).spec_field();
    KillId::new(&[&pod.metadata.uid, list, container, &end.moment()])
}

/// Returns the identity that earlier versions of this program gave a kill: of the instance's ID alone.
pub(super) fn earlier_identity(killed: &Terminated) -> Option<KillId> {
    killed.container_id.as_ref().map(|id| KillId::new(&[id]))
}

/// The memory limits that a killed instance ran under, in bytes; none where there was none.
#[derive(Clone, Copy, Debug)]
pub(super) struct KilledLimits {
    /// The container's own.
    pub own: Option<u64>,
    /// That of its Pod as a whole.
    pub whole: Option<u64>,
}

/// Returns what the Pod shows of a kill; `limits` are `None` if they are unknown. [`complete`] adds what comes later.
pub(super) fn draft(
    cluster: Option<&str>,
    id: KillId,
    pod: &Pod,
    list: ContainerList,
    status: &ContainerStatus,
    killed: &Terminated,
    limits: Option<KilledLimits>,
) -> Finding {
    let spec = pod.container(list, &status.name);
    let asked = spec.map(|spec| spec.resources).unwrap_or_default();
    let given = status.resources;
    Finding {
        schema: Schema::V1,
        test: false,
        id,
        cluster: cluster.map(str::to_owned),
        detected_at: None,
        namespace: pod.metadata.namespace.clone(),
        pod: AffectedPod {
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone(),
            memory_limit_bytes: limits.and_then(|limits| limits.whole),
            workload: workload(pod),
            event_uid: pod.event_uid().to_owned(),
            labels: Some(pod.metadata.labels.clone()),
            asks_to_be_ignored: pod.metadata.annotations.ignore,
        },
        container: AffectedContainer {
            name: status.name.clone(),
            kind: list.kind(spec),
            image: spec.and_then(|spec| spec.image.clone()),
            memory_limit_bytes: limits.and_then(|limits| limits.own),
            memory_request_bytes: (given.requests.bytes)
                .or(status.allocated_resources.bytes)
                .or(asked.requests.bytes),
        },
        killed: Killed {
            container_id: killed.container_id.clone(),
            exit_code: killed.exit_code,
            started_at: killed.started_at,
            finished_at: killed.finished_at,
        },
        restarted: None,
        cause: None,
        advice: None,
        incident: None,
        message: String::new(),
        evidence: KillEvidence {
            // Without the container's spec, nothing shows that it has no limit.
            limits_are_known: limits.is_some_and(|limits| spec.is_some() || limits.own.is_some()),
            memory_volume: spec.and_then(|spec| pod.memory_volume(spec)).map(str::to_owned),
            node_ran_out: false,
            workload_is_built_in: is_built_in(pod),
        },
    }
}

/// Adds when the kill was detected, the cause, the advice and the message.
pub(super) fn complete(
    mut finding: Finding,
    detected_at: Option<Timestamp>,
    settings: &FilterSettings,
    past: &Past,
) -> Finding {
    finding.detected_at = detected_at;
    // Its Event may have come since the kill was first seen.
    let node = finding.pod.node.as_ref().zip(finding.killed.finished_at);
    finding.evidence.node_ran_out = node.is_some_and(|(node, at)| past.node_ran_out(node, at));
    finding.explain(settings.advice.as_ref(), &KillHistory::default());
    finding
}
