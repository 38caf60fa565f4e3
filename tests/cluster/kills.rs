//! Against a real API server: the program finds every kill and writes one Event for each, whatever
//! the order of witnesses, over restarts of its own, and says what it may not do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use support::{
    ControlPlane, Error, GrantScope, Namespace, eventually,
    program::{PATIENCE, Program, command},
};

pub const REASON: &str = "PreviousContainerWasOOMKilled";

pub async fn cluster() -> &'static ControlPlane {
    ControlPlane::shared().await.unwrap()
}

fn pod(name: &str, containers: &[&str]) -> Value {
    let limited = |name: &&str| json!({"name": name, "resources": {"limits": {"memory": "64Mi"}}});
    let containers: Vec<_> = containers.iter().map(limited).collect();
    json!({"metadata": {"name": name}, "spec": {"containers": containers}})
}

/// The Events about this many kills, and not one more after the program has seen all there is.
async fn kills(namespace: &Namespace, count: usize) -> Vec<Event> {
    eventually(format!("{count} Events in {}", namespace.name()), PATIENCE, async || {
        Some(namespace.events(REASON).await.unwrap()).filter(|events| events.len() >= count)
    })
    .await
    .unwrap()
}

/// Kills a container of a Pod of this name, and lets it start again.
pub async fn kill_once(namespace: &Namespace, name: &str) {
    namespace.create_pod(pod(name, &["app"])).await.unwrap();
    let (before, after) = (format!("{name}-a"), format!("{name}-b"));
    namespace.shows(name, &[&format!("app T(0,{before})")]).await.unwrap();
    namespace.shows(name, &[&format!("app R(1,{after})+L({before})")]).await.unwrap();
}

/// A kill of which the program must tell after all that came before.
async fn settle(namespace: &Namespace, kills_before: usize) -> Vec<Event> {
    kill_once(namespace, "marker").await;
    let events = kills(namespace, kills_before + 1).await;
    assert_eq!(events.len(), kills_before + 1);
    events.into_iter().filter(|event| event.involved_object.name.as_deref() != Some("marker")).collect()
}

