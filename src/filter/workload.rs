//! Finds the workload that a Pod belongs to, by what the Pod itself shows.

use finding::Workload;

use crate::source::objects::{OwnerReference, Pod};

/// Returns the topmost owner that the Pod itself shows.
pub(super) fn workload(pod: &Pod) -> Workload {
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
