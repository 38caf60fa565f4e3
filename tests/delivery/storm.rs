//! 500 kills at once, through the program as a process, to a Slack that takes a message a second.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use support::{
    ControlPlane, Error, Namespace,
    behaviour::Behaviour,
    eventually,
    program::{PATIENCE, Program},
    slack::{POD, Slack},
};
use tokio::time::Instant;

use super::config_file::ConfigFile;

const WORKLOADS: usize = 20;
const PODS: usize = 500;
const MESSAGES: usize = 25;
const WITHIN: Duration = Duration::from_secs(30);

/// What Slack asks for, but for what a network may squeeze together.
const PACE: Duration = Duration::from_millis(900);

/// A Pod of a Deployment whose container was killed and runs again.
async fn create_killed(namespace: &Namespace, number: usize) -> Result<(), Error> {
    let name = format!("{POD}{number:04}");
    let replica_set = format!("shop-{}-5d4c7b", number % WORKLOADS);
    namespace
        .create_pod(json!({
            "metadata": {
                "name": name,
                "labels": {"pod-template-hash": "5d4c7b"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set,
                    "uid": format!("{replica_set}-uid"), "controller": true,
                }],
            },
            "spec": {"containers": [{"name": "app", "resources": {"limits": {"memory": "64Mi"}}}]},
        }))
        .await?;
    namespace.shows(&name, &[&format!("app R(1,{name}-b)+L({name}-a)")]).await
}

/// Takes a message a second, and asks for patience if there are more.
async fn slack_of_one_a_second() -> Slack {
    let mut last: Option<Instant> = None;
    Slack::listen(move |_| {
        let too_early = last.is_some_and(|last| last.elapsed() < PACE);
        last = Some(Instant::now());
        if too_early { Behaviour::says(429, "rate_limited").and_asks_for(1) } else { Behaviour::good() }
    })
    .await
}

#[tokio::test]
async fn five_hundred_kills_in_twenty_workloads_are_a_few_messages() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.namespace("storm").await?;
    let created = stream::iter(0..PODS).map(|number| create_killed(&namespace, number));
    created.buffer_unordered(16).try_collect::<Vec<()>>().await?;
    let slack = slack_of_one_a_second().await;
    let sinks = format!(
        "  events: {{ type: kubernetes }}\n  team: {{ type: slack, webhook_url: \"{}\", group_interval: 0s }}\n",
        slack.url()
    );
    let config = ConfigFile::new(namespace.name(), &sinks);
    let program = Program::ready(&cluster.kubeconfig(), &["-c", config.path().to_str().unwrap()], &[]).await;
    eventually("500 deliveries", PATIENCE, async || {
        let delivered = program.metric("deliveries_total{sink=\"team\",outcome=\"delivered\"}").await;
        (delivered == PODS as u64).then_some(())
    })
    .await?;
    assert_eq!(program.stop().await, Some(0));

    let asked = slack.messages();
    assert!(asked.iter().all(|asked| asked.answered), "Slack had to ask for patience");
    let named: BTreeSet<_> = asked.iter().flat_map(|asked| asked.pods.clone()).collect();
    let expected: BTreeSet<_> = (0..PODS).map(|number| format!("{POD}{number:04}")).collect();
    assert_eq!(named, expected);
    for workload in 0..WORKLOADS {
        let name = format!("shop-{workload}");
        let is_name = |word: &str| word == name;
        let words = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(is_name);
        assert!(asked.iter().any(|asked| words(&asked.text)), "{name} is not named");
    }
    let took = asked.last().unwrap().at.saturating_sub(asked[0].at);
    println!("500 kills were {} messages within {took:?}", asked.len());
    assert!(asked.len() <= MESSAGES && took < WITHIN, "{} messages in {took:?}", asked.len());
    Ok(())
}
