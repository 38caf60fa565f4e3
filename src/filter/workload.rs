//! Finds the workload that a Pod belongs to, by what the Pod itself shows.

use std::ops::Range;

use finding::Workload;
use jiff::{SignedDuration, Timestamp};

use crate::source::objects::{OwnerReference, Pod, PodMetadata};

/// The labels that Pods of OpenShift's `DeploymentConfig`s carry by convention, with its name.
const DEPLOYMENT_CONFIG_LABELS: [&str; 2] = ["openshift.io/deployment-config.name", "deploymentconfig"];

/// How long after its scheduled time a `CronJob`'s Pod may be created: one that was suspended, or whose
/// controller was down, makes up for the last time that it missed. A Job creates further Pods later, too.
const MAX_LATE: SignedDuration = SignedDuration::from_hours(31 * 24);
/// How far the clock of the API server may be behind the controller's.
const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(10);
/// What is a scheduled time, from 2017 to 2160, in a Pod that doesn't say when it was created.
const SCHEDULED_MINUTES: Range<i64> = 25_000_000..100_000_000;

/// Returns the topmost owner that the Pod itself shows.
pub(crate) fn workload(pod: &Pod) -> Workload {
    let metadata = &pod.metadata;
    let named = |kind: &str, name: &str| Workload { kind: kind.to_owned(), name: name.to_owned() };
    let owner = metadata.owner_references.iter().find(|owner| owner.is_controller());
    if let Some(name) = deployment_config(pod, owner) {
        return named("DeploymentConfig", name);
    }
    let Some(owner) = owner else {
        return named("Pod", &metadata.name);
    };
    if let Some(name) = owner_of_replica_set(pod, owner, "pod-template-hash") {
        return named("Deployment", name);
    }
    if let Some(name) = owner_of_replica_set(pod, owner, "rollouts-pod-template-hash") {
        return named("Rollout", name);
    }
    if let Some(name) = cron_job(pod, owner) {
        return named("CronJob", name);
    }
    named(&owner.kind, &owner.name)
}

/// Returns whether the Pod's owner is of a kind that Kubernetes itself has; others may share the name.
pub(super) fn is_built_in(pod: &Pod) -> bool {
    let owner = pod.metadata.owner_references.iter().find(|owner| owner.controller);
    owner.is_some_and(|owner| {
        owner.api_version.starts_with("apps/") || owner.api_version.starts_with("batch/")
    })
}

/// Returns the name of what made the `ReplicaSet` by the hash that stands in this label of its Pods. A
/// Deployment (pkg/controller/deployment/sync.go) and a Rollout of Argo name theirs `{name}-{hash}`.
fn owner_of_replica_set<'a>(pod: &Pod, owner: &'a OwnerReference, label: &str) -> Option<&'a str> {
    let hash = pod.metadata.labels.get(label)?;
    let of_apps = owner.kind == "ReplicaSet" && owner.api_version.starts_with("apps/");
    owner.name.strip_suffix(hash.as_str())?.strip_suffix('-').filter(|name| of_apps && !name.is_empty())
}

/// Returns the name of OpenShift's `DeploymentConfig`. It annotates its Pods with its name, and names
/// its `ReplicationController`s `{name}-{version}`. The Pods that roll one out, and those of its hooks,
/// carry the annotations too, have no controlling owner, and their names begin with the
/// `ReplicationController`'s.
fn deployment_config<'a>(pod: &'a Pod, owner: Option<&OwnerReference>) -> Option<&'a str> {
    let PodMetadata { annotations, labels, .. } = &pod.metadata;
    let label = || DEPLOYMENT_CONFIG_LABELS.iter().find_map(|label| labels.get(*label));
    let name = annotations.deployment_config.as_ref().or_else(label)?;
    let controller = match owner {
        Some(owner) => Some(&owner.name).filter(|_| owner.kind == "ReplicationController"),
        None => annotations.deployment.as_ref().filter(|deployment| {
            let rest = pod.metadata.name.strip_prefix(deployment.as_str());
            rest.is_some_and(|rest| rest == "-deploy" || rest.starts_with("-hook-"))
        }),
    }?;
    let version = controller.strip_prefix(name.as_str())?.strip_prefix('-')?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some(name.as_str())
}

