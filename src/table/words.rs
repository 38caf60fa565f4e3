//! The words for what is shown of a kill, in a cell or in a paragraph.

use finding::{CauseKind, Finding, bytes};
use jiff::{SignedDuration, Timestamp};
use untrusted::clean;

use super::row::RowSubject;

/// What stands in place of what is unknown, or isn't there.
pub(super) const NOTHING: &str = "-";

pub(super) fn workload(finding: &Finding) -> String {
    let workload = &finding.pod.workload;
    clean(&format!("{}/{}", workload.kind, workload.name)).into_owned()
}

pub(super) fn last_kill(finding: &Finding, now: Timestamp) -> String {
    finding
        .killed
        .finished_at
        .map_or(NOTHING.to_owned(), |end| format!("{} ago", age(now.duration_since(end))))
}

pub(super) fn limit(finding: &Finding) -> String {
    match (finding.container.memory_limit_bytes, finding.pod.memory_limit_bytes) {
        (Some(own), of_pod) if of_pod.is_none_or(|of_pod| own <= of_pod) => bytes(own),
        (_, Some(of_pod)) => format!("{} (Pod)", bytes(of_pod)),
        (Some(own), None) => bytes(own),
        (None, None) => NOTHING.to_owned(),
    }
}

pub(super) fn ran(finding: &Finding) -> Option<String> {
    let (start, end) = finding.killed.started_at.zip(finding.killed.finished_at)?;
    Some(end.duration_since(start)).filter(|ran| !ran.is_negative()).map(age)
}

pub(super) fn cause(finding: &Finding) -> &'static str {
    match finding.cause.as_ref().map(|cause| cause.kind) {
        Some(CauseKind::ContainerLimit) => "container limit",
        Some(CauseKind::PodLimit) => "Pod limit",
        Some(CauseKind::NoLimit) => "no limit",
        Some(CauseKind::Node) => "node",
        Some(CauseKind::ChildProcess) => "child process",
        None => NOTHING,
    }
}

/// Returns what to try in a few words, for a Pod the whole command.
pub(super) fn advice(finding: &Finding, subject: RowSubject) -> String {
    let Some(advice) = &finding.advice else { return NOTHING.to_owned() };
    let words = match (&advice.command, advice.memory_limit_bytes) {
        (Some(command), _) if subject == RowSubject::Pod => command.clone(),
        (_, Some(limit)) => format!("limit {}", bytes(limit)),
        (_, None) => advice.text.clone(),
    };
    clean(&words).into_owned()
}

/// Returns a time span in its largest unit, in whole numbers.
pub fn age(span: SignedDuration) -> String {
    const UNITS: [(i64, &str); 3] = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "m")];
    let seconds = span.as_secs().max(0);
    match UNITS.into_iter().find(|(size, _)| seconds >= *size) {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}
