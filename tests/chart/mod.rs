//! The Helm chart against a real API server: what it installs lets the program work, and nothing more;
//! and the API server takes every object that it can render.

mod mistakes;
mod release;
mod schema;

use std::fs;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace as NamespaceObject, Pod},
    rbac::v1::PolicyRule,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    ControlPlane, Error, Namespace, eventually,
    program::{PATIENCE, Program},
    slack::Slack,
    tools,
};

use crate::cluster::kills::kill_once;
use release::{CHART, Release, tool};

const REASON: &str = "PreviousContainerWasOOMKilled";

async fn cluster() -> &'static ControlPlane {
    ControlPlane::shared().await.unwrap()
}

async fn ready(program: &Program) {
    let ready = eventually("/readyz", PATIENCE, async || {
        program.get("/readyz").await.filter(|answer| answer.contains("200 OK"))
    });
    assert!(ready.await.is_ok(), "{}", program.stderr());
}

/// A line of the log says all of this.
async fn logs(program: &Program, said: &[&str]) {
    let logged = eventually("the line", PATIENCE, async || {
        let log = program.stderr().replace("\\\"", "\"");
        log.lines().any(|line| said.iter().all(|part| line.contains(part))).then_some(())
    });
    assert!(logged.await.is_ok(), "{said:?} is not in\n{}", program.stderr());
}

async fn event(namespace: &Namespace, pod: &str) {
    eventually(format!("an Event on {pod} in {}", namespace.name()), PATIENCE, async || {
        let events = namespace.events(REASON).await.unwrap();
        events.iter().any(|event| event.involved_object.name.as_deref() == Some(pod)).then_some(())
    })
    .await
    .unwrap();
}

/// A kill in each of the namespaces becomes an Event, and nothing is missing.
async fn works(release: &Release<'_>, watched: &[&Namespace]) -> Result<(), Error> {
    release.until_allowed(&release.rules().await).await;
    let program = release.start();
    ready(&program).await;
    for namespace in watched {
        kill_once(namespace, "cart").await;
        event(namespace, "cart").await;
    }
    let log = program.stderr();
    assert!(!log.contains(&release.account()), "something is forbidden:\n{log}");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

/// What the Pod of `helm test` does, which has the same account, configuration and environment.
async fn delivers_a_test_finding(release: &Release<'_>) {
    let mut check = release.start_with(&["check", "--send"]);
    let status = check.ended().await;
    let said = format!("{}{}", check.stdout(), check.stderr());
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("events (kubernetes): delivered: an Event TestFinding on Pod"), "{said}");
    let events = release.namespace.events("TestFinding").await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
}

/// Without any one verb, and without any one rule, the program says what it lacks.
async fn needs_each_rule(release: &Release<'_>, watched: &Namespace) {
    let rules = release.rules().await;
    for (index, rule) in rules.iter().enumerate() {
        let resource = rule.resources.as_ref().unwrap()[0].clone();
        for verb in &rule.verbs {
            let mut fewer = rules.clone();
            fewer[index].verbs.retain(|other| other != verb);
            lacks(release, watched, &fewer, verb, &resource).await;
        }
        let mut fewer = rules.clone();
        fewer.remove(index);
        lacks(release, watched, &fewer, "list", &resource).await;
    }
}

async fn lacks(release: &Release<'_>, watched: &Namespace, rules: &[PolicyRule], verb: &str, resource: &str) {
    release.allow(rules).await;
    release.until_allowed(rules).await;
    let program = release.start();
    if verb == "create" {
        ready(&program).await;
        kill_once(watched, "without-create").await;
    }
    let rule = format!("resources [\"{resource}\"], verbs [\"{verb}\"]");
    logs(&program, &[&format!("this account may not {verb} {resource}"), &rule]).await;
    if verb == "patch" {
        return;
    }
    let lacked = format!("User \"{}\" cannot {verb} resource \"{resource}\"", release.account());
    let remedy = match verb {
        "create" => "resources [\"events\"], verbs [\"create\"]".to_owned(),
        _ => format!("Grant the account the verbs list and watch on {resource} (API group \"\")"),
    };
    logs(&program, &[&lacked, &remedy]).await;
}

#[tokio::test]
async fn installed_for_the_whole_cluster_it_finds_a_kill_and_needs_each_rule_it_has() -> Result<(), Error> {
    // A cluster of its own: the program of another test would write the Events too.
    let cluster = ControlPlane::start().await?;
    let elsewhere = cluster.namespace("chart-elsewhere").await?;
    let release = Release::install(&cluster, cluster.namespace("chart").await?, &json!({})).await;
    works(&release, &[&elsewhere, &release.namespace]).await?;
    delivers_a_test_finding(&release).await;
    needs_each_rule(&release, &elsewhere).await;
    let values = json!({"config": {"sinks": {"events": {"type": "kubernetes"}, "log": {"type": "stdout"}}}});
    let with_ledger = Release::install(&cluster, cluster.namespace("chart").await?, &values).await;
    needs_each_rule(&with_ledger, &with_ledger.namespace).await;
    Ok(())
}

