//! Against a real API server and a fake Slack: what an Event says is owed, and who may write that down.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use support::{
    ControlPlane, Error, GrantScope, Namespace, eventually,
    program::{PATIENCE, Program},
    slack::{POD, Slack},
};
use tokio::time::sleep;

use super::kills::REASON;

pub const OWED: &str = "oom-event-generator/owed";
const FINDING: &str = "oom-event-generator/finding";
const RENEWED: &str = "oom-event-generator/renewed";

/// The environment of a program that writes Events and posts to Slack.
fn environment(slack: &Slack, namespace: &Namespace) -> Vec<(&'static str, String)> {
    vec![
        ("OOM_SINKS__EVENTS__TYPE", "kubernetes".to_owned()),
        ("OOM_SINKS__TEAM__TYPE", "slack".to_owned()),
        ("OOM_SINKS__TEAM__WEBHOOK_URL", slack.url()),
        ("OOM_NAMESPACES__INCLUDE", format!("[{}]", namespace.name())),
    ]
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// Kills the container of a new Pod of a workload, and lets it start again.
pub async fn kill(namespace: &Namespace, workload: usize, number: usize) {
    let name = format!("{POD}{workload:02}-{number:02}");
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": format!("w{workload}"),
        "uid": format!("w{workload}"), "controller": true,
    });
    let pod = json!({
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "app"}]},
    });
    namespace.create_pod(pod).await.unwrap();
    namespace.shows(&name, &[&format!("app T(0,{name}-a)")]).await.unwrap();
    namespace.shows(&name, &[&format!("app R(1,{name}-b)+L({name}-a)")]).await.unwrap();
}

/// The annotations of each Event, by its Pod.
pub async fn annotations(namespace: &Namespace) -> BTreeMap<String, BTreeMap<String, String>> {
    let events = namespace.events(REASON).await.unwrap();
    let of = |event: k8s_openapi::api::core::v1::Event| {
        (event.involved_object.name.unwrap(), event.metadata.annotations.unwrap_or_default())
    };
    let count = events.len();
    let annotations: BTreeMap<_, _> = events.into_iter().map(of).collect();
    assert_eq!(annotations.len(), count, "a kill has two Events");
    annotations
}

/// How often Slack was told of each Pod.
fn told(slack: &Slack) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for pod in slack.messages().into_iter().filter(|message| message.stored).flat_map(|it| it.pods) {
        *told.entry(pod).or_default() += 1;
    }
    told
}

