//! The cluster between kubelets and program: the status manager that tells the API server the newest
//! status only, the recorder that throttles, merges and drops Events, and the API server's history.

use std::collections::HashMap;

use fastrand::Rng;

use super::{
    container::{ModelContainer, SECOND, ShownStatus},
    kubelet::{ModelPod, Quirk},
    status::{EventSnapshot, PodSnapshot},
};

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// All that is true.
pub struct ModelCluster {
    /// Milliseconds since 1970.
    pub now: i64,
    /// How many seconds each node's clock is ahead.
    pub skews: Vec<i64>,
    /// All Pods that ever were; what the API server shows of each, while it has it.
    pub pods: Vec<ModelPod>,
    pub stored: Vec<Option<PodSnapshot>>,
    /// All that the API server was told, in order.
    pub history: Vec<PodChange>,
    /// The Events that are on their way, each with the time of its arrival.
    pub events: Vec<(i64, EventSnapshot)>,
    recorders: Vec<EventRecorder>,
    temper: Temper,
}

#[derive(Clone, Debug)]
pub enum PodChange {
    Written(PodSnapshot),
    Deleted(PodSnapshot),
}

impl PodChange {
    pub fn snapshot(&self) -> &PodSnapshot {
        match self {
            Self::Written(snapshot) | Self::Deleted(snapshot) => snapshot,
        }
    }
}

/// How this cluster misbehaves, in 256ths.
struct Temper {
    drops_events: u8,
    delays_events: u8,
    /// By how much at most, in milliseconds.
    writes_events_late: i64,
    burst: f64,
    combines_after: u32,
    writes_statuses: u8,
    hurries: u8,
}

/// What a kubelet's Event recorder knows of a Pod (client-go, `tools/record/events_cache.go`).
#[derive(Default)]
struct EventRecorder {
    spent: f64,
    refilled: i64,
    window: i64,
    first: usize,
    similar: u32,
    /// How many Events it wrote or dropped of each container, since it was started.
    counts: HashMap<usize, u32>,
}

impl ModelCluster {
    pub fn new(rng: &mut Rng) -> Self {
        let skew = |rng: &mut Rng| if rng.bool() { 0 } else { rng.i64(-3600..=3600) };
        let mut cluster = Self {
            now: 1_800_000_000_000 + rng.i64(0..1_000),
            skews: vec![skew(rng), skew(rng)],
            pods: Vec::new(),
            stored: Vec::new(),
            history: Vec::new(),
            events: Vec::new(),
            recorders: Vec::new(),
            temper: Temper {
                drops_events: rng.u8(..) / 2,
                delays_events: rng.u8(..) / 2,
                writes_events_late: rng.i64(0..=3 * SECOND),
                burst: f64::from(rng.u8(2..=25)),
                combines_after: rng.u32(2..=10),
                writes_statuses: rng.u8(64..),
                hurries: rng.u8(..),
            },
        };
        for number in 0..rng.usize(1..=3) {
            cluster.create(rng, format!("cart-{number}"));
        }
        cluster
    }

    pub fn skew(&self, pod: usize) -> i64 {
        self.skews[self.pods[pod].node]
    }

    /// Lets time pass and one thing happen.
    pub fn step(&mut self, rng: &mut Rng) {
        self.pass(rng);
        let alive: Vec<usize> = (0..self.pods.len()).filter(|pod| self.stored[*pod].is_some()).collect();
        let Some(&pod) = (!alive.is_empty()).then(|| &alive[rng.usize(..alive.len())]) else {
            return self.create(rng, "cart-0".into());
        };
        match rng.u8(..128) {
            0..=3
                if self.pods[pod].may_restart_all(self.pods[pod].containers[0].shown.state)
                    && !self.pods[pod].is_over() =>
            {
                self.pods[pod].restart_all_containers(self.now);
            }
            4..=5 => self.pods[pod].containers.iter_mut().for_each(ModelContainer::find_last),
            6..=9 => self.pods[pod].containers.iter_mut().for_each(ModelContainer::correct),
            10 => self.reboot(rng, pod),
            11..=13 => self.delete(rng, pod),
            14 if self.pods[pod].is_static => self.make_anew(pod),
            // Without times and counts nothing would tell what was first.
            32 if self.pods[pod].is_static && self.pods[pod].quirk != Quirk::UnsetTimes => {
                self.start_anew(rng, pod);
            }
            15..=17 if self.pods[pod].is_over() => {
                let name = format!("cart-{}", self.pods.len());
                self.create(rng, name);
                self.delete(rng, pod);
            }
            18 if alive.len() < 4 => {
                let name = format!("cart-{}", self.pods.len());
                self.create(rng, name);
            }
            19..=24 => self.write(pod),
            25..=30 => {
                self.pods[pod].resize(rng);
                self.patch(pod);
            }
            31 => self.recorders.iter_mut().for_each(|recorder| recorder.counts.clear()),
            _ => {
                let started = self.pods[pod].step(rng, self.now);
                if let Some(container) = started {
                    self.record(rng, pod, container);
                }
                if rng.u8(..) < self.temper.writes_statuses {
                    self.write(pod);
                }
            }
        }
    }

    /// Takes every Pod away. The last word of each is written.
    pub fn end(&mut self) {
        for pod in 0..self.pods.len() {
            if self.stored[pod].is_some() {
                self.write(pod);
                self.forget(pod);
            }
        }
    }

