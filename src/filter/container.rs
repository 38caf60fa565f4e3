//! What is remembered of one container, and what each thing seen of it leads to.
//!
//! A kill is an end with the reason `OOMKilled`. It is *pending* until a start after it is known,
//! then *settled*: reported, or found to be no news. Settled kills are passed over.
//!
//! | seen | kill is new | kill is pending | kill is settled |
//! |---|---|---|---|
//! | its end, and an instance after it | report | report | - |
//! | its end, nothing after it | pending | - | - |
//! | ... and a `Started` Event that is after its end | report | report | - |
//! | ... and nothing may start the container again | report as unrestarted if asked to, else forget | the same | - |
//! | its end no longer, but an instance after it | | report | - |
//! | a status older than one seen before (but the Pod's phase counts) | - | - | - |
//!
//! A new kill is settled silently if it was reported before, or if it is history: its restart (without
//! one, its end) is older than `lookback` before the last sync, in a Pod that the program didn't know.
//!
//! What shows that a start is after an end: for an instance in a status, its count or its time
//! ([`super::kill`]); for an Event, its count and its time ([`super::starts`]). Nothing may start a
//! container again if its Pod is over or deleted, or its restart policy says so ([`super::restarts`]);
//! then no Event counts, for it can only be the killed instance's own.

use std::num::NonZeroU64;

use finding::{Finding, Restarted};
use jiff::Timestamp;

use super::{
    kill::{LimitBefore, NewKill, PendingKill, ShownContainer},
    reading::StatusReading,
    starts::ToldStart,
};

/// What is remembered of a container that ever restarted, was killed or resized: 32 bytes, and a box if
/// a kill was ever seen or the count ever fell.
#[derive(Debug)]
pub(super) struct RememberedContainer {
    /// The key of its name, which is unique within the Pod.
    pub name: u32,
    /// `restartCount` when it was last seen.
    restart_count: u32,
    /// How many of its instances have ended.
    ended: u32,
    /// The latest time in any status of it, in seconds since 1970.
    newest: u32,
    /// The memory limit that was in force when it was last seen, if any was.
    limit: Option<NonZeroU64>,
    kills: Option<Box<RememberedKills>>,
}

/// The kills of one container.
#[derive(Debug, Default)]
struct RememberedKills {
    /// The keys of the two kills that were settled last. A status that isn't older than those seen
    /// before shows no others.
    settled: [u64; 2],
    pending: Option<Box<PendingKill>>,
    /// Whether `restartCount` ever fell. The count of an Event doesn't, so it proves nothing from then on.
    count_fell: bool,
}

impl RememberedContainer {
    /// Remembers a container of which so many instances have ended, whether seen or not.
    pub(super) fn new(name: u32, ended: u32) -> Self {
        Self { name, restart_count: 0, ended, newest: 0, limit: None, kills: None }
    }

    /// Takes in a status. Returns how many instances ended since the last one without being seen, and
    /// the kills to report, oldest first.
    pub(super) fn status(
        &mut self,
        reading: &StatusReading<'_>,
        shown: &ShownContainer<'_>,
    ) -> (u32, Vec<Finding>) {
        let (mut unobserved, mut found) = (0, Vec::new());
        let mut is_final = shown.is_over();
        if !self.is_older(reading) {
            is_final = shown.is_final(reading);
            let before = LimitBefore { limit: self.limit, ordinal: self.restart_count };
            unobserved = self.count(reading);
            found.extend(self.confirm(reading, shown, is_final));
            for end in reading.kills() {
                let key = shown.key(&end);
                if !self.knows(key) {
                    let kill = shown.judge(key, &end, self.count_fell(), is_final, before);
                    found.extend(kill.and_then(|kill| self.killed(kill)));
                }
            }
            self.limit = shown.limit();
        }
        if is_final {
            found.extend(self.over(shown.settings.report_unrestarted));
        }
        (unobserved, found)
    }

    /// Takes in a start that an Event told of. Returns the pending kill if the start is after it.
    pub(super) fn started(&mut self, start: ToldStart) -> Option<Finding> {
        let kills = self.kills.as_mut().filter(|kills| !kills.count_fell)?;
        let mut pending = kills.pending.take_if(|pending| pending.is_followed_by(start))?;
        pending.finding.restarted = Some(start.restarted());
        Some(kills.settle(*pending))
    }