#[tokio::test]
async fn a_first_kill() -> Result<(), Error> {
    let namespace = cluster().await.namespace("first").await?;
    let program = Program::ready(&cluster().await.kubeconfig(), &[], &[]).await;
    let pod = namespace.create_pod(pod("cart", &["app"])).await?;
    namespace.shows("cart", &["app R(0,a)"]).await?;
    namespace.started(&pod, "app", 1, Timestamp::now()).await?;
    namespace.shows("cart", &["app T(0,a)"]).await?;
    namespace.started(&pod, "app", 2, Timestamp::now() + SignedDuration::from_secs(1)).await?;
    namespace.shows("cart", &["app R(1,b)+L(a)"]).await?;

    let events = settle(&namespace, 1).await;
    let event = &events[0];
    let object = &event.involved_object;
    assert_eq!(object.uid, pod.metadata.uid);
    assert_eq!(object.field_path.as_deref(), Some("spec.containers{app}"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.count, Some(1));
    assert_eq!(event.reporting_component.as_deref(), Some("oom-event-generator"));
    let message = event.message.as_deref().unwrap();
    let beginning = "The previous instance of the container 'app' (containerd://a) was OOMKilled";
    assert!(message.starts_with(beginning), "{message}");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_crash_loop_of_30_of_which_5_events_arrive() -> Result<(), Error> {
    let namespace = cluster().await.namespace("loop").await?;
    let _program = Program::ready(&cluster().await.kubeconfig(), &[], &[]).await;
    let pod = namespace.create_pod(pod("cart", &["app"])).await?;
    for n in 0..30_u32 {
        let (dead, next) = (format!("i{n}"), format!("i{}", n + 1));
        for seen in
            [format!("T({n},{dead})"), format!("W({n})+L({dead})"), format!("R({},{next})+L({dead})", n + 1)]
        {
            namespace.shows("cart", &[&format!("app {seen}")]).await?;
        }
        if n < 5 {
            namespace.started(&pod, "app", i32::try_from(n).unwrap() + 2, Timestamp::now()).await?;
        }
    }
    let events = settle(&namespace, 30).await;
    let killed = |event: &Event| event.message.clone().unwrap().split(['(', ')']).nth(1).unwrap().to_owned();
    let killed: BTreeSet<_> = events.iter().map(killed).collect();
    assert_eq!(killed, (0..30).map(|n| format!("containerd://i{n}")).collect());
    Ok(())
}

#[tokio::test]
async fn a_bystander_is_not_blamed() -> Result<(), Error> {
    let namespace = cluster().await.namespace("bystander").await?;
    let _program = Program::ready(&cluster().await.kubeconfig(), &[], &[]).await;
    let pod = namespace.create_pod(pod("cart", &["hungry", "flaky"])).await?;
    for n in 0..5_u32 {
        let (dead, next) = (format!("f{n}"), format!("f{}", n + 1));
        for flaky in [format!("T({n},{dead},Error)"), format!("R({},{next})+L({dead},Error)", n + 1)] {
            namespace.shows("cart", &["hungry R(1,b)+L(a)", &format!("flaky {flaky}")]).await?;
        }
        namespace.started(&pod, "flaky", i32::try_from(n).unwrap() + 1, Timestamp::now()).await?;
    }
    let events = settle(&namespace, 1).await;
    assert_eq!(events[0].involved_object.field_path.as_deref(), Some("spec.containers{hungry}"));
    Ok(())
}

#[tokio::test]
async fn two_containers_an_init_container_and_a_sidecar_at_once() -> Result<(), Error> {
    let namespace = cluster().await.namespace("kinds").await?;
    let _program = Program::ready(&cluster().await.kubeconfig(), &[], &[]).await;
    let mut pod = pod("cart", &["one", "two"]);
    pod["spec"]["initContainers"] =
        json!([{"name": "migrate"}, {"name": "proxy", "restartPolicy": "Always"}]);
    namespace.create_pod(pod).await?;
    namespace
        .shows("cart", &["one T(0,a)", "two T(0,b)", "init:migrate T(0,c)", "sidecar:proxy T(0,d)"])
        .await?;
    let again =
        ["one R(1,a2)+L(a)", "two R(1,b2)+L(b)", "init:migrate R(1,c2)+L(c)", "sidecar:proxy R(1,d2)+L(d)"];
    namespace.shows("cart", &again).await?;
    let events = settle(&namespace, 4).await;
    let paths: BTreeSet<_> =
        events.iter().map(|event| event.involved_object.field_path.clone().unwrap()).collect();
    let expected = [
        "spec.containers{one}",
        "spec.containers{two}",
        "spec.initContainers{migrate}",
        "spec.initContainers{proxy}",
    ];
    assert_eq!(paths, expected.map(str::to_owned).into());
    Ok(())
}

#[tokio::test]
async fn a_kill_before_the_start_is_reported_once_however_often_the_program_starts() -> Result<(), Error> {
    let namespace = cluster().await.namespace("before").await?;
    kill_once(&namespace, "cart").await;
    for _ in 0..2 {
        let program = Program::ready(&cluster().await.kubeconfig(), &[], &[]).await;
        assert_eq!(kills(&namespace, 1).await.len(), 1);
        assert_eq!(program.stop().await, Some(0));
    }
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::ready(&cluster().await.kubeconfig(), &["--sink", "stdout"], &include).await;
    kill_once(&namespace, "other").await;
    let printed =
        eventually("a line", PATIENCE, async || Some(program.findings()).filter(|all| !all.is_empty()));
    let printed = printed.await?;
    assert_eq!(printed.len(), 1, "the Event that stands in the cluster tells that the first was reported");
    assert_eq!(printed[0]["pod"]["name"], "other");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn stdout_carries_json_lines_that_fit_the_schema_and_nothing_else() -> Result<(), Error> {
    let namespace = cluster().await.namespace("stdout").await?;
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name()), ("OOM_CLUSTER", "test"), ("VERBOSE", "2")];
    let program = Program::ready(&cluster().await.kubeconfig(), &["--sink", "stdout"], &include).await;
    for name in ["one", "two", "three"] {
        kill_once(&namespace, name).await;
    }
    let printed =
        eventually("three lines", PATIENCE, async || Some(program.findings()).filter(|all| all.len() == 3));
    let schema = serde_json::from_str(include_str!("../../finding/oom-finding.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for finding in printed.await? {
        schema.validate(&finding).unwrap();
        assert_eq!(finding["cluster"], "test");
    }
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_closed_pipe_ends_it_quietly_even_before_the_next_finding() -> Result<(), Error> {
    let namespace = cluster().await.namespace("pipe").await?;
    let mut program = command();
    let binary = program.get_program().to_string_lossy().into_owned();
    let output = program
        .env("KUBECONFIG", cluster().await.kubeconfig())
        .env("OOM_SERVER", "null")
        .env("OOM_NAMESPACES__INCLUDE", namespace.name());
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &format!("set -o pipefail; timeout 60 '{binary}' --sink stdout | head -1")]);
    for (name, value) in output.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = tokio::process::Command::from(shell).output();
    let kills = async {
        for n in 0.. {
            kill_once(&namespace, &format!("cart-{n}")).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let output = tokio::select! {
        output = output => output.unwrap(),
        () = kills => unreachable!("they go on until the shell ends"),
    };
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    assert!(!stderr.contains("ERROR"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_label_among_thousands_is_matched() -> Result<(), Error> {
    let namespace = cluster().await.namespace("labels").await?;
    let labels: BTreeMap<_, _> = (0..5_000).map(|n| (format!("example.com/label-{n}"), "x")).collect();
    for (name, team) in [("ours", "shop"), ("theirs", "search")] {
        let mut pod = pod(name, &["app"]);
        pod["metadata"]["labels"] = json!(labels);
        pod["metadata"]["labels"]["team"] = team.into();
        namespace.create_pod(pod).await?;
    }
    let settings = [
        ("OOM_NAMESPACES__INCLUDE", namespace.name()),
        ("OOM_SINKS__EVENTS__TYPE", "kubernetes"),
        ("OOM_SINKS__EVENTS__MATCH__LABELS", "team=shop"),
    ];
    let program = Program::ready(&cluster().await.kubeconfig(), &[], &settings).await;
    for name in ["theirs", "ours"] {
        namespace.shows(name, &[&format!("app R(1,b)+L({name}-a)")]).await?;
    }
    let events = kills(&namespace, 1).await;
    assert_eq!(events[0].involved_object.name.as_deref(), Some("ours"));
    assert_eq!((program.metric("findings_total").await, events.len()), (2, 1));
    Ok(())
}

#[tokio::test]
async fn sigterm_in_a_burst_of_200_delivers_them_all() -> Result<(), Error> {
    let namespace = cluster().await.namespace("burst").await?;
    for n in 0..200 {
        kill_once(&namespace, &format!("cart-{n}")).await;
    }
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::start(&cluster().await.kubeconfig(), &[], &include);
    eventually("the first Event", PATIENCE, async || {
        Some(namespace.events(REASON).await.unwrap()).filter(|events| !events.is_empty())
    })
    .await?;
    assert_eq!(program.stop().await, Some(0));
    let delivered = namespace.events(REASON).await?.len();
    let program = Program::ready(&cluster().await.kubeconfig(), &[], &include).await;
    assert_eq!(kills(&namespace, 200).await.len(), 200, "{delivered} at the stop");
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn without_an_api_server_it_ends_in_time_and_leaves_what_it_could_not_deliver_in_the_log()
-> Result<(), Error> {
    let mut cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("gone").await?;
    for n in 0..20 {
        kill_once(&namespace, &format!("cart-{n}")).await;
    }
    // Slack takes nothing and gathers for an hour; its address answers to nobody.
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    let url = "http://127.0.0.1:9/services/T0/B0/secret-of-the-webhook";
    let yaml = format!(
        "shutdown_grace: 3s\nsinks:\n  team: {{ type: slack, webhook_url: \"{url}\", group_wait: 1h }}\n"
    );
    std::fs::write(&config, yaml).unwrap();
    let mut program = Program::ready(&cluster.kubeconfig(), &["-c", config.to_str().unwrap()], &[]).await;
    eventually("20 findings", PATIENCE, async || {
        (program.metric("findings_total").await >= 20).then_some(())
    })
    .await?;
    cluster.stop_api_server();
    let begin = std::time::Instant::now();
    program.signal("TERM").await;
    assert_eq!(program.ended().await.code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(30));
    let log = program.stderr();
    for n in 0..20 {
        assert!(log.contains(&format!("\"name\":\"cart-{n}\"")), "cart-{n} is not in the log:\n{log}");
    }
    assert!(!log.contains("secret-of-the-webhook"));
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_comes_late_goes_and_comes_back() -> Result<(), Error> {
    let mut cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("late").await?;
    cluster.stop_api_server();
    let program = Program::start(&cluster.kubeconfig(), &[], &[]);
    eventually("a warning", PATIENCE, async || {
        program.stderr().contains("no answer from the API server").then_some(())
    })
    .await?;
    let answer = eventually("an answer", PATIENCE, async || program.get("/readyz").await).await?;
    assert!(answer.contains("503"), "{answer}");
    cluster.start_api_server().await?;
    kill_once(&namespace, "one").await;
    assert_eq!(kills(&namespace, 1).await.len(), 1);
    cluster.stop_api_server();
    cluster.start_api_server().await?;
    kill_once(&namespace, "two").await;
    assert_eq!(kills(&namespace, 2).await.len(), 2);
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}

#[tokio::test]
async fn missing_rights_are_named_and_tried_on() -> Result<(), Error> {
    let namespace = cluster().await.namespace("rights").await?;
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    let token =
        namespace.service_account_token("reader", GrantScope::Namespaces(&[namespace.name()]), rules).await?;
    let kubeconfig = cluster().await.kubeconfig_for(&token)?;
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::start(&kubeconfig, &[], &include);
    let place = format!("in the namespace {}", namespace.name());
    let said =
        format!("Grant the account the verbs list and watch on events (API group \"\") by a Role, {place}");
    eventually("the missing rule", PATIENCE, async || program.stderr().contains(&said).then_some(())).await?;
    kill_once(&namespace, "cart").await;
    let said = "Grant it to ServiceAccount";
    eventually("the other missing rule", PATIENCE, async || program.stderr().contains(said).then_some(()))
        .await?;

    let program = Program::start(&kubeconfig, &[], &[]);
    let said = "Grant the account the verbs list and watch on pods (API group \"\") by a ClusterRole, in the whole cluster";
    eventually("the missing rule", PATIENCE, async || program.stderr().contains(said).then_some(())).await?;
    let answer = program.get("/readyz").await.unwrap_or_default();
    assert!(answer.contains("503"), "{answer}");

    let kubeconfig = cluster().await.kubeconfig_for("no-such-token")?;
    let program = Program::start(&kubeconfig, &[], &[]);
    let said = "401 Unauthorized";
    eventually("the refusal", PATIENCE, async || program.stderr().contains(said).then_some(())).await?;
    Ok(())
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let broken = dir.path().join("broken");
    std::fs::write(&broken, "users: [{name: a, user: {token: secret-token}\n").unwrap();
    for (kubeconfig, said) in [
        (None, "no cluster to be found: ".to_owned()),
        (Some(&missing), format!("can't use the kubeconfig {}: can't read it: ", missing.display())),
        (Some(&broken), format!("can't use the kubeconfig {}: it is not valid ", broken.display())),
    ] {
        let mut command = command();
        command.env("HOME", dir.path()).env("OOM_SERVER", "null");
        kubeconfig.map(|kubeconfig| command.env("KUBECONFIG", kubeconfig));
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with(&said), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!stderr.contains("secret-token"));
    }
}
