//! Are Slack's limits kept, whatever the findings are, and is each of them told of?

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use finding::{Advice, Cause, CauseKind, Finding, KillId, Workload};

use crate::{MoreKills, slack::BATCH};

/// What Slack publishes of the payload of an incoming webhook, as far as it is used here, and nothing
/// else. A JSON Schema counts characters, as Slack does.
static PUBLISHED: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&published()).unwrap());

fn published() -> Value {
    let text = json!({
        "type": "object",
        "required": ["type", "text"],
        "additionalProperties": false,
        "properties": {
            "type": { "const": "mrkdwn" },
            "text": { "type": "string", "minLength": 1, "maxLength": 3_000 },
            "verbatim": { "type": "boolean" },
        },
    });
    let section = json!({
        "type": "object",
        "required": ["type", "text"],
        "additionalProperties": false,
        "properties": { "type": { "const": "section" }, "text": text, "expand": { "type": "boolean" } },
    });
    json!({
        "type": "object",
        "required": ["text"],
        "additionalProperties": false,
        "properties": {
            "text": { "type": "string", "minLength": 1, "maxLength": 40_000 },
            "mrkdwn": { "type": "boolean" },
            "blocks": { "type": "array", "minItems": 1, "maxItems": 50, "items": section },
            "unfurl_links": { "type": "boolean" },
            "unfurl_media": { "type": "boolean" },
        },
    })
}

/// Noon, at this moment.
pub(super) fn setting(now: Instant) -> MessageSetting<'static> {
    MessageSetting { now, time: "2026-03-01T12:00:00Z".parse().unwrap(), link: None }
}

/// Checks a message against all that Slack publishes, and what is known besides.
pub(super) fn assert_valid(message: &SlackMessage<'_>) {
    for payload in [message.body(), message.plain_body()] {
        let problems: Vec<String> = PUBLISHED.iter_errors(&payload).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{payload}");
    }
    let body = message.body();
    // What was measured: slackapi/bolt-js#2867.
    assert!(body["blocks"].to_string().len() < 13_200, "{body}");
    let notification = body["text"].as_str().unwrap();
    assert!(notification.len() < 1_500 && !notification.contains(['\n', '<', '>', '`']), "{notification}");
    for section in &message.sections {
        assert_plain(section);
    }
}

/// All of Slack's syntax in it is ours: dates, bold counts, and names in backticks.
fn assert_plain(section: &str) {
    for line in section.lines() {
        let quoted: Vec<&str> = line.split('`').collect();
        assert_eq!(quoted.len() % 2, 1, "{line}");
        let (mut around, names): (Vec<_>, Vec<_>) =
            quoted.iter().enumerate().partition(|(place, _)| place % 2 == 0);
        assert!(names.iter().all(|(_, name)| !name.is_empty() && !name.contains(['<', '>'])), "{line}");
        let mut around: String = around.drain(..).map(|(_, text)| *text).collect();
        while let Some((before, rest)) = around.split_once("<!date^") {
            around = before.to_owned() + rest.split_once('>').unwrap().1;
        }
        let mut around =
            ["&amp;", "&lt;", "&gt;"].iter().fold(around, |around, escape| around.replace(escape, ""));
        while let Some((before, rest)) = around.split_once("<https://") {
            around = before.to_owned() + rest.split_once('>').unwrap().1;
        }
        let around = around.strip_prefix('*').map_or(around.clone(), |rest| rest.replacen('*', "", 1));
        assert!(!around.contains(['<', '>', '*', '_', '~', '&']), "{line}");
    }
}

/// The messages of a batch, within all limits, each finding in exactly one; the Pods that are named
/// `pod-1-…` and so on stand in the message that has their finding, and in no other; and the headings count all.
fn assert_within_limits(batch: &[Delivery]) -> Vec<String> {
    let messages = compose(batch, &setting(Instant::now()));
    let mut told: Vec<usize> = messages.iter().flat_map(SlackMessage::findings).collect();
    told.sort_unstable();
    assert_eq!(told, (0..batch.len()).collect::<Vec<_>>());
    let (mut texts, mut counted) = (Vec::new(), 0);
    for message in &messages {
        assert_valid(message);
        let text = message.sections.join(GAP);
        counted += text.lines().filter_map(heading_count).sum::<usize>();
        let mut named: Vec<&str> =
            text.split("• `").skip(1).map(|line| line.split('-').nth(1).unwrap()).collect();
        let mut expected: Vec<&str> = message
            .findings()
            .map(|place| batch[place].finding.pod.name.split('-').nth(1).unwrap())
            .collect();
        for pods in [&mut named, &mut expected] {
            pods.sort_unstable();
            pods.dedup();
        }
        assert_eq!(named, expected);
        texts.push(text);
    }
    let kills: u64 = batch.iter().map(|told| 1 + told.more.as_ref().map_or(0, |more| more.kills)).sum();
    assert_eq!(u64::try_from(counted).unwrap(), kills, "{texts:?}");
    texts
}

