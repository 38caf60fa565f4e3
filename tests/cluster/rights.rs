//! Against a real API server: a right is lost and comes back.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use support::{Error, GrantScope, eventually, program::Program};
use tokio::time::{Instant, sleep};

use super::kills::{cluster, kill_once};

/// The API server ends a watch within a minute, and knows only then that its right is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(90);

/// Whether one of three namespaces is forbidden for so long, and all that happens in it meanwhile is told.
async fn is_ready_without(victim: usize, lost_for: Duration) -> Result<(), Error> {
    let [one, two, three] = ["one", "two", "three"].map(async |name| cluster().await.namespace(name).await);
    let namespaces = [one.await?, two.await?, three.await?];
    let names = namespaces.each_ref().map(support::Namespace::name);
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list", "watch"]}]);
    let token = namespaces[0].service_account_token("reader", GrantScope::Namespaces(&names), rules).await?;
    let include = format!("[{}]", names.join(","));
    let kubeconfig = cluster().await.kubeconfig_for(&token)?;
    let sinks = ["--sink", "stdout"];
    let program = Program::ready(&kubeconfig, &sinks, &[("OOM_NAMESPACES__INCLUDE", &include)]).await;

    let readyz = async || {
        let answer = program.get("/readyz").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer
    };
    let forbidden = &namespaces[victim];
    let bindings: Api<RoleBinding> = forbidden.api();
    let name = format!("{}-reader", names[0]);
    let mut binding = bindings.get(&name).await.unwrap();
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    let (lost, mut was_noticed) = (Instant::now(), false);
    kill_once(forbidden, "cart").await;
    let remark = format!("pods in the namespace {}: no right, watching the rest", names[victim]);
    while lost.elapsed() < lost_for {
        was_noticed |= readyz().await.contains(&remark);
        sleep(Duration::from_secs(1)).await;
    }
    assert!(was_noticed || lost_for < NOTICED_WITHIN, "{}", program.stderr());
    binding.metadata.resource_version = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let found = eventually("the kill of meanwhile", NOTICED_WITHIN, async || {
        readyz().await;
        program.findings().pop()
    });
    assert_eq!(found.await?["namespace"], names[victim]);
    let is_well = async || readyz().await.ends_with("\r\n\r\nok\n").then_some(());
    eventually("the right's return", NOTICED_WITHIN, is_well).await?;
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_namespace_of_three_is_forbidden_for_a_while_and_the_program_stays_ready() -> Result<(), Error> {
    let lost_for = |seconds| Duration::from_secs(seconds);
    let all = (
        is_ready_without(0, lost_for(10)),
        is_ready_without(1, lost_for(40)),
        is_ready_without(2, lost_for(100)),
    );
    let (first, second, third) = tokio::join!(all.0, all.1, all.2);
    first.and(second).and(third)
}
