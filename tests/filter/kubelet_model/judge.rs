//! Judges the findings: what must be found is told by [`Evidence`]; a finding may be, if its kill
//! is true, was shown, and wasn't found before.

use std::collections::{HashMap, HashSet};

use finding::{Finding, Killed, Restarted};
use jiff::Timestamp;
use kubernetes_oom_event_generator::filter::Conclusion;

use super::{
    cluster::ModelCluster,
    container::ModelContainer,
    evidence::{ContainerPlace, Evidence, KillName, kill},
    kubelet::{ModelPod, Quirk},
    status::NAMESPACE,
};

/// How long an Event stands in the cluster, in milliseconds.
const EVENT_TTL: i64 = 3_600_000;

pub struct Judge {
    report_unrestarted: bool,
    /// Every kill that was found, and when last.
    found: HashMap<KillName, (Finding, i64)>,
    /// How many instances are said to have ended unobserved, by the names of Pod and container.
    unobserved: HashMap<(String, String), usize>,
    /// What the program saw since it was started.
    pub evidence: Evidence,
}

impl Judge {
    pub fn new(report_unrestarted: bool) -> Self {
        let evidence = Evidence::new(report_unrestarted, HashSet::new());
        Self { report_unrestarted, found: HashMap::new(), unobserved: HashMap::new(), evidence }
    }

    /// The program is started anew. Answers the findings whose Events stand in the cluster.
    pub fn restart(&mut self, now: i64) -> Vec<&Finding> {
        let standing = self.found.iter().filter(|(_, (_, at))| at + EVENT_TTL > now);
        let (settled, standing) = standing.map(|(kill, (finding, _))| (kill.clone(), finding)).unzip();
        self.evidence = Evidence::new(self.report_unrestarted, settled);
        self.unobserved.clear();
        standing
    }

    /// Judges what came of an observation.
    pub fn conclusions(
        &mut self,
        cluster: &ModelCluster,
        conclusions: Vec<Conclusion>,
    ) -> Result<(), String> {
        for conclusion in conclusions {
            match conclusion {
                Conclusion::Finding(finding) => {
                    let wrong = |wrong| format!("{wrong}: {finding:?}");
                    self.finding(cluster, &finding).map_err(wrong)?;
                }
                Conclusion::UnobservedEnds { pod, container, instances, .. } => {
                    let instances = usize::try_from(instances).map_err(|error| error.to_string())?;
                    *self.unobserved.entry((pod, container)).or_default() += instances;
                }
            }
        }
        let settled = &self.evidence.settled;
        if let Some(missed) = self.evidence.due.drain(..).find(|kill| !settled.contains(kill)) {
            return Err(format!("missed: {missed}"));
        }
        for (name, unseen) in self.evidence.unseen.iter().filter(|(_, unseen)| !unseen.is_vague) {
            let counted = self.unobserved.get(name).copied().unwrap_or_default();
            let truly = unseen.instances.len();
            if counted > truly || (counted < truly && !unseen.may_seem_seen) {
                return Err(format!("unobserved: {counted} of {name:?}, truly {:?}", unseen.instances));
            }
        }
        Ok(())
    }

    fn finding(&mut self, cluster: &ModelCluster, finding: &Finding) -> Result<(), &'static str> {
        let (pod, incarnation) = pod(cluster, finding).ok_or("no such Pod")?;
        let named = |container: &&ModelContainer| {
            container.name == finding.container.name && container.kind == finding.container.kind
        };
        let container = pod.containers.iter().find(named).ok_or("no such container")?;
        let number = pod.containers.iter().position(|other| other.name == container.name);
        let place = (pod.number, number.unwrap_or_default());
        let skew = cluster.skew(pod.number);

