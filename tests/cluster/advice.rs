//! What a finding advises, done: the real kubectl changes the limit of the very container, and nothing else.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use support::{Error, pod_dsl::PodDsl, program::command, tools::tool};

use super::kills::cluster;

/// The objects of a kind in a namespace.
fn api(client: Client, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(client, namespace, &kind)
}

/// The template of a workload's Pods, whose containers all have a limit.
fn template() -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": "i",
            "resources": {"limits": {"memory": "64Mi", "cpu": "1"}, "requests": {"memory": "32Mi"}},
        })
    };
    let mut sidecar = container("proxy");
    sidecar["restartPolicy"] = "Always".into();
    json!({
        "metadata": {"labels": {"app": "cart"}},
        "spec": {
            "restartPolicy": "Always",
            "initContainers": [container("migrate"), sidecar],
            "containers": [container("app"), container("app2")],
        },
    })
}

/// A workload of this kind, and where the template of its Pods stands in it.
fn workload(kind: &str) -> (Value, &'static str) {
    let selector = json!({"matchLabels": {"app": "cart"}});
    if kind == "CronJob" {
        let mut template = template();
        template["spec"]["restartPolicy"] = "OnFailure".into();
        let job = json!({"spec": {"template": template}});
        return (json!({"schedule": "0 0 * * *", "jobTemplate": job}), "/spec/jobTemplate/spec/template");
    }
    let mut spec = json!({"selector": selector, "template": template()});
    if kind == "StatefulSet" {
        spec["serviceName"] = "cart".into();
    }
    (spec, "/spec/template")
}

/// The advice of the finding about a kill in a Pod of this workload.
fn advice(namespace: &str, owner: (&str, &str, &str), container: &str) -> Value {
    let mut pod = PodDsl::at(Timestamp::from_second(1_790_000_000).unwrap());
    namespace.clone_into(&mut pod.pod.namespace);
    let (api_version, kind, name) = owner;
    pod.metadata = json!({
        "labels": {"pod-template-hash": "6c9f7"},
        "ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true}],
    });
    let mut recorded = pod.object(&[&format!("{container} R(1,b)+L(a)")]);
    recorded["kind"] = "Pod".into();
    let mut replay = command();
    let mut replay =
        replay.args(["replay", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    replay.stdin.take().unwrap().write_all(recorded.to_string().as_bytes()).unwrap();
    let output = replay.wait_with_output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["advice"].take()
}

/// Does what a person does with a command: gives it to a shell.
fn run(advised: &str, kubectl: &Path, kubeconfig: &Path) {
    let shell = Command::new("/bin/sh")
        .args(["-c", advised])
        .env("PATH", kubectl.parent().unwrap())
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    assert!(shell.status.success(), "{advised}: {}", String::from_utf8_lossy(&shell.stderr));
}

#[tokio::test]
async fn the_command_sets_the_limit_of_the_container_and_no_other() -> Result<(), Error> {
    let cluster = cluster().await;
    let namespace = cluster.namespace("advice").await?;
    let kubectl = tool("kubectl").await;
    for (group, kind, owner) in [
        ("apps", "Deployment", ("apps/v1", "ReplicaSet", "cart-6c9f7")),
        ("apps", "StatefulSet", ("apps/v1", "StatefulSet", "cart")),
        ("apps", "DaemonSet", ("apps/v1", "DaemonSet", "cart")),
        ("batch", "CronJob", ("batch/v1", "Job", "cart-29312345")),
    ] {
        let api = api(cluster.client()?, namespace.name(), group, kind);
        let (spec, template) = workload(kind);
        let object = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "cart"}, "spec": spec,
        });
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        for (container, list, place) in [
            ("app", "containers", 0),
            ("init:migrate", "initContainers", 0),
            ("sidecar:proxy", "initContainers", 1),
        ] {
            let before = serde_json::to_value(api.get("cart").await.unwrap()).unwrap();
            let advice = advice(namespace.name(), owner, container);
            assert_eq!(advice["memoryLimitBytes"], 128 << 20, "{kind} {container}");
            run(advice["command"].as_str().unwrap(), &kubectl, &cluster.kubeconfig());

            let mut after = serde_json::to_value(api.get("cart").await.unwrap()).unwrap();
            let limit = format!("{template}/spec/{list}/{place}/resources/limits/memory");
            assert_eq!(after.pointer(&limit).unwrap(), "128Mi", "{kind} {container}");
            // Nothing else changed.
            *after.pointer_mut(&limit).unwrap() = "64Mi".into();
            assert_eq!(after["spec"], before["spec"], "{kind} {container}");
        }
    }
    Ok(())
}
