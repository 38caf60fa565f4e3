//! A container: what truly happens to its instances, and what its status says of them.

use fastrand::Rng;
use finding::ContainerKind;

use super::kubelet::{Policy, Quirk, Rule};

pub const SECOND: i64 = 1_000;

pub struct ModelContainer {
    pub name: String,
    pub kind: ContainerKind,
    /// Its own policy, which goes before its Pod's.
    pub policy: Option<Policy>,
    /// What goes before any policy, for the exit codes of each.
    pub rules: Vec<Rule>,
    /// The memory limit that its spec asks for, which a resize changes at once.
    pub asked: Limit,
    /// The memory limit that is in force, as far as its kubelet says.
    pub given: Limit,
    pub instances: Vec<TrueInstance>,
    pub shown: ShownStatus,
    /// A `lastState` that is lost, and may come back.
    lost_last: Option<ShownEnd>,
    /// The number that the next instance gets, where it isn't the next higher.
    next_count: Option<u32>,
    /// It isn't started sooner than that.
    pub not_before: i64,
    /// How often its count fell, or began anew.
    pub falls: u32,
    /// Whether each end so far was shown in its order, under its number.
    pub is_plain: bool,
    /// Whether a `lastState` outlived the instance that came after it.
    pub was_carried: bool,
}

/// An instance of a container, as it truly was.
pub struct TrueInstance {
    /// `None` if it never came to run.
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub killed: bool,
    pub exit_code: i32,
    /// The reason is corrected later.
    misread: bool,
    pub count: u32,
    pub id: Option<String>,
    /// Whether a status shows the times of its start and of its end.
    pub shows: (bool, bool),
}

/// What a status says of a container.
#[derive(Clone, Debug)]
pub struct ShownStatus {
    pub count: u32,
    pub state: ShownState,
    pub last: Option<ShownEnd>,
    /// How many instances had truly ended by then: what a status can't be trusted for.
    pub ended: usize,
    pub given: Limit,
}

/// A memory limit in MiB, if there is one.
pub type Limit = Option<u64>;

pub fn random_limit(rng: &mut Rng) -> Limit {
    (rng.u8(..4) > 0).then(|| rng.u64(1..1_000))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownState {
    Waiting,
    Running(usize),
    Ended(ShownEnd),
}

/// A `terminated` in a status: of which instance, unless the kubelet made it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownEnd {
    pub instance: Option<usize>,
    pub reason: &'static str,
    pub exit_code: i32,
}

impl ShownEnd {
    pub fn made_up(reason: &'static str) -> Self {
        Self { instance: None, reason, exit_code: 137 }
    }

    /// The instance whose kill it shows.
    pub fn kill(self) -> Option<usize> {
        self.instance.filter(|_| self.reason == "OOMKilled")
    }
}

impl ShownStatus {
    /// The ends that it shows, oldest first.
    pub fn records(&self) -> impl Iterator<Item = ShownEnd> {
        let ended = match self.state {
            ShownState::Ended(record) => Some(record),
            _ => None,
        };
        self.last.into_iter().chain(ended)
    }

    /// The instance in `state`.
    pub fn current(&self) -> Option<usize> {
        match self.state {
            ShownState::Waiting => None,
            ShownState::Running(instance) => Some(instance),
            ShownState::Ended(record) => record.instance,
        }
    }
}

impl ModelContainer {
    pub fn new(name: String, kind: ContainerKind, rng: &mut Rng) -> Self {
        Self {
            name,
            kind,
            policy: match (kind, rng.u8(..8)) {
                (ContainerKind::Ephemeral, _) => None,
                (ContainerKind::Sidecar, _) | (ContainerKind::Container, 0) => Some(Policy::Always),
                (_, 1) => Some(Policy::OnFailure),
                (_, 2 | 3) => Some(Policy::Never),
                _ => None,
            },
            rules: Vec::new(),
            asked: random_limit(rng),
            given: None,
            instances: Vec::new(),
            shown: ShownStatus { count: 0, state: ShownState::Waiting, last: None, ended: 0, given: None },
            lost_last: None,
            next_count: None,
            not_before: 0,
            falls: 0,
            is_plain: true,
            was_carried: false,
        }
    }

    pub fn last_end(&self) -> i64 {
        self.instances.last().and_then(|instance| instance.ended).unwrap_or_default()
    }

    /// Whether its kubelet starts it again by itself, in a Pod with this policy.
    pub fn restarts(&self, policy: Policy, end: ShownEnd) -> bool {
        let failed = end.exit_code != 0;
        let by_policy = match self.policy.unwrap_or(policy) {
            Policy::Always => true,
            Policy::OnFailure => failed,
            Policy::Never => false,
        };
        let by_rule = self.rules.iter().find(|rule| rule.codes.contains(&end.exit_code) == rule.is_in);
        match self.kind {
            ContainerKind::Ephemeral => false,
            ContainerKind::Sidecar => true,
            ContainerKind::Init => failed && (by_rule.is_some() || by_policy),
            ContainerKind::Container => by_rule.is_some() || by_policy,
        }
    }

