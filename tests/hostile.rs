//! Two tenants of one cluster. Whatever the hostile one writes, nothing changes for the honest one, and the program
//! holds little more than without it.

use std::time::Duration;

use serde_json::{Value, json};
use support::{eventually, program::PATIENCE, program::Program, sockets::FakeCluster};
use tokio::time::sleep;

use crate::source::restarted;

/// How much more the program may ever hold than without the hostile tenant. What it holds without depends on how it
/// was built: optimised, some 11 MB.
const MAX_MORE_BYTES: u64 = 20 << 20;

/// How many Pods of the honest tenant are killed.
const HONEST: usize = 20;

fn in_namespace(namespace: &str, mut pod: Value) -> Value {
    pod["metadata"]["namespace"] = namespace.into();
    pod
}

/// A Pod in the hostile namespace with so many containers, each killed and restarted.
fn of_containers(name: &str, containers: usize) -> Value {
    let mut pod = in_namespace("evil", restarted(name, 1));
    let status = pod["status"]["containerStatuses"][0].clone();
    let statuses = (0..containers).map(|container| {
        let mut status = status.clone();
        status["name"] = format!("c{container}").into();
        status["containerID"] = format!("containerd://{name}-{container}-1").into();
        status["lastState"]["terminated"]["containerID"] =
            format!("containerd://{name}-{container}-0").into();
        status
    });
    pod["status"]["containerStatuses"] = statuses.collect();
    pod
}

/// What the hostile tenant makes.
fn hostile_pods() -> Vec<Value> {
    let mut pods = Vec::new();
    for number in 0..3 {
        let mut pod = of_containers(&format!("labels-{number}"), 60);
        let labels = (0..60).map(|label| (format!("label-{label}"), "v".repeat(20_000).into()));
        pod["metadata"]["labels"] = Value::Object(labels.collect());
        pods.push(pod);
    }
    for number in 0..10 {
        let mut pod = in_namespace("evil", restarted(&format!("owner-{number}"), 1));
        let owner = json!({"apiVersion": "v1", "kind": "k".repeat(100_000), "name": "n".repeat(1_000_000), "controller": true});
        pod["metadata"]["ownerReferences"] = json!([owner]);
        pods.push(pod);
    }
    pods.push(of_containers("many", 1_000));
    pods
}

async fn cluster() -> FakeCluster {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    for number in 0..HONEST / 2 {
        cluster.server.put("pods", in_namespace("honest", restarted(&format!("cart-{number}"), 1)));
    }
    cluster
}

/// What is found and written of the honest tenant's Pods, without the time of detection.
async fn honest_findings(cluster: &FakeCluster, program: &Program) -> Vec<String> {
    for number in HONEST / 2..HONEST {
        cluster.server.put("pods", in_namespace("honest", restarted(&format!("cart-{number}"), 1)));
    }
    let is_honest =
        |object: &Value, at: &str| object.pointer(at).is_some_and(|namespace| namespace == "honest");
    let found = eventually("the honest tenant's kills", PATIENCE, async || {
        let events = cluster.server.objects("events");
        let events = events.iter().filter(|event| is_honest(event, "/metadata/namespace")).count();
        let found = program.findings().into_iter().filter(|finding| is_honest(finding, "/namespace"));
        let found: Vec<_> = found.collect();
        (found.len() == HONEST && events == HONEST).then_some(found)
    });
    let found = found.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    let mut told: Vec<_> = found
        .into_iter()
        .map(|finding| format!("{}: {}", finding["pod"]["name"], finding["killed"]["containerId"]))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn nothing_that_one_tenant_writes_changes_what_is_told_of_another() {
    let peaceful = cluster().await;
    let program = peaceful.program().await;
    let expected = honest_findings(&peaceful, &program).await;
    let (_, at_peace) = program.memory();
    assert_eq!(program.stop().await, Some(0));

    let cluster = cluster().await;
    let program = cluster.program().await;
    for pod in hostile_pods() {
        cluster.server.put("pods", pod);
    }
    // And a storm.
    for number in 0..2_000 {
        cluster.server.put("pods", in_namespace("evil", restarted(&format!("storm-{number}"), 1)));
    }
    assert_eq!(honest_findings(&cluster, &program).await, expected);
    sleep(Duration::from_secs(2)).await;
    let (_, peak) = program.memory();
    assert!(
        peak < at_peace + MAX_MORE_BYTES,
        "it held {peak} bytes, and {at_peace} without a hostile tenant"
    );
    let metrics = program.get("/metrics").await.unwrap();
    let of_honest = metrics.lines().filter(|line| line.contains("kills_total{namespace=\"honest\""));
    assert_eq!(of_honest.count(), HONEST, "{metrics}");
    assert_eq!(program.metric("deliveries_total{sink=\"kubernetes\",outcome=\"failed\"}").await, 0);
    program.stop().await;
}