    fn pass(&mut self, rng: &mut Rng) {
        let hurry = rng.u8(..) < self.temper.hurries;
        self.now += match rng.u8(..) {
            _ if hurry => rng.i64(0..SECOND / 2),
            0..=120 => rng.i64(0..5 * SECOND),
            121..=240 => rng.i64(0..MINUTE),
            241..=252 => rng.i64(0..10 * MINUTE),
            253.. => {
                (0..self.pods.len())
                    .filter(|pod| self.stored[*pod].is_some())
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|pod| self.write(pod));
                rng.i64(0..3 * HOUR)
            }
        };
    }

    fn create(&mut self, rng: &mut Rng, name: String) {
        let node = rng.usize(..self.skews.len());
        let number = self.pods.len();
        self.pods.push(ModelPod::random(rng, number, name, node));
        self.recorders.push(EventRecorder::default());
        self.stored.push(None);
        self.store(number, None);
    }

    /// The status manager tells the API server how the Pod is now.
    fn write(&mut self, pod: usize) {
        let shown = self.pods[pod].containers.iter().map(ModelContainer::show).collect();
        self.store(pod, Some(shown));
    }

    fn store(&mut self, pod: usize, containers: Option<Vec<ShownStatus>>) {
        let ModelPod { incarnation, phase, given, .. } = self.pods[pod];
        let phase = if containers.is_some() { phase } else { "Pending" };
        let version = self.history.len();
        let falls = self.pods[pod].containers.iter().map(|container| container.falls).sum();
        let snapshot = PodSnapshot {
            pod,
            incarnation,
            phase,
            asked: self.pods[pod].all_asked(),
            given,
            containers,
            version,
            written_at: self.now,
            falls,
        };
        self.stored[pod] = Some(snapshot.clone());
        self.history.push(PodChange::Written(snapshot));
    }

    /// The API server shows what the spec asks for now, and the status as it was.
    fn patch(&mut self, pod: usize) {
        if let Some(last) = self.stored[pod].clone() {
            let asked = self.pods[pod].all_asked();
            let patched = PodSnapshot { asked, version: self.history.len(), written_at: self.now, ..last };
            self.stored[pod] = Some(patched.clone());
            self.history.push(PodChange::Written(patched));
        }
    }

    fn forget(&mut self, pod: usize) {
        if let Some(last) = self.stored[pod].take() {
            let deleted = PodSnapshot { version: self.history.len(), written_at: self.now, ..last };
            self.history.push(PodChange::Deleted(deleted));
        }
    }

    /// Deletes a Pod, in two steps or at once, with or without a last word of its kubelet; perhaps
    /// another takes its name.
    fn delete(&mut self, rng: &mut Rng, pod: usize) {
        if !self.pods[pod].terminating && rng.bool() {
            self.pods[pod].terminating = true;
            return;
        }
        if rng.bool() {
            let now = self.now;
            self.pods[pod].terminate(rng, now);
        }
        if rng.bool() {
            self.write(pod);
        }
        self.forget(pod);
        if rng.bool() {
            let name = self.pods[pod].name.clone();
            self.create(rng, name);
        }
    }

    /// Deletes a mirror pod. Its kubelet makes it anew; the containers run on.
    fn make_anew(&mut self, pod: usize) {
        self.forget(pod);
        self.pods[pod].incarnation += 1;
        self.store(pod, None);
    }

    /// The definition of a static pod is taken away and comes back. Its containers begin anew, its recorder
    /// counts on.
    fn start_anew(&mut self, rng: &mut Rng, pod: usize) {
        let now = self.now;
        self.pods[pod].terminate(rng, now);
        if rng.bool() {
            self.write(pod);
        }
        self.pods[pod].start_anew(now);
        self.make_anew(pod);
    }

    fn reboot(&mut self, rng: &mut Rng, pod: usize) {
        self.now += rng.i64(MINUTE..5 * MINUTE);
        let node = self.pods[pod].node;
        for ((pod, stored), recorder) in self.pods.iter_mut().zip(&self.stored).zip(&mut self.recorders) {
            if pod.node == node && stored.is_some() {
                pod.reboot(rng, self.now);
                recorder.counts.clear();
            }
        }
    }

    fn record(&mut self, rng: &mut Rng, pod: usize, container: usize) {
        // Written after the start, before anything else is done with the container.
        let written = self.now + rng.i64(0..=self.temper.writes_events_late);
        let started = &mut self.pods[pod].containers[container];
        started.not_before = started.not_before.max(written);
        let instance = started.instances.len() - 1;
        let skew = self.skew(pod);
        let Some((named, combined)) = self.recorders[pod].take(written, container, &self.temper) else {
            return;
        };
        let count = self.recorders[pod].counts.get(&container).copied().unwrap_or_default();
        if rng.u8(..) < self.temper.drops_events {
            return;
        }
        let late = rng.u8(..) < self.temper.delays_events;
        let arrives = written + rng.i64(0..if late { 10 * MINUTE } else { 2 * SECOND });
        let at = written.div_euclid(SECOND) + skew;
        self.events.push((arrives, EventSnapshot { pod, container, instance, named, combined, at, count }));
    }
}

impl EventRecorder {
    /// Which container the Event names, and whether it stands for several; `None` if it is dropped.
    fn take(&mut self, now: i64, container: usize, temper: &Temper) -> Option<(usize, bool)> {
        #[allow(clippy::cast_precision_loss, reason = "hours in milliseconds")]
        let refill = (now - self.refilled) as f64 / (300.0 * 1_000.0);
        (self.spent, self.refilled) = ((self.spent - refill).max(0.0), now);
        if now - self.window > 10 * MINUTE {
            (self.window, self.first, self.similar) = (now, container, 0);
        }
        self.similar += 1;
        let combined = self.similar > temper.combines_after;
        if !combined {
            *self.counts.entry(container).or_default() += 1;
        }
        if self.spent + 1.0 > temper.burst {
            return None;
        }
        self.spent += 1.0;
        Some((if combined { self.first } else { container }, combined))
    }
}
