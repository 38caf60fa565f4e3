//! What Slack shows: findings go in, messages within Slack's limits come out.
//!
//! The kills of one container of one workload are one paragraph with a line per Pod. Where a limit is
//! reached, another paragraph or message begins; no finding is ever left out. Everything that comes
//! from the cluster is escaped, and nothing is a link.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{ContainerKind, Delivery, EXIT_CODE_OF_SIGKILL, Finding, Restarted, bytes};

/// Blocks in a message (Slack: "Block Kit").
const MOST_BLOCKS: usize = 50;

/// The text of a section, in characters (Slack: "Section block"). We count bytes, which are never fewer.
const LONGEST_SECTION: usize = 3_000;

/// The text of all blocks of a message. Slack documents no limit but answers `msg_blocks_too_long` from
/// about 12,000 characters on (slackapi/bolt-js#2509), by a measure of its own: so keep well below.
const LONGEST_MESSAGE: usize = 10_000;

/// A value of another's making, escaped. Kubernetes' names fit: 253 characters that need no escaping.
const LONGEST_VALUE: usize = 253;

/// What a notification on a phone has room for.
const SUBJECTS_IN_NOTIFICATION: usize = 5;

/// Different exit codes that a line names.
const EXIT_CODES_IN_LINE: usize = 5;

/// One post to the webhook.
#[derive(Default)]
pub(super) struct Message {
    sections: Vec<Section>,
    findings: Vec<usize>,
    length: usize,
}

/// One paragraph: what was killed, then a line per Pod.
#[derive(Clone)]
struct Section {
    text: String,
    /// Places of the findings in the batch.
    findings: Vec<usize>,
    /// What was killed, without any formatting.
    subject: String,
    /// Where, in the same way.
    place: String,
}

/// The kills of one container of one workload, with their places in the batch.
type Group<'a> = Vec<(usize, &'a Finding)>;

/// As few messages as Slack's limits allow. Each finding of the batch is in exactly one.
pub(super) fn compose(batch: &[Delivery]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for section in
        group(batch.iter().map(|it| it.finding.as_ref()).enumerate(), subject_of).iter().flat_map(sections)
    {
        match messages.last_mut() {
            Some(message) if message.has_room_for(&section) => message.push(section),
            _ => {
                let mut message = Message::default();
                message.push(section);
                messages.push(message);
            }
        }
    }
    messages
}

impl Message {
    /// The places in the batch of the findings that it tells of.
    pub(super) fn findings(&self) -> &[usize] {
        &self.findings
    }

    /// What to post.
    pub(super) fn body(&self) -> Value {
        let block = |section: &Section| {
            // `verbatim`: what looks like a link, a channel or a mention stays text.
            let text = json!({ "type": "mrkdwn", "text": section.text, "verbatim": true });
            json!({ "type": "section", "text": text })
        };
        json!({ "text": self.notification(), "blocks": self.sections.iter().map(block).collect::<Vec<_>>() })
    }

    fn has_room_for(&self, section: &Section) -> bool {
        self.sections.len() < MOST_BLOCKS && self.length + section.text.len() <= LONGEST_MESSAGE
    }

    fn push(&mut self, section: Section) {
        self.length += section.text.len();
        self.findings.extend(&section.findings);
        self.sections.push(section);
    }

    /// The text for notifications, and for readers that show no blocks.
    fn notification(&self) -> String {
        let kills = counted(self.findings.len());
        let subjects = self.sections.iter().map(|section| (section.subject.as_str(), section.place.as_str()));
        let mut subjects: Vec<(&str, &str)> = subjects.collect();
        subjects.dedup();
        if let [(subject, place)] = subjects.as_slice() {
            return format!("{kills} of {subject}, {place}");
        }
        let more = subjects.len().saturating_sub(SUBJECTS_IN_NOTIFICATION);
        let named = subjects.iter().take(SUBJECTS_IN_NOTIFICATION).map(|(subject, _)| *subject);
        let subjects = named.collect::<Vec<_>>().join(", ");
        if more > 0 {
            format!("{kills}: {subjects}, and {more} more")
        } else {
            format!("{kills}: {subjects}")
        }
    }
}

/// What findings of one group have in common.
fn subject_of(finding: &Finding) -> impl PartialEq + use<'_> {
    let Finding { cluster, namespace, pod, container, .. } = finding;
    (cluster, namespace, &pod.workload, container.kind, &container.name)
}

