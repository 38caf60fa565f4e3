//! Events about nodes that ran out of memory: seen where they are to be trusted, and missed without harm.

use serde_json::json;
use support::{
    api_server::{ApiServer, Asked, status},
    behaviour::Behaviour,
};
use tokio::time::{Instant, sleep};

use super::{MINUTE, SECOND, Watching, restarted};

/// An Event about a node, in the way of a kubelet.
fn of_node(server: &ApiServer, namespace: &str, name: &str, reason: &str) {
    let event = json!({
        "metadata": {"namespace": namespace, "name": name},
        "involvedObject": {"kind": "Node", "name": "n1", "uid": "n1"},
        "type": "Warning",
        "reason": reason,
        "lastTimestamp": "2026-11-22T12:00:00Z",
        "source": {"component": "kubelet"},
    });
    server.put("events", event);
}

fn told(day: &Watching) -> Option<String> {
    let metrics = day.metrics.render(Instant::now());
    let line = metrics.lines().find(|line| line.starts_with("oom_event_generator_node_oom_total{"));
    line.map(|line| line.trim_start_matches("oom_event_generator_").to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_time_that_a_node_runs_out_is_counted() {
    let server = ApiServer::new();
    of_node(&server, "default", "earlier", "SystemOOM");
    let day = Watching::begin(&server).await;
    of_node(&server, "default", "one", "SystemOOM");
    of_node(&server, "default", "one", "SystemOOM");
    of_node(&server, "default", "two", "OOMKilling");
    of_node(&server, "default", "three", "NodeNotReady");
    of_node(&server, "shop", "forged", "SystemOOM");
    sleep(SECOND).await;
    assert_eq!(told(&day).as_deref(), Some("node_oom_total{node=\"n1\"} 3"));
}

#[tokio::test(start_paused = true)]
async fn without_them_the_program_is_ready_and_finds_what_there_is() {
    let server = ApiServer::new();
    let forbidden = status(403, "Forbidden", "events is forbidden");
    server.misbehave(Behaviour::refuses(&forbidden), Asked::is_of_nodes);
    let day = Watching::begin(&server).await;
    server.put("pods", restarted("cart", 1));
    sleep(MINUTE * 5).await;
    assert!(day.is_ready(), "{}", day.readyz());
    day.finds(&["cart-0"]);
}

#[tokio::test(start_paused = true)]
async fn where_only_some_namespaces_are_watched_nobody_asks_for_them() {
    let server = ApiServer::new();
    let day = Watching::begin_in(&server, &["shop"]).await;
    of_node(&server, "default", "one", "SystemOOM");
    sleep(MINUTE * 5).await;
    assert!(!server.asked().iter().any(Asked::is_of_nodes));
    assert_eq!(told(&day), None);
}