/// `*12 OOM kills* of …` and `*12 more kills* of …`: 12.
fn heading_count(line: &str) -> Option<usize> {
    let line = line.strip_prefix('*')?;
    let count = line.split_once("OOM kill").or_else(|| line.split_once("more kill"))?.0;
    Some(count.split(' ').next()?.replace(',', "").parse().unwrap_or(1))
}

fn number(number: usize) -> Finding {
    let mut finding = Finding::full();
    finding.id = KillId::new(&[&number.to_string()]);
    finding.pod.name = format!("pod-{number}-x2xlq");
    finding.pod.uid = number.to_string();
    finding
}

fn batch(numbers: Range<usize>, finding: impl Fn(usize) -> Finding) -> Vec<Delivery> {
    numbers.map(|number| finding(number).into()).collect()
}

#[test]
fn a_storm_in_twenty_workloads_is_few_messages_that_name_every_pod() {
    let storm = batch(0..500, |kill| {
        let mut finding = number(kill);
        finding.pod.workload.name = format!("shop-{}", kill / 25);
        finding.pod.name = format!("pod-{kill}-of-a-usual-name-6c9f7d5b8-x2xlq");
        finding.pod.node = Some("ip-10-0-112-34.eu-central-1.compute.internal".into());
        finding
    });
    let messages: usize = storm.chunks(BATCH).map(|batch| assert_within_limits(batch).len()).sum();
    assert!(messages <= 15, "{messages}");
}

#[test]
fn a_storm_of_bare_pods_is_few_messages() {
    let storm = batch(0..500, |kill| {
        let mut finding = number(kill);
        finding.pod.workload = Workload { kind: "Pod".into(), name: finding.pod.name.clone() };
        finding.pod.memory_limit_bytes = None;
        finding
    });
    let messages: usize = storm.chunks(BATCH).map(|batch| assert_within_limits(batch).len()).sum();
    assert!(messages <= 15, "{messages}");
}

#[test]
fn a_workload_that_needs_several_paragraphs_is_counted_in_the_first() {
    let texts = assert_within_limits(&batch(0..100, number));
    let headings: Vec<&str> =
        texts.iter().flat_map(|text| text.lines()).filter(|it| it.starts_with('*')).collect();
    insta::assert_snapshot!(headings.join("\n"), @r#"
    *100 OOM kills* of `app` in Deployment `cart`, 100 Pods, namespace `shop`, cluster `prod` (1 of 6)
    "#);
    assert!(texts.len() > 1);
}

#[test]
fn limits_hold_whatever_the_findings_are() {
    for length in [1, 60, 253, 1000] {
        for letter in ["a", "&", "ä", "`"] {
            for (groups, pods) in [(1, 1), (1, 250), (250, 250), (7, 50)] {
                let text = letter.repeat(length);
                let mut findings = batch(0..250, |kill| {
                    let mut finding = Finding::full();
                    finding.cluster = Some(text.clone());
                    finding.namespace.clone_from(&text);
                    finding.pod.name = format!("pod-{}-{text}", kill % pods);
                    finding.pod.uid = (kill % pods).to_string();
                    finding.pod.node = Some(text.clone());
                    finding.pod.workload =
                        Workload { kind: text.clone(), name: format!("{}{text}", kill % groups) };
                    finding.container.name = format!("{}{text}", kill % 3);
                    finding.container.memory_limit_bytes = u64::try_from(kill).ok();
                    finding.killed.exit_code = Some(i32::MIN + i32::try_from(kill).unwrap());
                    finding.killed.started_at = Some(jiff::Timestamp::MIN);
                    finding.cause = Some(Cause { kind: CauseKind::Node, text: text.clone() });
                    finding.advice = Some(Advice {
                        memory_limit_bytes: None,
                        command: Some(format!("kubectl {text}")),
                        text: text.clone(),
                    });
                    finding
                });
                for later in findings.iter_mut().step_by(5) {
                    later.previous = Some(Instant::now());
                    later.more = Some(MoreKills {
                        kills: 12_431,
                        pods: 16_384,
                        pods_are_more: true,
                        same_container: true,
                        last: Arc::clone(&later.finding),
                    });
                }
                assert_within_limits(&findings);
            }
        }
    }
}

#[test]
fn a_test_is_never_among_real_findings() {
    let findings = batch(0..9, |kill| Finding { test: kill % 3 == 0, ..number(kill) });
    let messages = compose(&findings, &setting(Instant::now()));
    let told: Vec<Vec<usize>> = messages.iter().map(|message| message.findings().collect()).collect();
    assert_eq!(told, [vec![1, 2, 4, 5, 7, 8], vec![0], vec![3], vec![6]]);
    for message in &messages {
        assert_valid(message);
    }
    assert!(!messages[0].body().to_string().contains("test"));
    assert!(!messages[1].body().to_string().contains("OOM kill"));
}
