use std::fmt::Write as _;

use super::*;
use crate::{KillId, Killed, Pod, Workload, slack::BATCH};

fn number(number: usize) -> Finding {
    let full = Finding::full();
    Finding {
        id: KillId::new(&[&number.to_string()]),
        pod: Pod { name: format!("cart-{number}"), uid: number.to_string(), ..full.pod },
        ..full
    }
}

fn shared(findings: impl IntoIterator<Item = Finding>) -> Vec<Delivery> {
    findings.into_iter().map(Delivery::from).collect()
}

/// The messages as text: the notification, then the paragraphs, dates shortened to their fallbacks.
fn shown(findings: impl IntoIterator<Item = Finding>) -> String {
    let mut shown = String::new();
    for message in compose(&shared(findings)) {
        let body = message.body();
        writeln!(shown, "({})", body["text"].as_str().unwrap()).unwrap();
        for block in body["blocks"].as_array().unwrap() {
            for (place, part) in block["text"]["text"].as_str().unwrap().split("<!date^").enumerate() {
                match (place, part.split_once('|').and_then(|(_, rest)| rest.split_once('>'))) {
                    (1.., Some((date, rest))) => write!(shown, "[{date}]{rest}").unwrap(),
                    _ => shown.push_str(part),
                }
            }
            shown.push('\n');
        }
    }
    shown
}

