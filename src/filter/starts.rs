//! When containers were started, by the word of Events that came before the status did.
//!
//! An Event may arrive before the status that shows the kill it follows, and that status may be the
//! last of its Pod. The table keeps the starts that it was told last, 4,096 of them in 64 KiB,
//! whatever happens. What falls out is confirmed by a later status instead.

use jiff::Timestamp;

const BUCKETS: u16 = 1024;

/// Starts whose containers share a part of their hash, the one told last first.
type Bucket = [Start; 4];

#[derive(Debug)]
pub(super) struct Starts(Box<[Bucket]>);

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    pod: u64,
    container: u32,
    seconds: u32,
}

impl Default for Starts {
    fn default() -> Self {
        Self(vec![Bucket::default(); usize::from(BUCKETS)].into())
    }
}

impl Starts {
    /// Keeps the newest start of a container.
    pub(super) fn remember(&mut self, pod: u64, container: u32, at: Timestamp) {
        let Ok(seconds) = u32::try_from(at.as_second()) else { return };
        let bucket = &mut self.0[index(pod, container)];
        let known = bucket.iter().position(|start| start.is_of(pod, container));
        let before = known.map_or(0, |place| bucket[place].seconds);
        let place = known.unwrap_or(bucket.len() - 1);
        bucket[..=place].rotate_right(1);
        bucket[0] = Start { pod, container, seconds: seconds.max(before) };
    }

    /// The newest start of a container, if it is still known.
    pub(super) fn get(&self, pod: u64, container: u32) -> Option<Timestamp> {
        let start = self.0[index(pod, container)].iter().find(|start| start.is_of(pod, container))?;
        Timestamp::from_second(i64::from(start.seconds)).ok()
    }
}

impl Start {
    fn is_of(&self, pod: u64, container: u32) -> bool {
        (self.pod, self.container) == (pod, container)
    }
}

fn index(pod: u64, container: u32) -> usize {
    let [low, high, ..] = (pod ^ u64::from(container)).to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % BUCKETS)
}
