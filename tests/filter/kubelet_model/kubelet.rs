//! The kubelet: what truly happens to containers, and what their status says of it.
//!
//! Nothing here knows how a kill is detected. Times are milliseconds of one true clock; a status
//! shows them in seconds of its node's.

use std::iter;

use fastrand::Rng;
use finding::ContainerKind;

use super::container::{Limit, ModelContainer, SECOND, ShownEnd, ShownState, random_limit};

/// A Pod, as it truly is.
pub struct ModelPod {
    pub name: String,
    pub number: usize,
    /// How often its object was made anew: only a mirror pod's is.
    pub incarnation: u32,
    pub is_static: bool,
    pub node: usize,
    pub policy: Policy,
    /// Whether a rule of one of its containers restarts all of them.
    pub restarts_all: bool,
    /// The memory limit of the whole, as its spec asks for it, and as it is in force.
    pub asked: Limit,
    pub given: Limit,
    pub quirk: Quirk,
    pub phase: &'static str,
    pub terminating: bool,
    pub containers: Vec<ModelContainer>,
}

/// A rule that restarts a container whose exit code is in the list, or is not.
pub struct Rule {
    pub is_in: bool,
    pub codes: Vec<i32>,
}

impl Rule {
    fn random(rng: &mut Rng) -> Self {
        let codes = [0, 1, 137, 143, 128].into_iter().filter(|_| rng.bool()).collect();
        Self { is_in: rng.bool(), codes }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Always,
    OnFailure,
    Never,
}

/// What is unusual about a Pod's kubelet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quirk {
    None,
    /// Log directories get lost, and with them the counts.
    LosesLogs,
    /// The runtime leaves some times unset.
    UnsetTimes,
    /// A virtual kubelet: no container IDs.
    Virtual,
    /// A virtual kubelet without times, too.
    VirtualWithoutTimes,
}

impl Quirk {
    pub fn is_virtual(self) -> bool {
        matches!(self, Self::Virtual | Self::VirtualWithoutTimes)
    }
}

impl ModelPod {
    pub fn random(rng: &mut Rng, number: usize, name: String, node: usize) -> Self {
        let mut containers = vec![ModelContainer::new("app".into(), ContainerKind::Container, rng)];
        for (name, kind) in [
            ("helper", ContainerKind::Container),
            ("setup", ContainerKind::Init),
            ("proxy", ContainerKind::Sidecar),
            ("debug", ContainerKind::Ephemeral),
        ] {
            if rng.u8(..4) == 0 {
                containers.push(ModelContainer::new(name.into(), kind, rng));
            }
        }
        let is_static = rng.u8(..6) == 0;
        let policy = match rng.u8(..5) {
            3 if !is_static => Policy::OnFailure,
            4 if !is_static => Policy::Never,
            _ => Policy::Always,
        };
        for container in &mut containers {
            if container.policy.is_some() && container.kind != ContainerKind::Sidecar {
                container.rules = (0..rng.usize(..3)).map(|_| Rule::random(rng)).collect();
            }
        }
        let quirk = match rng.u8(..10) {
            5 | 6 => Quirk::LosesLogs,
            7 => Quirk::UnsetTimes,
            8 if !is_static => Quirk::Virtual,
            9 if !is_static => Quirk::VirtualWithoutTimes,
            _ => Quirk::None,
        };
        Self {
            name,
            number,
            incarnation: 0,
            is_static,
            node,
            policy,
            restarts_all: rng.u8(..4) == 0,
            asked: random_limit(rng),
            given: None,
            quirk,
            phase: "Pending",
            terminating: false,
            containers,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, "Failed" | "Succeeded")
    }

    /// Lets something happen to one of its containers. Answers the one that was started, if one was.
    pub fn step(&mut self, rng: &mut Rng, now: i64) -> Option<usize> {
        if self.is_over() {
            return None;
        }
        let chosen = rng.usize(..self.containers.len());
        let (quirk, policy, terminating) = (self.quirk, self.policy, self.terminating);
        let container = &mut self.containers[chosen];
        if quirk.is_virtual() {
            // Without an ID, the second is all that tells one end from the next.
            container.not_before = container.not_before.max(container.last_end() + SECOND);
        }
        let started = match container.shown.state {
            ShownState::Running(_) => {
                container.end(rng, now, quirk);
                false
            }
            _ if now < container.not_before => false,
            ShownState::Ended(record) if !terminating && container.restarts(policy, record) => {
                let backs_off = rng.bool();
                container.shown.last = Some(record);
                container.shown.state = ShownState::Waiting;
                !backs_off && container.start(rng, now, quirk, self.number, chosen)
            }
            ShownState::Waiting if !terminating => container.start(rng, now, quirk, self.number, chosen),
            _ => false,
        };
        self.phase = if self.containers.iter().all(|container| container.instances.is_empty()) {
            "Pending"
        } else {
            "Running"
        };
        self.come_to_an_end(now);
        started.then_some(chosen)
    }

