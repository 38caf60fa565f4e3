//! Finds out why a container was killed, from what its Pod and its node show.

use std::time::Duration;

use jiff::SignedDuration;
use untrusted::is_deceptive;

use crate::{Cause, CauseKind, EXIT_CODE_OF_SIGKILL, Finding, KillHistory, bytes};

/// How long instances run that are killed while they start.
const MAX_START: Duration = Duration::from_secs(10);

/// How many kills within [`MAX_START`] show that the limit doesn't suffice to start.
const MIN_KILLS_AT_START: u64 = 3;

/// What the Pod and its node show of a kill besides what the finding says. Cause and advice depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillEvidence {
    /// Whether the limits in the finding are known to be those of the killed instance. A limit that is
    /// absent is then none.
    pub limits_are_known: bool,
    /// The name of a memory-backed volume that is mounted into the container.
    pub memory_volume: Option<String>,
    /// Whether the node ran out of memory within a minute of the kill.
    pub node_ran_out: bool,
    /// Whether the workload is of one of Kubernetes' own kinds, not of one with the same name.
    pub workload_is_built_in: bool,
}

impl Cause {
    /// Returns why the container of a finding was killed; `None` if that is unknown.
    pub(crate) fn of(finding: &Finding, history: &KillHistory) -> Option<Self> {
        let kind = CauseKind::of(finding)?;
        let clauses = [Some(kind.clause(finding)), volume(finding), kind.start(history), kind.raise(history)];
        let text = clauses.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Some(Self { kind, text: text.replace(is_deceptive, " ") })
    }
}

impl CauseKind {
    fn of(finding: &Finding) -> Option<Self> {
        if finding.killed.exit_code.is_some_and(|code| code != EXIT_CODE_OF_SIGKILL) {
            return Some(Self::ChildProcess);
        }
        if !finding.evidence.limits_are_known {
            return None;
        }
        Some(match (finding.container.memory_limit_bytes, finding.pod.memory_limit_bytes) {
            (Some(own), Some(whole)) if whole < own => Self::PodLimit,
            (Some(_), _) => Self::ContainerLimit,
            (None, Some(_)) => Self::PodLimit,
            (None, None) if finding.evidence.node_ran_out => Self::Node,
            (None, None) => Self::NoLimit,
        })
    }

    /// Returns what ran out of memory, in a clause whose subject is the container.
    fn clause(self, finding: &Finding) -> String {
        let own = finding.container.memory_limit_bytes.map(bytes).unwrap_or_default();
        let whole = finding.pod.memory_limit_bytes.map(bytes).unwrap_or_default();
        match self {
            Self::ContainerLimit => format!("it reached its own memory limit of {own}"),
            Self::PodLimit if own.is_empty() => {
                format!("its Pod as a whole reached the Pod's memory limit of {whole}")
            }
            Self::PodLimit => format!(
                "its Pod as a whole reached the Pod's memory limit of {whole}, below the container's own of {own}"
            ),
            Self::NoLimit => {
                "neither it nor its Pod has a memory limit: its node, or the node's share for Pods, \
                              ran out of memory"
                    .to_owned()
            }
            Self::Node => {
                let node = finding.pod.node.as_ref().map(|node| format!(" {node}")).unwrap_or_default();
                format!("its node{node} ran out of memory, and neither it nor its Pod has a memory limit")
            }
            Self::ChildProcess => {
                let code = finding.killed.exit_code.map(|code| format!(" with exit code {code}"));
                format!("a process in it ran out of memory, and it then ended{}", code.unwrap_or_default())
            }
        }
    }

    /// Returns that the limit doesn't suffice to start, if all kills show that.
    fn start(self, history: &KillHistory) -> Option<String> {
        let is_at_start = history.longest_run.is_some_and(|longest| longest <= MAX_START);
        let has_limit = matches!(self, Self::ContainerLimit | Self::PodLimit);
        (has_limit && is_at_start && history.kills >= MIN_KILLS_AT_START).then(|| {
            format!(
                "it never ran longer than {} s in {} kills, so the limit doesn't suffice to start",
                MAX_START.as_secs(),
                history.kills
            )
        })
    }

