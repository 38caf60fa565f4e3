//! What a finding advises, done: the real kubectl changes the limit of the very container, and nothing else.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use support::{
    Error, eventually,
    pod_dsl::PodDsl,
    program::{PATIENCE, Program, command},
    tools::tool,
};

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

/// The advice of the finding about a kill in a Pod of this workload, with this in its spec.
fn advice(namespace: &str, owner: (&str, &str, &str), container: &str, spec: Value) -> Value {
    let mut pod = PodDsl::at(Timestamp::from_second(1_790_000_000).unwrap());
    namespace.clone_into(&mut pod.pod.namespace);
    pod.spec = spec;
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

/// Does what a person does with a command: gives it to a shell. Returns what is said on stderr if it fails.
fn run(advised: &str, kubectl: &Path, kubeconfig: &Path) -> Result<(), String> {
    let shell = Command::new("/bin/sh")
        .args(["-c", advised])
        .env("PATH", kubectl.parent().unwrap())
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let said = || format!("{advised}: {}", String::from_utf8_lossy(&shell.stderr));
    shell.status.success().then_some(()).ok_or_else(said)
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
            let advice = advice(namespace.name(), owner, container, json!({}));
            assert_eq!(advice["memoryLimitBytes"], 128 << 20, "{kind} {container}");
            run(advice["command"].as_str().unwrap(), &kubectl, &cluster.kubeconfig()).unwrap();

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

/// A Deployment whose containers have a limit of 64Mi, and whose Pods have this one.
async fn deployment(api: &Api<DynamicObject>, name: &str, of_pods: &str) {
    let (mut spec, _) = workload("Deployment");
    spec["template"]["spec"]["resources"] = json!({"limits": {"memory": of_pods}});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec,
    });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// The API server refuses a container's limit above that of its Pod, so no command asks for one.
#[tokio::test]
async fn no_command_is_given_that_the_api_server_refuses() -> Result<(), Error> {
    let cluster = cluster().await;
    let namespace = cluster.namespace("advice-pods").await?;
    let kubectl = tool("kubectl").await;
    let api = api(cluster.client()?, namespace.name(), "apps", "Deployment");
    let of = |name: &str, of_pods: &str| {
        let replica_set = format!("{name}-6c9f7");
        let spec = json!({"resources": {"limits": {"memory": of_pods}}});
        advice(namespace.name(), ("apps/v1", "ReplicaSet", &replica_set), "app", spec)
    };
    deployment(&api, "cart.v2", "256Mi").await;
    let given = of("cart.v2", "256Mi")["command"].as_str().unwrap().to_owned();
    run(&given, &kubectl, &cluster.kubeconfig()).unwrap();
    let after = serde_json::to_value(api.get("cart.v2").await.unwrap()).unwrap();
    let limits = |place| &after["spec"]["template"]["spec"]["containers"][place]["resources"]["limits"];
    assert_eq!((&limits(0)["memory"], &limits(1)["memory"]), (&json!("128Mi"), &json!("64Mi")));

    deployment(&api, "small", "80Mi").await;
    let advice = of("small", "80Mi");
    assert_eq!((&advice["memoryLimitBytes"], advice.get("command")), (&json!(128 << 20), None));
    let refused = run(&given.replace("cart.v2", "small"), &kubectl, &cluster.kubeconfig()).unwrap_err();
    assert!(refused.contains("limit"), "{refused}");
    Ok(())
}

/// The causes that the running program gives, by the names of the Pods.
async fn causes(program: &Program, pods: &[&str]) -> Result<Vec<Value>, Error> {
    eventually("a finding for each Pod", PATIENCE, async || {
        let findings: Vec<Value> =
            program.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |pod: &&str| findings.iter().find(|finding| finding["pod"]["name"] == **pod);
        pods.iter().map(|pod| of(pod).map(|finding| finding["cause"].clone())).collect()
    })
    .await
}

#[tokio::test]
async fn volumes_and_nodes_are_seen_in_a_real_cluster() -> Result<(), Error> {
    let cluster = cluster().await;
    let namespace = cluster.namespace("why").await?;
    let program = Program::ready(&cluster.kubeconfig(), &["--sink", "stdout"], &[]).await;
    let node = format!("node-{}", namespace.name());
    let mut mounting = json!({"metadata": {"name": "mounting"}, "spec": {
        "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "tmp", "emptyDir": {"medium": "Memory"}}],
        "containers": [{
            "name": "app", "resources": {"limits": {"memory": "64Mi"}},
            "volumeMounts": [{"name": "disk", "mountPath": "/d"}, {"name": "tmp", "mountPath": "/tmp"}],
        }],
    }});
    let unlimited = json!({"metadata": {"name": "unlimited"}, "spec": {
        "nodeName": node, "containers": [{"name": "app"}],
    }});
    mounting["spec"]["nodeName"] = node.clone().into();
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": format!("{node}.1"), "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": node, "uid": node},
        "type": "Warning", "reason": "SystemOOM", "message": "System OOM encountered", "count": 1,
        "firstTimestamp": now, "lastTimestamp": now, "source": {"component": "kubelet", "host": node},
    }))
    .unwrap();
    let events = Api::<Event>::namespaced(cluster.client()?, "default");
    events.create(&PostParams::default(), &event).await.unwrap();
    eventually("the Event of the node", PATIENCE, async || {
        let metrics = program.get("/metrics").await?;
        metrics.contains(&format!("node_oom_total{{node=\"{node}\"}} 1")).then_some(())
    })
    .await?;
    for pod in [mounting, unlimited] {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        namespace.create_pod(pod).await?;
        namespace.shows(&name, &[&format!("app T(0,{name}-a)")]).await?;
        namespace.shows(&name, &[&format!("app R(1,{name}-b)+L({name}-a)")]).await?;
    }
    let causes = causes(&program, &["mounting", "unlimited"]).await?;
    assert_eq!(causes[0]["kind"], "container_limit");
    assert!(causes[0]["text"].as_str().unwrap().contains("memory-backed emptyDir 'tmp'"), "{}", causes[0]);
    assert_eq!(causes[1]["kind"], "node", "{}", causes[1]);
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
