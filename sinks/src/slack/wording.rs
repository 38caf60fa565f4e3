//! Says in words what was killed.
//!
//! A paragraph covers kills of one workload. Its heading says what and where. For each container follow why, what
//! to try, what else is known, and a line for each Pod. So the first three lines are what somebody reads who was
//! woken by it. If the Pods need several paragraphs, the first one has the figures of all.

mod explanation;

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use finding::{ContainerKind, EXIT_CODE_OF_SIGKILL, Finding, Restarted, TestFinding, bytes};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use tokio::time::Instant;

use self::explanation::{explanation, outlook};
use super::{
    link::LinkTemplate,
    mrkdwn::{code, date, escape},
};
use crate::{Delivery, MoreKills};

/// How many different exit codes a line names.
const EXIT_CODES_IN_LINE: usize = 5;

/// A notification names no further workload once it is this long: a phone shows less.
const LONG_NOTIFICATION_BYTES: usize = 200;

/// A finding and its index in the batch.
#[derive(Clone, Copy)]
pub(super) struct ToldKill<'a> {
    pub(super) place: usize,
    pub(super) finding: &'a Finding,
    previous: Option<Instant>,
    /// When the next message about the container comes at the latest, if there is more.
    next: Option<Timestamp>,
    link: Option<&'a LinkTemplate>,
    /// Kills in the same workload of which only a count is told.
    more: Option<&'a MoreKills>,
}

impl<'a> ToldKill<'a> {
    /// Tells of the delivery at this place in a batch.
    pub(super) fn new(place: usize, delivery: &'a Delivery, setting: &MessageSetting<'a>) -> Self {
        let Delivery { finding, previous, next, more, .. } = delivery;
        let next = next.and_then(|next| setting.time_of(next));
        Self { place, finding, previous: *previous, next, link: setting.link, more: more.as_ref() }
    }

    /// Returns the key of the paragraph that it belongs to.
    pub(super) fn workload(&self) -> impl Ord + use<'a> {
        let Finding { cluster, namespace, pod, .. } = self.finding;
        (cluster, namespace, &pod.workload)
    }

    /// Returns the key of its container within the workload. First and later kills differ in it.
    fn container(&self) -> impl Ord + use<'a> {
        (self.finding.container.kind, &self.finding.container.name, self.previous.is_some())
    }

    /// Returns the key of its line within the workload.
    pub(super) fn line(&self) -> impl Ord + use<'a> {
        (self.container(), &self.finding.pod.name, &self.finding.pod.uid)
    }
}

/// When a message is written, and what the configuration adds to it.
#[derive(Clone, Copy)]
pub(super) struct MessageSetting<'a> {
    pub(super) now: Instant,
    /// The same by the calendar.
    pub(super) time: Timestamp,
    pub(super) link: Option<&'a LinkTemplate>,
}

impl MessageSetting<'_> {
    /// Returns the time of something to come, to the second.
    fn time_of(&self, instant: Instant) -> Option<Timestamp> {
        let left = instant.checked_duration_since(self.now).filter(|left| !left.is_zero())?;
        let time = self.time.checked_add(left).ok()?;
        time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)).ok()
    }
}

/// Which one of the paragraphs about a workload it is.
#[derive(Clone, Copy)]
pub(super) struct ParagraphPart<'p, 'a> {
    /// All kills of the workload, which the figures count.
    pub(super) whole: &'p [ToldKill<'a>],
    /// Its number, and how many there are, if there are several.
    pub(super) number: Option<(usize, usize)>,
    /// Whether it is the first one, which has the figures.
    pub(super) begins: bool,
    /// Whether it is the last one, which says when the next message comes.
    pub(super) ends: bool,
    /// Whether it explains the kills, rather than only names the limits.
    pub(super) explains: bool,
}