#[tokio::test]
async fn installed_for_namespaces_it_finds_a_kill_in_each_and_needs_each_rule_it_has() -> Result<(), Error> {
    let shop = cluster().await.namespace("chart-shop").await?;
    let search = cluster().await.namespace("chart-search").await?;
    let values = json!({"config": {"namespaces": {"include": [shop.name(), search.name()]}}});
    let release = Release::install(cluster().await, cluster().await.namespace("chart").await?, &values).await;
    works(&release, &[&shop, &search]).await?;
    needs_each_rule(&release, &search).await;
    Ok(())
}

#[tokio::test]
async fn with_another_sink_beside_kubernetes_it_may_patch_events_and_needs_to() -> Result<(), Error> {
    let shop = cluster().await.namespace("chart-shop").await?;
    let values = json!({"config": {
        "namespaces": {"include": [shop.name()]},
        "sinks": {"events": {"type": "kubernetes"}, "log": {"type": "stdout"}},
    }});
    let release = Release::install(cluster().await, cluster().await.namespace("chart").await?, &values).await;
    let rules = release.rules().await;
    assert!(rules.iter().any(|rule| rule.verbs.contains(&"patch".to_owned())), "{rules:?}");
    works(&release, &[&shop]).await?;
    let without = rules.into_iter().map(|mut rule| {
        rule.verbs.retain(|verb| verb != "patch");
        rule
    });
    lacks(&release, &shop, &without.collect::<Vec<_>>(), "patch", "events").await;
    Ok(())
}

