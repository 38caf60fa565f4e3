//! The starts that Events told of last, and what they prove.
//!
//! An Event may arrive before the status that shows the kill it follows, and that status may be the
//! last of its Pod. The table keeps 4,096 starts in 64 KiB. A kill whose start fell out of it is
//! confirmed by a later status.
//!
//! A kubelet that was started anew counts from 1 again. What it tells then is later and proves less than
//! what was told before, so both are kept.

use finding::Restarted;
use jiff::Timestamp;

const BUCKETS: u16 = 1024;

/// Starts of containers whose keys share some bits, the one told last first.
type StartBucket = [RecentStart; 4];

/// The newest starts of many containers.
#[derive(Debug)]
pub(super) struct RecentStarts(Box<[StartBucket]>);

#[derive(Clone, Copy, Debug, Default)]
struct RecentStart {
    key: u64,
    /// Since 1970.
    seconds: u32,
    count: u32,
}

/// A start, by the word of an Event.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldStart {
    pub at: Timestamp,
    /// How many starts of the container its kubelet has told.
    pub count: u32,
}

impl ToldStart {
    /// Returns whether it is after the end of an instance, before which `ordinal` others came. Its time alone
    /// doesn't prove that: the kubelet writes the Event after the start, so an instance that soon ends
    /// may end before its own. But that is at most the kubelet's Event number `ordinal + 1`.
    pub(super) fn is_after(&self, ordinal: Option<u32>, ended: Option<Timestamp>) -> bool {
        ordinal.is_some_and(|ordinal| self.count > ordinal.saturating_add(1)) && is_later(self.at, ended)
    }

    /// Returns what a finding says of it.
    pub(super) fn restarted(&self) -> Restarted {
        Restarted { started_at: Some(self.at), ..Restarted::default() }
    }
}

/// Returns whether the start was in a later second than the end. In the same second, which came first
/// is unknown.
pub(super) fn is_later(start: Timestamp, end: Option<Timestamp>) -> bool {
    end.is_some_and(|end| end.as_second() < start.as_second())
}

impl Default for RecentStarts {
    fn default() -> Self {
        Self(vec![StartBucket::default(); usize::from(BUCKETS)].into())
    }
}

impl RecentStarts {
    /// Keeps a start of a container, unless one is kept that proves as much.
    pub(super) fn remember(&mut self, pod: u64, container: u32, start: ToldStart) {
        let Ok(seconds) = u32::try_from(start.at.as_second()) else { return };
        let told = RecentStart { key: key(pod, container), seconds, count: start.count };
        let bucket = &mut self.0[index(told.key)];
        let (place, kept) = if let Some(place) = bucket.iter().position(|known| known.proves(told)) {
            (place, bucket[place])
        } else {
            let outdone = bucket.iter().position(|known| told.proves(*known));
            (outdone.unwrap_or(bucket.len() - 1), told)
        };
        bucket[..=place].rotate_right(1);
        bucket[0] = kept;
    }

    /// Returns the starts of a container that the table still has.
    pub(super) fn of(&self, pod: u64, container: u32) -> impl Iterator<Item = ToldStart> {
        let key = key(pod, container);
        self.0[index(key)].iter().filter(move |start| start.key == key).filter_map(|start| {
            let at = Timestamp::from_second(start.seconds.into()).ok()?;
            Some(ToldStart { at, count: start.count })
        })
    }
}

impl RecentStart {
    /// Returns whether it proves all that the other does.
    fn proves(self, other: Self) -> bool {
        self.key == other.key && self.seconds >= other.seconds && self.count >= other.count
    }
}

fn key(pod: u64, container: u32) -> u64 {
    pod ^ u64::from(container)
}

fn index(key: u64) -> usize {
    let [low, high, ..] = key.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % BUCKETS)
}
