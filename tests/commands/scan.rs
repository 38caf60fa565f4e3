//! `scan` against a real API server: a row for each container that shows a kill, with no right but `list`.

use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::{ControlPlane, Error, GrantScope, Namespace, pod_dsl::PodDsl, program::command};

async fn cluster() -> &'static ControlPlane {
    ControlPlane::shared().await.unwrap()
}

fn scan(kubeconfig: &Path, words: &[&str]) -> Output {
    command().arg("scan").args(words).env("KUBECONFIG", kubeconfig).output().unwrap()
}

async fn scan_namespace(namespace: &Namespace, words: &[&str]) -> String {
    let output = scan(&cluster().await.kubeconfig(), &[&["-n", namespace.name()], words].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && stderr.is_empty(), "{stdout}{stderr}");
    stdout
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The cells of a table below its head, without the first column, the namespace.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .skip(1)
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect())
        .collect()
}

/// A Pod of these containers, by their notation, whose newest kill was some minutes ago.
async fn create(namespace: &Namespace, name: &str, spec: Value, containers: &[&str]) -> Result<(), Error> {
    let minutes_ago = Timestamp::now() - SignedDuration::from_mins(5);
    let mut notation = PodDsl::at(minutes_ago);
    notation.pace = SignedDuration::ZERO;
    let mut shown = notation.object(containers);
    let mut pod = json!({"metadata": {"name": name}, "spec": shown["spec"]});
    for (key, value) in spec.as_object().unwrap() {
        match key.as_str() {
            "metadata" => pod["metadata"].as_object_mut().unwrap().extend(value.as_object().unwrap().clone()),
            _ => pod["spec"][key] = value.clone(),
        }
    }
    namespace.create_pod(pod).await?;
    namespace.set_status(name, shown["status"].take()).await
}

