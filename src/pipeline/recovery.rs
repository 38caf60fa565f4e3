//! What becomes of findings that an earlier run left undelivered: they go to the sinks that they are owed to, as
//! far as there is room. The others stay where they are, in their Events, and are read again when there is.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    config::Config,
    fanout::{Fanout, OwedFinding, Recovery},
    source::{EventRecord, Observation, Observations},
};

/// The least time between two readings of the program's own Events.
const MIN_READING_PAUSE: Duration = Duration::from_secs(15);

/// Returns what an own Event says that an earlier run found, if an observation is of one and its namespace counts.
pub(super) fn record_of(observation: &Observation, config: &Config) -> Option<EventRecord> {
    let Observation::Reported { record: Some(record), .. } = observation else { return None };
    let mut record =
        config.namespaces.selects(&record.finding.namespace).then(|| EventRecord::clone(record))?;
    // No Event may say otherwise.
    record.finding.cluster.clone_from(&config.cluster);
    Some(record)
}

/// Takes in what the program's own Events say is owed.
#[derive(Debug)]
pub(super) struct OwedReader {
    /// Since this was last logged.
    recovered: u64,
    /// Owed to sinks that don't exist any more, or don't want it.
    unwanted: u64,
    /// Whether some had no room at the last reading.
    left_behind: bool,
    read_at: Instant,
}

impl OwedReader {
    pub(super) fn new() -> Self {
        Self { recovered: 0, unwanted: 0, left_behind: false, read_at: Instant::now() }
    }

    /// Delivers what an own Event says is owed.
    pub(super) fn notice(&mut self, record: &EventRecord, fanout: &Fanout) {
        let EventRecord { finding, owed, written } = record;
        if owed.is_empty() {
            return;
        }
        let owed = OwedFinding { finding: finding.clone(), sinks: owed.clone(), written: *written };
        match fanout.recover(owed) {
            Recovery::Taken => self.recovered += 1,
            Recovery::Unwanted => self.unwanted += 1,
            Recovery::NoRoom => self.left_behind = true,
            Recovery::Known => {}
        }
    }

    /// Logs what has come of it, and has the Events read again if some were left behind and there is room now. To
    /// be called every few seconds.
    pub(super) fn go_on(&mut self, fanout: &Fanout, observations: &Observations) {
        if let recovered @ 1.. = std::mem::take(&mut self.recovered) {
            tracing::info!("delivering {recovered} findings that an earlier run left undelivered");
        }
        if let unwanted @ 1.. = std::mem::take(&mut self.unwanted) {
            tracing::warn!(
                "{unwanted} findings are owed only to sinks that don't exist any more or whose match leaves them out: \
                 they are not delivered; their Events tell of them"
            );
        }
        if self.left_behind && self.read_at.elapsed() >= MIN_READING_PAUSE && fanout.has_room_to_recover() {
            (self.left_behind, self.read_at) = (false, Instant::now());
            observations.read_back_again();
        }
    }
}
