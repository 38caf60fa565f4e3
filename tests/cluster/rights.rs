//! Against a real API server: a right is lost and comes back.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use support::{Error, GrantScope, eventually, program::Program};

use super::kills::{cluster, kill_once};

/// The API server ends a watch within a minute, and knows only then that its right is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_namespace_of_three_is_forbidden_for_a_moment_and_the_program_stays_ready() -> Result<(), Error> {
    let [one, two, three] = ["one", "two", "three"].map(async |name| cluster().await.namespace(name).await);
    let (one, two, three) = (one.await?, two.await?, three.await?);
    let names = [one.name(), two.name(), three.name()];
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list", "watch"]}]);
    let token = one.service_account_token("reader", GrantScope::Namespaces(&names), rules).await?;
    let include = format!("[{}]", names.join(","));
    let kubeconfig = cluster().await.kubeconfig_for(&token)?;
    let sinks = ["--sink", "stdout"];
    let program = Program::ready(&kubeconfig, &sinks, &[("OOM_NAMESPACES__INCLUDE", &include)]).await;

    // Waits until `/readyz` shows it, and is 200 all the while.
    let readyz = async |what: &str, shows: &dyn Fn(&str) -> bool| {
        let shown = eventually(what, NOTICED_WITHIN, async || {
            let answer = program.get("/readyz").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            shows(&answer).then_some(())
        });
        shown.await
    };
    let bindings: Api<RoleBinding> = two.api();
    let name = format!("{}-reader", one.name());
    let mut binding = bindings.get(&name).await.unwrap();
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    let remark = format!("pods in the namespace {}: no right, watching the rest", two.name());
    readyz("the missing right", &|answer| answer.contains(&remark)).await?;
    kill_once(&two, "cart").await;
    binding.metadata.resource_version = None;
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    readyz("the right's return", &|answer| answer.ends_with("\r\n\r\nok\n")).await?;
    let found =
        eventually("the kill of meanwhile", NOTICED_WITHIN, async || program.findings().pop()).await?;
    assert_eq!(found["namespace"], two.name());
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
