//! What the tests of the program rely on.
#![allow(clippy::unwrap_used, reason = "in a test it says where")]

use std::{fs, path::Path, pin::pin, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use support::{ControlPlane, Error, GrantScope, Namespace, eventually};

const SOON: Duration = Duration::from_secs(20);

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "containers": [{"name": "app"}],
        "initContainers": [{"name": "migrate"}, {"name": "proxy", "restartPolicy": "Always"}],
    }})
}

async fn statuses(namespace: &Namespace, name: &str) -> Vec<ContainerStatus> {
    let pod = namespace.api::<Pod>().get(name).await.unwrap();
    pod.status.unwrap().container_statuses.unwrap_or_default()
}

#[tokio::test]
async fn a_status_replaces_the_one_before_whole() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("status").await?;
    namespace.create_pod(pod("cart")).await?;

    namespace.shows("cart", &["app T(0,a)"]).await?;
    let app = statuses(&namespace, "cart").await.remove(0);
    assert_eq!(app.state.unwrap().terminated.unwrap().container_id.unwrap(), "containerd://a");

    let containers = ["app R(1,b)+L(a)", "init:migrate T(2,m,Completed,0)", "sidecar:proxy W(3)+L(p)"];
    namespace.shows("cart", &containers).await?;
    let app = statuses(&namespace, "cart").await.remove(0);
    let (state, last) = (app.state.unwrap(), app.last_state.unwrap());
    assert!(state.running.is_some() && state.terminated.is_none());
    assert_eq!(last.terminated.unwrap().reason.unwrap(), "OOMKilled");

    namespace.set_status("cart", json!({"phase": "Failed"})).await?;
    assert_eq!(statuses(&namespace, "cart").await, []);
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_container_has_a_status() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("ephemeral").await?;
    namespace.create_pod(pod("cart")).await?;
    namespace.shows("cart", &["ephemeral:debug T(0,d)"]).await?;
    let status = namespace.api::<Pod>().get("cart").await.unwrap().status.unwrap();
    assert_eq!(status.ephemeral_container_statuses.unwrap().len(), 1);
    Ok(())
}

#[tokio::test]
async fn repeats_of_a_start_are_one_event_until_the_kubelet_restarts() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("started").await?;
    let pod = namespace.create_pod(pod("cart")).await?;
    let now = Timestamp::now();
    namespace.started(&pod, "app", 1, now).await?;
    namespace.started(&pod, "app", 2, now).await?;
    namespace.started(&pod, "proxy", 1, now).await?;
    let events = namespace.events("Started").await?;
    let of = |path: &str| {
        let named = |event: &&Event| event.involved_object.field_path.as_deref() == Some(path);
        events.iter().filter(named).map(|event| event.count.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("spec.containers{app}"), [2]);
    assert_eq!(of("spec.initContainers{proxy}"), [1]);

    namespace.started(&pod, "app", 1, now).await?;
    namespace.started(&pod, "app", 2, now).await?;
    let events = namespace.events("Started").await?;
    let mut counts: Vec<_> = events.iter().map(|event| event.count.unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2]);
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_is_gone_at_once() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("deleted").await?;
    let first = namespace.create_pod(pod("cart")).await?;
    namespace.delete_pod("cart").await?;
    assert!(namespace.api::<Pod>().get_opt("cart").await.unwrap().is_none());
    let second = namespace.create_pod(pod("cart")).await?;
    assert_ne!(first.uid(), second.uid());
    Ok(())
}

