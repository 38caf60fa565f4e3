//! What was delivered to one run of the program, in terms of what is true, and what must be found
//! by that.
//!
//! A kill must be found once its evidence was delivered while its Pod existed: a status, no older
//! than one before it, that shows its end as an OOM kill; and an instance that ran after it in that
//! status or a later one, or an Event, whenever it came, that names a start later than its end and
//! counts more starts than there were with its own. Kills that are to be reported unrestarted also
//! when the Pod is over or gone, or the container has ended for good. Not what stands in the cluster
//! as reported, nor what was history to the list that showed its Pod first.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    cluster::ModelCluster,
    container::{Limit, ModelContainer, ShownEnd, ShownState, ShownStatus},
    kubelet::{ModelPod, Quirk},
    status::{EventSnapshot, PodSnapshot},
};

/// The identity of a kill, as the contract has it.
pub type KillName = String;

/// A container, by its Pod's number and its own.
pub type ContainerPlace = (usize, usize);

/// How a status came.
#[derive(Clone, Copy)]
pub enum ShownBy {
    /// In a list; what happened no later than that, in seconds, is history.
    Listed(i64),
    Watched,
}

/// What the program saw since it was started.
#[derive(Default)]
pub struct Evidence {
    report_unrestarted: bool,
    /// The kills that were found, or reported before.
    pub settled: HashSet<KillName>,
    /// The kills that were too old for the list that showed them.
    pub history: HashSet<KillName>,
    /// The kills that must be found by what was delivered last.
    pub due: Vec<KillName>,
    /// The instances that a status showed to be killed, and whether it was a watch that showed it first, or
    /// one that was older than one before.
    pub shown: HashMap<(ContainerPlace, usize), bool>,
    /// The Pods that showed a status older than one before, and times that don't tell.
    pub unordered: HashSet<usize>,
    /// The Pods that were seen to be over or gone.
    pub over: HashSet<usize>,
    /// The containers that were seen to have ended for good.
    pub finals: HashSet<ContainerPlace>,
    /// The starts that Events told: when, under which count, of which instance.
    pub starts: HashMap<ContainerPlace, HashSet<(i64, u32, usize)>>,
    /// The mirror pods that were seen to be deleted, and those that came back without restarts. Of what
    /// their Events count nobody knows the beginning.
    deleted_mirrors: HashSet<usize>,
    begun_anew: HashSet<usize>,
    /// How much may be remembered of mirror pods that were deleted, for kills of which nothing here is sure.
    orphans: HashMap<usize, usize>,
    /// What findings may say of limits.
    limits: HashMap<KillName, ShownLimits>,
    /// The container's own limits that were ever shown.
    own_limits: HashMap<ContainerPlace, HashSet<Limit>>,
    /// The count of each container that was last shown, and how often it was seen to fall.
    counts: HashMap<ContainerPlace, (u32, u32)>,
    /// The instances that ended unseen, by the names of Pod and container.
    pub unseen: HashMap<(String, String), UnseenEnds>,
    pods: HashMap<usize, KnownPod>,
}

/// The instances of the containers of one name that ended unseen.
#[derive(Default)]
pub struct UnseenEnds {
    pub instances: HashSet<(ContainerPlace, usize)>,
    /// Whether the ends of some of them may seem to be shown.
    pub may_seem_seen: bool,
    /// Whether the instances can't be told apart for sure.
    pub is_vague: bool,
}

/// The limits of a container and its Pod that were in force, by the statuses that showed a kill, up to
/// the first that tells for sure.
#[derive(Default)]
struct ShownLimits {
    seen: HashSet<(Limit, Limit)>,
    is_known: bool,
}

#[derive(Default)]
struct KnownPod {
    version: usize,
    containers: BTreeMap<usize, KnownContainer>,
}

#[derive(Default)]
struct KnownContainer {
    /// Kills that wait for the start after them; whether they ended before what a list can tell.
    pending: BTreeMap<usize, bool>,
    /// The first instance that anybody watched.
    first: usize,
    /// The instances whose end was shown.
    ends: HashSet<usize>,
    restarted: bool,
    was_resized: bool,
    was_killed: bool,
}

/// A container as it truly is, with what it takes to name its kills.
#[derive(Clone, Copy)]
struct TrueContainer<'a> {
    pod: &'a ModelPod,
    incarnation: u32,
    container: &'a ModelContainer,
    place: ContainerPlace,
    skew: i64,
}

impl<'a> TrueContainer<'a> {
    fn of(cluster: &'a ModelCluster, place: ContainerPlace, incarnation: u32) -> Self {
        let pod = &cluster.pods[place.0];
        Self { pod, incarnation, container: &pod.containers[place.1], place, skew: cluster.skew(place.0) }
    }