    /// Returns that the limit was raised in vain, if it was.
    fn raise(self, history: &KillHistory) -> Option<String> {
        let raised = history.raised.as_ref().filter(|_| self == Self::ContainerLimit)?;
        let longer = raised.longest_run_before.zip(raised.longest_run_since);
        let effect = match longer.filter(|(before, since)| since > before) {
            Some((before, since)) => {
                format!("it only runs longer, for {} instead of {}", spell(since), spell(before))
            }
            None => "that didn't help".to_owned(),
        };
        let (from, to, at) = (bytes(raised.from), bytes(raised.to), raised.at.strftime("%H:%M UTC"));
        Some(format!("the limit was raised from {from} to {to} at {at}, within this incident, and {effect}"))
    }
}

/// Returns a time as `3m 12s`.
fn spell(time: Duration) -> String {
    SignedDuration::try_from(time).map(|time| format!("{time:#}")).unwrap_or_default()
}

/// Returns that a memory-backed volume fills the limit, if there is one.
fn volume(finding: &Finding) -> Option<String> {
    let has_limit = finding.container.memory_limit_bytes.or(finding.pod.memory_limit_bytes).is_some();
    let volume = finding.evidence.memory_volume.as_ref().filter(|_| has_limit)?;
    Some(format!(
        "what is in its memory-backed emptyDir '{volume}' counts towards the limit and survives the restart"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdvicePolicy, RaisedLimit};

    /// What a finding of a container under its own limit says of cause and advice after this history.
    fn explained(history: &KillHistory) -> Finding {
        let mut finding = Finding::full();
        finding.explain(Some(&AdvicePolicy::default()), history);
        finding
    }

    fn text(finding: &Finding) -> &str {
        &finding.cause.as_ref().unwrap().text
    }

    #[test]
    fn three_kills_within_ten_seconds_show_that_the_limit_doesnt_suffice_to_start() {
        for (kills, longest_run, shown) in
            [(2, Some(1), false), (3, Some(10), true), (3, Some(11), false), (3, None, false)]
        {
            let longest_run = longest_run.map(Duration::from_secs);
            let finding = explained(&KillHistory { kills, longest_run, raised: None });
            assert_eq!(text(&finding).contains("doesn't suffice to start"), shown, "{kills} {longest_run:?}");
        }
        let history = KillHistory { kills: 5, longest_run: Some(Duration::from_secs(2)), raised: None };
        assert_eq!(
            text(&explained(&history)),
            "it reached its own memory limit of 64 MiB; it never ran longer than 10 s in 5 kills, so the limit doesn't \
             suffice to start"
        );
        let mut unlimited = Finding::full();
        (unlimited.container.memory_limit_bytes, unlimited.pod.memory_limit_bytes) = (None, None);
        unlimited.explain(None, &history);
        assert!(!text(&unlimited).contains("start"), "{}", text(&unlimited));
    }

    #[test]
    fn a_limit_that_was_raised_in_vain_gives_no_number() {
        for (before, since, effect) in [
            (None, None, "that didn't help"),
            (Some(9), Some(9), "that didn't help"),
            (Some(9), Some(90), "it only runs longer, for 1m 30s instead of 9s"),
        ] {
            let raised = RaisedLimit {
                from: 64 << 20,
                to: 128 << 20,
                at: "2026-03-01T11:30:00Z".parse().unwrap(),
                longest_run_before: before.map(Duration::from_secs),
                longest_run_since: since.map(Duration::from_secs),
            };
            let finding = explained(&KillHistory { kills: 2, longest_run: None, raised: Some(raised) });
            assert_eq!(
                text(&finding),
                format!(
                    "it reached its own memory limit of 64 MiB; the limit was raised from 64 MiB to 128 MiB at 11:30 UTC, \
                     within this incident, and {effect}"
                )
            );
            let advice = finding.advice.unwrap();
            assert_eq!((advice.memory_limit_bytes, advice.command), (None, None));
            assert_eq!(
                advice.text,
                "find out what grows before you raise the limit once more: it was raised within this incident and the \
                 container was killed again, so it leaks memory, more likely than not"
            );
            assert!(!finding.message.contains("try"), "{}", finding.message);
        }
    }

    #[test]
    fn a_memory_backed_volume_fills_a_limit() {
        let mut finding = Finding::full();
        finding.evidence.memory_volume = Some("cache\u{202e}".to_owned());
        finding.explain(None, &KillHistory::default());
        assert_eq!(
            text(&finding),
            "it reached its own memory limit of 64 MiB; what is in its memory-backed emptyDir 'cache ' counts towards \
             the limit and survives the restart"
        );
        (finding.container.memory_limit_bytes, finding.pod.memory_limit_bytes) = (None, None);
        finding.explain(None, &KillHistory::default());
        assert!(!text(&finding).contains("emptyDir"), "{}", text(&finding));
    }
}