#[tokio::test]
async fn what_is_owed_is_delivered_by_the_next_start_to_sinks_that_still_exist() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.namespace("owed").await?;
    let hangs = Slack::always(support::behaviour::Behaviour::fails(support::behaviour::Answer::Never)).await;
    let first = environment(&hangs, &namespace);
    let mut program = Program::ready(&cluster.kubeconfig(), &[], &borrowed(&first)).await;
    kill(&namespace, 0, 0).await;
    let event =
        eventually("the Event", PATIENCE, async || annotations(&namespace).await.into_values().next());
    let event = event.await?;
    assert_eq!(event[OWED], "team");
    let finding: Value = serde_json::from_str(&event[FINDING]).unwrap();
    assert_eq!(
        (&finding["schema"], &finding["pod"]["name"]),
        (&"oom-finding/v1".into(), &"killed-00-00".into())
    );
    eventually("the metric", PATIENCE, async || (program.metric("owed").await == 1).then_some(())).await?;
    program.signal("KILL").await;
    program.ended().await;

    // Renamed, it is owed to nobody who exists.
    let slack = Slack::good().await;
    let mut renamed = environment(&slack, &namespace);
    renamed[1].0 = "OOM_SINKS__CREW__TYPE";
    renamed[2].0 = "OOM_SINKS__CREW__WEBHOOK_URL";
    let program = Program::ready(&cluster.kubeconfig(), &[], &borrowed(&renamed)).await;
    eventually("a word of it", PATIENCE, async || {
        program.stderr().contains("1 findings are owed only to sinks that don't exist").then_some(())
    })
    .await?;
    assert_eq!(program.stop().await, Some(0));
    assert_eq!(slack.messages().len(), 0);

    let again = environment(&slack, &namespace);
    let program = Program::ready(&cluster.kubeconfig(), &[], &borrowed(&again)).await;
    eventually("the message", PATIENCE, async || told(&slack).contains_key("killed-00-00").then_some(()))
        .await?;
    eventually("the note of it", PATIENCE, async || {
        annotations(&namespace).await.values().all(|event| !event.contains_key(OWED)).then_some(())
    })
    .await?;
    assert_eq!(program.metric("recovered_total{sink=\"team\"}").await, 1);
    assert_eq!(program.metric("findings_total").await, 0);
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn what_is_owed_outlives_the_time_that_the_api_server_keeps_events() -> Result<(), Error> {
    let (kept, lookback) = (Duration::from_secs(12), "10s");
    let cluster = ControlPlane::builder().event_ttl(kept).start().await?;
    let (namespace, other) = (cluster.namespace("owed").await?, cluster.namespace("written").await?);
    let hangs = Slack::always(support::behaviour::Behaviour::fails(support::behaviour::Answer::Never)).await;
    let only = format!("[{}]", namespace.name());
    let mut environment = environment(&hangs, &namespace);
    environment[3].1 = format!("[{},{}]", namespace.name(), other.name());
    environment.extend([("OOM_LOOKBACK", lookback.to_owned()), ("OOM_SINKS__TEAM__MATCH__NAMESPACES", only)]);
    let mut program = Program::ready(&cluster.kubeconfig(), &[], &borrowed(&environment)).await;
    kill(&namespace, 0, 0).await;
    kill(&other, 1, 0).await;
    let written = async |namespace: &Namespace| annotations(namespace).await.into_values().next();
    eventually("the Event", PATIENCE, async || written(&namespace).await).await?;
    eventually("the other Event", PATIENCE, async || written(&other).await).await?;
    eventually("the end of the other Event", PATIENCE, async || {
        written(&other).await.is_none().then_some(())
    })
    .await?;
    let mut renewals = Vec::new();
    while renewals.len() < 3 {
        let event = written(&namespace).await.expect("what is owed doesn't expire");
        assert_eq!(event[OWED], "team");
        let renewed = event[RENEWED].clone();
        if renewals.last() != Some(&renewed) {
            renewals.push(renewed);
        }
        sleep(Duration::from_millis(200)).await;
    }
    program.signal("KILL").await;
    program.ended().await;
    let slack = Slack::good().await;
    environment[2].1 = slack.url();
    let program = Program::ready(&cluster.kubeconfig(), &[], &borrowed(&environment)).await;
    eventually("the message", PATIENCE, async || told(&slack).contains_key("killed-00-00").then_some(()))
        .await?;
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn without_patch_the_start_says_so_and_nothing_is_owed() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let (namespace, slack) = (cluster.namespace("unpatched").await?, Slack::good().await);
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch", "create"]},
    ]);
    let scope = GrantScope::Namespaces(&[namespace.name()]);
    let token = namespace.service_account_token("reader", scope, rules).await?;
    let environment = environment(&slack, &namespace);
    let program = Program::ready(&cluster.kubeconfig_for(&token)?, &[], &borrowed(&environment)).await;
    let log = program.stderr().replace("\\\"", "\"");
    let rule = format!(
        "Grant it by a Role in namespace {} with the rule apiGroups [\"\"], resources [\"events\"], verbs [\"patch\"]",
        namespace.name()
    );
    assert!(log.contains(&rule), "{log}");
    assert_eq!(log.matches("this account may not ").count(), 1, "{log}");
    kill(&namespace, 0, 0).await;
    let event =
        eventually("the Event", PATIENCE, async || annotations(&namespace).await.into_values().next());
    let event = event.await?;
    assert!(event.contains_key(FINDING) && !event.contains_key(OWED), "{event:?}");
    eventually("the message", PATIENCE, async || told(&slack).contains_key("killed-00-00").then_some(()))
        .await?;
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
