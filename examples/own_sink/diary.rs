//! The `diary` sink: a line in a file for each kill. A model for sinks of your own: in `sinks/src`,
//! this file (with `crate::` for `sinks::`), its `mod` line and an entry in `TYPES` are all that a new sink takes.

use std::{fs::OpenOptions, io::Write, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use settings::ConfigSection;
use sinks::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
};

/// `type: diary`.
pub const TYPE: SinkType = SinkType { name: "diary", read, ..SinkType::PLAIN };

/// What is read of the configuration. `Debug` must show no secret.
#[derive(Clone, Debug)]
struct Diary {
    path: PathBuf,
}

fn read(section: &mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>> {
    let expected = "the path of a file that may be written";
    if !section.has("path") {
        section.missing("path", expected);
    }
    let path = section.get("path", expected)?;
    Some(Arc::new(Diary { path }))
}

impl SinkSettings for Diary {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Diary {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 100, concurrency: 1, interval: Duration::ZERO, timeout: Duration::from_secs(10) }
    }

    /// # Cancel safety
    ///
    /// What was being written is written nevertheless, and again with the next attempt.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let lines: String = batch.iter().map(|delivery| delivery.finding.message.clone() + "\n").collect();
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            OpenOptions::new().append(true).create(true).open(path)?.write_all(lines.as_bytes())
        });
        let outcome = match written.await {
            Ok(Ok(())) => AttemptOutcome::Delivered,
            Ok(Err(error)) => AttemptOutcome::Retry {
                reason: format!("appending to {}: {error}", self.path.display()),
                after: None,
            },
            Err(error) => AttemptOutcome::Refused { reason: format!("the writing thread: {error}") },
        };
        vec![outcome; batch.len()]
    }
}
