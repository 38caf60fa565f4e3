//! The page for people in a real browser: nothing is wrong with it, on a phone and on a screen, by day and by
//! night. What it looks like is in `target/page`.

use std::{fs, sync::Arc};

use finding::{Advice, Cause, CauseKind, Finding, Workload};
use jiff::{SignedDuration, Timestamp};
use kubernetes_oom_event_generator::{
    health::ProbeAnswer,
    incidents::RecentIncident,
    metrics::SinkFigures,
    page::{CONTENT_SECURITY_POLICY, PageContent, page},
};
use serde_json::Value;
use support::{
    ControlPlane, Error,
    browser::Browser,
    eventually,
    program::{PATIENCE, Program},
    tools,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::cluster::kills::kill_once;

/// A finding of this workload, and its kills in the quarters of an hour of the last day.
fn incident(kind: &str, name: &str, minutes: i64, quarters: &[(usize, u16)]) -> RecentIncident {
    let last_kill = Timestamp::now() - SignedDuration::from_mins(minutes);
    let mut kills_by_quarter = [0; 96];
    for (quarter, kills) in quarters {
        kills_by_quarter[*quarter] = *kills;
    }
    let mut finding = Finding::full();
    finding.pod.workload = Workload { kind: kind.into(), name: name.into() };
    finding.pod.memory_limit_bytes = None;
    finding.killed.finished_at = Some(last_kill);
    RecentIncident { last: Arc::new(finding), last_kill, kills_by_quarter }
}

/// What a bad day looks like.
fn incidents() -> Vec<RecentIncident> {
    let crash_loop: Vec<_> =
        (60..96).map(|quarter| (quarter, 1 + u16::try_from(quarter % 4).unwrap())).collect();
    let mut all = vec![
        incident("Deployment", "cart", 0, &crash_loop),
        incident("CronJob", "nightly-report", 47, &[(92, 1), (48, 1), (4, 1)]),
        incident(
            "StatefulSet",
            "search-index-with-a-name-as-long-as-names-of-workloads-in-kubernetes-get-really",
            190,
            &[(83, 2), (82, 1)],
        ),
        incident("Deployment", "<script>alert('evil')</script>", 600, &[(56, 40), (55, 12), (30, 1)]),
        incident("Pod", "debug", 1430, &[(1, 1)]),
    ];
    let leak = "its limit was raised within this incident, and it was killed again: look for a leak";
    let mut change =
        |place: usize, change: &dyn Fn(&mut Finding)| change(Arc::make_mut(&mut all[place].last));
    change(1, &|finding| {
        finding.cause = Some(Cause {
            kind: CauseKind::NoLimit,
            text: "neither it nor its Pod has a limit: the node ran out".into(),
        });
        (finding.advice, finding.incident, finding.container.memory_limit_bytes) = (None, None, None);
    });
    change(2, &|finding| {
        finding.advice = Some(Advice { memory_limit_bytes: None, command: None, text: leak.into() });
    });
    change(4, &|finding| (finding.cause, finding.advice, finding.incident) = (None, None, None));
    all
}

/// Returns the page for these incidents.
fn shown(incidents: &[RecentIncident], readiness: &str) -> String {
    let sink = |name: &str, waiting, delivered, failed| SinkFigures {
        name: name.into(),
        waiting,
        delivered,
        failed,
    };
    page(&PageContent {
        cluster: Some("prod-eu-1"),
        watched: "the whole cluster",
        now: Timestamp::now(),
        health: &ProbeAnswer { good: true, text: "ok".into() },
        readiness: &ProbeAnswer { good: readiness == "ok", text: readiness.into() },
        incidents,
        sinks: &[sink("events", 0, 128, 0), sink("team", 12, 1094, 3), sink("pager", 0, 0, 0)],
    })
}

/// Answers every request with this page. Returns its address.
async fn serve(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-security-policy: \
                 {CONTENT_SECURITY_POLICY}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                page.len()
            );
            stream.read(&mut [0; 4096]).await.unwrap_or_default();
            stream.write_all((head + &page).as_bytes()).await.unwrap_or_default();
        }
    });
    format!("http://{address}/")
}