        let is_vague = pod.quirk == Quirk::VirtualWithoutTimes;
        let is_killed = |instance: &usize| {
            self.evidence.shown.contains_key(&(place, *instance))
                && was_killed(container, *instance, &finding.killed, skew, is_vague)
        };
        let is_open = |instance: &usize| {
            !is_vague || !self.evidence.settled.contains(&kill(pod, incarnation, container, *instance, skew))
        };
        let mut killed = (0..container.instances.len()).filter(is_killed).filter(is_open).peekable();
        let first = *killed.peek().ok_or("nothing like that was killed and shown")?;
        let instance = match &finding.restarted {
            Some(restarted) => {
                let mut killed =
                    killed.filter(|instance| self.was_started(place, container, *instance, restarted, skew));
                let is_misled =
                    restarted.restart_count.is_none() && self.evidence.is_misled(container, place, first);
                let killed = killed.next().or(is_misled.then_some(first));
                killed.ok_or("nothing like that was started after it")?
            }
            // Of kills that look the same, the last is the one that no restart followed.
            None if self.report_unrestarted && self.may_be_unrestarted(place) => {
                killed.last().unwrap_or(first)
            }
            None => return Err("not restarted, and not to be reported"),
        };

        let kill = kill(pod, incarnation, container, instance, skew);
        let mib = |limit: Option<u64>| limit.map(|bytes| bytes >> 20);
        let limits = (mib(finding.container.memory_limit_bytes), mib(finding.pod.memory_limit_bytes));
        if !is_vague && !self.evidence.may_have_limits(&kill, limits) {
            return Err("limits that were not in force");
        }
        let is_unordered = self.evidence.unordered.contains(&pod.number);
        if self.evidence.history.contains(&kill) && !is_vague && !is_unordered {
            return Err("history");
        }
        if !self.evidence.settled.insert(kill.clone()) {
            return Err("found twice");
        }
        // Over restarts of the program, `lookback` protects only what a list shows with the start
        // that made it known, on a clock that isn't ahead of the program's.
        let shown_late = self.evidence.shown.get(&(place, instance)) == Some(&true);
        let is_unprotected = skew > 0 || container.was_carried || shown_late || is_vague;
        match self.found.insert(kill, (finding.clone(), cluster.now)) {
            Some((before, _)) if before.restarted.is_some() && !is_unprotected => {
                Err("found again after its Event expired")
            }
            _ => Ok(()),
        }
    }

    /// Whether the container or its Pod was seen to have ended for good.
    fn may_be_unrestarted(&self, place: ContainerPlace) -> bool {
        self.evidence.over.contains(&place.0) || self.evidence.finals.contains(&place)
    }

    /// Whether such an instance was started after that one.
    fn was_started(
        &self,
        place: ContainerPlace,
        container: &ModelContainer,
        killed: usize,
        restarted: &Restarted,
        skew: i64,
    ) -> bool {
        let told = seconds(restarted.started_at);
        let starts = self.evidence.starts.get(&place);
        let is_by_event = restarted.container_id.is_none() && restarted.restart_count.is_none();
        let by_event = |next: usize| {
            let mut starts = starts.into_iter().flatten();
            is_by_event && starts.any(|(at, _, instance)| (Some(*at), *instance) == (told, next))
        };
        let mut later = (killed + 1..container.instances.len())
            .filter(|next| container.instances[*next].started.is_some());
        later.any(|number| {
            let next = &container.instances[number];
            // While a container waits that the runtime lost, nobody can tell whose count it is.
            let is_count = |count: u32| next.count == count || container.was_carried;
            let by_status = next.id == restarted.container_id
                && next.start_shown(skew) == told
                && restarted.restart_count.is_none_or(is_count);
            by_status || by_event(number)
        })
    }
}

/// The Pod that the finding is about, and which of its incarnations.
fn pod<'a>(cluster: &'a ModelCluster, finding: &Finding) -> Option<(&'a ModelPod, u32)> {
    cluster.pods.iter().find_map(|pod| {
        let incarnation =
            (0..=pod.incarnation).find(|incarnation| pod.uid(*incarnation) == finding.pod.uid)?;
        let is_same = finding.pod.event_uid == pod.event_uid() && finding.pod.name == pod.name;
        (is_same && finding.namespace == NAMESPACE).then_some((pod, incarnation))
    })
}

/// Whether the instance was killed, and as the finding tells.
fn was_killed(container: &ModelContainer, instance: usize, told: &Killed, skew: i64, is_vague: bool) -> bool {
    let truth = &container.instances[instance];
    truth.killed
        && truth.id == told.container_id
        && (Some(truth.exit_code) == told.exit_code || is_vague)
        && truth.start_shown(skew) == seconds(told.started_at)
        && truth.end_shown(skew) == seconds(told.finished_at)
}

fn seconds(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_second)
}
