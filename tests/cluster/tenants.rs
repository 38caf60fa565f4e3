//! Two tenants of a real API server: what one writes in its namespace proves nothing for the other's.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use serde_json::json;
use support::{
    Error, eventually,
    program::{PATIENCE, Program},
};

use super::kills::{cluster, kill_once};

#[tokio::test]
async fn an_event_of_another_namespace_confirms_no_kill() -> Result<(), Error> {
    let (evil, shop) = (cluster().await.namespace("evil").await?, cluster().await.namespace("shop").await?);
    let program = Program::ready(&cluster().await.kubeconfig(), &["--sink", "stdout"], &[]).await;
    let pod = json!({"metadata": {"name": "cart"}, "spec": {"containers": [{"name": "app"}]}});
    let pod = shop.create_pod(pod).await?;
    shop.shows("cart", &["app R(0,a)"]).await?;
    shop.shows("cart", &["app T(0,a)"]).await?;
    let later = (Timestamp::now() + SignedDuration::from_secs(5)).to_string();
    let forged: Event = serde_json::from_value(json!({
        "metadata": {"name": "cart.forged", "namespace": evil.name()},
        "eventTime": later,
        "action": "Starting",
        "type": "Normal",
        "reason": "Started",
        "reportingController": "kubelet",
        "reportingInstance": "n1",
        "series": {"count": 9, "lastObservedTime": later},
        "regarding": {
            "kind": "Pod",
            "namespace": shop.name(),
            "name": "cart",
            "uid": pod.metadata.uid,
            "fieldPath": "spec.containers{app}",
        },
    }))
    .unwrap();
    evil.api::<Event>().create(&kube::api::PostParams::default(), &forged).await.unwrap();
    kill_once(&evil, "marker").await;
    // Other tests use the same cluster.
    let found_in =
        |namespace: &str| program.findings().iter().any(|finding| finding["namespace"] == namespace);
    let marked = async || found_in(evil.name()).then_some(());
    eventually("the kill after it", PATIENCE, marked).await.unwrap();
    assert!(!found_in(shop.name()), "{}", program.stdout());
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
