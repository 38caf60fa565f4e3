//! What does each kind of message look like? Whole payloads, with their lines as Slack shows them.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    limits::{assert_valid, setting},
    *,
};
use crate::{MoreKills, slack::link::LinkTemplate};
use finding::{
    AffectedContainer, AffectedPod, ContainerKind, Finding, Killed, Restarted, TestFinding, Workload,
};

const HOUR: Duration = Duration::from_hours(1);

/// The payloads, with each line of a text on a line of its own.
fn payloads(batch: &[Delivery], now: Instant) -> String {
    let messages = compose(batch, &setting(now));
    messages.iter().for_each(assert_valid);
    let payloads = messages.iter().map(|message| message.body().to_string());
    payloads.collect::<Vec<_>>().join("\n").replace("\\n", "\n")
}

fn payload(findings: impl IntoIterator<Item = Finding>) -> String {
    payloads(&findings.into_iter().map(Delivery::from).collect::<Vec<_>>(), Instant::now())
}

/// Only what a person reads: the notification, then the blocks.
fn texts(findings: impl IntoIterator<Item = Finding>) -> String {
    let batch: Vec<Delivery> = findings.into_iter().map(Delivery::from).collect();
    let messages = compose(&batch, &setting(Instant::now()));
    messages.iter().for_each(assert_valid);
    let text =
        |message: &SlackMessage<'_>| format!("({})\n{}", message.notification(), message.sections.join(GAP));
    messages.iter().map(text).collect::<Vec<_>>().join("\n\n")
}

/// A kill in this Pod.
fn in_pod(name: &str) -> Finding {
    let full = Finding::full();
    Finding { pod: AffectedPod { name: name.into(), uid: name.into(), ..full.pod }, ..full }
}

/// A kill in this workload.
fn in_workload(kind: &str, name: &str) -> Finding {
    let mut finding = in_pod(&format!("{name}-x2x"));
    finding.pod.workload = Workload { kind: kind.into(), name: name.into() };
    finding
}

/// A kill of this container.
fn of_container(kind: ContainerKind, name: &str, finding: Finding) -> Finding {
    let container = AffectedContainer { kind, name: name.into(), ..finding.container };
    Finding { container, ..finding }
}

/// The kills of one container that runs out of memory again and again, a minute apart.
fn crash_loop(kills: u32) -> Vec<Finding> {
    let kill = |restart: u32| {
        let full = Finding::full();
        let ran = SignedDuration::from_secs(i64::from(restart));
        let finished_at = full.killed.finished_at.map(|time| time + ran * 60);
        Finding {
            killed: Killed { started_at: finished_at.map(|time| time - ran), finished_at, ..full.killed },
            restarted: Some(Restarted { restart_count: Some(restart), ..Restarted::default() }),
            ..full
        }
    };
    (1..=kills).map(kill).collect()
}

/// As they are when they were gathered since then.
fn gathered_since(previous: Instant, findings: impl IntoIterator<Item = Finding>) -> Vec<Delivery> {
    let delivery = |finding| Delivery { previous: Some(previous), ..Delivery::from(finding) };
    findings.into_iter().map(delivery).collect()
}