    /// Takes in that nothing will start it again. Returns the pending kill if it is to be reported
    /// without a restart. A kill that is history stays pending; otherwise the next status would report it as new.
    pub(super) fn over(&mut self, report_unrestarted: bool) -> Option<Finding> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.take_if(|pending| !pending.is_history)?;
        report_unrestarted.then(|| kills.settle(*pending))
    }

    /// Returns the kill of it that is pending.
    pub(super) fn pending(&self) -> Option<&PendingKill> {
        self.kills.as_ref()?.pending.as_deref()
    }

    /// Returns the keys of the settled kills that a status may still show.
    pub(super) fn settled(&self) -> impl Iterator<Item = u64> {
        self.kills.iter().flat_map(|kills| kills.settled).filter(|kill| *kill != 0)
    }

    /// Returns whether the status is older than one seen before. A lower count alone doesn't show
    /// that: a node may lose its logs, and with them the count. Nor does an earlier time: a clock may
    /// be set back.
    fn is_older(&self, reading: &StatusReading<'_>) -> bool {
        let is_lower = reading.restart_count.is_some_and(|count| count < self.restart_count);
        is_lower && seconds(reading.newest_time()) <= self.newest
    }

    /// Takes in the counts. Returns how many instances ended unseen since they were last known.
    fn count(&mut self, reading: &StatusReading<'_>) -> u32 {
        self.newest = self.newest.max(seconds(reading.newest_time()));
        let Some(restart_count) = reading.restart_count else { return 0 };
        let ended = reading.ended.saturating_sub(self.ended);
        let seen = reading.ends().filter(|end| end.ordinal >= Some(self.ended)).count();
        let is_lower = restart_count < self.restart_count;
        if is_lower {
            self.kills.get_or_insert_default().count_fell = true;
        }
        self.ended = if is_lower { reading.ended } else { self.ended.max(reading.ended) };
        self.restart_count = restart_count;
        ended.saturating_sub(u32::try_from(seen).unwrap_or(u32::MAX))
    }

    /// Returns the pending kill if the status shows an instance after it, or an Event told of one while the
    /// Events of a mirror pod that was deleted proved nothing.
    fn confirm(
        &mut self,
        reading: &StatusReading<'_>,
        shown: &ShownContainer<'_>,
        is_final: bool,
    ) -> Option<Finding> {
        let kills = self.kills.as_mut()?;
        let pending = kills.pending.as_ref()?;
        let next = match reading.kills().find(|end| pending.is_shown_as(end)) {
            Some(end) => end.successor,
            None => reading.instances().find(|instance| pending.precedes(instance)),
        };
        let told = || shown.told_start(|start| pending.is_followed_by(start), kills.count_fell || is_final);
        let restarted = next.map(Restarted::from).or_else(told)?;
        let mut pending = kills.pending.take()?;
        pending.finding.restarted = Some(restarted);
        Some(kills.settle(*pending))
    }

    /// Returns whether the kill with this key is pending or settled.
    fn knows(&self, kill: u64) -> bool {
        let pending = |kills: &RememberedKills| kills.pending.as_ref().map(|pending| pending.key);
        self.kills.as_ref().is_some_and(|kills| kills.settled.contains(&kill) || pending(kills) == Some(kill))
    }

    /// Returns whether `restartCount` ever fell.
    fn count_fell(&self) -> bool {
        self.kills.as_ref().is_some_and(|kills| kills.count_fell)
    }

    /// Takes in a kill that was new to it. Returns it if it is to be reported now.
    fn killed(&mut self, kill: NewKill) -> Option<Finding> {
        let kills = self.kills.get_or_insert_default();
        match kill {
            NewKill::NoNews(key) => kills.remember(key),
            NewKill::Decided(kill) => return Some(kills.settle(kill)),
            // What shows an earlier kill than the one that is pending is a status that came late.
            NewKill::Pending(kill) if kills.pending.as_ref().is_some_and(|other| kill.is_before(other)) => {}
            NewKill::Pending(kill) => kills.pending = Some(Box::new(kill)),
        }
        None
    }
}

impl RememberedKills {
    fn settle(&mut self, kill: PendingKill) -> Finding {
        self.remember(kill.key);
        kill.finding
    }

    fn remember(&mut self, kill: u64) {
        self.settled = [kill, self.settled[0]];
    }
}

fn seconds(time: Option<Timestamp>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_second()).unwrap_or_default())
}
