//! What must be found, and what may be: told by what was delivered, in terms of what is true.
//!
//! A kill *must* be found once its evidence was delivered to one run of the program while the Pod
//! existed: a status that shows its end as an OOM kill, no older than one delivered before; and
//! that status or a later one shows an instance that ran after it, or an Event, whenever it came,
//! names a start later than its end. Kills that are to be reported unrestarted also when the Pod
//! is over or gone. Not what stands in the cluster as reported, nor what was history to the list
//! that showed its Pod first.
//!
//! A finding *may* be, if its kill is true, was shown, and wasn't found before.

use std::collections::{BTreeMap, HashMap, HashSet};

use kubernetes_oom_event_generator::filter::Verdict;
use sinks::{Finding, Restarted};

use super::{
    cluster::Cluster,
    kubelet::{Container, Pod, Quirk, Record, State},
    status::{EventSnapshot, NAMESPACE, Snapshot, timestamp},
};

/// How long an Event stands in the cluster, in milliseconds.
const EVENT_TTL: i64 = 3_600_000;

#[derive(Default)]
pub struct Judge {
    report_unrestarted: bool,
    /// Every kill that was found, and when last.
    found: HashMap<Kill, (Finding, i64)>,
    run: Run,
}

/// What the program saw since it was started.
#[derive(Default)]
struct Run {
    /// The kills that were found, or reported before.
    settled: HashSet<Kill>,
    history: HashSet<Kill>,
    pods: HashMap<usize, KnownPod>,
    /// The times of the starts that Events told, oldest first.
    starts: HashMap<(usize, usize), Vec<i64>>,
    /// The kills that a status showed.
    shown: HashSet<(usize, usize, usize)>,
    /// Those that a status showed that was older than one before.
    shown_late: HashSet<(usize, usize, usize)>,
    /// The Pods that were seen to be over or gone.
    over: HashSet<usize>,
    due: Vec<Kill>,
    unobserved: HashMap<(String, String), u32>,
    /// Containers of which nothing can be known for sure.
    vague: HashSet<(String, String)>,
    unseen: HashMap<(String, String), Unseen>,
}

/// The instances of a container that ended unseen, each with its Pod.
#[derive(Default)]
struct Unseen {
    instances: HashSet<(usize, usize)>,
    /// Whether there may be some among them whose end the statuses seem to show.
    is_vague: bool,
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
    first: usize,
    ends: HashSet<usize>,
    restarted: bool,
    was_killed: bool,
}

/// The identity of a kill, as the contract has it.
type Kill = String;

/// How a status came.
#[derive(Clone, Copy)]
pub enum Way {
    /// In a list; what happened no later than that, in seconds, is history.
    Listed(i64),
    Watched,
}

fn kill(pod: &Pod, incarnation: u32, container: &Container, instance: usize, skew: i64) -> Kill {
    let killed = &container.instances[instance];
    killed.id.clone().unwrap_or_else(|| {
        let list = container.kind.spec_field();
        format!("{} {list} {} {:?}", pod.uid(incarnation), container.name, killed.end_shown(skew))
    })
}

impl Judge {
    pub fn new(report_unrestarted: bool) -> Self {
        Self { report_unrestarted, ..Self::default() }
    }

    /// The program is started anew. Answers the findings whose Events stand in the cluster.
    pub fn restart(&mut self, now: i64) -> Vec<&Finding> {
        let standing = self.found.iter().filter(|(_, (_, at))| at + EVENT_TTL > now);
        let standing: Vec<_> = standing.map(|(kill, (finding, _))| (kill, finding)).collect();
        let settled = standing.iter().map(|(kill, _)| (*kill).clone()).collect();
        self.run = Run { settled, ..Run::default() };
        standing.into_iter().map(|(_, finding)| finding).collect()
    }

    pub fn event(&mut self, cluster: &Cluster, event: EventSnapshot) {
        let starts = self.run.starts.entry((event.pod, event.container)).or_default();
        starts.push(event.at);
        starts.sort_unstable();
        let Some(known) = self.run.pods.get_mut(&event.pod) else { return };
        let Some(pending) = known.containers.get_mut(&event.container) else { return };
        let (pod, skew) = (&cluster.pods[event.pod], cluster.skew(event.pod));
        let container = &pod.containers[event.container];
        let confirmed =
            |instance: usize| container.instances[instance].end_shown(skew).is_some_and(|end| end < event.at);
        for (instance, _) in pending.pending.extract_if(.., |instance, _| confirmed(*instance)) {
            self.run.due.push(kill(pod, pod.incarnation, container, instance, skew));
        }
    }

