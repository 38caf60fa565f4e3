//! Tells whether anything may start a container again that has ended.
//!
//! | container | is started again |
//! |---|---|
//! | of a Pod that is over | never |
//! | ephemeral | never |
//! | any other, in a Pod with a rule that restarts all containers | perhaps |
//! | init, exited with 0 | never |
//! | any other | as its first rule for the exit code says, else its own policy, else its Pod's |
//!
//! A sidecar's own policy is `Always`: that makes it one.
//! As the kubelet does it (`ContainerShouldRestart` in pkg/api/v1/pod/util.go, and the container
//! manager). Containers have a policy and rules of their own from 1.34 on.

use finding::ContainerKind;

use crate::source::objects::{
    ContainerList, ExitCodeOperator, Phase, Pod, RestartAction, RestartPolicy, RestartRule,
};

/// Returns whether anything may start the container again after it exited with this code.
pub(super) fn may_restart(pod: &Pod, list: ContainerList, name: &str, exit_code: i32) -> bool {
    let spec = pod.container(list, name);
    let kind = list.kind(spec);
    if pod.status.phase == Phase::Over || kind == ContainerKind::Ephemeral {
        return false;
    }
    if pod.restart_rules().any(|rule| rule.action == RestartAction::RestartAllContainers) {
        return true;
    }
    if kind == ContainerKind::Init && exit_code == 0 {
        return false;
    }
    let rules = spec.map(|spec| spec.restart_policy_rules.as_slice()).unwrap_or_default();
    let rule = rules.iter().find(|rule| is_for(rule, exit_code));
    if rule.is_some_and(|rule| rule.action == RestartAction::Restart) {
        return true;
    }
    match spec.and_then(|spec| spec.restart_policy).unwrap_or(pod.spec.restart_policy) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

fn is_for(rule: &RestartRule, exit_code: i32) -> bool {
    rule.exit_codes.as_ref().is_some_and(|codes| match codes.operator {
        ExitCodeOperator::In => codes.values.contains(&exit_code),
        ExitCodeOperator::NotIn => !codes.values.contains(&exit_code),
        ExitCodeOperator::Unknown => false,
    })
}