    fn kill(&self, instance: usize) -> KillName {
        kill(self.pod, self.incarnation, self.container, instance, self.skew)
    }

    /// Whether the start that an Event tells of, under this count, is after the end of the instance and
    /// not its own, and a status shows its number right.
    fn is_proved_by(&self, instance: usize, (at, count): (i64, u32)) -> bool {
        let is_later = self.end(instance).is_some_and(|end| end < at);
        is_later && self.container.is_plain && count > self.container.instances[instance].count + 1
    }

    fn end(&self, instance: usize) -> Option<i64> {
        self.container.instances[instance].end_shown(self.skew)
    }
}

/// The identity of the kill of an instance.
pub fn kill(
    pod: &ModelPod,
    incarnation: u32,
    container: &ModelContainer,
    instance: usize,
    skew: i64,
) -> KillName {
    let killed = &container.instances[instance];
    killed.id.clone().unwrap_or_else(|| {
        let list = container.kind.spec_field();
        let moment = killed.end_shown(skew).map_or(format!("#{}", killed.count), |at| at.to_string());
        format!("{} {list} {} {moment}", pod.uid(incarnation), container.name)
    })
}

impl Evidence {
    pub fn new(report_unrestarted: bool, settled: HashSet<KillName>) -> Self {
        Self { report_unrestarted, settled, ..Self::default() }
    }

    /// An Event is delivered that isn't combined.
    pub fn event(&mut self, cluster: &ModelCluster, event: EventSnapshot) {
        let place = (event.pod, event.container);
        self.starts.entry(place).or_default().insert((event.at, event.count, event.instance));
        let known = self.trusts_counts(event.pod).then(|| self.pods.get_mut(&event.pod)).flatten();
        let Some(known) = known.and_then(|pod| pod.containers.get_mut(&event.container)) else { return };
        let truth = TrueContainer::of(cluster, place, cluster.pods[event.pod].incarnation);
        let is_confirmed = |instance: usize| truth.is_proved_by(instance, (event.at, event.count));
        let confirmed = known.pending.extract_if(.., |instance, _| is_confirmed(*instance));
        self.due.extend(confirmed.map(|(instance, _)| truth.kill(instance)));
    }

    /// A status is delivered.
    pub fn status(&mut self, cluster: &ModelCluster, snapshot: &PodSnapshot, way: ShownBy) {
        let mut known = self.pods.remove(&snapshot.pod);
        let is_first = known.is_none();
        let mut known_pod = known.take().unwrap_or_default();
        let horizon = match way {
            ShownBy::Listed(horizon) if is_first => Some(horizon),
            _ => None,
        };
        let is_stale = snapshot.version < known_pod.version;
        known_pod.version = known_pod.version.max(snapshot.version);
        if is_stale && cluster.pods[snapshot.pod].quirk == Quirk::UnsetTimes {
            self.unordered.insert(snapshot.pod);
            known_pod.containers.values_mut().for_each(|known| known.pending.clear());
        }
        if snapshot.is_over() {
            self.over.insert(snapshot.pod);
        }
        if is_first && matches!(way, ShownBy::Watched) {
            let name = |pod: usize| &cluster.pods[pod].name;
            let before = self.pods.keys().copied();
            let namesakes: Vec<usize> = before.filter(|pod| name(*pod) == name(snapshot.pod)).collect();
            for pod in namesakes {
                self.gone(cluster, pod, cluster.pods[pod].incarnation);
            }
        }
        let counts = snapshot.containers.iter().flatten().map(|shown| shown.count);
        if let Some(highest) = counts.max()
            && self.deleted_mirrors.remove(&snapshot.pod)
            && highest == 0
        {
            self.begun_anew.insert(snapshot.pod);
        }
        let containers = snapshot.containers.as_deref().unwrap_or_default();
        let app = containers.first().map_or(ShownState::Waiting, |app| app.state);
        for (number, shown) in containers.iter().enumerate() {
            let truth = TrueContainer::of(cluster, (snapshot.pod, number), snapshot.incarnation);
            let first = if is_first { shown.ended } else { 0 };
            let new = || KnownContainer { first, ..KnownContainer::default() };
            let known = known_pod.containers.entry(number).or_insert_with(new);
            self.kills_shown(truth, shown, known, horizon.is_none(), is_stale);
            known.was_resized |= shown.given.is_some() && shown.given != snapshot.asked[number + 1];
            self.limits_shown(truth, snapshot, shown, is_stale);
            self.ends_shown(truth, shown, known, is_stale);
            let is_final = snapshot.is_over() || truth.pod.is_final(truth.container, shown.state, app);
            if is_final {
                self.finals.insert(truth.place);
            }
            // Without IDs and times all kills of a container are one, and nothing tells when it was:
            // there is no evidence of anything. Nor is there where nothing tells which status is older.
            let is_vague =
                truth.pod.quirk == Quirk::VirtualWithoutTimes || self.unordered.contains(&snapshot.pod);
            if !is_stale && !is_vague {
                self.new_kills(truth, shown, known, is_final, horizon);
                self.confirm(truth, shown, known, is_final);
                if is_final {
                    self.end(truth, known);
                }
            }
        }
        self.pods.insert(snapshot.pod, known_pod);
    }