/// What a browser found wrong while it loaded a page from `url`.
fn faults(events: &[Value], url: &str) -> Vec<String> {
    let is_fault = |event: &&Value| {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => {
                ["error", "warning"].contains(&parameters["type"].as_str().unwrap())
            }
            "Log.entryAdded" => {
                ["error", "warning"].contains(&parameters["entry"]["level"].as_str().unwrap())
            }
            "Network.requestWillBeSent" => {
                let asked = parameters["request"]["url"].as_str().unwrap();
                asked != url && !asked.starts_with("data:")
            }
            _ => false,
        }
    };
    events.iter().filter(is_fault).map(Value::to_string).collect()
}

#[tokio::test]
async fn a_browser_finds_no_fault_with_the_page_at_any_width_by_day_and_by_night() -> Result<(), Error> {
    let axe = fs::read_to_string(tools::installed("axe.min.js").await).unwrap();
    let pictures = tools::file("target/page");
    fs::create_dir_all(&pictures).unwrap();
    let mut browser = Browser::start().await?;
    let unready = "events in the whole cluster: broken for 75 s: can't watch events in the whole cluster: the API server was silent for 55s";
    for (name, page) in [
        ("day", shown(&incidents(), "ok")),
        ("calm", shown(&[], "ok")),
        ("broken", shown(&incidents()[..1], unready)),
    ] {
        let url = serve(page).await;
        for (width, dark) in [(390, false), (1280, false), (390, true), (1280, true)] {
            let what = format!("{name}-{width}{}", if dark { "-dark" } else { "" });
            let faults = faults(&browser.open(&url, width, dark).await?, &url);
            assert!(faults.is_empty(), "{what}: {faults:#?}");
            let widest = browser.evaluate("document.documentElement.scrollWidth").await?;
            assert!(widest.as_u64().unwrap() <= width.into(), "{what} is {widest} wide");
            assert_eq!(browser.evaluate("document.scripts.length").await?, 0, "{what}");
            fs::write(pictures.join(format!("{what}.png")), browser.screenshot().await?).unwrap();
            browser.evaluate(&axe).await?;
            let violations = "axe.run().then(found => found.violations.map(rule => rule.id + ': ' + rule.nodes.map(node => node.html)))";
            assert_eq!(browser.evaluate(violations).await?, serde_json::json!([]), "{what}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_kill_is_on_the_page_as_soon_as_it_is_found_unless_the_page_is_off() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.namespace("page").await?;
    let include = ("OOM_NAMESPACES__INCLUDE", namespace.name());
    let program = Program::ready(&cluster.kubeconfig(), &["--sink", "stdout"], &[include]).await;
    let empty = program.get("/").await.unwrap();
    assert!(empty.contains("Nothing was OOM-killed") && empty.contains("All is well"), "{empty}");
    assert!(empty.contains("content-security-policy: default-src 'none'; "), "{empty}");
    kill_once(&namespace, "cart").await;
    let page = eventually("the kill on the page", PATIENCE, async || {
        program.get("/").await.filter(|page| page.contains("Pod cart"))
    });
    let page = page.await?;
    for words in
        ["<b>1 kill</b>", "64 MiB", "it reached its own memory limit", "<th scope=\"row\">stdout</th>"]
    {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert_eq!(program.stop().await, Some(0));
    let off = [include, ("OOM_SERVER__PAGE", "false")];
    let program = Program::ready(&cluster.kubeconfig(), &["--sink", "stdout"], &off).await;
    assert!(program.get("/").await.unwrap().ends_with("See /metrics, /healthz and /readyz.\n"));
    Ok(())
}

#[tokio::test]
async fn the_page_shows_after_a_crash_what_the_events_remember() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let namespace = cluster.namespace("page-again").await?;
    let include = ("OOM_NAMESPACES__INCLUDE", namespace.name());
    let mut program = Program::ready(&cluster.kubeconfig(), &[], &[include]).await;
    kill_once(&namespace, "cart").await;
    eventually("the Event", PATIENCE, async || {
        let events = namespace.events("PreviousContainerWasOOMKilled").await.unwrap();
        (events.len() == 1).then_some(())
    })
    .await?;
    program.signal("KILL").await;
    program.ended().await;
    // Nothing else tells of it now.
    namespace.delete_pod("cart").await?;
    let program = Program::ready(&cluster.kubeconfig(), &[], &[include]).await;
    let page = program.get("/").await.unwrap();
    for words in ["Pod cart", "<b>1 kill</b>", "it reached its own memory limit"] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    Ok(())
}
