//! The program in the cluster: its watches, which lag, break, repeat and relist, and the filter that
//! they feed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use fastrand::Rng;
use finding::event_name;
use kubernetes_oom_event_generator::{
    filter::{Filter, FilterSettings},
    source::{Observation, Scope, objects::Pod},
};

use super::{
    FailedRun,
    cluster::{ModelCluster, PodChange},
    container::Limit,
    evidence::ShownBy,
    judge::Judge,
    status::{EventSnapshot, NAMESPACE, PodSnapshot, complete, decode_event, describe, timestamp},
};
use crate::filter::case::settings;

const LOOKBACK: Duration = Duration::from_mins(55);
const MINUTE: i64 = 60_000;

pub struct ModelProgram {
    cluster: ModelCluster,
    filter: Filter,
    judge: Judge,
    settings: FilterSettings,
    watch: PodWatch,
    /// Where the watch of Pods is in the cluster's history.
    place: usize,
    described: HashMap<(usize, Vec<Limit>), Pod>,
    /// How much was observed.
    observations: usize,
    /// What was observed and found, if somebody wants to know.
    told: Option<String>,
}

enum PodWatch {
    Open,
    /// Broken; the Pods were last known as they are then.
    Broken(i64),
    /// The program isn't running.
    Down,
}

impl ModelProgram {
    pub fn new(rng: &mut Rng, tells: bool) -> Self {
        let settings = FilterSettings { report_unrestarted: rng.bool(), lookback: LOOKBACK, ..settings() };
        let judge = Judge::new(settings.report_unrestarted);
        let cluster = ModelCluster::new(rng);
        let told = tells.then(|| format!("{settings:?}, {:?}\n", cluster.skews));
        let filter = Filter::new(settings.clone());
        Self {
            cluster,
            filter,
            judge,
            settings,
            watch: PodWatch::Down,
            place: 0,
            described: HashMap::new(),
            observations: 0,
            told,
        }
    }

    /// Lets something happen in the cluster, and the program see something.
    pub fn step(&mut self, rng: &mut Rng) -> Result<(), String> {
        self.cluster.step(rng);
        match (&self.watch, rng.u8(..)) {
            (PodWatch::Down, 0..=80) => self.start(rng),
            (PodWatch::Down, _) => Ok(()),
            (_, 0..=1) => {
                self.watch = PodWatch::Down;
                Ok(())
            }
            (PodWatch::Open, 2..=5) => {
                let unread = self.cluster.history.get(self.place).map(|change| change.snapshot().written_at);
                self.watch = PodWatch::Broken(unread.unwrap_or(self.cluster.now));
                Ok(())
            }
            (PodWatch::Broken(since), 0..=80) => self.relist(rng, *since),
            (_, 81..=140) => self.events(rng),
            (PodWatch::Open, 141..=150) => self.repeat(rng),
            (PodWatch::Open, _) => {
                for _ in 0..rng.u8(..5) {
                    self.watch()?;
                }
                Ok(())
            }
            (PodWatch::Broken(_), _) => Ok(()),
        }
    }

    /// Lets everything arrive, and every Pod go.
    pub fn end(&mut self, rng: &mut Rng) -> Result<(), String> {
        for is_last in [false, true] {
            if is_last {
                self.cluster.end();
            }
            loop {
                match self.watch {
                    PodWatch::Open if self.place == self.cluster.history.len() => break,
                    PodWatch::Open => self.watch()?,
                    PodWatch::Broken(since) => self.relist(rng, since)?,
                    PodWatch::Down => self.start(rng)?,
                }
            }
        }
        // A mirror pod that was deleted may come back, until a list doesn't show it.
        self.relist(rng, self.cluster.now)?;
        match self.filter.remembered() {
            0 => Ok(()),
            left => Err(format!("left behind: {left}")),
        }
    }

    pub fn failure(self, wrong: String) -> FailedRun {
        FailedRun { observations: self.observations, told: self.told.unwrap_or_default(), wrong }
    }

    fn start(&mut self, rng: &mut Rng) -> Result<(), String> {
        self.tell(|| "start".to_owned());
        self.filter = Filter::new(self.settings.clone());
        let now = self.cluster.now;
        // There is no list of Events: what came meanwhile isn't seen.
        self.cluster.events.retain(|(arrival, _)| *arrival > now);
        let reported = self.judge.restart(now);
        let name = |finding: &&finding::Finding| event_name(&finding.pod.name, &finding.id);
        let mut events: Vec<_> = reported.iter().map(name).collect();
        events.sort();
        for event in events {
            let namespace = NAMESPACE.to_owned();
            self.filter.observe(Observation::Reported { namespace, event, record: None }, Some(at(now)));
        }
        self.relist(rng, now)
    }

    fn relist(&mut self, rng: &mut Rng, in_sync: i64) -> Result<(), String> {
        let in_sync = at(in_sync);
        let horizon = in_sync.checked_sub(LOOKBACK).map_err(|error| error.to_string())?.as_second();
        self.tell(|| format!("list, in sync {in_sync}"));
        self.observe(Observation::ListBegins { scope: Scope::WHOLE, in_sync })?;
        let mut stored: Vec<PodSnapshot> = self.cluster.stored.iter().flatten().cloned().collect();
        rng.shuffle(&mut stored);
        let place = self.cluster.history.len();
        for snapshot in &stored {
            if rng.u8(..20) == 0 {
                self.tell(|| "the list breaks".to_owned());
                self.watch = PodWatch::Broken(in_sync.as_millisecond());
                return Ok(());
            }
            if rng.u8(..8) == 0 {
                self.events(rng)?;
            }
            self.judge.evidence.status(&self.cluster, snapshot, ShownBy::Listed(horizon));
            self.show("listed", snapshot);
            let pod = self.decode(snapshot);
            self.observe(Observation::Listed(Scope::WHOLE, pod))?;
        }
        let listed: HashSet<usize> = stored.iter().map(|snapshot| snapshot.pod).collect();
        self.judge.evidence.list_ends(&self.cluster, &listed);
        self.tell(|| "list ends".to_owned());
        self.observe(Observation::ListEnds(Scope::WHOLE))?;
        (self.watch, self.place) = (PodWatch::Open, place);
        if rng.u8(..3) == 0 { self.replay(rng) } else { Ok(()) }
    }