/// Returns the paragraph about kills of one workload, sorted by [`ToldKill::line`].
pub(super) fn paragraph(kills: &[ToldKill<'_>], part: ParagraphPart<'_, '_>, now: Instant) -> String {
    let Some(first) = kills.first() else { return String::new() };
    let subject = if part.begins {
        let (count, subject) = heading(part.whole, code, now);
        format!("*{count}* {subject}")
    } else {
        subject(part.whole, code).1
    };
    let number = part.number.map(|(number, of)| format!(" ({number} of {of})")).unwrap_or_default();
    let mut lines = vec![format!("{subject}, namespace {}{number}", place(first.finding, code))];
    let containers: Vec<&[ToldKill<'_>]> =
        part.whole.chunk_by(|a, b| a.container() == b.container()).collect();
    for container in kills.chunk_by(|a, b| a.container() == b.container()) {
        let begun = containers.iter().find(|whole| whole[0].place == container[0].place);
        match (begun, containers.len()) {
            (Some(whole), 1) if part.explains => lines.extend(explanation(whole)),
            (Some(whole), 1) => lines.push(capitalised(&limits(whole))),
            (Some(whole), _) if part.explains => {
                lines.push(container_heading(whole, now));
                lines.extend(explanation(whole));
            }
            (Some(whole), _) => lines.push(format!("{}, {}", container_heading(whole, now), limits(whole))),
            (None, 1) => {}
            (None, _) => lines.push(format!("{} (continued)", container_name(container))),
        }
        let pods = container.chunk_by(|a, b| a.line() == b.line());
        lines.extend(pods.map(|pod| format!("• {}", pod_line(pod))));
    }
    lines.extend(more_line(kills));
    lines.extend(outlook(part.whole).filter(|_| part.ends));
    lines.join("\n")
}

/// Returns one line for notifications, and for readers that show no blocks.
pub(super) fn notification(kills: &[ToldKill<'_>], now: Instant) -> String {
    let workloads: Vec<&[ToldKill<'_>]> = kills.chunk_by(|a, b| a.workload() == b.workload()).collect();
    if let [kills] = workloads.as_slice()
        && let Some(first) = kills.first()
    {
        let (count, subject) = heading(kills, escape, now);
        return format!("{count} {subject}, namespace {}", place(first.finding, escape));
    }
    let (count, span) = counted(kills, number(kills), "OOM kill", now);
    let mut text = format!("{count} in {} workloads{span}", workloads.len());
    for (told, kills) in workloads.iter().enumerate() {
        text += if told == 0 { ": " } else { ", " };
        if text.len() > LONG_NOTIFICATION_BYTES {
            return text + &format!("and {} more", workloads.len() - told);
        }
        text += &subject(kills, escape).1;
    }
    text
}

/// Returns a paragraph and a notification for a test finding. They don't mention a kill.
pub(super) fn test(finding: &Finding) -> (String, String) {
    let sent_from = |name| format!("Sent from namespace {}", place(finding, name));
    (
        format!("*{}*\n{}", TestFinding::MESSAGE, sent_from(code)),
        format!("{}. {}", TestFinding::MESSAGE, sent_from(escape)),
    )
}

/// Returns `12 more kills`, and ``of `app` in Deployment `cart` within the last hour, 3 Pods``.
fn heading(kills: &[ToldKill<'_>], name: fn(&str) -> String, now: Instant) -> (String, String) {
    let pods: BTreeSet<&str> = kills.iter().map(|kill| kill.finding.pod.uid.as_str()).collect();
    // Pods of which only a count is told may be among them.
    let all_are_named = kills.iter().all(|kill| kill.more.is_none());
    let pods = if pods.len() > 1 && all_are_named { format!(", {} Pods", pods.len()) } else { String::new() };
    let number = number(kills);
    let (count, span) = counted(kills, number, "OOM kill", now);
    // "OOM kill" rather than "1 OOM kill".
    let count = if number == 1 && span.is_empty() { "OOM kill".to_owned() } else { count };
    let (preposition, subject) = subject(kills, name);
    (count, format!("{preposition} {subject}{span}{pods}"))
}

/// Returns the words after the count: `of` and ``` `app` in Deployment `cart` ```, or `in` and
/// ``Deployment `cart` `` for several containers.
fn subject(kills: &[ToldKill<'_>], name: fn(&str) -> String) -> (&'static str, String) {
    let Some(ToldKill { finding, .. }) = kills.first() else { return ("", String::new()) };
    let workload = &finding.pod.workload;
    let kind = &workload.kind;
    // A kind should be a word, but an owner reference may have any text.
    let kind = if kind.chars().all(|c| c.is_ascii_alphanumeric()) { escape(kind) } else { name(kind) };
    let workload = format!("{kind} {}", name(&workload.name));
    let container = &finding.container;
    let is_same = |kill: &ToldKill<'_>| {
        (kill.finding.container.kind, &kill.finding.container.name) == (container.kind, &container.name)
            && kill.more.is_none_or(|more| more.same_container)
    };
    if !kills.iter().all(is_same) {
        return ("in", workload);
    }
    let kind = match container.kind {
        ContainerKind::Container => "",
        kind => &format!("{} ", kind_of_container(kind)),
    };
    ("of", format!("{kind}{} in {workload}", name(&container.name)))
}

/// Returns ``Sidecar `proxy`: 9 more kills within the last hour``.
fn container_heading(kills: &[ToldKill<'_>], now: Instant) -> String {
    let (count, span) = counted(kills, kills.len(), "kill", now);
    format!("{}: {count}{span}", container_name(kills))
}

/// Returns ``Sidecar `proxy` ``.
fn container_name(kills: &[ToldKill<'_>]) -> String {
    let Some(ToldKill { finding, .. }) = kills.first() else { return String::new() };
    format!("{} {}", capitalised(kind_of_container(finding.container.kind)), code(&finding.container.name))
}

fn kind_of_container(kind: ContainerKind) -> &'static str {
    match kind {
        ContainerKind::Container => "container",
        ContainerKind::Init => "init container",
        ContainerKind::Sidecar => "sidecar",
        ContainerKind::Ephemeral => "ephemeral container",
    }
}

/// Returns `shop, cluster prod`.
fn place(finding: &Finding, name: fn(&str) -> String) -> String {
    let namespace = name(&finding.namespace);
    match &finding.cluster {
        Some(cluster) => format!("{namespace}, cluster {}", name(cluster)),
        None => namespace,
    }
}

fn limits(kills: &[ToldKill<'_>]) -> String {
    let limit = range(kills, |finding| finding.container.memory_limit_bytes);
    let pod_limit = range(kills, |finding| finding.pod.memory_limit_bytes);
    match (limit.map(bytes_range), pod_limit.map(bytes_range)) {
        (Some(limit), None) => format!("memory limit {limit}"),
        (Some(limit), Some(of_pod)) => format!("memory limit {limit}, of the whole Pod {of_pod}"),
        (None, Some(of_pod)) => format!("memory limit of the whole Pod {of_pod}"),
        (None, None) => "no memory limit known".into(),
    }
}

/// Returns the line about kills of one container in one Pod: where, when, how long it ran, what followed.
fn pod_line(kills: &[ToldKill<'_>]) -> String {
    let Some(ToldKill { finding, .. }) = kills.first() else { return String::new() };
    let pod = code(&finding.pod.name);
    let node = finding.pod.node.as_ref().map(|node| format!(" on node {}", code(node))).unwrap_or_default();
    let times = if kills.len() > 1 { format!(" {} times", kills.len()) } else { String::new() };
    let when = match range(kills, ended_at) {
        Some((at, last)) if at == last => format!(" {}", date(at)),
        Some((from, to)) => format!(" between {} and {}", date(from), date(to)),
        None => String::new(),
    };
    let ran = match range(kills, ran_for) {
        Some((ran, longest)) if ran == longest => format!(", after running for {ran:#}"),
        Some((shortest, longest)) => format!(", after running for {shortest:#} to {longest:#}"),
        None => String::new(),
    };
    format!("{pod}{node}: killed{times}{when}{ran}{}{}", restarts(kills), exits(kills))
}

/// Returns `• and 12,431 more kills in 280 Pods, the last in …`, if there are any.
fn more_line(kills: &[ToldKill<'_>]) -> Option<String> {
    let all = || kills.iter().filter_map(|kill| kill.more);
    let last = &all().max_by_key(|more| ended_at(&more.last))?.last;
    let number: u64 = all().map(|more| more.kills).sum();
    let kills_plural = if number == 1 { "" } else { "s" };
    let pods = match all().collect::<Vec<_>>().as_slice() {
        [MoreKills { pods: 1, pods_are_more: false, .. }] => " in 1 Pod".to_owned(),
        [MoreKills { pods, pods_are_more: false, .. }] => format!(" in {} Pods", thousands(pods)),
        [MoreKills { pods, pods_are_more: true, .. }] => format!(" in more than {} Pods", thousands(pods)),
        // The same Pod may be in several of them.
        _ => String::new(),
    };
    let when = ended_at(last).map(|at| format!(" {}", date(at))).unwrap_or_default();
    let (number, pod) = (thousands(number), code(&last.pod.name));
    Some(format!("• and {number} more kill{kills_plural}{pods}, the last in {pod}{when}"))
}

fn restarts(kills: &[ToldKill<'_>]) -> String {
    let restarts = || kills.iter().map(|kill| kill.finding.restarted.as_ref());
    let count = restarts().flatten().filter_map(|Restarted { restart_count, .. }| *restart_count).max();
    let count = count.map(|count| format!(", restart count now {count}")).unwrap_or_default();
    let not_restarted = restarts().filter(Option::is_none).count();
    match (not_restarted, kills.len()) {
        (0, _) if count.is_empty() => ", restarted".into(),
        (0, _) => count,
        (all, kills) if all == kills => ", no restart followed".into(),
        (some, _) => format!("{count}, {some} of them without a restart"),
    }
}

/// Returns what to say of exit codes other than SIGKILL's: a child process was killed, and the container
/// ended in another way.
fn exits(kills: &[ToldKill<'_>]) -> String {
    let codes = kills.iter().filter_map(|kill| kill.finding.killed.exit_code);
    let mut codes: Vec<i32> = codes.filter(|code| *code != EXIT_CODE_OF_SIGKILL).collect();
    let otherwise = codes.len();
    codes.sort_unstable();
    codes.dedup();
    let more = if codes.len() > EXIT_CODES_IN_LINE { ", …" } else { "" };
    codes.truncate(EXIT_CODES_IN_LINE);
    let codes: Vec<String> = codes.iter().map(i32::to_string).collect();
    let codes = codes.join(", ");
    match (otherwise, kills.len()) {
        (0, _) => String::new(),
        (_, 1) => format!("; marked OOMKilled, but exited with {codes}"),
        (some, _) => format!("; {some} of them marked OOMKilled, but exited with {codes}{more}"),
    }
}

/// Returns when the kill happened, as closely as it is known.
fn ended_at(finding: &Finding) -> Option<Timestamp> {
    let restarted_at = finding.restarted.as_ref().and_then(|restarted| restarted.started_at);
    finding.killed.finished_at.or(restarted_at).or(finding.detected_at)
}

fn ran_for(finding: &Finding) -> Option<jiff::SignedDuration> {
    let ran = finding.killed.finished_at?.duration_since(finding.killed.started_at?);
    (!ran.is_negative()).then_some(ran)
}

/// Returns the least and the greatest of the known values.
fn range<T: Ord + Copy>(kills: &[ToldKill<'_>], value: impl Fn(&Finding) -> Option<T>) -> Option<(T, T)> {
    let values = || kills.iter().filter_map(|kill| value(kill.finding));
    values().min().zip(values().max())
}

fn bytes_range((least, greatest): (u64, u64)) -> String {
    if least == greatest { bytes(least) } else { format!("{} to {}", bytes(least), bytes(greatest)) }
}

/// Returns how many kills there are, with those of which only a count is told.
fn number(kills: &[ToldKill<'_>]) -> u64 {
    kills.iter().map(|kill| 1 + kill.more.map_or(0, |more| more.kills)).sum()
}

/// Returns `12,431`.
fn thousands(number: impl Display) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// Returns `12 kills` and nothing; or, if all were gathered after an earlier message, `12 more kills` and
/// ` within the last hour`.
fn counted(kills: &[ToldKill<'_>], number: impl Display, what: &str, now: Instant) -> (String, String) {
    let number = thousands(number);
    let plural = if number == "1" { "" } else { "s" };
    // `None` is the least: if one is a first kill, there is no earlier message.
    match kills.iter().map(|kill| kill.previous).min().flatten() {
        Some(previous) => {
            let span = span(now.saturating_duration_since(previous));
            (format!("{number} more kill{plural}"), format!(" within the last {span}"))
        }
        None => (format!("{number} {what}{plural}"), String::new()),
    }
}

/// Returns `hour`, `25 minutes`, `10 seconds`: rounded up to what a person says. A twentieth of the unit is
/// ignored, because a message that is due after an hour is sent a moment later.
fn span(span: Duration) -> String {
    const UNITS: [(u128, &str); 4] =
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let span = span.as_millis();
    // 90 minutes, but 2 hours.
    let fits = |(size, _): &(u128, &str)| 3 * span > 5 * size || span.abs_diff(*size) <= size / 20;
    let (size, unit) = UNITS.into_iter().find(fits).unwrap_or((1_000, "second"));
    match span.saturating_sub(size / 20).div_ceil(size) {
        0 | 1 => unit.to_owned(),
        many => format!("{many} {unit}s"),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_rounded_up_to_what_a_person_says() {
        for (millis, said) in [
            (0, "second"),
            (800, "second"),
            (10_003, "10 seconds"),
            (10_200, "11 seconds"),
            (60_000, "minute"),
            (90_050, "90 seconds"),
            (110_000, "2 minutes"),
            (24 * 60_000 + 5_000, "25 minutes"),
            (3_590_000, "hour"),
            (3_600_000, "hour"),
            (3_660_000, "hour"),
            (3_900_000, "65 minutes"),
            (5_400_100, "90 minutes"),
            (7_200_300, "2 hours"),
            (7_500_000, "3 hours"),
            (86_400_000, "day"),
            (172_800_100, "2 days"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), said, "{millis}");
        }
    }

    #[test]
    fn thousands_are_set_off() {
        for (number, said) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_431, "12,431"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), said);
        }
    }
}
