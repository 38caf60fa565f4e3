//! The starts that Events told of last.
//!
//! An Event may arrive before the status that shows the kill it follows, and that status may be the
//! last of its Pod. The table keeps 4,096 starts in 64 KiB. A kill whose start fell out of it is
//! confirmed by a later status.

use jiff::Timestamp;

const BUCKETS: u16 = 1024;

/// Starts of containers whose keys share some bits, the one told last first.
type StartBucket = [RecentStart; 4];

#[derive(Debug)]
pub(super) struct RecentStarts(Box<[StartBucket]>);

#[derive(Clone, Copy, Debug, Default)]
struct RecentStart {
    pod: u64,
    container: u32,
    /// Since 1970.
    seconds: u32,
}

impl Default for RecentStarts {
    fn default() -> Self {
        Self(vec![StartBucket::default(); usize::from(BUCKETS)].into())
    }
}

impl RecentStarts {
    /// Keeps the newest start of a container.
    pub(super) fn remember(&mut self, pod: u64, container: u32, at: Timestamp) {
        let Ok(seconds) = u32::try_from(at.as_second()) else { return };
        let bucket = &mut self.0[index(pod, container)];
        let known = bucket.iter().position(|start| start.is_of(pod, container));
        let before = known.map_or(0, |place| bucket[place].seconds);
        let place = known.unwrap_or(bucket.len() - 1);
        bucket[..=place].rotate_right(1);
        bucket[0] = RecentStart { pod, container, seconds: seconds.max(before) };
    }

    /// Returns the newest start of a container if the table still has it.
    pub(super) fn get(&self, pod: u64, container: u32) -> Option<Timestamp> {
        let start = self.0[index(pod, container)].iter().find(|start| start.is_of(pod, container))?;
        Timestamp::from_second(i64::from(start.seconds)).ok()
    }
}

impl RecentStart {
    fn is_of(&self, pod: u64, container: u32) -> bool {
        (self.pod, self.container) == (pod, container)
    }
}

fn index(pod: u64, container: u32) -> usize {
    let [low, high, ..] = (pod ^ u64::from(container)).to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % BUCKETS)
}
