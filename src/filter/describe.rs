//! Puts what a Pod shows of a kill into a finding.

use finding::{
    AffectedContainer, AffectedPod, EXIT_CODE_OF_SIGKILL, Finding, KillId, Killed, Restarted, Schema, bytes,
};
use jiff::Timestamp;
use untrusted::is_deceptive;

use super::workload::workload;
use crate::source::objects::{ContainerList, ContainerStatus, Pod, Terminated};

/// Returns the identity of a kill: of its namespace and the instance's ID. The Pod isn't part of it: a
/// mirror pod that is made anew has another UID and the same containers. Virtual kubelets leave the ID
/// empty.
pub(super) fn identity(pod: &Pod, list: ContainerList, container: &str, killed: &Terminated) -> KillId {
    if let Some(id) = &killed.container_id {
        return KillId::new(&[&pod.metadata.namespace, id]);
    }
    let finished_at = killed.finished_at.map(|time| time.to_string()).unwrap_or_default();
    let list = list.kind(None).spec_field();
    KillId::new(&[&pod.metadata.uid, list, container, &finished_at])
}

/// Returns the identity that earlier versions of this program gave a kill: of the instance's ID alone.
pub(super) fn earlier_identity(killed: &Terminated) -> Option<KillId> {
    killed.container_id.as_ref().map(|id| KillId::new(&[id]))
}

/// Returns what the Pod shows of a kill. [`complete`] adds what comes later.
pub(super) fn draft(
    cluster: Option<&str>,
    id: KillId,
    pod: &Pod,
    list: ContainerList,
    status: &ContainerStatus,
    killed: &Terminated,
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
            memory_limit_bytes: pod.status.resources.limits.bytes.or(pod.spec.resources.limits.bytes),
            workload: workload(pod),
            event_uid: pod.event_uid().to_owned(),
            labels: Some(pod.metadata.labels.clone()),
            asks_to_be_ignored: pod.metadata.annotations.ignore,
        },
        container: AffectedContainer {
            name: status.name.clone(),
            kind: list.kind(spec),
            image: spec.and_then(|spec| spec.image.clone()),
            memory_limit_bytes: given.limits.bytes.or(asked.limits.bytes),
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
    }
}

/// Adds when the kill was detected, and the message.
pub(super) fn complete(finding: Finding, detected_at: Option<Timestamp>) -> Finding {
    // Whoever writes Pods controls what is in the message, and it is shown on terminals.
    let message = message(&finding).replace(is_deceptive, " ");
    Finding { detected_at, message, ..finding }
}

/// Says it in a sentence that begins as the messages of xing/kubernetes-oom-event-generator do, so
/// that a search for those finds these.
fn message(finding: &Finding) -> String {
    let Finding { container, killed, restarted, .. } = finding;
    let subject =
        if restarted.is_some() { "The previous instance of the container" } else { "The container" };
    let id = killed.container_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let mut details = vec![match (container.memory_limit_bytes, finding.pod.memory_limit_bytes) {
        (Some(limit), _) => format!("memory limit {}", bytes(limit)),
        (None, Some(limit)) => format!("memory limit of the Pod {}", bytes(limit)),
        (None, None) => "no memory limit known".to_owned(),
    }];
    let ran = killed.started_at.zip(killed.finished_at).map(|(start, end)| end.duration_since(start));
    if let Some(ran) = ran.filter(|ran| !ran.is_negative()) {
        details.push(format!("ran for {ran:#}"));
    }
    if let Some(code) = killed.exit_code.filter(|code| *code != EXIT_CODE_OF_SIGKILL) {
        details.push(format!("marked OOMKilled, but exited with {code}"));
    }
    match restarted {
        Some(Restarted { restart_count: Some(count), .. }) => details.push(format!("restart count {count}")),
        Some(_) => {}
        None => details.push("not restarted".to_owned()),
    }
    format!("{subject} '{}'{id} was OOMKilled: {}", container.name, details.join(", "))
}
