//! What a finding is, what a sink is, and the sinks there are: one file each.
//!
//! A [`Sink`] says what happened to the findings it was given; queues, batches, retries and
//! time-outs belong to its courier (`src/fanout/` of the program). A new sink is a file here and
//! a line in [`TYPES`].

mod amount;
mod causes;
mod finding;
mod test;

pub mod kubernetes;
pub mod settings;
pub mod slack;
pub mod stdout;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use amount::bytes;
pub use causes::with_causes;
pub use finding::{
    Container, ContainerKind, EXIT_CODE_OF_SIGKILL, Finding, KillId, Killed, Pod, Restarted, Schema, Workload,
};
use settings::Section;
pub use test::{Test, Tested};
use tokio::time::Instant;

/// A place that findings are delivered to.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// How much the sink takes at a time.
    fn limits(&self) -> Limits;

    /// Delivers a batch of at most [`Limits::batch`] findings and says what became of each: one
    /// outcome per finding, in the batch's order.
    ///
    /// A failure is an outcome, never a panic.
    ///
    /// # Cancel safety
    ///
    /// The courier drops the future when the attempt takes too long or the program must end. What
    /// was sent by then may or may not have been stored: the courier counts the attempt as one to
    /// retry, so a sink that can tell a repetition answers [`Outcome::Duplicate`] to it.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome>;

    /// Delivers a finding that is marked as a test, once, and says what became of it. Cancelled, it
    /// may have arrived.
    async fn deliver_test(&self, test: &Test) -> Tested {
        let outcomes = self.deliver(&[Delivery::from(test.finding())]).await;
        let outcome = outcomes.into_iter().next().unwrap_or_else(|| Outcome::Refused {
            reason: "the sink did not say what became of it; this is a bug in it".to_owned(),
        });
        Tested::new(outcome, format!("look there for {:?}", Test::MESSAGE))
    }
}

/// A finding on its way to one sink.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is delivered.
    pub finding: Arc<Finding>,
    /// When kills of the same container of the same workload were last due at this sink, if they are
    /// gathered and this finding was gathered since.
    pub previous: Option<Instant>,
}

impl From<Finding> for Delivery {
    fn from(finding: Finding) -> Self {
        Self { finding: Arc::new(finding), previous: None }
    }
}

/// What became of one finding in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Delivered,
    /// It was stored before, by this program or another replica of it.
    Duplicate,
    /// Not now; the same finding may succeed later.
    Retry {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
        /// How long the other side asked to be left alone, if it did.
        after: Option<Duration>,
    },
    /// Never: repeating the attempt would give the same answer.
    Refused {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
    },
    /// Never, and nobody will miss it: what it was to be attached to is gone.
    Gone {
        /// What is gone.
        reason: String,
    },
}

/// How much a sink takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Findings in one call of [`Sink::deliver`], at least 1.
    pub batch: usize,
    /// Calls of [`Sink::deliver`] under way at once, at least 1. A namespace has no more of them than are
    /// free: alone half, beside another that has its half a quarter. So however many of them answer
    /// slowly, or not at all, there is room for the others.
    pub concurrency: usize,
    /// The least time between the beginnings of two calls.
    pub interval: Duration,
    /// How long one call may take before it is given up.
    pub timeout: Duration,
}

/// A type of sink: what stands behind the `type` of a sink in the configuration.
#[derive(Clone, Copy)]
pub struct SinkType {
    /// The word in the configuration.
    pub name: &'static str,
    /// How findings are gathered where the configuration doesn't say.
    pub grouping: Grouping,
    /// Reads the settings that only this type has. Errors go to the section; with any, the answer
    /// is `None`.
    pub read: fn(&mut Section<'_>) -> Option<Arc<dyn Settings>>,
}

impl fmt::Debug for SinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How long the findings of one container of one workload are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Before the first message about them.
    pub wait: Duration,
    /// Before each message after that; zero sends at once.
    pub interval: Duration,
}

impl Grouping {
    /// Every finding at once.
    pub const NONE: Self = Self { wait: Duration::ZERO, interval: Duration::ZERO };
}

/// The settings of one sink, read and valid.
///
/// `Debug` shows no secret.
pub trait Settings: fmt::Debug + Send + Sync {
    /// Makes the sink.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing and what to do.
    fn build(&self, surroundings: &Surroundings) -> Result<Arc<dyn Sink>, String>;
}

/// What a sink may use of the program around it.
#[derive(Clone)]
pub struct Surroundings {
    /// The cluster that is watched, if the program is connected to one.
    pub kubernetes: Option<kube::Client>,
    /// Whether there is no sink but standard output.
    pub only_stdout: bool,
}

/// Every type of sink there is.
pub const TYPES: &[SinkType] = &[kubernetes::TYPE, slack::TYPE, stdout::TYPE];
