//! The starts that Events told of last, and what they prove.
//!
//! An Event may arrive before the status that shows the kill it follows, and that status may be the
//! last of its Pod. The table keeps 4,096 starts in 64 KiB. A kill whose start fell out of it is
//! confirmed by a later status.

use finding::Restarted;
use jiff::Timestamp;

const BUCKETS: u16 = 1024;

/// Starts of containers whose keys share some bits, the one told last first.
type StartBucket = [RecentStart; 4];

/// The newest start of each of many containers.
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
    /// Returns whether it is after the end of the instance before which so many came. Its time alone
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
    /// Keeps the newest start of a container.
    pub(super) fn remember(&mut self, pod: u64, container: u32, start: ToldStart) {
        let Ok(seconds) = u32::try_from(start.at.as_second()) else { return };
        let key = key(pod, container);
        let bucket = &mut self.0[index(key)];
        let known = bucket.iter().position(|start| start.key == key);
        let before = known.map_or((0, 0), |place| (bucket[place].seconds, bucket[place].count));
        let place = known.unwrap_or(bucket.len() - 1);
        bucket[..=place].rotate_right(1);
        let (seconds, count) = before.max((seconds, start.count));
        bucket[0] = RecentStart { key, seconds, count };
    }

    /// Returns the newest start of a container if the table still has it.
    pub(super) fn get(&self, pod: u64, container: u32) -> Option<ToldStart> {
        let key = key(pod, container);
        let start = self.0[index(key)].iter().find(|start| start.key == key)?;
        let at = Timestamp::from_second(start.seconds.into()).ok()?;
        Some(ToldStart { at, count: start.count })
    }
}

fn key(pod: u64, container: u32) -> u64 {
    pod ^ u64::from(container)
}

fn index(key: u64) -> usize {
    let [low, high, ..] = key.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % BUCKETS)
}
