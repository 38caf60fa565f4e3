//! Many kills at once, against a real API server, and a program that is killed itself meanwhile.

use std::collections::BTreeSet;

use serde_json::json;
use support::{
    ControlPlane, Error, Namespace, eventually,
    program::{PATIENCE, Program},
};

use super::kills::REASON;

pub const CONTAINERS: usize = 50;

/// Creates a Pod of 50 containers.
pub async fn create(namespace: &Namespace, pod: &str) -> Result<(), Error> {
    let containers: Vec<_> = (0..CONTAINERS).map(|n| json!({"name": format!("c{n}")})).collect();
    namespace.create_pod(json!({"metadata": {"name": pod}, "spec": {"containers": containers}})).await?;
    Ok(())
}

/// Kills all of them at once, and lets them start again at once.
pub async fn kill(namespace: &Namespace, pod: &str) -> Result<(), Error> {
    let show = async |seen: &dyn Fn(&str) -> String| {
        let containers: Vec<_> =
            (0..CONTAINERS).map(|n| format!("c{n} {}", seen(&format!("{pod}-c{n}")))).collect();
        namespace.shows(pod, &containers.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    show(&|name| format!("T(0,{name}-a)")).await?;
    show(&|name| format!("R(1,{name}-b)+L({name}-a)")).await
}

/// The killed instances that Events tell of, when there are so many Events.
pub async fn told(namespace: &Namespace, kills: usize) -> Result<BTreeSet<String>, Error> {
    let events = eventually(format!("{kills} Events"), PATIENCE, async || {
        Some(namespace.events(REASON).await.unwrap()).filter(|events| events.len() >= kills)
    });
    let events = events.await?;
    assert_eq!(events.len(), kills);
    let id = |message: &str| message.split(['(', ')']).nth(1).unwrap().to_owned();
    Ok(events.iter().map(|event| id(event.message.as_deref().unwrap())).collect())
}

#[tokio::test]
async fn two_thousand_containers_killed_at_once() -> Result<(), Error> {
    let cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("storm").await?;
    let pods: Vec<_> = (0..40).map(|n| format!("p{n}")).collect();
    for pod in &pods {
        create(&namespace, pod).await?;
    }
    let program = Program::ready(&cluster.kubeconfig(), &[], &[]).await;
    for pod in &pods {
        kill(&namespace, pod).await?;
    }
    assert_eq!(told(&namespace, 2000).await?.len(), 2000);
    assert_eq!(program.metric("findings_total").await, 2000);
    assert_eq!(program.metric("deliveries_total{sink=\"events\",outcome=\"delivered\"}").await, 2000);
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_program_is_killed_again_and_again_in_a_burst_of_100() -> Result<(), Error> {
    let cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("burst").await?;
    for pod in ["one", "two"] {
        create(&namespace, pod).await?;
    }
    for (pod, events) in [("one", 1), ("two", 60)] {
        let mut program = Program::ready(&cluster.kubeconfig(), &[], &[]).await;
        kill(&namespace, pod).await?;
        eventually(format!("{events} Events"), PATIENCE, async || {
            (namespace.events(REASON).await.unwrap().len() >= events).then_some(())
        })
        .await?;
        program.signal("KILL").await;
        program.ended().await;
    }
    let program = Program::ready(&cluster.kubeconfig(), &[], &[]).await;
    assert_eq!(told(&namespace, 100).await?.len(), 100);
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
