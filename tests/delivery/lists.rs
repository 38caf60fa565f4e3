//! Kills that a list brings to light while their queue is full: the list waits, and no watch does.

use std::time::Duration;

use jiff::Timestamp;
use kubernetes_oom_event_generator::{
    config::{Config, LoadedConfig},
    pipeline::{self, PipelineError},
    stop::Stop,
};
use serde_json::{Value, json};
use support::{
    api_server::{ApiServer, status},
    behaviour::Behaviour,
    log,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The queue of the sink.
const CAPACITY: usize = 50;

/// Kills at the first list: ten times as many as the queue takes.
const KILLS: usize = 500;

/// The pipeline over the API server, with a sink of type kubernetes alone.
fn start(server: &ApiServer, stop: &Stop, namespaces: &str) -> JoinHandle<Result<(), PipelineError>> {
    log::begin();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let config = format!(
        "server: null\nnamespaces: {{ include: [{namespaces}] }}\n\
         sinks: {{ events: {{ type: kubernetes, queue_capacity: {CAPACITY} }} }}"
    );
    std::fs::write(&file, config).unwrap();
    let LoadedConfig { config, .. } = Config::load(Some(&file), &[], []).unwrap();
    let (client, stop) = (server.client(), stop.clone());
    tokio::spawn(pipeline::run(config, || Ok(client), stop))
}

/// A Pod whose container was OOM-killed and restarted just now.
fn restarted(namespace: &str, name: &str) -> Value {
    let now = Timestamp::now().to_string();
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}")},
        "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "app",
            "restartCount": 1,
            "containerID": format!("containerd://{name}-1"),
            "state": {"running": {"startedAt": now}},
            "lastState": {"terminated": {
                "reason": "OOMKilled",
                "exitCode": 137,
                "containerID": format!("containerd://{name}-0"),
                "startedAt": now,
                "finishedAt": now,
            }},
        }]},
    })
}

fn server_with_kills() -> ApiServer {
    let server = ApiServer::new();
    for number in 0..KILLS {
        server.put("pods", restarted("shop", &format!("cart-{number}")));
    }
    server
}

/// Waits until so many Events are stored; returns how long it took.
async fn stored(server: &ApiServer, events: usize) -> Duration {
    let begun = Instant::now();
    while server.objects("events").len() < events {
        assert!(begun.elapsed() < Duration::from_hours(1), "{} Events", server.objects("events").len());
        sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn none_is_dropped_at_ten_times_the_queues_length_while_the_sink_works() {
    let (server, stop) = (server_with_kills(), Stop::default());
    server.misbehave(Behaviour::good().later(Duration::from_secs(1)), |asked| asked.object.is_some());
    let pipeline = start(&server, &stop, "");
    stored(&server, KILLS).await;
    stop.ask();
    pipeline.await.unwrap().unwrap();
    assert_eq!(log::logged(&["undelivered finding"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_does_not_wait_with_it() {
    let (server, stop) = (server_with_kills(), Stop::default());
    server.misbehave(Behaviour::good().later(Duration::from_secs(10)), |asked| {
        asked.object.is_some() && asked.namespace.as_deref() == Some("shop")
    });
    let pipeline = start(&server, &stop, "shop, bank");
    sleep(Duration::from_mins(1)).await;
    let of = |namespace: &str| {
        let events = server.objects("events");
        events.iter().filter(|event| event["metadata"]["namespace"] == namespace).count()
    };
    assert!(of("shop") < KILLS / 2, "the list doesn't wait any more");
    server.put("pods", restarted("bank", "vault-0"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(of("bank"), 1);
    stop.ask();
    assert!(matches!(pipeline.await.unwrap(), Ok(()) | Err(PipelineError::Undelivered(_))));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_stores_nothing_keeps_it_waiting_for_a_minute() {
    let (server, stop) = (server_with_kills(), Stop::default());
    let refusal = status(500, "InternalError", "no");
    server.misbehave(Behaviour::refuses(&refusal), |asked| asked.object.is_some());
    let pipeline = start(&server, &stop, "");
    sleep(Duration::from_secs(50)).await;
    assert_eq!(log::logged(&["the sink's queue is full"]).len(), 0);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(log::logged(&["undelivered finding", "the sink's queue is full"]).len(), KILLS - CAPACITY);
    let watched = server.asked().iter().any(|asked| asked.is_watch("pods"));
    assert!(watched, "the list has not ended");
    stop.ask();
    let Err(PipelineError::Undelivered(undelivered)) = pipeline.await.unwrap() else {
        panic!("all was delivered")
    };
    assert_eq!(usize::try_from(undelivered).unwrap(), KILLS);
}