    /// The Pod is deleted. A mirror pod with a pending kill may come back.
    pub fn deleted(&mut self, cluster: &ModelCluster, pod: usize, incarnation: u32) {
        if cluster.pods[pod].is_static {
            self.deleted_mirrors.insert(pod);
            let known = self.pods.get(&pod);
            if known.is_some_and(|known| known.containers.values().any(|known| !known.pending.is_empty())) {
                return;
            }
            self.orphans.insert(pod, 1 + 2 * cluster.pods[pod].containers.len());
        }
        self.gone(cluster, pod, incarnation);
    }

    /// The Pod is gone.
    fn gone(&mut self, cluster: &ModelCluster, pod: usize, incarnation: u32) {
        let Some(known) = self.pods.remove(&pod) else { return };
        self.over.insert(pod);
        for (number, mut known) in known.containers {
            let truth = TrueContainer::of(cluster, (pod, number), incarnation);
            self.end(truth, &mut known);
            self.counts.remove(&truth.place);
            for instance in 0..truth.container.instances.len() {
                self.limits.entry(truth.kill(instance)).or_default().is_known = false;
            }
        }
    }

    /// What is known and wasn't in the list is gone.
    pub fn list_ends(&mut self, cluster: &ModelCluster, listed: &HashSet<usize>) {
        self.orphans.retain(|pod, _| listed.contains(pod));
        let gone: Vec<usize> = self.pods.keys().filter(|pod| !listed.contains(pod)).copied().collect();
        for pod in gone {
            self.gone(cluster, pod, cluster.pods[pod].incarnation);
        }
    }

    /// How much there is to remember, at most: Pods, containers that ever restarted, were killed or resized,
    /// and a pending kill of each that was killed.
    pub fn rememberable(&self) -> usize {
        let containers = self.pods.values().flat_map(|pod| pod.containers.values());
        let containers = containers
            .map(|known| usize::from(known.restarted || known.was_resized) + usize::from(known.was_killed));
        self.pods.len() + containers.sum::<usize>() + self.orphans.values().sum::<usize>()
    }

    fn kills_shown(
        &mut self,
        truth: TrueContainer<'_>,
        shown: &ShownStatus,
        known: &mut KnownContainer,
        is_late: bool,
        is_stale: bool,
    ) {
        for instance in shown.records().filter_map(ShownEnd::kill) {
            *self.shown.entry((truth.place, instance)).or_insert(is_late) |= is_stale;
            known.was_killed = true;
        }
        known.restarted |= shown.count > 0 || known.was_killed;
    }

    fn ends_shown(
        &mut self,
        truth: TrueContainer<'_>,
        shown: &ShownStatus,
        known: &mut KnownContainer,
        is_stale: bool,
    ) {
        let TrueContainer { pod, container, place, .. } = truth;
        let unseen = self.unseen.entry((pod.name.clone(), container.name.clone())).or_default();
        unseen.may_seem_seen |= pod.is_static || !container.is_plain;
        // A status that shows no times is neither older nor newer than another.
        let has_times = container.is_plain && pod.quirk != Quirk::UnsetTimes;
        unseen.is_vague |= pod.quirk == Quirk::VirtualWithoutTimes || (is_stale && !has_times);
        if !is_stale {
            let (count, falls) = self.counts.entry(place).or_default();
            // A status without an instance has no times, and may be an older one.
            let shows_any =
                shown.records().filter_map(|record| record.instance).chain(shown.current()).count();
            *falls += u32::from(shown.count < *count && shows_any > 0);
            *count = shown.count;
            known.ends.extend(shown.records().filter_map(|record| record.instance));
            let missed = (known.first..shown.ended).filter(|instance| !known.ends.contains(instance));
            unseen.instances.extend(missed.map(|instance| (place, instance)));
        }
    }

