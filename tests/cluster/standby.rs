//! Two replicas against a real API server: one delivers, the other takes over.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use support::{
    Error, GrantScope, Namespace, eventually,
    program::{PATIENCE, Program},
    slack::{POD, Slack},
};
use tokio::time::{Instant, sleep};

use super::kills::{REASON, cluster, kill_once};

const LEASE: &str = "oom";

/// Starts a replica, which posts to a path of its own.
fn start(kubeconfig: &Path, namespace: &Namespace, name: &str, slack: &Slack) -> Program {
    let url = format!("{}/services/T/B/{name}", slack.host());
    let environment = [
        ("POD_NAMESPACE", namespace.name()),
        ("POD_NAME", name),
        ("OOM_LEADER_ELECTION__LEASE", LEASE),
        ("OOM_NAMESPACES__INCLUDE", namespace.name()),
        ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
        ("OOM_SINKS__TEAM__TYPE", "slack"),
        ("OOM_SINKS__TEAM__WEBHOOK_URL", &url),
        ("OOM_SINKS__TEAM__GROUP_INTERVAL", "0s"),
    ];
    Program::start(kubeconfig, &[], &environment)
}

async fn leads(replica: &Program) -> bool {
    replica.address().is_some() && replica.metric("leader").await == 1
}

/// Waits until the replica leads, and returns how long that took.
async fn takes_over(replica: &Program, within: Duration) -> Result<Duration, Error> {
    let begun = Instant::now();
    eventually("a leader", within, async || leads(replica).await.then_some(())).await?;
    Ok(begun.elapsed())
}

/// The Pods that Events tell of.
async fn told(namespace: &Namespace) -> Vec<String> {
    let events = namespace.events(REASON).await.unwrap();
    events.into_iter().filter_map(|event| event.involved_object.name).collect()
}

/// Kills in one Pod after the other, and returns their names.
async fn kill(namespace: &Namespace, beginning: &str, pods: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for number in 0..pods {
        let name = format!("{POD}{beginning}{number}");
        kill_once(namespace, &name).await;
        names.insert(name);
    }
    names
}

#[tokio::test]
async fn a_standby_takes_over_at_once_from_a_leader_that_is_told_to_stop() -> Result<(), Error> {
    let namespace = cluster().await.namespace("standby").await?;
    let (kubeconfig, slack) = (cluster().await.kubeconfig(), Slack::good().await);
    let a = start(&kubeconfig, &namespace, "a", &slack);
    takes_over(&a, PATIENCE).await?;
    let b = start(&kubeconfig, &namespace, "b", &slack);
    b.is_ready().await;
    let mut killed = kill(&namespace, "first-", 3).await;

    assert_eq!(a.stop().await, Some(0));
    println!("taken over {:?} after SIGTERM", takes_over(&b, Duration::from_secs(3)).await?);
    killed.extend(kill(&namespace, "second-", 3).await);

    eventually("all Events", PATIENCE, async || (told(&namespace).await.len() >= killed.len()).then_some(()))
        .await?;
    let named = || slack.messages().into_iter().flat_map(|message| message.pods).collect::<BTreeSet<_>>();
    eventually("all Pods in Slack", PATIENCE, async || named().is_superset(&killed).then_some(())).await?;
    sleep(Duration::from_secs(2)).await;
    let told = told(&namespace).await;
    assert_eq!(told.len(), killed.len(), "{told:?}");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), killed);

    // Whoever has taken over goes on alone.
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let paths: Vec<String> = slack.messages().into_iter().map(|message| message.path).collect();
    for (number, path) in paths.iter().enumerate() {
        let before = last.insert(path.clone(), number);
        assert!(before.is_none_or(|before| before + 1 == number), "{path} again after others: {paths:?}");
    }
    assert_eq!(b.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_deleted_by_hand_is_made_again_by_its_holder() -> Result<(), Error> {
    let namespace = cluster().await.namespace("deleted").await?;
    let (kubeconfig, slack) = (cluster().await.kubeconfig(), Slack::good().await);
    let a = start(&kubeconfig, &namespace, "a", &slack);
    takes_over(&a, PATIENCE).await?;
    let b = start(&kubeconfig, &namespace, "b", &slack);
    b.is_ready().await;
    let leases: Api<Lease> = namespace.api();
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    eventually("the Lease", PATIENCE, async || leases.get(LEASE).await.ok()).await?;
    assert!(leads(&a).await && !leads(&b).await);
    let holder = leases.get(LEASE).await.unwrap().spec.and_then(|spec| spec.holder_identity);
    assert!(holder.is_some_and(|holder| holder.starts_with("a_")));
    assert_eq!(b.stop().await, Some(0));
    assert_eq!(a.stop().await, Some(0));
    let holder = leases.get(LEASE).await.unwrap().spec.and_then(|spec| spec.holder_identity);
    assert_eq!(holder, None, "a stopped leader releases the Lease");
    Ok(())
}

#[tokio::test]
async fn each_missing_right_to_the_lease_is_named_at_the_start() -> Result<(), Error> {
    let namespace = cluster().await.namespace("no-lease").await?;
    let slack = Slack::good().await;
    let rest = json!({"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list", "watch", "create", "patch"]});
    let leases: Api<Lease> = namespace.api();
    for missing in ["create", "get", "update"] {
        let verbs: Vec<_> = ["create", "get", "update"].into_iter().filter(|verb| *verb != missing).collect();
        let rules =
            json!([rest, {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}]);
        let scope = GrantScope::Namespaces(&[namespace.name()]);
        let token = namespace.service_account_token(&format!("no-{missing}"), scope, rules).await?;
        let kubeconfig = cluster().await.kubeconfig_for(&token)?;
        // The last Lease is still there, so that nothing has to be created.
        let program = start(&kubeconfig, &namespace, "a", &slack);
        let name = if missing == "create" { "" } else { ", resourceNames [\"oom\"]" };
        let said = format!(
            "this account may not {missing} leases in the namespace {0}; without it, this replica may never deliver. \
             Grant it by a Role in namespace {0} with the rule apiGroups [\"coordination.k8s.io\"], resources \
             [\"leases\"]{name}, verbs [\"{missing}\"]",
            namespace.name()
        );
        let log = || program.stderr().replace("\\\"", "\"");
        let logged = eventually(&said, PATIENCE, async || log().contains(&said).then_some(())).await;
        assert!(logged.is_ok(), "{said} is not in\n{}", log());
        assert_eq!(log().matches("this account may not ").count(), 1, "{}", log());
        program.stop().await;
        let empty = serde_json::from_value(json!({"metadata": {"name": LEASE}})).unwrap();
        // There is one already, the second time.
        leases.create(&PostParams::default(), &empty).await.map(drop).unwrap_or_default();
    }
    Ok(())
}