/// Returns the name of a `CronJob`. It names its Jobs `{name}-{scheduled time in minutes since 1970}`
/// (pkg/controller/cronjob/utils.go). The Pod is created after that time, which tells it from the dates
/// that people put into names, such as 20260131 (the minutes of a day in 2008).
fn cron_job<'a>(pod: &Pod, owner: &'a OwnerReference) -> Option<&'a str> {
    let (name, minutes) = owner.name.rsplit_once('-')?;
    let digits = minutes.bytes().all(|byte| byte.is_ascii_digit());
    let scheduled = Timestamp::from_second(minutes.parse::<i64>().ok()?.checked_mul(60)?).ok()?;
    let fits = match pod.metadata.creation_timestamp {
        Some(created) => (-MAX_AHEAD..=MAX_LATE).contains(&created.duration_since(scheduled)),
        None => SCHEDULED_MINUTES.contains(&scheduled.as_second().div_euclid(60)),
    };
    let of_batch = owner.kind == "Job" && owner.api_version.starts_with("batch/");
    (digits && fits && of_batch && !name.is_empty()).then_some(name)
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
    fn a_cron_job_has_scheduled_what_is_created_soon_after() {
        for (job, created, kind) in [
            ("report-29844000", "2026-09-29T00:00:02Z", "CronJob"),
            ("report-29844000", "2026-09-28T23:51:00Z", "CronJob"),
            ("report-29844000", "2026-10-29T12:00:00Z", "CronJob"),
            ("report-29844000", "2026-09-28T12:00:00Z", "Job"),
            ("report-29844000", "2026-12-01T00:00:00Z", "Job"),
            ("report-28112026", "2026-11-28T06:00:00Z", "Job"),
            ("report-20261128", "2026-11-28T06:00:00Z", "Job"),
            ("report-+29844000", "2026-09-29T00:00:02Z", "Job"),
            ("report--29844000", "2026-09-29T00:00:02Z", "CronJob"),
            ("report-99999999999999999999", "2026-09-29T00:00:02Z", "Job"),
            ("report-9223372036854775807", "2026-09-29T00:00:02Z", "Job"),
            ("-29844000", "2026-09-29T00:00:02Z", "Job"),
            ("report", "2026-09-29T00:00:02Z", "Job"),
        ] {
            let mut pod = pod(&owned("batch/v1", "Job", job), "{}");
            pod.metadata.creation_timestamp = Some(created.parse().unwrap());
            let name = if kind == "Job" { job } else { job.strip_suffix("-29844000").unwrap() };
            let expected = Workload { kind: kind.to_owned(), name: name.to_owned() };
            assert_eq!(workload(&pod), expected, "{created}");
        }
    }

    #[test]
    fn what_rolls_a_deployment_config_out_belongs_to_it() {
        let not_controlling = r#"[{"apiVersion":"v1","kind":"ReplicationController","name":"shop-12"}]"#;
        let controlling = owned("v1", "ReplicationController", "shop-12");
        for (name, owner, deployment, kind) in [
            ("shop-12-deploy", not_controlling, Some("shop-12"), "DeploymentConfig"),
            ("shop-12-deploy", &controlling, Some("shop-12"), "DeploymentConfig"),
            ("shop-12-hook-pre", "null", Some("shop-12"), "DeploymentConfig"),
            ("shop-12-deploy", "null", None, "Pod"),
            ("shop-12-x7k2p", "null", Some("shop-12"), "Pod"),
            ("cart-3-deploy", "null", Some("cart-3"), "Pod"),
        ] {
            let mut pod = pod(owner, "{}");
            name.clone_into(&mut pod.metadata.name);
            pod.metadata.annotations.deployment_config = Some("shop".to_owned());
            pod.metadata.annotations.deployment = deployment.map(str::to_owned);
            let shown = if kind == "Pod" { name } else { "shop" };
            assert_eq!(workload(&pod), Workload { kind: kind.to_owned(), name: shown.to_owned() }, "{name}");
        }
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
