//! What is remembered of one container, and what each thing seen of it leads to.
//!
//! A kill is an end with the reason `OOMKilled`. It is *pending* until a start after it is known,
//! then *settled*: reported, or found to be history. A settled kill is never looked at again.
//!
//! | seen | kill is new | kill is pending | kill is settled |
//! |---|---|---|---|
//! | its end, and an instance after it | report (in a list: unless it is history) | report | - |
//! | its end, nothing after it | pending | - | - |
//! | ... and a `Started` Event later than its end | report (the same) | report | - |
//! | ... and its Pod is over or deleted | report as unrestarted, if asked for (the same); else forget | the same | - |
//! | its end no longer, but an instance after it | | report | - |
//! | a status older than one seen before | - | - | - |
//!
//! History is what happened before the program was last in sync, less `lookback`, in a container
//! that it didn't know. A kill whose Event stands in the cluster was reported before.
//!
//! Times have a granularity of a second, so what happened in the same second is in no order: it
//! takes a later one to tell a start from the end before it.

use finding::{Finding, Restarted};
use jiff::Timestamp;

use super::reading::{End, Instance, Reading};

/// What is remembered of a container that ever restarted or was killed: 24 bytes, and a box if a
/// kill was ever seen.
#[derive(Debug)]
pub(super) struct Container {
    /// The hash of its name: the name is unique within the Pod.
    pub name: u32,
    /// `restartCount` when it was last seen.
    restart_count: u32,
    /// How many of its instances have ended.
    ended: u32,
    /// The latest time that was seen in a status of it, in seconds since 1970.
    newest: u32,
    kills: Option<Box<Kills>>,
}

/// The kills of one container.
#[derive(Debug, Default)]
struct Kills {
    /// The hashes of the two kills that were settled last. A status that isn't older than those
    /// seen before shows no others.
    settled: [u64; 2],
    pending: Option<Box<Pending>>,
}

/// A kill that no start is known to have followed.
#[derive(Debug)]
struct Pending {
    kill: u64,
    ordinal: u32,
    /// Whether it is history, unless a start is still to come.
    is_old: bool,
    /// All that a finding tells but for the restart.
    finding: Finding,
}

/// A kill to report, and the restart that followed.
pub(super) type Report = (Finding, Option<Restarted>);

/// What is known of the Pod and its past while one of its containers is looked at.
pub(super) trait Background {
    /// The kill's hash.
    fn kill(&self, end: &End<'_>) -> u64;
    /// Whether the kill was reported before this program started, or the Pod came back.
    fn was_reported(&self, end: &End<'_>) -> bool;
    /// Whether what happened then is too long ago to be news.
    fn is_history(&self, at: Option<Timestamp>) -> bool;
    /// All that a finding tells of the kill but for the restart.
    fn describe(&self, end: &End<'_>) -> Finding;
    /// When the container was last started, by the word of an Event that came before the status.
    fn started_at(&self) -> Option<Timestamp>;
    /// Whether nothing of the Pod will be started again.
    fn is_over(&self) -> bool;
    /// Whether kills are reported that no restart follows.
    fn report_unrestarted(&self) -> bool;
}

/// What came of a status.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The kills to report, oldest first.
    pub reports: Vec<Report>,
    /// Instances whose end was never seen.
    pub unobserved: u32,
}

impl Container {
    /// A container of which that many instances have ended, seen or before anybody watched.
    pub(super) fn new(name: u32, ended: u32) -> Self {
        Self { name, restart_count: 0, ended, newest: 0, kills: None }
    }

    /// Takes in a status.
    pub(super) fn status(&mut self, reading: &Reading<'_>, background: &impl Background) -> Outcome {
        let mut outcome = Outcome::default();
        if !self.is_older(reading) {
            outcome.unobserved = self.count(reading);
            outcome.reports.extend(self.confirm_overwritten(reading, background));
            for end in reading.kills() {
                outcome.reports.extend(self.judge(&end, background));
            }
        }
        if background.is_over() {
            outcome.reports.extend(self.over(background.report_unrestarted()));
        }
        outcome
    }

    /// Takes in the news that the container was started then.
    pub(super) fn started(&mut self, at: Timestamp) -> Option<Report> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.take_if(|pending| is_later(at, pending.finding.killed.finished_at))?;
        Some(kills.settle(*pending, Some(told(at))))
    }

    /// Takes in the news that nothing of the Pod will be started again.
    pub(super) fn over(&mut self, report_unrestarted: bool) -> Option<Report> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.take()?;
        (report_unrestarted && !pending.is_old).then(|| kills.settle(*pending, None))
    }