#[tokio::test]
async fn with_two_replicas_it_may_hold_a_lease_and_needs_each_rule_of_it() -> Result<(), Error> {
    let shop = cluster().await.namespace("chart-shop").await?;
    let values = json!({"replicas": 2, "config": {"namespaces": {"include": [shop.name()]}}});
    let release = Release::install(cluster().await, cluster().await.namespace("chart").await?, &values).await;
    works(&release, &[&shop]).await?;
    let rules = release.lease_rules().await;
    for (index, rule) in rules.iter().enumerate() {
        for verb in &rule.verbs {
            let mut fewer = rules.clone();
            fewer[index].verbs.retain(|other| other != verb);
            fewer.retain(|rule| !rule.verbs.is_empty());
            release.allow_lease(&fewer).await;
            let program = release.start();
            let rule = format!("verbs [\"{verb}\"]");
            logs(&program, &[&format!("this account may not {verb} leases"), &rule]).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_a_sink_of_type_kubernetes_it_may_write_nothing_and_misses_nothing() -> Result<(), Error> {
    let shop = cluster().await.namespace("chart-shop").await?;
    let values = json!({"config": {
        "namespaces": {"include": [shop.name()]}, "sinks": {"log": {"type": "stdout"}},
    }});
    let release = Release::install(cluster().await, cluster().await.namespace("chart").await?, &values).await;
    let rules = release.rules().await;
    assert!(rules.iter().all(|rule| !rule.verbs.contains(&"create".to_owned())), "{rules:?}");
    release.until_allowed(&rules).await;
    let program = release.start();
    ready(&program).await;
    kill_once(&shop, "cart").await;
    let found = eventually("a line", PATIENCE, async || program.findings().pop()).await?;
    assert_eq!(found["pod"]["name"], "cart");
    assert!(!program.stderr().contains(&release.account()), "{}", program.stderr());
    Ok(())
}

#[tokio::test]
async fn a_webhook_comes_from_the_secrets_that_the_chart_mounts() -> Result<(), Error> {
    let slack = Slack::good().await;
    let url = format!("{}/services/", slack.host());
    let namespace = cluster().await.namespace("chart-slack").await?;
    let secret = json!({"metadata": {"name": "theirs"}, "stringData": {"theirs": format!("{url}theirs")}});
    let secret = serde_json::from_value(secret).unwrap();
    namespace
        .api::<k8s_openapi::api::core::v1::Secret>()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let sink = |key: &str| json!({"type": "slack", "webhook_url_file": format!("/etc/oom/secrets/{key}"), "group_wait": "0s"});
    let values = json!({
        "config": {"namespaces": {"include": [namespace.name()]}, "sinks": {"ours": sink("ours"), "theirs": sink("theirs")}},
        "secrets": {"existing": ["theirs"], "create": {"ours": format!("{url}ours")}},
    });
    let release = Release::install(cluster().await, namespace.clone(), &values).await;
    release.until_allowed(&release.rules().await).await;
    let program = release.start();
    ready(&program).await;
    kill_once(&namespace, "cart").await;
    eventually("two messages", PATIENCE, async || (slack.messages().len() == 2).then_some(())).await?;
    let mut paths: Vec<_> = slack.messages().into_iter().map(|message| message.path).collect();
    paths.sort();
    assert_eq!(paths, ["/services/ours", "/services/theirs"]);
    assert!(!program.stderr().contains("/services/"), "{}", program.stderr());
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_object_that_the_chart_renders() -> Result<(), Error> {
    let kubeconfig = cluster().await.kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let crds = tools::installed("prometheus-crds").await;
    for kind in ["podmonitors", "prometheusrules", "servicemonitors"] {
        let definition = fs::read_to_string(crds.join(format!("monitoring.coreos.com_{kind}.yaml"))).unwrap();
        tool("kubectl", &["--kubeconfig", kubeconfig, "apply", "--server-side", "-f", "-"], &definition)
            .await;
        let crd = format!("crd/{kind}.monitoring.coreos.com");
        tool("kubectl", &["--kubeconfig", kubeconfig, "wait", "--for=condition=Established", &crd], "").await;
    }
    for namespace in ["monitoring", "shop", "search", "prometheus", "grafana"] {
        restricted(namespace).await;
    }
    let mut sets = 0;
    for values in fs::read_dir(format!("{CHART}/ci")).unwrap() {
        let values = values.unwrap().path();
        let values = values.to_str().unwrap();
        let rendered = ["template", "oom", CHART, "--namespace", "monitoring", "--values", values];
        dry_run(kubeconfig, &tool("helm", &rendered, "").await).await;
        sets += 1;
    }
    assert!(sets >= 8, "{sets} sets of values");
    Ok(())
}

/// The API server's own judgement, in which a warning is a fault: strict in fields and in Pod Security.
async fn dry_run(kubeconfig: &str, objects: &str) {
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "-f",
        "-",
    ];
    tool("kubectl", &[&["--kubeconfig", kubeconfig], &apply[..]].concat(), objects).await;
}

/// Makes a namespace of this name that takes no Pod which isn't `restricted`, and warns of it elsewhere.
async fn restricted(name: &str) {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let namespaces = Api::<NamespaceObject>::all(cluster().await.client().unwrap());
    namespaces.patch(name, &PatchParams::apply("tests"), &Patch::Apply(object)).await.unwrap();
}

#[tokio::test]
async fn the_plain_manifests_install_and_their_pod_is_restricted() -> Result<(), Error> {
    let kubeconfig = cluster().await.kubeconfig();
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.yaml");
    let arguments =
        ["--kubeconfig", kubeconfig.to_str().unwrap(), "apply", "--validate=strict", "-f", manifests];
    tool("kubectl", &arguments, "").await;
    let client = cluster().await.client()?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), "oom-event-generator");
    let deployment = deployments.get("kubernetes-oom-event-generator").await.unwrap();
    let template = deployment.spec.unwrap().template;
    let pod: Value = json!({"metadata": {"name": "restricted", "labels": template.metadata.unwrap().labels}, "spec": template.spec});
    // The namespace enforces the Pod Security Standard: another Pod would be refused.
    let pods = Api::<Pod>::namespaced(client, "oom-event-generator");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry_run, &serde_json::from_value(pod.clone()).unwrap()).await.unwrap();
    let mut privileged = pod;
    privileged["spec"]["containers"][0]["securityContext"] = Value::Null;
    let refused = pods.create(&dry_run, &serde_json::from_value(privileged).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("violates PodSecurity \"restricted:latest\""), "{refused}");
    Ok(())
}

#[tokio::test]
async fn the_notes_demonstration_is_a_pod_that_a_restricted_namespace_takes() -> Result<(), Error> {
    restricted("shop").await;
    let kubeconfig = cluster().await.kubeconfig();
    let include = "config.namespaces.include={search,shop},config.namespaces.exclude={sea*}";
    let install = ["install", "oom", CHART, "--dry-run=client", "--set", include];
    let notes = tool("helm", &install, "").await;
    let begin = notes.find("kubectl --namespace shop run oom-demo").unwrap_or_else(|| panic!("{notes}"));
    let end = begin + notes[begin..].find("}'").unwrap() + 2;
    let arguments = notes[begin + "kubectl".len()..end].to_owned() + " --dry-run=server";
    let kubectl = tools::tool("kubectl").await;
    let line = format!("'{}' --kubeconfig '{}' {arguments}", kubectl.display(), kubeconfig.display());
    let output = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}