#[test]
fn one_kill() {
    insta::assert_snapshot!(payload([Finding::full()]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Deployment `cart`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of app in Deployment cart, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn kills_in_several_pods_of_a_workload() {
    let mut resized = in_pod("cart-2");
    resized.container.memory_limit_bytes = Some(128 << 20);
    let kills = [in_pod("cart-3"), in_pod("cart-1"), resized, in_pod("cart-1")];
    insta::assert_snapshot!(payload(kills), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*4 OOM kills* of `app` in Deployment `cart`, 3 Pods, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB to 128 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed 2 times <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-2` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-3` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"4 OOM kills of app in Deployment cart, 3 Pods, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn kills_of_which_only_a_count_is_told() {
    let more = MoreKills {
        kills: 12_431,
        pods: 280,
        pods_are_more: false,
        same_container: true,
        last: Arc::new(in_pod("cart-280")),
    };
    let first = Delivery { more: Some(more.clone()), ..Delivery::from(in_pod("cart-1")) };
    let text = payloads(std::slice::from_ref(&first), Instant::now());
    assert!(text.contains("*12,432 OOM kills* of `app` in Deployment `cart`, namespace"), "{text}");
    assert!(text.contains("• and 12,431 more kills in 280 Pods, the last in `cart-280` <!date^"), "{text}");
    assert!(
        text.contains(r#""text":"12,432 OOM kills of app in Deployment cart, namespace shop,"#),
        "{text}"
    );

    let many = MoreKills { kills: 1, pods: 1, pods_are_more: true, same_container: false, ..more };
    let second = Delivery { more: Some(many), ..Delivery::from(in_pod("cart-2")) };
    let text = payloads(std::slice::from_ref(&second), Instant::now());
    assert!(text.contains("*2 OOM kills* in Deployment `cart`, namespace"), "{text}");
    assert!(text.contains("• and 1 more kill in more than 1 Pods, the last in `cart-280` <!date^"), "{text}");

    let text = payloads(&[first, second], Instant::now());
    assert!(text.contains("*12,434 OOM kills* in Deployment `cart`, namespace"), "{text}");
    assert!(text.contains("• and 12,432 more kills, the last in `cart-280` <!date^"), "{text}");
}

#[test]
fn kills_of_several_containers_of_a_workload() {
    let mut unlimited = of_container(ContainerKind::Init, "migrate", in_pod("cart-2"));
    unlimited.container.memory_limit_bytes = None;
    let kills = [
        of_container(ContainerKind::Sidecar, "proxy", in_pod("cart-1")),
        in_pod("cart-1"),
        in_pod("cart-2"),
        unlimited,
        of_container(ContainerKind::Ephemeral, "debug", in_pod("cart-1")),
    ];
    insta::assert_snapshot!(payload(kills), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*5 OOM kills* in Deployment `cart`, 2 Pods, namespace `shop`, cluster `prod`
    Container `app`: 2 kills
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-2` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    Init container `migrate`: 1 kill
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit of the whole Pod 256 MiB
    • `cart-2` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    Sidecar `proxy`: 1 kill
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    Ephemeral container `debug`: 1 kill
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"5 OOM kills in Deployment cart, 2 Pods, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn more_kills_in_a_crash_loop() {
    let previous = Instant::now();
    let batch = gathered_since(previous, crash_loop(12));
    insta::assert_snapshot!(payloads(&batch, previous + HOUR), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*12 more kills* of `app` in Deployment `cart` within the last hour, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    Image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed 12 times between <!date^1772366462^{date_short_pretty} at {time_secs}|2026-03-01 12:01:02 UTC> and <!date^1772367122^{date_short_pretty} at {time_secs}|2026-03-01 12:12:02 UTC>, after running for 1s to 12s, restart count now 12","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"12 more kills of app in Deployment cart within the last hour, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
    // Tried again when Slack was away for long: what is said is still true.
    assert!(payloads(&batch, previous + 3 * HOUR / 2).contains("within the last 90 minutes"));
    assert!(payloads(&batch[..1], previous + HOUR / 6).contains("*1 more kill* of `app` in Deployment"));
}

#[test]
fn a_message_that_leaves_something_open_says_when_the_next_one_comes() {
    let now = Instant::now();
    let mut batch = gathered_since(now, crash_loop(1));
    batch[0].next = Some(now + HOUR);
    let text = payloads(&batch, now);
    let next = "If it goes on, the next message comes <!date^1772370000^{date_short_pretty} at {time_secs}|\
                2026-03-01 13:00:00 UTC> at the latest";
    assert!(text.contains(&format!("restart count now 1\n{next}\"")), "{text}");
    // Sent late, it says nothing that is over.
    assert!(!payloads(&batch, now + HOUR).contains("If it goes on"));
}

#[test]
fn a_link_leads_to_the_last_kill() {
    let link = LinkTemplate::parse("https://grafana.example/d/x?var-pod={pod}&ns={namespace}").unwrap();
    let batch: Vec<Delivery> = vec![in_pod("cart-1").into()];
    let now = Instant::now();
    let messages = compose(&batch, &MessageSetting { link: Some(&link), ..setting(now) });
    assert_valid(&messages[0]);
    let link = "<https://grafana.example/d/x?var-pod=cart-1&amp;ns=shop|Look closer>";
    assert!(messages[0].sections[0].contains(link), "{}", messages[0].sections[0]);
}

#[test]
fn a_command_that_slack_would_change_is_left_out() {
    let mut finding = Finding::full();
    let advice = finding.advice.as_mut().unwrap();
    advice.command = Some("kubectl set resources 'deployment/a`b'".into());
    let text = texts([finding]);
    assert!(text.contains("\nTry: raise the limit to 128 MiB\n"), "{text}");
}

#[test]
fn first_and_further_kills_in_one_batch_are_told_apart() {
    let previous = Instant::now();
    let mut batch = gathered_since(previous, crash_loop(2));
    batch.push(in_pod("cart-1").into());
    batch.push(of_container(ContainerKind::Sidecar, "proxy", in_pod("cart-1")).into());
    let messages = compose(&batch, &setting(previous + HOUR));
    assert_valid(&messages[0]);
    insta::assert_snapshot!(messages[0].sections.join(GAP), @r#"
    *4 OOM kills* in Deployment `cart`, 2 Pods, namespace `shop`, cluster `prod`
    Container `app`: 1 kill
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    Container `app`: 2 more kills within the last hour
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed 2 times between <!date^1772366462^{date_short_pretty} at {time_secs}|2026-03-01 12:01:02 UTC> and <!date^1772366522^{date_short_pretty} at {time_secs}|2026-03-01 12:02:02 UTC>, after running for 1s to 2s, restart count now 2
    Sidecar `proxy`: 1 kill
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    "#);
}

#[test]
fn workloads_that_are_killed_together() {
    let mut elsewhere = in_workload("Deployment", "cart");
    elsewhere.namespace = "shop-2".into();
    insta::assert_snapshot!(payload([elsewhere, in_workload("Pod", "bare"), in_workload("Job", "import")]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Job `import`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `import-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3

    *OOM kill* of `app` in Pod `bare`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `bare-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3

    *OOM kill* of `app` in Deployment `cart`, namespace `shop-2`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"3 OOM kills in 3 workloads: app in Job import, app in Pod bare, app in Deployment cart","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn a_kill_that_no_restart_followed() {
    let finding = Finding { restarted: None, ..in_workload("Job", "import") };
    insta::assert_snapshot!(payload([finding]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Job `import`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `import-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, no restart followed","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of app in Job import, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
    let unrestarted = crash_loop(3).into_iter().map(|kill| Finding { restarted: None, ..kill });
    assert!(texts(unrestarted).contains("1s to 3s, no restart followed"));
}

#[test]
fn another_exit_code() {
    let with_code = |code, finding: Finding| Finding {
        killed: Killed { exit_code: Some(code), ..finding.killed },
        ..finding
    };
    insta::assert_snapshot!(payload([with_code(3, Finding::full())]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Deployment `cart`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3; marked OOMKilled, but exited with 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of app in Deployment cart, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
    let several = crash_loop(12).into_iter().zip(0..).map(|(kill, code)| with_code(130 + code, kill));
    let several = texts(several);
    assert!(
        several.contains("; 11 of them marked OOMKilled, but exited with 130, 131, 132, 133, 134, …"),
        "{several}"
    );
}

#[test]
fn a_pod_with_a_limit_of_its_own() {
    let mut finding = Finding::full();
    finding.container.memory_limit_bytes = None;
    insta::assert_snapshot!(payload([finding]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Deployment `cart`, namespace `shop`, cluster `prod`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `registry.example/cart:1.2`, memory limit of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of app in Deployment cart, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn what_is_unknown_is_not_said() {
    insta::assert_snapshot!(payload([Finding::minimal()]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `app` in Deployment `cart`, namespace `shop`
    No memory limit known
    • `cart-6c9f7-x2x`: killed, no restart followed","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of app in Deployment cart, namespace shop","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn a_restart_known_from_the_event_alone_has_no_count() {
    let restarted = Some(Restarted { restart_count: None, ..Restarted::default() });
    assert!(texts([Finding { restarted, ..Finding::full() }]).ends_with("3m 12s, restarted"));
}

#[test]
fn a_workload_in_two_paragraphs() {
    insta::assert_snapshot!(payload((10..30).map(|pod| in_pod(&format!("cart-{pod}")))), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*20 OOM kills* of `app` in Deployment `cart`, 20 Pods, namespace `shop`, cluster `prod` (1 of 2)
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    Image `registry.example/cart:1.2`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-10` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-11` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-12` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-13` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-14` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-15` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-16` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-17` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-18` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-19` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-20` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-21` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-22` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-23` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-24` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-25` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"},{"expand":true,"text":{"text":"`app` in Deployment `cart`, namespace `shop`, cluster `prod` (2 of 2)
    • `cart-26` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-27` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-28` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3
    • `cart-29` on node `n1`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"20 OOM kills of app in Deployment cart, 20 Pods, namespace shop, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[test]
fn a_test() {
    let test = TestFinding {
        cluster: Some("prod".into()),
        namespace: "monitoring".into(),
        pod: Some("oom-event-generator-0".into()),
        sent_at: Timestamp::UNIX_EPOCH,
    };
    insta::assert_snapshot!(payload([test.finding()]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*This is a test of kubernetes-oom-event-generator: nothing was killed*
    Sent from namespace `monitoring`, cluster `prod`","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"This is a test of kubernetes-oom-event-generator: nothing was killed. Sent from namespace monitoring, cluster prod","unfurl_links":false,"unfurl_media":false}
    "#);
}

/// Every field that comes from the cluster or the configuration, set to this.
fn filled_with(text: &str) -> Finding {
    let mut finding = Finding::full();
    finding.cluster = Some(text.into());
    finding.namespace = text.into();
    finding.pod.name = text.into();
    finding.pod.node = Some(text.into());
    finding.pod.workload = Workload { kind: text.into(), name: text.into() };
    finding.container.name = text.into();
    finding.container.image = Some(text.into());
    finding.message = text.into();
    finding
}

#[test]
fn names_that_mean_something_to_slack() {
    let names = "<!channel> @here & <https://evil|x> `*b* _i_ ~s~` \n•\u{0}\u{202e}x\u{200b}";
    insta::assert_snapshot!(payload([filled_with(names)]), @r#"
    {"blocks":[{"expand":true,"text":{"text":"*OOM kill* of `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�` in `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�` `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`, namespace `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`, cluster `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`
    Why: it reached its own memory limit of 64 MiB
    Try: `kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi` (raise the limit to 128 MiB)
    12 kills in 3 Pods since <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC>, image `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`, memory limit 64 MiB, of the whole Pod 256 MiB
    • `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�` on node `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`: killed <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>, after running for 3m 12s, restart count now 3","type":"mrkdwn","verbatim":true},"type":"section"}],"mrkdwn":false,"text":"OOM kill of &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x� in &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x� &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�, namespace &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�, cluster &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�","unfurl_links":false,"unfurl_media":false}
    "#);
    let test = Finding { test: true, ..filled_with(names) };
    insta::assert_snapshot!(texts([test]), @r#"
    (This is a test of kubernetes-oom-event-generator: nothing was killed. Sent from namespace &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�, cluster &lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�)
    *This is a test of kubernetes-oom-event-generator: nothing was killed*
    Sent from namespace `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`, cluster `&lt;!channel&gt; @here &amp; &lt;https://evil|x&gt; '*b* _i_ ~s~' �•��x�`
    "#);
}

#[test]
fn memory_is_shown_in_the_unit_that_fits() {
    for (bytes, text) in [
        (1000, "1000 B"),
        (100_000_000, "95.3 MiB"),
        (1 << 30, "1 GiB"),
        ((1 << 30) + (1 << 29), "1.5 GiB"),
        (u64::MAX, "15.9 EiB"),
    ] {
        let mut finding = Finding::full();
        finding.container.memory_limit_bytes = Some(bytes);
        let shown = texts([finding]);
        assert!(shown.contains(&format!("memory limit {text}, ")), "{shown}");
    }
}

#[test]
fn a_notification_names_the_first_few_workloads() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let shown = texts(names.map(|name| in_workload("Deployment", name)));
    insta::assert_snapshot!(shown.lines().next().unwrap(), @r#"
    (10 OOM kills in 10 workloads: app in Deployment a, app in Deployment b, app in Deployment c, app in Deployment d, app in Deployment e, app in Deployment f, app in Deployment g, app in Deployment h, app in Deployment i, and 1 more)
    "#);
}
