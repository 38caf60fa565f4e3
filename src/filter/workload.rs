//! Finds the workload that a Pod belongs to, by what the Pod itself shows.

use finding::Workload;

use crate::source::objects::{OwnerReference, Pod, PodMetadata};

/// The labels that Pods of OpenShift's `DeploymentConfig`s carry by convention, with its name.
const DEPLOYMENT_CONFIG_LABELS: [&str; 2] = ["openshift.io/deployment-config.name", "deploymentconfig"];

/// Returns the topmost owner that the Pod itself shows.
pub(super) fn workload(pod: &Pod) -> Workload {
    let metadata = &pod.metadata;
    let named = |kind: &str, name: &str| Workload { kind: kind.to_owned(), name: name.to_owned() };
    let Some(owner) = metadata.owner_references.iter().find(|owner| owner.controller) else {
        return named("Pod", &metadata.name);
    };
    if let Some(name) = owner_of_replica_set(pod, owner, "pod-template-hash") {
        return named("Deployment", name);
    }
    if let Some(name) = owner_of_replica_set(pod, owner, "rollouts-pod-template-hash") {
        return named("Rollout", name);
    }
    if let Some(name) = deployment_config(pod, owner) {
        return named("DeploymentConfig", name);
    }
    if let Some(name) = cron_job(owner) {
        return named("CronJob", name);
    }
    named(&owner.kind, &owner.name)
}

/// Returns the name of what made the `ReplicaSet` by the hash that stands in this label of its Pods. A
/// Deployment (pkg/controller/deployment/sync.go) and a Rollout of Argo name theirs `{name}-{hash}`.
fn owner_of_replica_set<'a>(pod: &Pod, owner: &'a OwnerReference, label: &str) -> Option<&'a str> {
    let hash = pod.metadata.labels.get(label)?;
    let of_apps = owner.kind == "ReplicaSet" && owner.api_version.starts_with("apps/");
    owner.name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| of_apps && !name.is_empty())
}

/// Returns the name of OpenShift's `DeploymentConfig`. It annotates its Pods with its name, and names
/// its `ReplicationController`s `{name}-{version}`.
fn deployment_config<'a>(pod: &'a Pod, owner: &OwnerReference) -> Option<&'a str> {
    let PodMetadata { annotations, labels, .. } = &pod.metadata;
    let label = || DEPLOYMENT_CONFIG_LABELS.iter().find_map(|label| labels.get(*label));
    let name = annotations.deployment_config.as_ref().or_else(label)?;
    let version = owner.name.strip_prefix(name.as_str())?.strip_prefix('-')?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (owner.kind == "ReplicationController" && is_version).then_some(name.as_str())
}

/// Returns the name of a `CronJob`. It names its Jobs `{name}-{minutes since 1970}`
/// (pkg/controller/cronjob/utils.go). The
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
        let rollout = r#"{"rollouts-pod-template-hash":"7c9d8"}"#;
        let config = r#"{"deploymentconfig":"shop"}"#;
        let openshift = r#"{"openshift.io/deployment-config.name":"shop"}"#;
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
            (owned("apps/v1", "ReplicaSet", "web-7c9d8"), rollout, "Rollout", "web"),
            (owned("apps/v1", "ReplicaSet", "web-9f4b2"), rollout, "ReplicaSet", "web-9f4b2"),
            (owned("v1", "ReplicationController", "shop-12"), config, "DeploymentConfig", "shop"),
            (owned("v1", "ReplicationController", "shop-12"), openshift, "DeploymentConfig", "shop"),
            (owned("v1", "ReplicationController", "shop-x"), config, "ReplicationController", "shop-x"),
            (owned("v1", "ReplicationController", "shop-"), config, "ReplicationController", "shop-"),
            (owned("v1", "ReplicationController", "other-12"), config, "ReplicationController", "other-12"),
            (owned("v1", "ReplicationController", "shop-12"), "{}", "ReplicationController", "shop-12"),
            (owned("example.com/v1", "Thing", "shop-12"), config, "Thing", "shop-12"),
        ] {
            let expected = Workload { kind: kind.to_owned(), name: name.to_owned() };
            assert_eq!(workload(&pod(&owner, labels)), expected);
        }
    }
}
