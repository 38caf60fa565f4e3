//! What stands on the page, and that it stays small and harmless.

use std::sync::Arc;

use super::*;

fn answer(text: &str) -> ProbeAnswer {
    ProbeAnswer { good: text == "ok", text: text.to_owned() }
}

/// The page that shows these findings, each killed just before noon.
fn shown(findings: &[Finding], readiness: &str) -> String {
    let now: Timestamp = "2026-03-01T12:04:10Z".parse().unwrap();
    let mut kills_by_quarter = [0; 96];
    kills_by_quarter[40] = 3;
    kills_by_quarter[95] = 1;
    let incident = |last: Finding| RecentIncident {
        last: Arc::new(last),
        last_kill: "2026-03-01T12:00:02Z".parse().unwrap(),
        kills_by_quarter,
    };
    let incidents: Vec<_> = findings.iter().cloned().map(incident).collect();
    page(&PageContent {
        cluster: Some("prod"),
        watched: "the whole cluster",
        now,
        health: &answer("ok"),
        readiness: &answer(readiness),
        incidents: &incidents,
        sinks: &[SinkFigures { name: "events".into(), waiting: 2, delivered: 40, failed: 1 }],
    })
}

#[test]
fn an_incident_says_what_where_when_why_and_what_to_try() {
    let page = shown(&[Finding::full()], "ok");
    for words in [
        "OOM kills in prod",
        "All is well",
        "Deployment cart",
        "container app in namespace shop, 3 Pods",
        "4m ago, <time datetime=\"2026-03-01T12:00:02Z\">Mar 1, 12:00 UTC</time>",
        "64 MiB, 256 MiB for the Pod",
        "it reached its own memory limit of 64 MiB",
        "raise the limit to 128 MiB",
        "kubectl --namespace shop set resources deployment/cart",
        "<b>4 kills</b>",
        "at most 3 kills in a quarter of an hour",
        "M120 40v-40h2.5v40zM285 40v-13h2.5v13z",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
}

#[test]
fn without_an_incident_it_says_so() {
    let page = shown(&[], "pods in the whole cluster: not yet listed");
    assert!(page.contains("Nothing was OOM-killed in the last 24 hours."), "{page}");
    assert!(
        page.contains("It doesn't see the cluster")
            && page.contains("<li>pods in the whole cluster: not yet")
    );
}

#[test]
fn hostile_names_are_text() {
    let hostile = "<script>alert(1)</script>\u{202e}\"'&";
    let mut finding = Finding::full();
    finding.namespace = hostile.into();
    finding.pod.workload.name = hostile.into();
    finding.container.name = hostile.into();
    let page = shown(&[finding], hostile);
    assert_eq!(page.matches("<script").count(), 0);
    assert_eq!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}&quot;'&amp;").count(),
        4,
        "{page}"
    );
}

#[test]
fn it_has_200_incidents_and_stays_small_whatever_their_names() {
    let page = shown(&vec![Finding::full(); 250], "ok");
    assert_eq!(page.matches("<article>").count(), MAX_SHOWN_INCIDENTS);
    assert!(page.contains("And 50 more"), "{page}");
    let mut finding = Finding::full();
    finding.pod.workload.name = "&".repeat(2000);
    let page = shown(&vec![finding; 200], "ok");
    assert!(page.len() < MAX_INCIDENTS_BYTES + 64 * 1024, "{}", page.len());
    assert!(page.contains(" more, whose last kill"));
}

#[test]
fn the_policy_allows_the_style_as_it_is() {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let hash = serde_json::json!(k8s_openapi::ByteString(digest.as_ref().to_vec()));
    let allowed = format!("style-src 'sha256-{}'", hash.as_str().unwrap());
    assert!(CONTENT_SECURITY_POLICY.contains(&allowed), "the style was changed: now it has to be {allowed}");
}