/// Findings of the same key together, in the order of each key's first.
fn group<'a, K: PartialEq>(
    findings: impl Iterator<Item = (usize, &'a Finding)>,
    key: impl Fn(&'a Finding) -> K,
) -> Vec<Group<'a>> {
    let mut groups: Vec<(K, Group<'a>)> = Vec::new();
    for (place, finding) in findings {
        let key = key(finding);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push((place, finding)),
            None => groups.push((key, vec![(place, finding)])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// A group as one section, or as several that each begin alike.
fn sections(group: &Group<'_>) -> Vec<Section> {
    let Some((_, first)) = group.first() else { return Vec::new() };
    let pods = self::group(group.iter().copied(), |finding| &finding.pod.uid);
    let head = Section {
        text: heading(group, pods.len(), &subject(first, code), &place(first, code)),
        findings: Vec::new(),
        subject: subject(first, escape),
        place: place(first, escape),
    };
    let mut sections: Vec<Section> = Vec::new();
    for pod in &pods {
        let line = format!("\n• {}", pod_line(pod));
        let section = match sections.pop() {
            Some(section) if section.text.len() + line.len() > LONGEST_SECTION => {
                sections.push(section);
                head.clone()
            }
            Some(section) => section,
            None => head.clone(),
        };
        sections.push(Section {
            text: section.text + &line,
            findings: section.findings.into_iter().chain(pod.iter().map(|(place, _)| *place)).collect(),
            ..section
        });
    }
    sections
}

fn heading(group: &Group<'_>, pods: usize, subject: &str, place: &str) -> String {
    let kills = counted(group.len());
    let pods = if pods > 1 { format!(", {pods} Pods") } else { String::new() };
    let limit = range(group, |finding| finding.container.memory_limit_bytes);
    let pod_limit = range(group, |finding| finding.pod.memory_limit_bytes);
    let limits = match (limit.map(bytes_range), pod_limit.map(bytes_range)) {
        (Some(limit), None) => format!("Memory limit {limit}"),
        (Some(limit), Some(of_pod)) => format!("Memory limit {limit}, of the whole Pod {of_pod}"),
        (None, Some(of_pod)) => format!("Memory limit of the whole Pod {of_pod}"),
        (None, None) => "No memory limit known".into(),
    };
    format!("*{kills}* of {subject}{pods}\nIn {place}\n{limits}")
}

/// `app in Deployment cart`.
fn subject(finding: &Finding, show: fn(&str) -> String) -> String {
    let kind = match finding.container.kind {
        ContainerKind::Container => "",
        ContainerKind::Init => "init container ",
        ContainerKind::Sidecar => "sidecar ",
        ContainerKind::Ephemeral => "ephemeral container ",
    };
    let workload = &finding.pod.workload;
    format!("{kind}{} in {} {}", show(&finding.container.name), escape(&workload.kind), show(&workload.name))
}

/// `namespace shop, cluster prod`.
fn place(finding: &Finding, show: fn(&str) -> String) -> String {
    let namespace = show(&finding.namespace);
    match &finding.cluster {
        Some(cluster) => format!("namespace {namespace}, cluster {}", show(cluster)),
        None => format!("namespace {namespace}"),
    }
}

/// The kills in one Pod: which, where, when, after how long, what happened then.
fn pod_line(kills: &Group<'_>) -> String {
    let Some((_, first)) = kills.first() else { return String::new() };
    let pod = code(&first.pod.name);
    let node = first.pod.node.as_ref().map(|node| format!(" on node {}", code(node))).unwrap_or_default();
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

fn restarts(kills: &Group<'_>) -> String {
    let restarts = || kills.iter().map(|(_, finding)| finding.restarted.as_ref());
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

/// An exit code other than SIGKILL's: a child process was killed, and the container ended otherwise.
fn exits(kills: &Group<'_>) -> String {
    let codes = kills.iter().map(|(_, finding)| finding.killed.exit_code);
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

/// When the kill happened, as nearly as it is known.
fn ended_at(finding: &Finding) -> Option<Timestamp> {
    let restarted_at = finding.restarted.as_ref().and_then(|restarted| restarted.started_at);
    finding.killed.finished_at.or(restarted_at).or(finding.detected_at)
}

fn ran_for(finding: &Finding) -> Option<jiff::SignedDuration> {
    let ran = finding.killed.finished_at?.duration_since(finding.killed.started_at?);
    (!ran.is_negative()).then_some(ran)
}

/// The least and the greatest of what is known.
fn range<T: Ord + Copy>(findings: &Group<'_>, value: impl Fn(&Finding) -> Option<T>) -> Option<(T, T)> {
    let values = || findings.iter().filter_map(|(_, finding)| value(finding));
    values().min().zip(values().max())
}

fn bytes_range((least, greatest): (u64, u64)) -> String {
    if least == greatest { bytes(least) } else { format!("{} to {}", bytes(least), bytes(greatest)) }
}

/// A time that Slack shows in the reader's own zone (Slack: "Date formatting").
fn date(time: Timestamp) -> String {
    let (unix, utc) = (time.as_second(), time.strftime("%Y-%m-%d %H:%M:%S UTC"));
    format!("<!date^{unix}^{{date_short_pretty}} at {{time_secs}}|{utc}>")
}

fn counted(kills: usize) -> String {
    if kills == 1 { "OOM kill".into() } else { format!("{kills} OOM kills") }
}

/// A name, set off from the words around it.
fn code(text: &str) -> String {
    format!("`{}`", escape(text))
}

/// A value of another's making, as text that Slack shows and never acts on. Slack's own escapes are
/// these three; a backtick would end a code span.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        let length = escaped.len();
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '`' => escaped.push('\''),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
        if escaped.len() > LONGEST_VALUE {
            escaped.truncate(length);
            return escaped + "…";
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
