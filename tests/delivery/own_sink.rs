//! A sink that is nobody's but this test's, from its configuration to its deliveries: what
//! CONTRIBUTING.md tells about writing a sink suffices.

#[path = "../../examples/own_sink/diary.rs"]
mod diary;

use std::fs;

use kubernetes_oom_event_generator::{
    config::{Config, LoadedConfig},
    pipeline,
    stop::Stop,
};
use serde_json::json;
use settings::ConfigErrors;
use sinks::SinkType;
use support::{
    ControlPlane, Error, eventually,
    program::PATIENCE,
    status::{OOM_KILLED, PodStatus, running},
};

fn load(yaml: &str) -> Result<LoadedConfig, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, yaml).unwrap();
    let types: Vec<SinkType> = sinks::TYPES.iter().copied().chain([diary::TYPE]).collect();
    Config::load_with(&types, Some(&file), &[], [])
}

#[test]
fn its_settings_are_read_and_what_is_wrong_with_them_is_said() {
    let errors = load("sinks: { own: { type: diary, pth: x } }").unwrap_err().to_string();
    for said in ["sinks.own.path", "the path of a file that may be written", "sinks.own.pth"] {
        assert!(errors.contains(said), "{errors}");
    }
    let errors = load("sinks: { own: { type: dairy } }").unwrap_err().to_string();
    assert!(errors.contains("diary"), "{errors}");
    let loaded = load("sinks: { own: { type: diary, path: /tmp/diary } }").unwrap();
    let path = loaded.resolved.iter().find(|resolved| resolved.path == "sinks.own.path").unwrap();
    assert_eq!(path.value, "/tmp/diary");
}

#[tokio::test]
async fn it_gets_each_finding_once() -> Result<(), Error> {
    // One of its own: in the shared one, other tests would report the kills first.
    let cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("own-sink").await?;
    let dir = tempfile::tempdir().unwrap();
    let (path, name) = (dir.path().join("diary.txt"), namespace.name());
    let config = format!(
        "server: null\nnamespaces: {{ include: [{name}] }}\nsinks: {{ own: {{ type: diary, path: {path:?} }} }}"
    );
    let stop = Stop::default();
    let config = load(&config).unwrap().config;
    let pipeline = tokio::spawn(pipeline::run(config, cluster.client()?, stop.clone()));

    for (pod, killed, started) in [("cart", "a", "b"), ("search", "c", "d")] {
        let containers = json!([{"name": "app"}]);
        namespace.create_pod(json!({"metadata": {"name": pod}, "spec": {"containers": containers}})).await?;
        let status = PodStatus::new().container("app", running(1, started).last(killed, OOM_KILLED));
        namespace.set_status(pod, status).await?;
    }
    let diary = eventually("two lines in the diary", PATIENCE, async || {
        fs::read_to_string(&path).ok().filter(|diary| diary.lines().count() >= 2)
    })
    .await?;
    stop.ask();
    pipeline.await.unwrap().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), diary);
    for id in ["containerd://a", "containerd://c"] {
        assert_eq!(diary.matches(&format!("({id})")).count(), 1, "{diary}");
    }
    Ok(())
}