    pub fn status(&mut self, cluster: &Cluster, snapshot: &Snapshot, way: Way) {
        let run = &mut self.run;
        let (pod, skew) = (&cluster.pods[snapshot.pod], cluster.skew(snapshot.pod));
        let horizon = match way {
            Way::Listed(horizon) if !run.pods.contains_key(&snapshot.pod) => Some(horizon),
            _ => None,
        };
        let is_first = !run.pods.contains_key(&snapshot.pod);
        let known = run.pods.entry(snapshot.pod).or_default();
        let is_stale = snapshot.version < known.version;
        known.version = known.version.max(snapshot.version);
        let is_over = matches!(snapshot.phase, "Failed" | "Succeeded");
        if is_over {
            run.over.insert(snapshot.pod);
        }
        for (number, shown) in snapshot.containers.iter().flatten().enumerate() {
            let container = &pod.containers[number];
            for instance in shown.records().filter_map(Record::kill) {
                run.shown.insert((snapshot.pod, number, instance));
                if is_stale {
                    run.shown_late.insert((snapshot.pod, number, instance));
                }
            }
            let known = known.containers.entry(number).or_insert_with(|| KnownContainer {
                first: if is_first { shown.ended } else { 0 },
                ..KnownContainer::default()
            });
            known.restarted |= shown.count > 0 || shown.records().any(|record| record.kill().is_some());
            known.was_killed |= shown.records().any(|record| record.kill().is_some());
            if is_stale {
                if !container.is_plain {
                    run.vague.insert((pod.name.clone(), container.name.clone()));
                }
                continue;
            }
            if pod.quirk == Quirk::VirtualWithoutTimes {
                run.vague.insert((pod.name.clone(), container.name.clone()));
                // All its kills are one by identity, and none has a time: there is nothing that must be.
                continue;
            }
            let name = (pod.name.clone(), container.name.clone());
            let unseen = run.unseen.entry(name).or_default();
            known.ends.extend(shown.records().filter_map(|record| record.instance));
            let missed = (known.first..shown.ended).filter(|instance| !known.ends.contains(instance));
            unseen.instances.extend(missed.map(|instance| (snapshot.pod, instance)));
            unseen.is_vague |= pod.is_static || !container.is_plain;
            let event = run.starts.get(&(snapshot.pod, number)).and_then(|starts| starts.last().copied());
            let identity = |instance| kill(pod, snapshot.incarnation, container, instance, skew);
            for instance in shown.records().filter_map(Record::kill) {
                let killed = identity(instance);
                let is_unclear =
                    shown.state == State::Waiting && shown.count != container.instances[instance].count;
                if is_unclear
                    || run.settled.contains(&killed)
                    || run.history.contains(&killed)
                    || known.pending.contains_key(&instance)
                {
                    continue;
                }
                let ended = container.instances[instance].end_shown(skew);
                let next = shown.current().filter(|next| *next != instance);
                let next = next.map(|next| &container.instances[next]).filter(|next| next.started.is_some());
                let told = event.filter(|at| ended.is_some_and(|end| end < *at));
                let decided = next.is_some() || told.is_some() || is_over;
                let since = next.map_or(told, |next| next.start_shown(skew)).or(ended);
                let is_old =
                    |at: Option<i64>| horizon.is_some_and(|horizon| at.is_none_or(|at| at <= horizon));
                if decided && is_old(since) {
                    run.history.insert(killed);
                } else {
                    known.pending.insert(instance, is_old(ended));
                }
            }
            let newest = shown.records().filter_map(|record| record.instance).chain(shown.current());
            let newest = newest.filter(|instance| container.instances[*instance].started.is_some()).max();
            let confirmed = |instance: usize| {
                let ended = container.instances[instance].end_shown(skew);
                newest > Some(instance) || ended.is_some_and(|end| event > Some(end))
            };
            for (instance, _) in known.pending.extract_if(.., |instance, _| confirmed(*instance)) {
                run.due.push(identity(instance));
            }
            if is_over {
                for (instance, is_old) in std::mem::take(&mut known.pending) {
                    if self.report_unrestarted && !is_old {
                        run.due.push(identity(instance));
                    }
                }
            }
        }
    }

    /// The Pod is gone.
    pub fn gone(&mut self, cluster: &Cluster, number: usize, incarnation: u32) {
        let Some(known) = self.run.pods.remove(&number) else { return };
        self.run.over.insert(number);
        let (pod, skew) = (&cluster.pods[number], cluster.skew(number));
        for (container, known) in known.containers {
            for (instance, is_old) in known.pending {
                if self.report_unrestarted && !is_old {
                    self.run.due.push(kill(pod, incarnation, &pod.containers[container], instance, skew));
                }
            }
        }
    }

    /// What is known and wasn't in the list is gone.
    pub fn list_ends(&mut self, cluster: &Cluster, listed: &HashSet<usize>) {
        let gone: Vec<usize> = self.run.pods.keys().filter(|pod| !listed.contains(pod)).copied().collect();
        for pod in gone {
            self.gone(cluster, pod, cluster.pods[pod].incarnation);
        }
    }

    /// How much there is to remember, at most.
    pub fn rememberable(&self) -> usize {
        let containers = self.run.pods.values().flat_map(|pod| pod.containers.values());
        let containers = containers.map(|known| usize::from(known.restarted) + usize::from(known.was_killed));
        self.run.pods.len() + containers.sum::<usize>()
    }

