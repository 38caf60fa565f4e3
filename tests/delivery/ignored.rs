//! Pods whose owners want no messages: their kills are remembered, and nobody is told.

use serde_json::json;
use support::{
    eventually,
    program::{PATIENCE, Program},
    sockets::FakeCluster,
};

use crate::source::restarted;

const SINKS: [(&str, &str); 3] = [
    ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
    ("OOM_SINKS__LOG__TYPE", "stdout"),
    ("OOM_SHUTDOWN_GRACE", "1s"),
];

/// The program, which sees a kill in a Pod that asks to be ignored, and one in a Pod that doesn't.
async fn program(cluster: &FakeCluster, honor_ignore: &str) -> Program {
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    let environment: Vec<_> = SINKS.into_iter().chain([("OOM_HONOR_IGNORE", honor_ignore)]).collect();
    let program = cluster.program_in(&environment).await;
    let mut quiet = restarted("quiet", 1);
    quiet["metadata"]["annotations"] = json!({"oom-event-generator/ignore": "true"});
    let mut loud = restarted("cart", 1);
    loud["metadata"]["annotations"] = json!({"oom-event-generator/ignore": "false"});
    cluster.server.put("pods", quiet);
    cluster.server.put("pods", loud);
    program
}

/// Waits until the outcomes are counted.
async fn counts(program: &Program, expected: &[(&str, &str, u64)]) {
    for (sink, outcome, count) in expected {
        let metric = format!("deliveries_total{{sink=\"{sink}\",outcome=\"{outcome}\"}}");
        let counted =
            eventually(&metric, PATIENCE, async || (program.metric(&metric).await == *count).then_some(()));
        counted.await.unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    }
}

#[tokio::test]
async fn a_pod_that_asks_for_it_is_remembered_and_not_told_of() {
    let cluster = FakeCluster::new();
    let program = program(&cluster, "true").await;
    counts(&program, &[("events", "delivered", 2), ("log", "filtered", 1), ("log", "delivered", 1)]).await;
    assert!(!program.stdout().contains("quiet") && program.stdout().contains("cart"));
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn nobody_is_ignored_by_default() {
    let cluster = FakeCluster::new();
    let program = program(&cluster, "false").await;
    counts(&program, &[("events", "delivered", 2), ("log", "delivered", 2)]).await;
    assert_eq!(program.stop().await, Some(0));
}