async fn client_for(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn a_service_account_may_do_what_its_rules_say() -> Result<(), Error> {
    let plane = ControlPlane::shared().await?;
    let (home, other) = (plane.namespace("home").await?, plane.namespace("other").await?);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let scope = GrantScope::Namespaces(&[home.name()]);
    let token = home.service_account_token("watcher", scope, rules.clone()).await?;
    let client = client_for(&plane.kubeconfig_for(&token)?).await;
    let list = ListParams::default();
    Api::<Pod>::namespaced(client.clone(), home.name()).list(&list).await.unwrap();
    let forbidden = [
        Api::<Pod>::namespaced(client.clone(), other.name()).list(&list).await.err(),
        Api::<Pod>::all(client.clone()).list(&list).await.err(),
        Api::<Event>::namespaced(client, home.name()).list(&list).await.err(),
    ];
    for answer in forbidden {
        assert!(matches!(answer, Some(kube::Error::Api(status)) if status.code == 403));
    }

    let token = home.service_account_token("everywhere", GrantScope::Cluster, rules).await?;
    let client = client_for(&plane.kubeconfig_for(&token)?).await;
    Api::<Pod>::all(client).list(&list).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn every_recording_can_be_played() -> Result<(), Error> {
    let plane = ControlPlane::shared().await?;
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    for file in fs::read_dir(recordings).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let recording = fs::read_to_string(&file).unwrap();
        let namespace = plane.namespace("recording").await?;
        assert_eq!(namespace.play(&recording, 0.0).await?, recording.lines().count(), "{}", file.display());

        let last: Value = recording
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .rfind(|line: &Value| line["object"]["kind"] == "Pod")
            .unwrap();
        let pods = namespace.api::<Pod>().list(&ListParams::default()).await.unwrap().items;
        let [pod] = pods.as_slice() else { panic!("one Pod in {}", file.display()) };
        let played = serde_json::to_value(pod.status.as_ref().unwrap()).unwrap();
        let recorded = &last["object"]["status"];
        for list in ["containerStatuses", "initContainerStatuses"] {
            let ids = |status: &Value| {
                let of = |container: &Value| {
                    let last = &container["lastState"]["terminated"]["containerID"];
                    (container["containerID"].clone(), container["restartCount"].clone(), last.clone())
                };
                status[list].as_array().into_iter().flatten().map(of).collect::<Vec<_>>()
            };
            assert_eq!(ids(&played), ids(recorded), "{}", file.display());
        }
        let mirror = pod.annotations().get("kubernetes.io/config.mirror").cloned();
        for event in namespace.events("Started").await? {
            assert_eq!(event.involved_object.uid, mirror.clone().or(pod.uid()));
            let age = Timestamp::now().duration_since(event.last_timestamp.unwrap().0);
            assert!(age.as_secs() < 600, "{} of {}", age, file.display());
        }
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_would_show_a_table() -> Result<(), Error> {
    let namespace = ControlPlane::shared().await?.namespace("table").await?;
    let pod = namespace.create_pod(pod("cart")).await?;
    namespace.started(&pod, "app", 1, Timestamp::now()).await?;
    let table = namespace.kubectl_get_events().await?;
    let mut lines = table.lines();
    assert_eq!(lines.next().unwrap(), "LAST SEEN   TYPE     REASON    OBJECT     MESSAGE");
    assert!(lines.next().unwrap().ends_with("s          Normal   Started   pod/cart   Container started"));
    Ok(())
}

#[tokio::test]
async fn control_planes_run_side_by_side() -> Result<(), Error> {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one?, two?);
    let namespace = one.namespace("one").await?;
    let there = Api::<k8s_openapi::api::core::v1::Namespace>::all(two.client()?);
    assert!(there.get_opt(namespace.name()).await.unwrap().is_none());
    Ok(())
}

#[tokio::test]
async fn events_expire_after_their_ttl() -> Result<(), Error> {
    let plane = ControlPlane::builder().event_ttl(Duration::from_secs(2)).start().await?;
    let namespace = plane.namespace("expiry").await?;
    let pod = namespace.create_pod(pod("cart")).await?;
    namespace.started(&pod, "app", 1, Timestamp::now()).await?;
    eventually("the end of the Event", SOON, async || {
        namespace.events("Started").await.unwrap().is_empty().then_some(())
    })
    .await
}

#[tokio::test]
async fn the_api_server_can_go_and_come_back() -> Result<(), Error> {
    let mut plane = ControlPlane::start().await?;
    let namespace = plane.namespace("away").await?;
    namespace.create_pod(pod("cart")).await?;
    let pods = namespace.api::<Pod>();
    let list = ListParams::default();

    plane.pause_api_server().await?;
    assert!(tokio::time::timeout(Duration::from_millis(300), pods.list(&list)).await.is_err());
    plane.resume_api_server()?;
    assert_eq!(pods.list(&list).await.unwrap().items.len(), 1);

    plane.stop_api_server();
    assert!(pods.list(&list).await.is_err());
    assert!(plane.pause_api_server().await.is_err());
    plane.start_api_server().await?;
    assert_eq!(pods.list(&list).await.unwrap().items.len(), 1);
    Ok(())
}

#[tokio::test]
async fn after_a_compaction_old_watches_have_expired() -> Result<(), Error> {
    let mut plane = ControlPlane::start().await?;
    let namespace = plane.namespace("expired").await?;
    let pod = namespace.create_pod(pod("cart")).await?;
    let old = pod.resource_version().unwrap();
    namespace.started(&pod, "app", 1, Timestamp::now()).await?;
    namespace.started(&pod, "app", 2, Timestamp::now()).await?;
    plane.compact().await?;
    assert_eq!(first_answer(namespace.api::<Event>(), &old).await, Some(410));

    namespace.set_status("cart", json!({"phase": "Running"})).await?;
    plane.compact().await?;
    plane.stop_api_server();
    plane.start_api_server().await?;
    assert_eq!(first_answer(namespace.api::<Pod>(), &old).await, Some(410));
    Ok(())
}

/// The status code of an error that a watch begins with, be it as its answer or in its stream.
async fn first_answer<K>(api: Api<K>, version: &str) -> Option<u16>
where
    K: Clone + std::fmt::Debug + k8s_openapi::serde::de::DeserializeOwned,
{
    let first = match api.watch(&WatchParams::default(), version).await {
        Ok(stream) => pin!(stream).next().await.unwrap(),
        Err(error) => Err(error),
    };
    match first {
        Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
