//! What a sink is, and the sinks there are: one file or folder each.
//!
//! A [`Sink`] says what happened to the findings it was given; queues, batches, retries and
//! time-outs belong to its courier (`src/fanout/` of the program). A new sink is a file here and
//! a line in [`TYPES`].

mod tested;

pub mod kubernetes;
pub mod slack;
pub mod stdout;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::{Finding, TestFinding};
use settings::ConfigSection;
use tokio::time::Instant;
use untrusted::with_causes;

pub use tested::TestOutcome;

/// A place that findings are delivered to.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// How much the sink takes at a time.
    fn limits(&self) -> SinkLimits;

    /// Delivers a batch of at most [`SinkLimits::batch`] findings and says what became of each: one
    /// outcome per finding, in the batch's order.
    ///
    /// A failure is an outcome, never a panic.
    ///
    /// # Cancel safety
    ///
    /// The courier drops the future when the attempt takes too long or the program must end. What
    /// was sent by then may or may not have been stored: the courier counts the attempt as one to
    /// retry, so a sink that can tell a repetition answers [`AttemptOutcome::Duplicate`] to it.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome>;

    /// Delivers a finding that is marked as a test, once, and says what became of it. Cancelled, it
    /// may have arrived.
    async fn deliver_test(&self, test: &TestFinding) -> TestOutcome {
        let outcomes = self.deliver(&[Delivery::from(test.finding())]).await;
        let outcome = outcomes.into_iter().next().unwrap_or_else(|| AttemptOutcome::Refused {
            reason: "the sink did not say what became of it; this is a bug in it".to_owned(),
        });
        TestOutcome::new(outcome, format!("look there for {:?}", TestFinding::MESSAGE))
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
pub enum AttemptOutcome {
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
pub struct SinkLimits {
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

/// A type of sink: what stands behind the `type` of a sink in the configuration, what it needs and does.
#[derive(Clone, Copy)]
pub struct SinkType {
    /// The word in the configuration.
    pub name: &'static str,
    /// Whether it needs [`SinkContext::kubernetes`].
    pub needs_cluster: bool,
    /// Whether what it stores tells after a restart which kills were reported.
    pub remembers: bool,
    /// Whether it writes to standard output.
    pub owns_stdout: bool,
    /// How findings are gathered where the configuration doesn't say.
    pub grouping: Grouping,
    /// Reads the settings that only this type has. Errors go to the section; with any, the answer
    /// is `None`.
    pub read: fn(&mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>>,
}

impl SinkType {
    /// A type that needs nothing and gathers nothing: the other types are written as what they have beside
    /// it.
    pub const PLAIN: Self = Self {
        name: "",
        needs_cluster: false,
        remembers: false,
        owns_stdout: false,
        grouping: Grouping::NONE,
        read: |_| None,
    };
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
pub trait SinkSettings: fmt::Debug + Send + Sync {
    /// Makes the sink.
    ///
    /// # Errors
    ///
    /// What it needs is missing.
    fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError>;
}

/// Why a sink can't be made.
#[derive(Debug)]
pub enum SinkBuildError {
    /// It needs the cluster, and the program is not connected to one.
    NoCluster,
    /// Something else that it needs can't be had.
    Failed {
        /// What was tried, such as `opening standard output`.
        tried: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
        /// What to do, as a sentence; may be empty.
        remedy: &'static str,
    },
}

impl fmt::Display for SinkBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => f.write_str("the program is not connected to a cluster"),
            Self::Failed { tried, source, remedy: "" } => {
                write!(f, "{tried}: {}", with_causes(source.as_ref()))
            }
            Self::Failed { tried, source, remedy } => {
                write!(f, "{tried}: {}. {remedy}", with_causes(source.as_ref()))
            }
        }
    }
}

impl Error for SinkBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoCluster => None,
            // Its own text is said already.
            Self::Failed { source, .. } => source.source(),
        }
    }
}

/// What a sink may use of the program around it.
#[derive(Clone)]
pub struct SinkContext {
    /// The cluster that is watched, if the program is connected to one.
    pub kubernetes: Option<kube::Client>,
    /// Whether there is no sink but standard output.
    pub only_stdout: bool,
}

/// Every type of sink there is.
pub const TYPES: &[SinkType] = &[kubernetes::TYPE, slack::TYPE, stdout::TYPE];