    /// Its phase, once its containers ended for good. Sidecars are stopped then.
    fn come_to_an_end(&mut self, now: i64) {
        let policy = self.policy;
        let end = |container: &ModelContainer| match container.shown.state {
            ShownState::Ended(record) if !container.restarts(policy, record) => Some(record.exit_code),
            _ => None,
        };
        let main = self.containers.iter().filter(|container| container.kind == ContainerKind::Container);
        let Some(ends) = main.map(end).collect::<Option<Vec<_>>>() else { return };
        for container in &mut self.containers {
            if let ShownState::Running(instance) = container.shown.state {
                container.ends_as(instance, now, "Error", 143, false);
            }
        }
        self.phase = if ends.iter().all(|code| *code == 0) { "Succeeded" } else { "Failed" };
    }

    /// Whether a container that is shown in this state has ended for good, while `app` is shown in that.
    pub fn is_final(&self, container: &ModelContainer, state: ShownState, app: ShownState) -> bool {
        let restarts_all = container.kind != ContainerKind::Ephemeral && self.may_restart_all(app);
        match state {
            ShownState::Ended(end) if end.instance.is_some() => {
                !restarts_all && !container.restarts(self.policy, end)
            }
            _ => false,
        }
    }

    /// Whether `app`, in this state, may still exit as the rule says that restarts all containers.
    pub fn may_restart_all(&self, app: ShownState) -> bool {
        let ended = match app {
            ShownState::Ended(end) => {
                end.instance.is_some() && !self.containers[0].restarts(self.policy, end)
            }
            _ => false,
        };
        self.restarts_all && !ended
    }

    /// The limits that its spec asks for: of the whole, and of each container.
    pub fn all_asked(&self) -> Vec<Limit> {
        iter::once(self.asked).chain(self.containers.iter().map(|container| container.asked)).collect()
    }

    /// Somebody asks for other limits, or the kubelet does what was asked.
    pub fn resize(&mut self, rng: &mut Rng) {
        if rng.bool() {
            self.asked = random_limit(rng);
            self.containers.iter_mut().for_each(|container| container.asked = random_limit(rng));
        } else {
            self.given = self.asked;
            self.containers.iter_mut().for_each(|container| container.given = container.asked);
        }
    }

    /// All of its containers are removed and made anew (KEP 5532).
    pub fn restart_all_containers(&mut self, now: i64) {
        for container in
            self.containers.iter_mut().filter(|container| container.kind != ContainerKind::Ephemeral)
        {
            container.vanish(now, Some("RestartingAllContainers"));
        }
    }

    /// It is stopped, and then is as if it had never been started.
    pub fn start_anew(&mut self, now: i64) {
        for container in &mut self.containers {
            if let ShownState::Running(instance) = container.shown.state {
                container.ends_as(instance, now, "Error", 143, false);
            }
            container.begin_anew(now);
        }
        (self.phase, self.terminating) = ("Pending", false);
    }

    /// Its node starts anew.
    pub fn reboot(&mut self, rng: &mut Rng, now: i64) {
        for container in &mut self.containers {
            let ShownState::Running(instance) = container.shown.state else { continue };
            container.ends_as(instance, now, "Unknown", 255, false);
            if self.quirk == Quirk::LosesLogs && rng.bool() {
                container.lose_logs(now);
            }
        }
    }

    /// The last words of its kubelet: what has no end gets one that is made up.
    pub fn terminate(&mut self, rng: &mut Rng, now: i64) {
        for container in &mut self.containers {
            if rng.bool() {
                match container.shown.state {
                    ShownState::Running(_) => container.end(rng, now, self.quirk),
                    ShownState::Waiting => {
                        container.shown.state =
                            ShownState::Ended(ShownEnd::made_up("ContainerStatusUnknown"));
                    }
                    ShownState::Ended(_) => {}
                }
            }
        }
    }
}
