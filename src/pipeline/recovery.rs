//! What becomes of findings that an earlier run left undelivered: they go to the sinks that they are owed to, as
//! far as there is room. The others stay where they are, in their Events, and are read again when there is.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    config::Namespaces,
    fanout::{Fanout, OwedFinding, Recovery},
    source::{EventRecord, Observation, Observations},
};

/// The least time between two readings of the program's own Events.
const MIN_READING_PAUSE: Duration = Duration::from_secs(15);

/// Takes in what the program's own Events say is owed.
#[derive(Debug)]
pub(super) struct OwedReader {
    /// The cluster's name, which no Event may say otherwise.
    cluster: Option<String>,
    namespaces: Namespaces,
    /// Since this was last logged.
    recovered: u64,
    /// Owed to sinks that don't exist any more, or don't want it.
    unwanted: u64,
    /// Whether some had no room at the last reading.
    left_behind: bool,
    read_at: Instant,
}

impl OwedReader {
    pub(super) fn new(cluster: Option<String>, namespaces: Namespaces) -> Self {
        let (recovered, unwanted, left_behind) = (0, 0, false);
        Self { cluster, namespaces, recovered, unwanted, left_behind, read_at: Instant::now() }
    }

    /// Delivers what an observation says is owed.
    pub(super) fn notice(&mut self, observation: &Observation, fanout: &Fanout) {
        let Observation::Reported { record: Some(record), .. } = observation else { return };
        let EventRecord { finding, owed, written } = &**record;
        if owed.is_empty() || !self.namespaces.selects(&finding.namespace) {
            return;
        }
        let mut finding = finding.clone();
        finding.cluster.clone_from(&self.cluster);
        let owed = OwedFinding { finding, sinks: owed.clone(), written: *written };
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
