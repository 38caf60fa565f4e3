//! Tells whether anything may start a container again that has ended.
//!
//! | container | is started again |
//! |---|---|
//! | of a Pod that is over | never |
//! | ephemeral | never |
//! | any other, while the end of some container may restart all of them | perhaps |
//! | init, exited with 0 | never |
//! | with a rule that may be for the exit code | perhaps |
//! | any other | as its own policy says, else its Pod's |
//!
//! The end of a container may restart all of them if it has a rule for that and hasn't ended, or ended
//! with an exit code that the rule may be for, or may be started again itself.
//!
//! A sidecar's own policy is `Always`: that makes it one. A rule whose condition isn't known here may be
//! for any exit code. What a rule does that isn't known here may restart anything: it is
//! better to tell a kill late than to tell a wrong one.
//!
//! As the kubelet does it (`ContainerShouldRestart` in pkg/api/v1/pod/util.go, and the container
//! manager). Containers have a policy and rules of their own from 1.34 on, and rules that restart all of
//! them from 1.35 on.

use finding::ContainerKind;

use super::reading::StatusReading;
use crate::source::objects::{
    ContainerList, ContainerSpec, ExitCodeOperator, Phase, Pod, RestartAction, RestartPolicy, RestartRule,
    Terminated,
};

/// Returns whether anything may start the container again after this end of it.
pub(super) fn may_restart(pod: &Pod, list: ContainerList, name: &str, end: &Terminated) -> bool {
    let spec = pod.container(list, name);
    let is_ephemeral = list.kind(spec) == ContainerKind::Ephemeral;
    let is_final = pod.status.phase == Phase::Over || is_ephemeral;
    !is_final && (may_restart_by_itself(pod, list, spec, end) || may_restart_all(pod))
}

/// Returns whether the container's own rules or its policy may start it again.
fn may_restart_by_itself(
    pod: &Pod,
    list: ContainerList,
    spec: Option<&ContainerSpec>,
    end: &Terminated,
) -> bool {
    let succeeded = end.exit_code == Some(0);
    if list.kind(spec) == ContainerKind::Init && succeeded {
        return false;
    }
    let rules = spec.map(|spec| spec.restart_policy_rules.as_slice()).unwrap_or_default();
    rules.iter().any(|rule| may_be_for(rule, end))
        || match spec.and_then(|spec| spec.restart_policy).unwrap_or(pod.spec.restart_policy) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !succeeded,
            RestartPolicy::Never => false,
        }
}

/// Returns whether the end of any container may still restart all of them.
fn may_restart_all(pod: &Pod) -> bool {
    pod.ruled_containers().any(|(list, spec)| {
        let mut rules = spec.restart_policy_rules.iter().filter(|rule| rule.action != RestartAction::Restart);
        let mut statuses = pod.statuses();
        let status = statuses.find(|(of, status)| *of == list && status.name == spec.name);
        match status.and_then(|(_, status)| StatusReading::of(status).standing_end()) {
            None => rules.next().is_some(),
            Some(end) => {
                rules.any(|rule| may_be_for(rule, end) || may_restart_by_itself(pod, list, Some(spec), end))
            }
        }
    })
}

/// Returns whether the rule may be for this end.
fn may_be_for(rule: &RestartRule, end: &Terminated) -> bool {
    let Some((codes, exit_code)) = rule.exit_codes.as_ref().zip(end.exit_code) else { return true };
    match codes.operator {
        ExitCodeOperator::In => codes.values.contains(&exit_code),
        ExitCodeOperator::NotIn => !codes.values.contains(&exit_code),
        ExitCodeOperator::Unknown => true,
    }
}