#[test]
fn what_is_unknown_is_not_said() {
    insta::assert_snapshot!(shown([Finding::minimal()]), @r"
    (OOM kill of app in Deployment cart, namespace shop)
    *OOM kill* of `app` in Deployment `cart`
    In namespace `shop`
    No memory limit known
    • `cart-6c9f7-x2x`: killed, no restart followed
    ");
}

#[test]
fn a_kill_that_no_restart_followed_says_so() {
    let full = Finding::full();
    let workload = Workload { kind: "Job".into(), name: "import".into() };
    let finding = Finding { restarted: None, pod: Pod { workload, ..full.pod }, ..full };
    insta::assert_snapshot!(shown([finding]), @r"
    (OOM kill of app in Job import, namespace shop, cluster prod)
    *OOM kill* of `app` in Job `import`
    In namespace `shop`, cluster `prod`
    Memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed [2026-03-01 12:00:02 UTC], after running for 3m 12s, no restart followed
    ");
}

#[test]
fn a_restart_known_from_the_event_alone_has_no_count() {
    let restarted = Some(Restarted { restart_count: None, ..Restarted::default() });
    assert!(shown([Finding { restarted, ..Finding::full() }]).contains("3m 12s, restarted\n"));
}

#[test]
fn another_exit_code_is_explained() {
    let full = Finding::full();
    let finding = Finding { killed: Killed { exit_code: 3, ..full.killed }, ..full };
    insta::assert_snapshot!(shown([finding]), @r"
    (OOM kill of app in Deployment cart, namespace shop, cluster prod)
    *OOM kill* of `app` in Deployment `cart`
    In namespace `shop`, cluster `prod`
    Memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed [2026-03-01 12:00:02 UTC], after running for 3m 12s, restart count now 3; marked OOMKilled, but exited with 3
    ");
}

#[test]
fn kinds_of_containers_are_named() {
    for (kind, text) in [
        (ContainerKind::Init, "init container `app`"),
        (ContainerKind::Sidecar, "sidecar `app`"),
        (ContainerKind::Ephemeral, "ephemeral container `app`"),
    ] {
        let mut finding = Finding::full();
        finding.container.kind = kind;
        assert!(shown([finding]).contains(text));
    }
}

#[test]
fn memory_is_shown_in_the_unit_that_fits() {
    for (bytes, text) in [
        (1000, "1000 B"),
        (100_000_000, "95.3 MiB"),
        (1 << 30, "1 GiB"),
        ((1 << 30) + (1 << 29), "1.5 GiB"),
        (u64::MAX, "16777215.9 TiB"),
    ] {
        let mut finding = Finding::full();
        finding.container.memory_limit_bytes = Some(bytes);
        let shown = shown([finding]);
        assert!(shown.contains(&format!("Memory limit {text}, ")), "{shown}");
    }
}

#[test]
fn a_crash_loop_is_one_line() {
    let mut kills = Vec::new();
    for restart in 1..=12_i32 {
        let full = Finding::full();
        let ran = jiff::SignedDuration::from_secs(i64::from(restart));
        let finished_at = full.killed.finished_at.map(|time| time + ran * 60);
        let started_at = finished_at.map(|time| time - ran);
        kills.push(Finding {
            killed: Killed {
                started_at,
                finished_at,
                exit_code: if restart == 2 { 1 } else { 137 },
                ..full.killed
            },
            restarted: Some(Restarted {
                restart_count: Some(restart.unsigned_abs()),
                ..Restarted::default()
            }),
            ..full
        });
    }
    insta::assert_snapshot!(shown(kills.clone()), @r"
    (12 OOM kills of app in Deployment cart, namespace shop, cluster prod)
    *12 OOM kills* of `app` in Deployment `cart`
    In namespace `shop`, cluster `prod`
    Memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-6c9f7-x2x` on node `n1`: killed 12 times between [2026-03-01 12:01:02 UTC] and [2026-03-01 12:12:02 UTC], after running for 1s to 12s, restart count now 12; 1 of them marked OOMKilled, but exited with 1
    ");

    for kill in &mut kills {
        kill.restarted = None;
    }
    assert!(shown(kills).contains("1s to 12s, no restart followed; 1 of them marked OOMKilled"));
}

#[test]
fn the_pods_of_a_workload_are_told_together() {
    let mut resized = number(2);
    resized.container.memory_limit_bytes = Some(128 << 20);
    let mut elsewhere = number(4);
    elsewhere.namespace = "shop-2".into();
    insta::assert_snapshot!(shown([number(1), resized, elsewhere, number(3), number(1)]), @r"
    (5 OOM kills: app in Deployment cart, app in Deployment cart)
    *4 OOM kills* of `app` in Deployment `cart`, 3 Pods
    In namespace `shop`, cluster `prod`
    Memory limit 64 MiB to 128 MiB, of the whole Pod 256 MiB
    • `cart-1` on node `n1`: killed 2 times [2026-03-01 12:00:02 UTC], after running for 3m 12s, restart count now 3
    • `cart-2` on node `n1`: killed [2026-03-01 12:00:02 UTC], after running for 3m 12s, restart count now 3
    • `cart-3` on node `n1`: killed [2026-03-01 12:00:02 UTC], after running for 3m 12s, restart count now 3
    *OOM kill* of `app` in Deployment `cart`
    In namespace `shop-2`, cluster `prod`
    Memory limit 64 MiB, of the whole Pod 256 MiB
    • `cart-4` on node `n1`: killed [2026-03-01 12:00:02 UTC], after running for 3m 12s, restart count now 3
    ");
}

#[test]
fn a_notification_names_the_first_few_containers() {
    let named = |name: &str| {
        let mut finding = Finding::full();
        finding.pod.workload.name = name.into();
        finding
    };
    let shown = shown(["a", "b", "c", "d", "e", "f", "g"].map(named));
    assert!(
        shown.starts_with(
            "(7 OOM kills: app in Deployment a, app in Deployment b, app in Deployment c, app in Deployment d, app \
             in Deployment e, and 2 more)\n"
        ),
        "{shown}"
    );
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
fn nothing_breaks_out_of_its_place() {
    let hostile = "<!channel> & <https://evil|x> `*bold*` \n• second\u{0}line";
    let escaped = "&lt;!channel&gt; &amp; &lt;https://evil|x&gt; '*bold*'  • second line";
    for message in compose(&shared([filled_with(hostile)])) {
        let body = message.body();
        let text = body["blocks"][0]["text"]["text"].as_str().unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(text.matches(escaped).count(), 7, "{text}");
        // All that is left of Slack's syntax is ours: one date, and a pair of backticks around each name.
        assert_eq!(text.matches('<').count(), 1, "{text}");
        assert_eq!(text.matches('`').count(), 12, "{text}");
        assert_eq!(body["text"].as_str().unwrap().matches(['<', '>', '`', '\n']).count(), 0, "{body}");
    }
}

/// Checks the published limits, and that each finding is in exactly one message.
fn assert_within_limits(batch: &[Delivery]) -> Vec<Value> {
    let messages = compose(batch);
    let mut told: Vec<usize> = messages.iter().flat_map(|message| message.findings().to_vec()).collect();
    told.sort_unstable();
    assert_eq!(told, (0..batch.len()).collect::<Vec<_>>());
    let bodies: Vec<Value> = messages.iter().map(Message::body).collect();
    for body in &bodies {
        let blocks = body["blocks"].as_array().unwrap();
        let lengths: Vec<usize> =
            blocks.iter().map(|block| block["text"]["text"].as_str().unwrap().len()).collect();
        assert!(!blocks.is_empty() && blocks.len() <= MOST_BLOCKS, "{}", blocks.len());
        assert!(lengths.iter().all(|length| *length <= LONGEST_SECTION), "{lengths:?}");
        assert!(lengths.iter().sum::<usize>() <= LONGEST_MESSAGE, "{lengths:?}");
        assert!((1..=LONGEST_SECTION).contains(&body["text"].as_str().unwrap().len()), "{body}");
    }
    bodies
}

#[test]
fn a_storm_is_few_messages_that_name_every_pod() {
    let storm = shared((0..500).map(|kill| {
        let mut finding = number(kill);
        finding.pod.workload.name = format!("shop-{}", kill % 20);
        finding
    }));
    let mut bodies = Vec::new();
    for batch in storm.chunks(BATCH) {
        bodies.extend(assert_within_limits(batch));
    }
    assert!(bodies.len() <= 25, "{}", bodies.len());
    let text = bodies.iter().map(Value::to_string).collect::<String>();
    for kill in 0..500 {
        assert!(text.contains(&format!("`cart-{kill}`")));
    }
}

#[test]
fn limits_hold_whatever_the_findings_are() {
    for length in [1, 60, 253, 1000] {
        for letter in ["a", "&", "ä", "`"] {
            for (groups, pods) in [(1, 1), (1, 500), (500, 500), (7, 50), (60, 500)] {
                let findings = (0..500).map(|kill| {
                    let mut finding = filled_with(&letter.repeat(length));
                    finding.pod.uid = (kill % pods).to_string();
                    finding.container.memory_limit_bytes = u64::try_from(kill).ok();
                    finding.killed.exit_code = i32::MIN + kill;
                    finding.pod.workload.name += &(kill % groups).to_string();
                    finding.killed.started_at = Some(jiff::Timestamp::MIN);
                    finding
                });
                assert_within_limits(&shared(findings));
            }
        }
    }
}

#[test]
fn many_workloads_fill_the_blocks_of_several_messages() {
    let findings = (0..120).map(|kill| {
        let mut finding = Finding::minimal();
        finding.pod.workload.name = kill.to_string();
        finding
    });
    let blocks: Vec<usize> = assert_within_limits(&shared(findings))
        .iter()
        .map(|body| body["blocks"].as_array().unwrap().len())
        .collect();
    assert_eq!(blocks, [50, 50, 20]);
}
