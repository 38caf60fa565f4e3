//! When containers were started, by the word of Events that came before the status did.
//!
//! An Event may arrive before the status that shows the kill it follows, and that status may be the
//! last of its Pod. Of what fits into the table the newest is kept: 4,096 starts, 64 KiB, whatever
//! happens. What falls out is confirmed by a later status instead.

use jiff::Timestamp;

const SLOTS: u16 = 4096;

#[derive(Debug)]
pub(super) struct Starts(Box<[Slot]>);

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    pod: u64,
    container: u32,
    seconds: u32,
}

impl Default for Starts {
    fn default() -> Self {
        Self(vec![Slot::default(); usize::from(SLOTS)].into())
    }
}

impl Starts {
    /// Keeps the newest start of a container.
    pub(super) fn remember(&mut self, pod: u64, container: u32, at: Timestamp) {
        let Ok(seconds) = u32::try_from(at.as_second()) else { return };
        let slot = &mut self.0[index(pod, container)];
        if (slot.pod, slot.container) != (pod, container) || slot.seconds < seconds {
            *slot = Slot { pod, container, seconds };
        }
    }

    /// The newest start of a container, if it is still known.
    pub(super) fn get(&self, pod: u64, container: u32) -> Option<Timestamp> {
        let slot = self.0[index(pod, container)];
        let same = (slot.pod, slot.container) == (pod, container) && slot.seconds > 0;
        same.then(|| Timestamp::from_second(i64::from(slot.seconds)).ok()).flatten()
    }
}

fn index(pod: u64, container: u32) -> usize {
    let [low, high, ..] = (pod ^ u64::from(container)).to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]) % SLOTS)
}
