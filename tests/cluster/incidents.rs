//! An incident goes on while the program is dead: what was told is remembered, and the kills count on.

use std::process::Command;

use serde_json::{Value, json};
use support::{
    Error, eventually,
    program::{PATIENCE, Program},
    slack::Slack,
    tools::tool,
};

use super::kills::{REASON, cluster};

const FINDING: &str = "oom-event-generator/finding";
const OWED: &str = "oom-event-generator/owed";

#[tokio::test]
async fn an_incident_goes_on_after_the_program_was_killed() -> Result<(), Error> {
    let cluster = cluster().await;
    let (namespace, slack) = (cluster.namespace("incident").await?, Slack::good().await);
    let (url, include) = (slack.url(), format!("[{}]", namespace.name()));
    let environment = [
        ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
        ("OOM_SINKS__TEAM__TYPE", "slack"),
        ("OOM_SINKS__TEAM__WEBHOOK_URL", &url),
        ("OOM_SINKS__TEAM__GROUP_INTERVAL", "8s"),
        ("OOM_NAMESPACES__INCLUDE", &include),
    ];
    let start = async || Program::ready(&cluster.kubeconfig(), &[], &environment).await;
    // The kills that Events tell of, and whether all are told to Slack.
    let told = async |kills: usize| {
        eventually(format!("{kills} kills"), PATIENCE, async || {
            let events = namespace.events(REASON).await.unwrap();
            let annotations: Vec<_> =
                events.into_iter().filter_map(|event| event.metadata.annotations).collect();
            let is_told = annotations.iter().all(|annotations| !annotations.contains_key(OWED));
            let of = |finding: &String| {
                serde_json::from_str::<Value>(finding).unwrap()["incident"]["kills"].clone()
            };
            let mut counts: Vec<_> =
                annotations.iter().map(|all| of(&all[FINDING]).as_u64().unwrap()).collect();
            counts.sort_unstable();
            (is_told && counts.len() == kills).then_some(counts)
        })
        .await
    };

    let mut program = start().await;
    let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "db", "controller": true});
    let limited = json!({"name": "app", "resources": {"limits": {"memory": "64Mi"}}});
    let pod =
        json!({"metadata": {"name": "db-0", "ownerReferences": [owner]}, "spec": {"containers": [limited]}});
    namespace.create_pod(pod).await?;
    namespace.shows("db-0", &["app T(0,i-a)"]).await?;
    namespace.shows("db-0", &["app R(1,i-b)+L(i-a)"]).await?;
    assert_eq!(told(1).await?, [1]);
    program.signal("KILL").await;
    program.ended().await;

    namespace.shows("db-0", &["app T(1,i-b)+L(i-a)"]).await?;
    namespace.shows("db-0", &["app R(2,i-c)+L(i-b)"]).await?;
    let program = start().await;
    assert_eq!(told(2).await?, [1, 2]);
    namespace.shows("db-0", &["app T(2,i-c)+L(i-b)"]).await?;
    namespace.shows("db-0", &["app R(3,i-d)+L(i-c)"]).await?;
    assert_eq!(told(3).await?, [1, 2, 3]);

    let messages = slack.messages();
    assert!(messages[0].text.contains("*OOM kill* of `app` in StatefulSet `db`"), "{}", messages[0].text);
    let later = || messages[1..].iter().map(|message| message.text.as_str());
    assert!(later().count() >= 1 && later().all(|text| text.contains(" more kill")), "{messages:?}");
    assert!(later().any(|text| text.contains("3 kills in 1 Pod since")), "{messages:?}");
    let page = program.get("/").await.unwrap();
    assert!(page.contains("<b>3 kills</b>"), "{page}");

    // What helps stands in what kubectl prints, whole.
    let kubectl = Command::new(tool("kubectl").await)
        .args(["--namespace", namespace.name(), "get", "events", "--field-selector"])
        .arg(format!("reason={REASON}"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    let printed = String::from_utf8(kubectl.stdout).unwrap();
    let whole = |line: &&str| {
        line.contains("The previous instance of the container 'app' (") && line.contains(", try 128Mi")
    };
    assert_eq!(printed.lines().filter(whole).count(), 3, "{printed}");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