    /// The kills that the status shows, if they are news.
    fn new_kills(
        &mut self,
        truth: TrueContainer<'_>,
        shown: &ShownStatus,
        known: &mut KnownContainer,
        is_final: bool,
        horizon: Option<i64>,
    ) {
        let instances = &truth.container.instances;
        let is_old = |at: Option<i64>| horizon.is_some_and(|horizon| at.is_none_or(|at| at <= horizon));
        for instance in shown.records().filter_map(ShownEnd::kill) {
            let killed = truth.kill(instance);
            // While a container waits that the runtime lost, nobody can tell whose count it is.
            let is_waiting = shown.state == ShownState::Waiting && !is_final;
            let ended = truth.end(instance);
            let is_unclear = is_waiting && shown.count != instances[instance].count && !is_old(ended);
            if is_unclear || self.settled.contains(&killed) || self.history.contains(&killed) {
                continue;
            }
            let next = shown.current().filter(|next| *next != instance);
            let next = next.map(|next| &instances[next]).filter(|next| next.started.is_some());
            let mut told = self.started(truth).filter(|_| next.is_none() && !is_final).peekable();
            if told.peek().is_some() && !truth.container.is_plain && horizon.is_some() {
                continue;
            }
            let told = told.filter(|told| truth.is_proved_by(instance, *told)).map(|(at, _)| at).max();
            let since = next.map_or(told, |next| next.start_shown(truth.skew)).or(ended);
            if (next.is_some() || told.is_some() || is_final) && is_old(since) {
                self.history.insert(killed);
            } else {
                known.pending.entry(instance).or_insert(is_old(ended));
            }
        }
    }

    /// The pending kills after which a start is known.
    fn confirm(
        &mut self,
        truth: TrueContainer<'_>,
        shown: &ShownStatus,
        known: &mut KnownContainer,
        is_final: bool,
    ) {
        let instances = shown.records().filter_map(|record| record.instance).chain(shown.current());
        let newest =
            instances.filter(|instance| truth.container.instances[*instance].started.is_some()).max();
        let told: Vec<_> = self.started(truth).filter(|_| !is_final).collect();
        let is_confirmed = |instance: usize| {
            newest > Some(instance) || told.iter().any(|told| truth.is_proved_by(instance, *told))
        };
        let confirmed = known.pending.extract_if(.., |instance, _| is_confirmed(*instance));
        self.due.extend(confirmed.map(|(instance, _)| truth.kill(instance)));
    }

    /// The pending kills after which no start will be known.
    fn end(&mut self, truth: TrueContainer<'_>, known: &mut KnownContainer) {
        // What is history stays that, however often it is shown.
        let news = known.pending.extract_if(.., |_, is_old| !*is_old);
        let ended: Vec<KillName> = news.map(|(instance, _)| truth.kill(instance)).collect();
        if self.report_unrestarted {
            self.due.extend(ended);
        }
    }

    /// When the container was started, by the word of Events, and their counts.
    fn started(&self, truth: TrueContainer<'_>) -> impl Iterator<Item = (i64, u32)> {
        let starts = self.starts.get(&truth.place).filter(|_| self.trusts_counts(truth.place.0));
        starts.into_iter().flatten().map(|(at, count, _)| (*at, *count))
    }

    fn trusts_counts(&self, pod: usize) -> bool {
        !self.deleted_mirrors.contains(&pod) && !self.begun_anew.contains(&pod)
    }

    /// Whether a finding of the kill may say so of the container's limit and its Pod's.
    pub fn may_have_limits(&self, kill: &KillName, limits: (Limit, Limit)) -> bool {
        self.limits.get(kill).is_some_and(|shown| shown.seen.contains(&limits))
    }

    /// Whether the instance's own Event seems to tell of a later start: its count is higher than the
    /// instance's, for logs were lost, and no status showed that.
    pub fn is_misled(&self, container: &ModelContainer, place: ContainerPlace, instance: usize) -> bool {
        let fell =
            self.counts.get(&place).is_some_and(|(_, falls)| *falls > 0) || !self.trusts_counts(place.0);
        let highest_own = container.instances[instance].count + 1;
        let mut starts = self.starts.get(&place).into_iter().flatten();
        !fell && starts.any(|(_, count, started)| *started == instance && *count > highest_own)
    }

    fn limits_shown(
        &mut self,
        truth: TrueContainer<'_>,
        snapshot: &PodSnapshot,
        shown: &ShownStatus,
        is_stale: bool,
    ) {
        let asked = snapshot.asked[truth.place.1 + 1];
        let limits = (shown.given.or(asked), snapshot.given.or(snapshot.asked[0]));
        let own = self.own_limits.entry(truth.place).or_default();
        own.insert(limits.0);
        for instance in shown.records().filter_map(ShownEnd::kill) {
            let known = self.limits.entry(truth.kill(instance)).or_default();
            if !known.is_known {
                known.seen.insert(limits);
                // After a resize, what was seen before counts, or nothing is known.
                let before = own.iter().filter(|own| **own != limits.0);
                known.seen.extend(before.flat_map(|own| [(*own, limits.1), (None, None)]));
                known.is_known = !is_stale && truth.pod.quirk != Quirk::UnsetTimes;
            }
        }
    }
}
