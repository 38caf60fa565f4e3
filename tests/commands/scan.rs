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
    of_owner("ReplicaSet", &format!("{name}-6c9f7"))
}

/// What makes a Pod one of this owner, with the label that a Deployment gives.
fn of_owner(kind: &str, name: &str) -> Value {
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    json!({"metadata": {
        "labels": {"pod-template-hash": "6c9f7"},
        "ownerReferences": [{"apiVersion": version, "kind": kind, "name": name, "uid": "u", "controller": true}],
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
                format!("No OOM kill: the one Pod in the namespace {} shows none.\n", namespace.name());
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
async fn each_workload_limit_and_cause_has_its_words() -> Result<(), Error> {
    let killed = &["app R(1,b)+L(a)"][..];
    let limit = json!({"limits": {"memory": "32Mi"}});
    let of_pod = json!({"containers": [{"name": "app"}], "resources": limit});
    let of_both = json!({"containers": [{"name": "app", "resources": {"limits": {"memory": "16Mi"}}}], "resources": limit});
    let job_of_cron_job = format!("nightly-{}", Timestamp::now().as_second() / 60);
    for (name, spec, containers, row) in [
        ("bare", json!({}), killed, ["Pod/cart", "64 MiB", "container limit", "limit 128 MiB"]),
        (
            "deployment",
            of_deployment("web"),
            killed,
            ["Deployment/web", "64 MiB", "container limit", "limit 128 MiB"],
        ),
        (
            "set",
            of_owner("StatefulSet", "db"),
            killed,
            ["StatefulSet/db", "64 MiB", "container limit", "limit 128 MiB"],
        ),
        (
            "daemon",
            of_owner("DaemonSet", "agent"),
            killed,
            ["DaemonSet/agent", "64 MiB", "container limit", "limit 128 MiB"],
        ),
        (
            "job",
            of_owner("Job", "import"),
            &["app T(0,a)"],
            ["Job/import", "64 MiB", "container limit", "limit 128 MiB"],
        ),
        (
            "cron",
            of_owner("Job", &job_of_cron_job),
            &["app T(0,a)"],
            ["CronJob/nightly", "64 MiB", "container limit", "limit 128 MiB"],
        ),
        ("unlimited", json!({"containers": [{"name": "app"}]}), killed, ["Pod/cart", "-", "no limit", "-"]),
        ("of-pod", of_pod, killed, ["Pod/cart", "32 MiB (Pod)", "Pod limit", "-"]),
        ("of-both", of_both, killed, ["Pod/cart", "16 MiB", "container limit", "limit 32 MiB"]),
        ("child", json!({}), &["app R(1,b)+L(a,OOMKilled,3)"], ["Pod/cart", "64 MiB", "child process", "-"]),
    ] {
        let namespace = cluster().await.namespace(&format!("scan-{name}")).await?;
        create(&namespace, "cart", spec, containers).await?;
        let table = scan_namespace(&namespace, &[]).await;
        let shown = &rows(&table)[0];
        assert_eq!([shown[0], shown[5], shown[7], shown[8]], row, "{name}: {table}");
    }
    Ok(())
}

#[tokio::test]
async fn two_kills_of_a_container_are_two_findings_and_one_row() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-two").await?;
    create(&namespace, "cart", json!({}), &["app T(7,b)+L(a)"]).await?;
    let table = scan_namespace(&namespace, &[]).await;
    assert_eq!(rows(&table).len(), 1, "{table}");
    let json = scan_namespace(&namespace, &["-o", "json"]).await;
    let kills: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kills.len(), 2, "{json}");
    let (last, earlier): (Vec<_>, Vec<_>) = kills.iter().partition(|kill| kill["restarted"].is_null());
    assert_eq!((last.len(), earlier.len()), (1, 1), "{json}");
    assert_eq!(earlier[0]["restarted"]["containerId"], last[0]["killed"]["containerId"], "{json}");
    Ok(())
}

#[tokio::test]
async fn a_namespace_without_pods_says_so_and_all_namespaces_is_the_whole_cluster() -> Result<(), Error> {
    let namespace = cluster().await.namespace("scan-empty").await?;
    let sentence = format!("No OOM kill: there is no Pod in the namespace {}.\n", namespace.name());
    assert_eq!(scan_namespace(&namespace, &[]).await, sentence);
    let json = scan(&cluster().await.kubeconfig(), &["-n", namespace.name(), "-o", "json"]);
    assert_eq!(
        (json.status.code(), text(&json.stdout), text(&json.stderr)),
        (Some(0), String::new(), sentence)
    );
    let other = cluster().await.namespace("scan-all").await?;
    create(&other, "cart", json!({}), &["app R(1,b)+L(a)"]).await?;
    let all = command()
        .args(["scan", "-A"])
        .env("KUBECONFIG", cluster().await.kubeconfig())
        .env("OOM_NAMESPACES__INCLUDE", namespace.name())
        .output()
        .unwrap();
    assert!(text(&all.stdout).contains(other.name()), "{}", text(&all.stderr));
    Ok(())
}

#[test]
fn what_cannot_be_reached_is_said_in_a_line_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let nobody = "{clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: a, user: {}}], \
                  contexts: [{name: a, context: {cluster: a, user: a}}], current-context: a}";
    for (content, said) in [(nobody, "no answer from the API server"), ("x: [", "it is not valid YAML")] {
        std::fs::write(&kubeconfig, content).unwrap();
        let output = scan(&kubeconfig, &[]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.contains(said) && output.stdout.is_empty(), "{stderr}");
    }
    let missing = scan(&folder.path().join("elsewhere"), &[]);
    assert!(text(&missing.stderr).contains("can't read it"), "{}", text(&missing.stderr));
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
fn in_terminal(columns: u16, kubeconfig: &Path, environment: &str, words: &str) -> String {
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
    for columns in [40, 70] {
        let narrow = in_terminal(columns, &kubeconfig, "NO_COLOR=1", &words);
        assert!(!narrow.contains("NAMESPACE") && narrow.contains("\n  5m ago, limit 64 MiB, "), "{narrow:?}");
        // Names are not broken.
        let widest = narrow.lines().skip(1).map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= usize::from(columns)), "{narrow:?}");
    }
    Ok(())
}
