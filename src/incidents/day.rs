//! What the page shows: the newest incidents, each with its kills over the last day.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use finding::{Finding, Incident};
use jiff::Timestamp;

use super::{ContainerKey, later};

/// How many incidents are shown.
const MAX_RECENT: usize = 200;

/// How long after its last kill an incident is shown.
const DAY: Duration = Duration::from_hours(24);

/// The time that one figure of [`RecentIncident::kills_by_quarter`] covers.
const QUARTER: Duration = Duration::from_mins(15);

/// Quarters of an hour in a day.
const QUARTERS: usize = 96;

/// The incidents of the last day. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentIncidents(Arc<Mutex<BTreeMap<ContainerKey, RememberedDay>>>);

/// A container that was killed within the last day.
#[derive(Clone, Debug)]
pub struct RecentIncident {
    /// The last kill, with cause and advice, and the incident that it belongs to.
    pub last: Arc<Finding>,
    /// When the last kill was.
    pub last_kill: Timestamp,
    /// The kills in each quarter of an hour of the last day, the newest last, in which it is now.
    pub kills_by_quarter: [u16; QUARTERS],
}

#[derive(Debug)]
struct RememberedDay {
    last: Arc<Finding>,
    last_kill: Timestamp,
    /// The quarter that the last figure is of.
    quarter: i64,
    kills: [u16; QUARTERS],
}

impl RecentIncidents {
    /// Returns the incidents whose last kill was within the day before `now`, the newest first.
    pub fn of_last_day(&self, now: Timestamp) -> Vec<RecentIncident> {
        let mut days = self.days();
        days.retain(|_, day| later(day.last_kill, DAY) > now);
        let mut recent: Vec<_> = days
            .values_mut()
            .map(|day| {
                day.advance(quarter_of(now));
                RecentIncident {
                    last: Arc::clone(&day.last),
                    last_kill: day.last_kill,
                    kills_by_quarter: day.kills,
                }
            })
            .collect();
        drop(days);
        recent.sort_by_key(|incident| std::cmp::Reverse(incident.last_kill));
        recent
    }

    /// Takes in a kill that was found just now.
    pub(super) fn add(&self, key: ContainerKey, finding: &Arc<Finding>, at: Timestamp) {
        let mut days = self.days();
        let day = days.entry(key).or_insert_with(|| RememberedDay::new(Arc::clone(finding), at));
        day.add(at, finding);
        if days.len() > MAX_RECENT {
            forget_one(&mut days);
        }
    }

    /// Takes in a kill that was found before the program started.
    pub(super) fn remember(&self, key: ContainerKey, finding: &Finding, at: Timestamp, incident: &Incident) {
        let told = Finding { incident: Some(incident.clone()), ..finding.clone() };
        self.add(key, &Arc::new(told), at);
    }

    /// Each change is complete in itself, so a panic leaves nothing half-done.
    fn days(&self) -> MutexGuard<'_, BTreeMap<ContainerKey, RememberedDay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RememberedDay {
    fn new(last: Arc<Finding>, at: Timestamp) -> Self {
        Self { last, last_kill: at, quarter: quarter_of(at), kills: [0; QUARTERS] }
    }

    fn add(&mut self, at: Timestamp, finding: &Arc<Finding>) {
        if at >= self.last_kill {
            self.last_kill = at;
            self.last = Arc::clone(finding);
        }
        self.advance(quarter_of(at));
        let age = usize::try_from(self.quarter - quarter_of(at)).unwrap_or_default();
        if let Some(kills) = self.kills.iter_mut().rev().nth(age) {
            *kills = kills.saturating_add(1);
        }
    }

    /// Lets the figures end with this quarter, unless they end later.
    fn advance(&mut self, quarter: i64) {
        let passed = usize::try_from(quarter - self.quarter).unwrap_or_default().min(QUARTERS);
        self.kills.rotate_left(passed % QUARTERS);
        self.kills[QUARTERS - passed..].fill(0);
        self.quarter = self.quarter.max(quarter);
    }
}

/// Forgets an incident: of the namespace that has most of them, the one whose last kill is the longest ago.
fn forget_one(days: &mut BTreeMap<ContainerKey, RememberedDay>) {
    let mut namespaces: HashMap<u64, usize> = HashMap::new();
    for key in days.keys() {
        *namespaces.entry(key.namespace).or_default() += 1;
    }
    let Some(most) = namespaces.values().max() else { return };
    let greedy = days.iter().filter(|(key, _)| namespaces.get(&key.namespace) == Some(most));
    if let Some(key) = greedy.min_by_key(|(_, day)| day.last_kill).map(|(key, _)| *key) {
        days.remove(&key);
    }
}

/// Returns the number of the quarter of an hour that a time is in.
fn quarter_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(QUARTER.as_secs().cast_signed())
}
