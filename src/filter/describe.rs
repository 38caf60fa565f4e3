//! Puts what a Pod shows of a kill into a finding.

use finding::{
    AffectedContainer, AffectedPod, EXIT_CODE_OF_SIGKILL, Finding, KillId, Killed, Restarted, Schema,
    Workload, bytes,
};
use jiff::Timestamp;

use crate::source::objects::{ContainerList, ContainerStatus, OwnerReference, Pod, Terminated};

/// The identity of a kill: its instance's ID alone, for a mirror pod that is made anew has another
/// UID and the same containers. Virtual kubelets leave the ID empty.
pub(super) fn identity(pod: &Pod, list: ContainerList, container: &str, killed: &Terminated) -> KillId {
    if let Some(id) = &killed.container_id {
        return KillId::new(&[id]);
    }
    let finished_at = killed.finished_at.map(|time| time.to_string()).unwrap_or_default();
    let list = list.kind(None).spec_field();
    KillId::new(&[&pod.metadata.uid, list, container, &finished_at])
}

/// All that is known of a kill before the start that follows it; [`complete`] adds the rest.
pub(super) fn draft(
    cluster: Option<&str>,
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
        id: identity(pod, list, &status.name, killed),
        cluster: cluster.map(str::to_owned),
        detected_at: None,
        namespace: pod.metadata.namespace.clone(),
        pod: AffectedPod {
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone(),
            memory_limit_bytes: pod.spec.resources.limits.bytes,
            workload: workload(pod),
            event_uid: pod.event_uid().to_owned(),
            labels: pod.metadata.labels.clone(),
        },
        container: AffectedContainer {
            name: status.name.clone(),
            kind: list.kind(spec),
            image: spec.and_then(|spec| spec.image.clone()),
            memory_limit_bytes: given.limits.bytes.or(asked.limits.bytes),
            memory_request_bytes: given.requests.bytes.or(asked.requests.bytes),
        },
        killed: Killed {
            container_id: killed.container_id.clone(),
            exit_code: killed.exit_code,
            started_at: killed.started_at,
            finished_at: killed.finished_at,
        },
        restarted: None,
        message: String::new(),
    }
}

/// The finding, with the start that followed, if any, and the time it became known.
pub(super) fn complete(
    draft: Finding,
    restarted: Option<Restarted>,
    detected_at: Option<Timestamp>,
) -> Finding {
    let mut finding = Finding { restarted, detected_at, ..draft };
    // Whoever writes Pods controls what stands in it, and it ends up on terminals.
    finding.message = message(&finding).replace(char::is_control, " ");
    finding
}

/// Begins as the messages of xing/kubernetes-oom-event-generator do, so that what searches for
/// those finds these.
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
    if killed.exit_code != EXIT_CODE_OF_SIGKILL {
        details.push(format!("marked OOMKilled, but exited with {}", killed.exit_code));
    }
    match restarted {
        Some(Restarted { restart_count: Some(count), .. }) => details.push(format!("restart count {count}")),
        Some(_) => {}
        None => details.push("not restarted".to_owned()),
    }
    format!("{subject} '{}'{id} was OOMKilled: {}", container.name, details.join(", "))
}

/// The topmost owner that the Pod itself shows.
fn workload(pod: &Pod) -> Workload {
    let metadata = &pod.metadata;
    let named = |kind: &str, name: &str| Workload { kind: kind.to_owned(), name: name.to_owned() };
    let Some(owner) = metadata.owner_references.iter().find(|owner| owner.controller) else {
        return named("Pod", &metadata.name);
    };
    if let Some(name) = deployment(pod, owner) {
        return named("Deployment", name);
    }
    if let Some(name) = cron_job(owner) {
        return named("CronJob", name);
    }
    named(&owner.kind, &owner.name)
}

/// A Deployment names its `ReplicaSets` `{name}-{pod-template-hash}`
/// (pkg/controller/deployment/sync.go).
fn deployment<'a>(pod: &Pod, owner: &'a OwnerReference) -> Option<&'a str> {
    let hash = pod.metadata.labels.get("pod-template-hash")?;
    let of_apps = owner.kind == "ReplicaSet" && owner.api_version.starts_with("apps/");
    owner.name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| of_apps && !name.is_empty())
}

/// A `CronJob` names its Jobs `{name}-{minutes since 1970}` (pkg/controller/cronjob/utils.go). The
/// bounds, 2017 and 2160, tell that from the dates that people put into names, such as 20260131.
fn cron_job(owner: &OwnerReference) -> Option<&str> {
    let (name, minutes) = owner.name.rsplit_once('-')?;
    let scheduled = (25_000_000..100_000_000).contains(&minutes.parse::<u32>().ok()?);
    let of_batch = owner.kind == "Job" && owner.api_version.starts_with("batch/");
    (scheduled && of_batch && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(owner: &str, labels: &str) -> Pod {
        let metadata = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u","labels":{labels},"ownerReferences":{owner}}}}}"#
        );
        serde_json::from_str(&metadata).unwrap()
    }

    fn owned(api_version: &str, kind: &str, name: &str) -> String {
        format!(r#"[{{"apiVersion":"{api_version}","kind":"{kind}","name":"{name}","controller":true}}]"#)
    }

    #[test]
    fn the_topmost_owner_is_named() {
        let hash = r#"{"pod-template-hash":"6c9f7"}"#;
        for (owner, labels, kind, name) in [
            (owned("apps/v1", "ReplicaSet", "cart-6c9f7"), hash, "Deployment", "cart"),
            (owned("apps/v1", "ReplicaSet", "cart-6c9f7"), "null", "ReplicaSet", "cart-6c9f7"),
            (owned("apps/v1", "ReplicaSet", "cart"), hash, "ReplicaSet", "cart"),
            (owned("example.com/v1", "ReplicaSet", "cart-6c9f7"), hash, "ReplicaSet", "cart-6c9f7"),
            (owned("batch/v1", "Job", "report-29312345"), "{}", "CronJob", "report"),
            (owned("batch/v1", "Job", "import-20260131"), "{}", "Job", "import-20260131"),
            (owned("batch/v1", "Job", "migrate-2"), "{}", "Job", "migrate-2"),
            (owned("apps/v1", "StatefulSet", "db"), "{}", "StatefulSet", "db"),
            (owned("v1", "Node", "n1"), "{}", "Node", "n1"),
            ("null".to_owned(), "{}", "Pod", "p"),
            (r#"[{"kind":"Thing","name":"t"}]"#.to_owned(), "{}", "Pod", "p"),
        ] {
            let expected = Workload { kind: kind.to_owned(), name: name.to_owned() };
            assert_eq!(workload(&pod(&owner, labels)), expected);
        }
    }
}