    /// A stale replica shows what was long ago.
    fn replay(&mut self, rng: &mut Rng) -> Result<(), String> {
        let first = rng.usize(..=self.place);
        let older = self.shown_before(first);
        for snapshot in older.iter().take(rng.usize(..10)) {
            self.changed("stale", snapshot)?;
        }
        Ok(())
    }

    /// A status comes once more: a label changed, or a replica repeats itself.
    fn repeat(&mut self, rng: &mut Rng) -> Result<(), String> {
        let first = self.place.saturating_sub(rng.usize(1..4));
        match self.shown_before(first).first().cloned() {
            Some(snapshot) => self.changed("again", &snapshot),
            None => Ok(()),
        }
    }

    /// What the watch showed from there on, of Pods that still are what they were.
    fn shown_before(&self, first: usize) -> Vec<PodSnapshot> {
        let of = |snapshot: &PodSnapshot| (snapshot.pod, snapshot.incarnation, snapshot.falls);
        let is_alive = |old: &&PodSnapshot| self.cluster.stored[old.pod].as_ref().map(of) == Some(of(old));
        let written = |change: &PodChange| match change {
            PodChange::Written(snapshot) => Some(snapshot.clone()),
            PodChange::Deleted(_) => None,
        };
        let written = self.cluster.history[first..self.place].iter().filter_map(written);
        written.filter(|snapshot| is_alive(&snapshot)).collect()
    }

    /// The next thing that the watch of Pods has.
    fn watch(&mut self) -> Result<(), String> {
        let Some(change) = self.cluster.history.get(self.place).cloned() else { return Ok(()) };
        self.place += 1;
        match change {
            PodChange::Written(snapshot) => self.changed("changed", &snapshot),
            PodChange::Deleted(snapshot) => {
                self.judge.evidence.status(&self.cluster, &snapshot, ShownBy::Watched);
                self.judge.evidence.deleted(&self.cluster, snapshot.pod, snapshot.incarnation);
                self.show("deleted", &snapshot);
                let pod = self.decode(&snapshot);
                self.observe(Observation::Deleted(Scope::WHOLE, pod))
            }
        }
    }

    fn changed(&mut self, how: &str, snapshot: &PodSnapshot) -> Result<(), String> {
        self.judge.evidence.status(&self.cluster, snapshot, ShownBy::Watched);
        self.show(how, snapshot);
        let pod = self.decode(snapshot);
        self.observe(Observation::Changed(Scope::WHOLE, pod))
    }

    /// The Events that have arrived, in any order; some come again later.
    fn events(&mut self, rng: &mut Rng) -> Result<(), String> {
        let now = self.cluster.now;
        let mut arrived: Vec<(i64, EventSnapshot)> =
            self.cluster.events.extract_if(.., |(arrival, _)| *arrival <= now).collect();
        rng.shuffle(&mut arrived);
        for (_, event) in arrived {
            if rng.u8(..6) == 0 {
                self.cluster.events.push((now + rng.i64(1..30 * MINUTE), event));
            }
            self.tell(|| format!("{event:?}"));
            if !event.combined {
                self.judge.evidence.event(&self.cluster, event);
            }
            if let Some(started) = decode_event(&self.cluster.pods[event.pod], event) {
                self.observe(Observation::Started(started))?;
            }
        }
        Ok(())
    }

    fn decode(&mut self, snapshot: &PodSnapshot) -> Box<Pod> {
        let pod = &self.cluster.pods[snapshot.pod];
        let key = (snapshot.pod, snapshot.asked.clone());
        let described = self.described.entry(key).or_insert_with(|| describe(pod, &snapshot.asked));
        complete(pod, described, snapshot, self.cluster.skew(snapshot.pod))
    }

    fn show(&mut self, how: &str, snapshot: &PodSnapshot) {
        if self.told.is_none() {
            return;
        }
        let decoded = self.decode(snapshot);
        let (quirk, at) = (self.cluster.pods[snapshot.pod].quirk, at(self.cluster.now));
        let statuses = decoded.statuses().map(|(list, status)| format!("\n    {list:?} {status:?}"));
        let statuses: String = statuses.collect();
        self.tell(|| format!("{at} {how} {} {quirk:?} {}{statuses}", snapshot.pod, snapshot.phase));
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            *told += &what();
            told.push('\n');
        }
    }

    fn observe(&mut self, observation: Observation) -> Result<(), String> {
        self.observations += 1;
        let conclusions = self.filter.observe(observation, Some(at(self.cluster.now)));
        for conclusion in &conclusions {
            self.tell(|| format!("  => {conclusion:?}"));
        }
        self.judge.conclusions(&self.cluster, conclusions)?;
        match (self.filter.remembered(), self.judge.evidence.rememberable()) {
            (remembered, bound) if remembered > bound => {
                Err(format!("remembered: {remembered}, where there are {bound}"))
            }
            _ => Ok(()),
        }
    }
}

/// The program's own clock, in seconds: how fine it is doesn't matter.
fn at(now: i64) -> jiff::Timestamp {
    timestamp(now.div_euclid(1000))
}