/// What makes a Pod one of a Deployment.
fn of_deployment(name: &str) -> Value {
    json!({"metadata": {
        "labels": {"pod-template-hash": "6c9f7"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-6c9f7"), "uid": "u", "controller": true}],
    }})
}

#[tokio::test]
async fn each_state_of_a_container_gives_its_rows() -> Result<(), Error> {
    for (name, spec, containers, expected) in [
        ("first", json!({}), &["app R(1,b)+L(a)"][..], &["app 1 1"][..]),
        ("running", json!({}), &["app R(0,a)"], &[]),
        ("waiting", json!({}), &["app W(0)"], &[]),
        ("dead", json!({}), &["app T(0,a)"], &["app 1 0"]),
        ("back-off", json!({}), &["app W(4)+L(a)"], &["app 1 4"]),
        ("loop", json!({}), &["app T(7,b)+L(a)"], &["app 1 7"]),
        ("other-end", json!({}), &["app R(1,b)+L(a,Error)"], &[]),
        ("completed", json!({}), &["app R(1,b)+L(a,Completed,0)"], &[]),
        ("recovered", json!({}), &["app R(3,c)+L(b,Error)"], &[]),
        ("child", json!({}), &["app R(1,b)+L(a,OOMKilled,3)"], &["app 1 1"]),
        ("init", json!({}), &["init:setup R(1,b)+L(a)", "app W(0)"], &["setup 1 1"]),
        ("sidecar", json!({}), &["sidecar:proxy R(2,b)+L(a)", "app R(0,c)"], &["proxy 1 2"]),
        ("both", json!({}), &["one R(1,b)+L(a)", "two R(2,d)+L(c)"], &["one 1 1", "two 1 2"]),
        ("bystander", json!({}), &["hungry R(1,b)+L(a)", "calm R(0,c)"], &["hungry 1 1"]),
        ("never", json!({"restartPolicy": "Never"}), &["app T(0,a)"], &["app 1 0"]),
        ("no-id", json!({}), &["app R(1,-b)+L(-a)"], &["app 1 1"]),
    ] {
        let namespace = cluster().await.namespace(&format!("scan-{name}")).await?;
        create(&namespace, "cart", spec, containers).await?;
        let table = scan_namespace(&namespace, &["--sort", "name"]).await;
        if expected.is_empty() {
            let sentence =
                format!("No OOM kill: none of the 1 Pods in the namespace {} shows one.\n", namespace.name());
            assert_eq!(table, sentence, "{name}");
            continue;
        }
        let shown: Vec<String> = rows(&table).iter().map(|row| row[1..4].join(" ")).collect();
        assert_eq!(shown, expected, "{name}: {table}");
        for row in rows(&table) {
            assert_eq!((row[0], row[4]), ("Pod/cart", "5m ago"), "{name}: {table}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_deployments_pods_share_a_row_and_wide_has_one_each() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-deployment").await?;
    for (name, app) in [("cart-6c9f7-a", "app R(2,b)+L(a)"), ("cart-6c9f7-b", "app R(2,d)+L(c)")] {
        create(&namespace, name, of_deployment("cart"), &[app, "proxy R(0,p)"]).await?;
    }
    let table = scan_namespace(&namespace, &[]).await;
    assert!(table.starts_with("NAMESPACE "), "{table}");
    assert_eq!(rows(&table).len(), 1, "{table}");
    assert_eq!(rows(&table)[0][..6], ["Deployment/cart", "app", "2", "4", "5m ago", "64 MiB"], "{table}");
    let wide = scan_namespace(&namespace, &["-o", "wide", "--sort", "name"]).await;
    let pods: Vec<_> = rows(&wide).iter().map(|row| (row[1], row[3], row[8])).collect();
    assert_eq!(pods, [("cart-6c9f7-a", "n1", "137"), ("cart-6c9f7-b", "n1", "137")], "{wide}");
    let json = scan_namespace(&namespace, &["-o", "json"]).await;
    let schema = serde_json::from_str(include_str!("../../finding/oom-finding.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert_eq!(json.lines().count(), 2, "{json}");
    for finding in json.lines() {
        schema.validate(&serde_json::from_str(finding).unwrap()).unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn pods_of_several_pages_are_all_looked_at() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-pages").await?;
    let calm = json!({"metadata": {"name": ""}, "spec": {"containers": [{"name": "app"}]}});
    let create_calm = async |number: usize| {
        let mut pod = calm.clone();
        pod["metadata"]["name"] = format!("calm-{number}").into();
        namespace.create_pod(pod).await.map(drop)
    };
    for first in (0..520).step_by(20) {
        futures::future::try_join_all((first..first + 20).map(create_calm)).await?;
    }
    create(&namespace, "zoo", json!({}), &["app R(1,b)+L(a)"]).await?;
    let table = scan_namespace(&namespace, &[]).await;
    assert_eq!(rows(&table)[0][..2], ["Pod/zoo", "app"], "{table}");
    namespace.delete_pod("zoo").await?;
    let nothing = scan_namespace(&namespace, &[]).await;
    assert!(nothing.contains("none of the 520 Pods"), "{nothing}");
    Ok(())
}

#[tokio::test]
async fn it_needs_the_right_to_list_pods_and_names_the_way_without_it() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-rights").await?;
    create(&namespace, "cart", json!({}), &["app R(1,b)+L(a)"]).await?;
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let scope = GrantScope::Namespaces(&[namespace.name()]);
    let token = namespace.service_account_token("looker", scope, rules.clone()).await?;
    let kubeconfig = cluster().await.kubeconfig_for(&token)?;
    let everywhere = scan(&kubeconfig, &[]);
    assert_eq!(everywhere.status.code(), Some(1));
    let said = text(&everywhere.stderr);
    assert!(said.starts_with("can't list pods in the whole cluster: the API server answers 403"), "{said}");
    assert!(said.contains("--namespace NAME") && said.lines().count() == 1, "{said}");
    assert!(everywhere.stdout.is_empty());
    let here = scan(&kubeconfig, &["--namespace", namespace.name()]);
    assert!(text(&here.stdout).contains("Pod/cart"), "{}", text(&here.stderr));
    let elsewhere = scan(&kubeconfig, &["-n", "default"]);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(text(&elsewhere.stderr).contains("in the namespace default"), "{}", text(&elsewhere.stderr));
    let lister = namespace.service_account_token("lister", GrantScope::Cluster, rules).await?;
    let output = scan(&cluster().await.kubeconfig_for(&lister)?, &[]);
    assert!(text(&output.stdout).contains(namespace.name()), "{}", text(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_context_is_found_as_kubectl_finds_it() -> Result<(), Error> {
    let kubeconfig = cluster().await.kubeconfig();
    let namespace = cluster().await.namespace("scan-context").await?;
    let named = scan(&kubeconfig, &["--context", "test", "-n", namespace.name()]);
    assert!(named.status.success(), "{}", text(&named.stderr));
    let other = scan(&kubeconfig, &["--context", "elsewhere"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        text(&other.stderr).contains("--context names the context \"elsewhere\""),
        "{}",
        text(&other.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn called_as_a_plugin_of_kubectl_it_scans() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-plugin").await?;
    create(&namespace, "cart", json!({}), &["app R(1,b)+L(a)"]).await?;
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-oom");
    symlink(support::program::path(), &plugin).unwrap();
    let output = Command::new(&plugin)
        .args(["-n", namespace.name()])
        .env("KUBECONFIG", cluster().await.kubeconfig())
        .output();
    assert!(text(&output.unwrap().stdout).contains("Pod/cart"));
    let help = Command::new(&plugin).arg("--help").output().unwrap();
    assert!(text(&help.stdout).contains("kubectl oom"), "{}", text(&help.stdout));
    Ok(())
}

/// What a terminal of so many columns is sent.
fn in_terminal(columns: u32, kubeconfig: &Path, environment: &str, words: &str) -> String {
    let program = support::program::path();
    let line = format!(
        "stty cols {columns}; KUBECONFIG='{}' {environment} '{}' scan {words}",
        kubeconfig.display(),
        program.display()
    );
    let output =
        Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").output().unwrap();
    text(&output.stdout).replace("\r\n", "\n")
}

#[tokio::test]
async fn a_terminal_gets_colours_unless_told_otherwise_and_what_fits_into_it() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-terminal").await?;
    create(&namespace, "cart-6c9f7-a", of_deployment("cart"), &["app R(2,b)+L(a)"]).await?;
    let (kubeconfig, words) = (cluster().await.kubeconfig(), format!("-n {}", namespace.name()));
    let bold = "\u{1b}[1mNAMESPACE";
    let wide = in_terminal(200, &kubeconfig, "", &words);
    assert!(wide.contains(bold), "{wide:?}");
    let plain = in_terminal(200, &kubeconfig, "NO_COLOR=1", &words);
    assert!(plain.contains("NAMESPACE") && !plain.contains(bold), "{plain:?}");
    let narrow = in_terminal(70, &kubeconfig, "NO_COLOR=1", &words);
    assert!(!narrow.contains("NAMESPACE") && narrow.contains("\n  5m ago, limit 64 MiB, "), "{narrow:?}");
    // The terminal breaks sentences.
    let mut facts =
        narrow.lines().filter(|line| !line.starts_with("  why: ") && !line.starts_with("  try: "));
    assert!(facts.all(|line| line.chars().count() <= 70), "{narrow:?}");
    Ok(())
}