    /// Judges what came of an observation.
    pub fn verdicts(&mut self, cluster: &Cluster, verdicts: Vec<Verdict>) -> Result<(), String> {
        for verdict in verdicts {
            match verdict {
                Verdict::Finding(finding) => self.finding(cluster, *finding)?,
                Verdict::Unobserved { pod, container, instances, .. } => {
                    *self.run.unobserved.entry((pod, container)).or_default() += instances;
                }
            }
        }
        for kill in self.run.due.drain(..) {
            if !self.run.settled.contains(&kill) {
                return Err(format!("missed: {kill}"));
            }
        }
        for (name, unseen) in self.run.unseen.iter().filter(|(name, _)| !self.run.vague.contains(*name)) {
            let counted = self.run.unobserved.get(name).copied().unwrap_or_default();
            let counted = usize::try_from(counted).map_err(|error| error.to_string())?;
            let truly = unseen.instances.len();
            if counted > truly || (counted < truly && !unseen.is_vague) {
                return Err(format!("unobserved: {counted} of {name:?}, truly {:?}", unseen.instances));
            }
        }
        Ok(())
    }

    fn finding(&mut self, cluster: &Cluster, finding: Finding) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {finding:?}"));
        let uid =
            |pod: &&Pod| (0..=pod.incarnation).any(|incarnation| pod.uid(incarnation) == finding.pod.uid);
        let Some(pod) = cluster.pods.iter().find(uid) else { return wrong("no such Pod") };
        let skew = cluster.skew(pod.number);
        let seconds = |at: Option<jiff::Timestamp>| at.map(jiff::Timestamp::as_second);
        let named = |container: &&Container| {
            container.name == finding.container.name && container.kind == finding.container.kind
        };
        let Some(container) = pod.containers.iter().find(named) else { return wrong("no such container") };
        let number = pod.containers.iter().position(|other| other.name == container.name).unwrap_or_default();
        let is_killed = |instance: &usize| {
            let (truth, told) = (&container.instances[*instance], &finding.killed);
            truth.killed
                && truth.id == told.container_id
                && truth.exit_code == told.exit_code
                && truth.start_shown(skew) == seconds(told.started_at)
                && truth.end_shown(skew) == seconds(told.finished_at)
                && self.run.shown.contains(&(pod.number, number, *instance))
        };
        let Some(instance) = (0..container.instances.len()).find(is_killed) else {
            return wrong("nothing like that was killed and shown");
        };
        if finding.pod.event_uid != pod.event_uid()
            || finding.pod.name != pod.name
            || finding.namespace != NAMESPACE
        {
            return wrong("another Pod");
        }
        let starts = self.run.starts.get(&(pod.number, number));
        let is_next = |restarted: &Restarted| {
            let told = seconds(restarted.started_at);
            let by_event = (restarted.container_id.is_none() && restarted.restart_count.is_none())
                && told.is_some_and(|at| starts.is_some_and(|starts| starts.contains(&at)));
            container.instances[instance + 1..].iter().filter(|next| next.started.is_some()).any(|next| {
                // While a container waits that the runtime lost, nobody can tell whose count it is.
                let is_count = |count: u32| next.count == count || container.was_carried;
                (next.id == restarted.container_id
                    && next.start_shown(skew) == told
                    && restarted.restart_count.is_none_or(is_count))
                    || (by_event && next.started.map(|at| at.div_euclid(1000) + skew) == told)
            })
        };
        match &finding.restarted {
            Some(restarted) if !is_next(restarted) => return wrong("nothing like that was started after it"),
            None if !self.report_unrestarted || !self.run.over.contains(&pod.number) => {
                return wrong("not restarted, and not to be reported");
            }
            _ => {}
        }
        let incarnation = (0..pod.incarnation).find(|incarnation| pod.uid(*incarnation) == finding.pod.uid);
        let killed = kill(pod, incarnation.unwrap_or(pod.incarnation), container, instance, skew);
        if self.run.history.contains(&killed) {
            return wrong("history");
        }
        if !self.run.settled.insert(killed.clone()) {
            return wrong("found twice");
        }
        // Over restarts of the program, `lookback` protects only what shows when it was restarted,
        // on a clock that isn't ahead of the program's.
        let before = self.found.get(&killed);
        let is_unprotected = skew > 0
            || container.was_carried
            || self.run.shown_late.contains(&(pod.number, number, instance))
            || pod.quirk == Quirk::VirtualWithoutTimes
            || before.is_some_and(|(before, _)| before.restarted.is_none());
        if before.is_some() && !is_unprotected {
            return wrong("found again after its Event expired");
        }
        self.found.insert(killed, (finding, cluster.now));
        Ok(())
    }
}

pub fn at(now: i64) -> jiff::Timestamp {
    timestamp(now.div_euclid(1000))
}