    pub fn start(&mut self, rng: &mut Rng, now: i64, quirk: Quirk, pod: usize, container: usize) -> bool {
        let number = self.instances.len();
        let next = if number == 0 { 0 } else { self.shown.count + 1 };
        let count = self.next_count.take().unwrap_or(next);
        let runs = rng.u8(..20) != 0;
        let unset = |rng: &mut Rng| match quirk {
            Quirk::UnsetTimes => rng.u8(..3) == 0,
            Quirk::VirtualWithoutTimes => true,
            _ => false,
        };
        self.instances.push(TrueInstance {
            started: runs.then_some(now),
            ended: (!runs).then_some(now),
            killed: false,
            exit_code: 128,
            misread: false,
            count,
            id: (!quirk.is_virtual()).then(|| format!("containerd://{pod}-{container}-{number}")),
            shows: (runs && !unset(rng), !unset(rng)),
        });
        self.count_to(count);
        if rng.u8(..25) == 0 && self.shown.last.is_some() {
            self.lost_last = self.shown.last.take();
            self.is_plain = false;
        }
        self.shown.state = if runs {
            ShownState::Running(number)
        } else {
            ShownState::Ended(ShownEnd { instance: Some(number), reason: "StartError", exit_code: 128 })
        };
        runs
    }

    pub fn end(&mut self, rng: &mut Rng, now: i64, quirk: Quirk) {
        let ShownState::Running(instance) = self.shown.state else { return };
        let marked = [0, 1, 143][rng.usize(..3)];
        match rng.u8(..24) {
            0..=8 => self.ends_as(instance, now, "OOMKilled", 137, true),
            9..=10 => self.ends_as(instance, now, "OOMKilled", marked, true),
            11..=12 if !quirk.is_virtual() => {
                self.ends_as(instance, now, "Error", 137, true);
                self.instances[instance].misread = true;
            }
            13..=15 => self.ends_as(instance, now, "Error", 1, false),
            16..=17 => self.ends_as(instance, now, "Error", 137, false),
            18..=20 => self.ends_as(instance, now, "Completed", 0, false),
            21 => {
                let killed = rng.bool();
                self.vanish(now, Some("ContainerStatusUnknown"));
                self.instances[instance].killed = killed;
            }
            22 if !quirk.is_virtual() => self.vanish(now, None),
            _ => {
                self.ends_as(instance, now, "OOMKilled", 137, true);
                if quirk == Quirk::LosesLogs {
                    self.lose_logs(now);
                }
            }
        }
    }

    pub fn ends_as(&mut self, instance: usize, now: i64, reason: &'static str, exit_code: i32, killed: bool) {
        let ended = &mut self.instances[instance];
        (ended.ended, ended.exit_code, ended.killed) = (Some(now), exit_code, killed);
        self.shown.state = ShownState::Ended(ShownEnd { instance: Some(instance), reason, exit_code });
        self.lost_last = None;
    }

    /// The runtime no longer knows its containers. The kubelet makes up an end, or carries along the
    /// `lastState` that there was.
    pub fn vanish(&mut self, now: i64, made_up: Option<&'static str>) {
        if let ShownState::Running(instance) = self.shown.state {
            self.instances[instance].ended = Some(now);
        }
        if self.instances.is_empty() {
            return;
        }
        self.is_plain = false;
        self.lost_last = None;
        self.shown.state = ShownState::Waiting;
        if let Some(reason) = made_up {
            // Vanished once more before anything was started, it is still the same instance that is to come.
            self.count_to(self.next_count.unwrap_or(self.shown.count + 1));
            self.shown.last = Some(ShownEnd::made_up(reason));
        } else {
            self.was_carried = true;
        }
        self.next_count = Some(self.shown.count);
    }

    fn count_to(&mut self, count: u32) {
        // A later instance may have the count of the first, too.
        let begins_anew = count == 0 && self.instances.len() > 1;
        self.falls += u32::from(begins_anew || count < self.shown.count);
        self.shown.count = count;
    }

    /// Its count begins anew. That takes a reboot or a clean-up, so longer than a second.
    pub fn lose_logs(&mut self, now: i64) {
        self.next_count = Some(0);
        self.not_before = now + 2 * SECOND;
        self.is_plain = false;
    }

    /// Nothing is known any more of the instances that there were.
    pub fn begin_anew(&mut self, now: i64) {
        self.lose_logs(now);
        self.count_to(0);
        (self.shown.state, self.shown.last, self.lost_last) = (ShownState::Waiting, None, None);
    }

    /// What the kubelet says of it now.
    pub fn show(&self) -> ShownStatus {
        let ended = self.instances.iter().filter(|instance| instance.ended.is_some()).count();
        // What is still shown as ended hasn't been overtaken by anything.
        let overtaken =
            ended - usize::from(matches!(self.shown.state, ShownState::Ended(r) if r.instance.is_some()));
        ShownStatus { ended: overtaken, given: self.given, ..self.shown.clone() }
    }

    /// The reason of a kill that was misread is corrected, if it is still shown.
    pub fn correct(&mut self) {
        let Self { instances, shown, lost_last, .. } = self;
        let ended = match &mut shown.state {
            ShownState::Ended(record) => Some(record),
            _ => None,
        };
        for record in ended.into_iter().chain(&mut shown.last).chain(lost_last) {
            if record.instance.is_some_and(|instance| instances[instance].misread) {
                record.reason = "OOMKilled";
            }
        }
    }

    /// The `lastState` that was lost comes back.
    pub fn find_last(&mut self) {
        if self.shown.last.is_none() && matches!(self.shown.state, ShownState::Running(_)) {
            self.shown.last = self.lost_last.take();
        }
    }
}