    /// Whether a kill of it waits for a start.
    pub(super) fn is_pending(&self) -> bool {
        self.kills.as_ref().is_some_and(|kills| kills.pending.is_some())
    }

    /// The hashes of the kills that were settled and may still be shown.
    pub(super) fn settled(&self) -> impl Iterator<Item = u64> {
        self.kills.iter().flat_map(|kills| kills.settled).filter(|kill| *kill != 0)
    }

    /// Whether the status is older than one seen before. A lower count doesn't suffice: a node may
    /// lose its logs, and with them the count. An earlier time doesn't either: a clock may be set back.
    fn is_older(&self, reading: &Reading<'_>) -> bool {
        reading.restart_count < self.restart_count && seconds(reading.newest_time()) <= self.newest
    }

    /// Takes in the counts. Answers how many instances ended unseen since they were last known.
    fn count(&mut self, reading: &Reading<'_>) -> u32 {
        let ended = reading.ended.saturating_sub(self.ended);
        let seen = reading.ends().filter(|end| end.ordinal >= Some(self.ended)).count();
        let is_lower = reading.restart_count < self.restart_count;
        self.ended = if is_lower { reading.ended } else { self.ended.max(reading.ended) };
        self.restart_count = reading.restart_count;
        self.newest = self.newest.max(seconds(reading.newest_time()));
        ended.saturating_sub(u32::try_from(seen).unwrap_or(u32::MAX))
    }

    /// The pending kill, if the status no longer shows it, but an instance that was started after it.
    fn confirm_overwritten(&mut self, reading: &Reading<'_>, background: &impl Background) -> Option<Report> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.as_ref()?;
        if reading.kills().any(|end| background.kill(&end) == pending.kill) {
            return None;
        }
        let next = reading.instances().find(|instance| pending.precedes(instance))?;
        let pending = kills.pending.take()?;
        Some(kills.settle(*pending, Some(next.into())))
    }

    /// Judges the end of an instance that was killed.
    fn judge(&mut self, end: &End<'_>, background: &impl Background) -> Option<Report> {
        let kill = background.kill(end);
        let kills = self.kills.get_or_insert_default();
        if kills.settled.contains(&kill) {
            return None;
        }
        let ended = end.terminated.finished_at;
        let told = || background.started_at().filter(|at| is_later(*at, ended)).map(told);
        let restarted = end.successor.map(Restarted::from).or_else(told);
        let pending = kills.pending.take_if(|pending| pending.kill == kill);
        if pending.is_none() {
            let since = restarted.as_ref().and_then(|next| next.started_at).or(ended);
            let is_decided = restarted.is_some() || background.is_over();
            if background.was_reported(end) || (is_decided && background.is_history(since)) {
                kills.remember(kill);
                return None;
            }
        }
        let pending = pending.unwrap_or_else(|| {
            let is_old = background.is_history(ended);
            Box::new(Pending {
                kill,
                ordinal: end.ordinal.unwrap_or_default(),
                is_old,
                finding: background.describe(end),
            })
        });
        if restarted.is_some() {
            return Some(kills.settle(*pending, restarted));
        }
        kills.pending = Some(pending);
        None
    }
}

impl Kills {
    fn settle(&mut self, pending: Pending, restarted: Option<Restarted>) -> Report {
        self.remember(pending.kill);
        (pending.finding, restarted)
    }

    fn remember(&mut self, kill: u64) {
        self.settled = [kill, self.settled[0]];
    }
}

impl Pending {
    /// Whether the instance was started after this kill: the count says so, or the time, for the
    /// count can fall.
    fn precedes(&self, instance: &Instance<'_>) -> bool {
        let ended = self.finding.killed.finished_at;
        instance.ordinal > Some(self.ordinal)
            || instance.started_at.is_some_and(|start| is_later(start, ended))
    }
}

/// A start that an Event told of.
fn told(at: Timestamp) -> Restarted {
    Restarted { started_at: Some(at), ..Restarted::default() }
}

/// Whether a start of that time came after that end. In the very second of the end it may be the
/// killed instance's own start.
fn is_later(start: Timestamp, end: Option<Timestamp>) -> bool {
    end.is_some_and(|end| end < start)
}

fn seconds(time: Option<Timestamp>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_second()).unwrap_or_default())
}
