//! Sinks of one's own, from their configuration to their deliveries: what CONTRIBUTING.md says about
//! writing a sink suffices.

#[path = "../../examples/own_sink/diary.rs"]
mod diary;

use std::{fs, sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::TestFinding;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kubernetes_oom_event_generator::{
    check,
    config::{Config, LoadedConfig},
    pipeline,
    stop::Stop,
};
use serde_json::json;
use settings::ConfigErrors;
use sinks::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
};
use support::{ControlPlane, Error, eventually, program::PATIENCE};

/// `type: notice-board`: writes a `ConfigMap` for each finding, so it needs the cluster.
const NOTICE_BOARD: SinkType = SinkType {
    name: "notice-board",
    needs_cluster: true,
    read: |_| Some(Arc::new(NoticeBoardSettings)),
    ..SinkType::PLAIN
};

#[derive(Debug)]
struct NoticeBoardSettings;

impl SinkSettings for NoticeBoardSettings {
    fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        let client = context.kubernetes.clone().ok_or(SinkBuildError::NoCluster)?;
        Ok(Arc::new(NoticeBoard(Api::default_namespaced(client))))
    }
}

struct NoticeBoard(Api<ConfigMap>);

#[async_trait]
impl Sink for NoticeBoard {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 1, concurrency: 1, interval: Duration::ZERO, timeout: PATIENCE }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let mut outcomes = Vec::new();
        for Delivery { finding, .. } in batch {
            let notice = json!({
                "metadata": { "name": format!("notice-{}", finding.id.as_str()) },
                "data": { "message": finding.message },
            });
            let notice = serde_json::from_value(notice).unwrap();
            let written = self.0.create(&PostParams::default(), &notice).await;
            outcomes.push(match written {
                Ok(_) => AttemptOutcome::Delivered,
                Err(error) => AttemptOutcome::Refused { reason: error.to_string() },
            });
        }
        outcomes
    }
}

fn load(yaml: &str) -> Result<LoadedConfig, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    fs::write(&file, yaml).unwrap();
    let types: Vec<SinkType> = sinks::TYPES.iter().copied().chain([diary::TYPE, NOTICE_BOARD]).collect();
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
    let (config, client) = (load(&config).unwrap().config, cluster.client()?);
    let pipeline = tokio::spawn(pipeline::run(config, || Ok(client), stop.clone()));

    for (pod, killed, started) in [("cart", "a", "b"), ("search", "c", "d")] {
        let containers = json!([{"name": "app"}]);
        namespace.create_pod(json!({"metadata": {"name": pod}, "spec": {"containers": containers}})).await?;
        namespace.shows(pod, &[&format!("app R(1,{started})+L({killed})")]).await?;
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

#[tokio::test]
async fn a_check_tries_one_that_needs_the_cluster() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let config = load("sinks: { board: { type: notice-board } }").unwrap().config;
    let client = cluster.client()?;
    let notices = Api::<ConfigMap>::default_namespaced(client.clone());
    check::send(&config, move || Ok(client.clone())).await.unwrap();
    let written = notices.list(&ListParams::default()).await.unwrap();
    let messages: Vec<_> = written
        .iter()
        .filter_map(|notice| notice.data.as_ref()?.get("message").map(String::as_str))
        .collect();
    assert_eq!(messages, [TestFinding::MESSAGE]);
    Ok(())
}
