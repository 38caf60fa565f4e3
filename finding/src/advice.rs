//! Says what to try after a kill: another limit, and the command that sets it.

use untrusted::is_deceptive;

use crate::{Advice, CauseKind, ContainerKind, Finding, KillHistory, quantity::quantity};

/// How advice raises a limit. The names are those of the Vertical Pod Autoscaler's recommender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvicePolicy {
    /// What a limit is multiplied by, in thousandths.
    pub bump_up_thousandths: u64,
    /// How much a limit is raised at least, in bytes; but no limit is more than doubled by it.
    pub min_bump_up_bytes: u64,
}

impl Default for AdvicePolicy {
    fn default() -> Self {
        Self { bump_up_thousandths: 1200, min_bump_up_bytes: 100 << 20 }
    }
}

impl AdvicePolicy {
    /// Returns the limit to try after a kill under `limit`, as a person would write it; `None` if it isn't
    /// higher, or higher than Kubernetes can count.
    fn raise(&self, limit: u64) -> Option<u64> {
        let multiplied = u128::from(limit) * u128::from(self.bump_up_thousandths);
        let multiplied = u64::try_from(multiplied.div_ceil(1000)).ok()?;
        let rounded = round_up(multiplied.max(limit.checked_add(self.min_bump_up_bytes.min(limit))?))?;
        (rounded > limit && i64::try_from(rounded).is_ok()).then_some(rounded)
    }
}

/// Returns the amount rounded up to an eighth of the largest power of two that isn't above it.
fn round_up(bytes: u64) -> Option<u64> {
    let power = 1_u64 << bytes.checked_ilog2()?;
    bytes.checked_next_multiple_of((power / 8).max(1))
}

impl Advice {
    /// Returns what to try about the cause of a finding: nothing where the container's own limit isn't the
    /// cause.
    pub(crate) fn of(finding: &Finding, policy: &AdvicePolicy, history: &KillHistory) -> Option<Self> {
        finding.cause.as_ref().filter(|cause| cause.kind == CauseKind::ContainerLimit)?;
        if history.raised.is_some() {
            let text = "find out what grows before you raise the limit once more: it was raised within this incident \
                        and the container was killed again, so it leaks memory, more likely than not";
            return Some(Self { memory_limit_bytes: None, command: None, text: text.to_owned() });
        }
        let limit = policy.raise(finding.container.memory_limit_bytes?)?;
        let raise = format!("raise the limit to {}", quantity(limit));
        // No container may have a higher limit than its Pod.
        let (command, text) = match finding.pod.memory_limit_bytes.filter(|whole| *whole < limit) {
            Some(whole) => {
                let whole = quantity(whole);
                (None, format!("{raise}, and that of the Pod, which is {whole}, where they are written"))
            }
            None => match command(finding, limit) {
                None => (None, format!("{raise} where it is written (a manifest, a chart, GitOps)")),
                command => (command, format!("{raise}; where a chart or GitOps writes it, change it there")),
            },
        };
        Some(Self { memory_limit_bytes: Some(limit), command, text })
    }
}

/// Returns the shell command that sets the container's limit in its workload, if kubectl can. It reaches init
/// containers and sidecars as well.
fn command(finding: &Finding, limit: u64) -> Option<String> {
    let resource = match finding.pod.workload.kind.as_str() {
        _ if !finding.evidence.workload_is_built_in => return None,
        _ if finding.container.kind == ContainerKind::Ephemeral => return None,
        "Deployment" => "deployment",
        "StatefulSet" => "statefulset",
        "DaemonSet" => "daemonset",
        "CronJob" => "cronjob",
        _ => return None,
    };
    // kubectl takes it for any text.
    let container = Some(&finding.container.name).filter(|name| !name.contains('*'))?;
    Some(format!(
        "kubectl --namespace {} set resources {} --containers {} --limits memory={}",
        word(&finding.namespace)?,
        word(&format!("{resource}/{}", finding.pod.workload.name))?,
        word(container)?,
        quantity(limit),
    ))
}

/// Returns text as one word of a shell, with quotes if it needs them; `None` for text that a person can't
/// check by looking at it, or that isn't whole.
fn word(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if text.is_empty() || text.contains(is_deceptive) || text.ends_with('…') {
        return None;
    }
    Some(if text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_raised_as_the_policy_says_and_rounded_as_people_write_it() {
        for (limit, raised) in [
            (1, 2),
            (4 * MIB, 8 * MIB),
            (64 * MIB, 128 * MIB),
            (100 * MIB, 208 * MIB),
            (128 * MIB, 240 * MIB),
            (512 * MIB, 640 * MIB),
            (1024 * MIB, 1280 * MIB),
            (1000 * MIB, 1280 * MIB),
            (4096 * MIB, 5120 * MIB),
            (8192 * MIB, 10_240 * MIB),
        ] {
            assert_eq!(AdvicePolicy::default().raise(limit), Some(raised), "{limit}");
        }
        assert_eq!(AdvicePolicy::default().raise(u64::MAX), None);
        assert_eq!(AdvicePolicy::default().raise(1 << 62), Some(5 << 60));
        assert_eq!(AdvicePolicy::default().raise(7 << 60), None);
    }

    #[test]
    fn what_doesnt_raise_a_limit_is_no_advice() {
        let policy = AdvicePolicy { bump_up_thousandths: 1000, min_bump_up_bytes: 0 };
        assert_eq!(policy.raise(64 * MIB), None);
        let policy = AdvicePolicy { min_bump_up_bytes: 256 * MIB, ..policy };
        assert_eq!(policy.raise(1024 * MIB), Some(1280 * MIB));
    }

    #[test]
    fn a_word_means_itself_to_a_shell() {
        for (text, written) in [
            ("cart", Some("cart")),
            ("deployment/a.b-c_d", Some("deployment/a.b-c_d")),
            ("a b", Some("'a b'")),
            ("$(reboot)", Some("'$(reboot)'")),
            ("it's", Some(r"'it'\''s'")),
            ("~", Some("'~'")),
            ("=a", Some("'=a'")),
            ("größer", Some("'größer'")),
            ("", None),
            ("a\nb", None),
            ("a\u{202e}b", None),
            ("aaa…", None),
        ] {
            assert_eq!(word(text).as_deref(), written, "{text:?}");
        }
    }
}
