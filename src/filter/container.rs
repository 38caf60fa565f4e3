//! What is remembered of one container, and what each thing seen of it leads to.
//!
//! A kill is an end with the reason `OOMKilled`. It is *pending* until a start after it is known,
//! then *settled*: reported, or found to be history. A settled kill is never looked at again.
//!
//! | seen | kill is new | kill is pending | kill is settled |
//! |---|---|---|---|
//! | its end, and an instance after it | report (in a list: unless it is history) | report | - |
//! | its end, nothing after it | pending | - | - |
//! | ... and a `Started` Event later than its end | report | report | - |
//! | ... and its Pod is over or deleted | report as unrestarted, if asked for; else forget | the same | - |
//! | its end no longer, but an instance after it | | report | - |
//! | a status older than one seen before | - | - | - |
//!
//! History is what happened before the program was last in sync, less `lookback`, in a container
//! that it didn't know. A kill whose Event stands in the cluster was reported before.

use jiff::Timestamp;
use sinks::{Finding, Restarted};

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
    pending: Option<Pending>,
}

/// A kill that no start is known to have followed.
#[derive(Debug)]
struct Pending {
    kill: u64,
    ordinal: u32,
    /// All that a finding tells but for the restart.
    finding: Finding,
}

/// What is known of the Pod and its past while one of its containers is looked at.
pub(super) trait Background {
    /// The kill's hash.
    fn kill(&self, end: &End<'_>) -> u64;
    /// Whether the kill was reported before this program started, or the Pod was made anew.
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
    /// The kills to report, oldest first, each with the restart that followed.
    pub reports: Vec<(Finding, Option<Restarted>)>,
    /// Instances whose end was never seen.
    pub unobserved: u32,
}

impl Container {
    /// A container that was not remembered: it never restarted while its Pod was known.
    pub(super) fn new(name: u32) -> Self {
        Self { name, restart_count: 0, ended: 0, newest: 0, kills: None }
    }

    /// A container of a Pod that is seen for the first time: nobody watched its earlier instances.
    pub(super) fn first_seen(name: u32, reading: &Reading<'_>) -> Self {
        Self { ended: reading.ended, ..Self::new(name) }
    }

    /// Takes in a status.
    pub(super) fn status(&mut self, reading: &Reading<'_>, background: &impl Background) -> Outcome {
        let newest = seconds(reading.newest_time());
        if reading.restart_count < self.restart_count && newest < self.newest {
            return Outcome::default();
        }
        let unobserved = self.unobserved(reading);
        self.restart_count = reading.restart_count;
        self.ended = reading.ended;
        self.newest = self.newest.max(newest);

        let mut reports = Vec::new();
        let shown: Vec<End<'_>> = reading.ends().filter(End::is_kill).collect();
        if let Some(pending) = self.take_overwritten(&shown, background) {
            match reading.instances().find(|instance| pending.precedes(instance)) {
                Some(next) => reports.push(self.settle(pending, Some(next.into()))),
                None => self.kills().pending = Some(pending),
            }
        }
        for end in &shown {
            reports.extend(self.judge(end, background));
        }
        if background.is_over() {
            reports.extend(self.over(background.report_unrestarted()));
        }
        Outcome { reports, unobserved }
    }

    /// Takes in the news that the container was started then.
    pub(super) fn started(&mut self, at: Timestamp) -> Option<(Finding, Option<Restarted>)> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.take_if(|pending| pending.ended_before(at))?;
        let restarted = Restarted { started_at: Some(at), ..Restarted::default() };
        Some(self.settle(pending, Some(restarted)))
    }

    /// Takes in the news that nothing of the Pod will be started again.
    pub(super) fn over(&mut self, report_unrestarted: bool) -> Option<(Finding, Option<Restarted>)> {
        let pending = self.kills.as_mut()?.pending.take()?;
        report_unrestarted.then(|| self.settle(pending, None))
    }

    /// The hashes of the kills that were settled and may still be shown.
    pub(super) fn settled(&self) -> impl Iterator<Item = u64> {
        self.kills.iter().flat_map(|kills| kills.settled).filter(|kill| *kill != 0)
    }

    fn judge(&mut self, end: &End<'_>, background: &impl Background) -> Option<(Finding, Option<Restarted>)> {
        let kill = background.kill(end);
        let kills = self.kills();
        if kills.settled.contains(&kill) {
            return None;
        }
        let pending = kills.pending.take_if(|pending| pending.kill == kill);
        let known = pending.is_some();
        if !known && background.was_reported(end) {
            kills.remember(kill);
            return None;
        }
        let restarted = end.successor.map(Restarted::from);
        let told_by_event =
            || background.started_at().filter(|at| end.terminated.finished_at.is_some_and(|end| end < *at));
        let restarted = restarted
            .or_else(|| told_by_event().map(|at| Restarted { started_at: Some(at), ..Restarted::default() }));
        let since = restarted.as_ref().and_then(|next| next.started_at).or(end.terminated.finished_at);
        if !known && (restarted.is_some() || background.is_over()) && background.is_history(since) {
            kills.remember(kill);
            return None;
        }
        let pending = pending.unwrap_or_else(|| Pending {
            kill,
            ordinal: end.ordinal,
            finding: background.describe(end),
        });
        if restarted.is_some() {
            Some(self.settle(pending, restarted))
        } else {
            kills.pending = Some(pending);
            None
        }
    }

    /// The pending kill, if the status no longer shows it.
    fn take_overwritten(&mut self, shown: &[End<'_>], background: &impl Background) -> Option<Pending> {
        let pending = &mut self.kills.as_mut()?.pending;
        pending.take_if(|pending| !shown.iter().any(|end| background.kill(end) == pending.kill))
    }

    fn settle(&mut self, pending: Pending, restarted: Option<Restarted>) -> (Finding, Option<Restarted>) {
        self.kills().remember(pending.kill);
        (pending.finding, restarted)
    }

    /// How many instances ended unseen between the last status and this one.
    fn unobserved(&self, reading: &Reading<'_>) -> u32 {
        let ended = reading.ended.saturating_sub(self.ended);
        let seen = reading.ends().filter(|end| end.ordinal >= self.ended).count();
        ended.saturating_sub(u32::try_from(seen).unwrap_or(u32::MAX))
    }

    fn kills(&mut self) -> &mut Kills {
        self.kills.get_or_insert_default()
    }
}

impl Kills {
    fn remember(&mut self, kill: u64) {
        self.settled = [kill, self.settled[0]];
    }
}

impl Pending {
    /// Whether the instance was started after this kill. IDs are compared before times, which have
    /// a granularity of a second, and the count before them too, though it can fall.
    fn precedes(&self, instance: &Instance<'_>) -> bool {
        let killed = &self.finding.killed;
        let same = killed.container_id.is_some() && killed.container_id.as_deref() == instance.container_id;
        let later = || killed.finished_at.zip(instance.started_at).is_some_and(|(end, start)| start >= end);
        !same && (instance.ordinal > self.ordinal || later())
    }

    /// Whether an Event of that time speaks of a start after this kill. In the very second of the
    /// end it may be the killed instance's own start.
    fn ended_before(&self, at: Timestamp) -> bool {
        self.finding.killed.finished_at.is_some_and(|end| end < at)
    }
}

fn seconds(time: Option<Timestamp>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_second()).unwrap_or_default())
}
