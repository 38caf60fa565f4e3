//! Defines what a sink is, and has the sinks: one file or folder each.
//!
//! A [`Sink`] says what happened to the findings it was given; queues, batches, retries and
//! time-outs belong to its courier (`src/fanout/` of the program). A new sink is a file here,
//! its `mod` line, and an entry in [`TYPES`].

mod ledger;
mod receiver;
mod tested;

pub mod alertmanager;
pub mod kubernetes;
pub mod slack;
pub mod stdout;
pub mod webhook;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use finding::{Finding, ResolvedIncident, TestFinding};
use settings::ConfigSection;
use tokio::time::Instant;
use untrusted::with_causes;

pub use ledger::{LedgerStore, NoteOutcome, OwedSink, OwedSinks};
pub use tested::TestOutcome;

/// A place that findings are delivered to.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Returns how much the sink takes at a time.
    fn limits(&self) -> SinkLimits;

    /// Returns how many findings of a group, at least 1, the sink tells one by one, if it can tell the rest as
    /// a count ([`Delivery::more`]). By default it can't: it gets every finding by itself.
    fn max_named(&self) -> Option<usize> {
        None
    }

    /// Delivers a batch of at most [`SinkLimits::batch`] findings. Returns one outcome per finding, in the
    /// batch's order. A failure is an outcome, never a panic.
    ///
    /// # Cancel safety
    ///
    /// The courier drops the future when the call takes too long or the program must end. Findings sent by
    /// then may have been stored, and the courier retries them: a sink that recognises a repetition returns
    /// [`AttemptOutcome::Duplicate`] for it.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome>;

    /// Tells that incidents are over, at most [`SinkLimits::batch`] of them. Returns one outcome per incident,
    /// in their order. It is only called if [`SinkType::tells_resolved`], beside calls of [`Sink::deliver`].
    ///
    /// # Cancel safety
    ///
    /// As [`Sink::deliver`].
    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        let reason = "this sink can't tell that an incident is over; please report this bug";
        vec![AttemptOutcome::Refused { reason: reason.to_owned() }; resolved.len()]
    }

    /// Takes in a finding that an earlier run, or another replica, has delivered: the sink may have to go on with it by
    /// itself.
    fn remember(&self, _finding: &Finding) {}

    /// Takes in that another replica leads now: what the sink would still send by itself, it forgets.
    fn stand_by(&self) {}

    /// Delivers a finding that is marked as a test, once, and returns what became of it.
    ///
    /// # Cancel safety
    ///
    /// The test may still arrive.
    async fn deliver_test(&self, test: &TestFinding) -> TestOutcome {
        let outcomes = self.deliver(&[Delivery::from(test.finding())]).await;
        let outcome = outcomes.into_iter().next().unwrap_or_else(|| AttemptOutcome::Refused {
            reason: "the sink did not say what became of it; please report this bug".to_owned(),
        });
        TestOutcome::new(outcome, format!("look there for {:?}", TestFinding::MESSAGE))
    }
}

/// A finding on its way to one sink.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is delivered.
    pub finding: Arc<Finding>,
    /// When this sink was last due to hear of the same container of the same workload, if this finding was
    /// gathered after that.
    pub previous: Option<Instant>,
    /// When the sink hears next of that container at the latest, if there is more to tell; `None` if nothing is
    /// gathered.
    pub next: Option<Instant>,
    /// Further kills that this delivery tells as a count; only where [`Sink::max_named`] allows it.
    pub more: Option<MoreKills>,
    /// The other sinks that the finding is owed to, for a sink that [`SinkType::remembers`]; `None` where no
    /// ledger is kept.
    pub owed: Option<OwedSinks>,
}

impl Delivery {
    /// Makes a delivery of a finding that was not gathered.
    pub fn new(finding: Arc<Finding>) -> Self {
        Self { finding, previous: None, next: None, more: None, owed: None }
    }
}

impl From<Finding> for Delivery {
    fn from(finding: Finding) -> Self {
        Self::new(Arc::new(finding))
    }
}

/// Kills in the same workload, told as a count.
#[derive(Clone, Debug)]
pub struct MoreKills {
    /// How many they are, at least 1.
    pub kills: u64,
    /// In how many Pods; in more than these if `pods_are_more`.
    pub pods: usize,
    /// Whether there are too many Pods to count.
    pub pods_are_more: bool,
    /// Whether all of them are of the container of the delivery's own finding.
    pub same_container: bool,
    /// The last of them.
    pub last: Arc<Finding>,
}

/// What became of one finding in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It is stored.
    Delivered,
    /// It was stored before, by this program or another replica of it.
    Duplicate,
    /// It is not stored; a retry may succeed.
    Retry {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
        /// How long the other side asks to be left alone, if it does.
        after: Option<Duration>,
    },
    /// It is not stored, and a retry would fail in the same way.
    Refused {
        /// What was tried, what the answer was, and what to do. Carries no secret.
        reason: String,
    },
    /// It is not stored and no loss: its place, such as its namespace, is gone.
    Gone {
        /// What is gone.
        reason: String,
    },
}

impl AttemptOutcome {
    /// Returns why it is not stored, if it isn't.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Delivered | Self::Duplicate => None,
            Self::Retry { reason, .. } | Self::Refused { reason } | Self::Gone { reason } => Some(reason),
        }
    }
}

/// How much a sink takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkLimits {
    /// Findings in one call of [`Sink::deliver`], at least 1.
    pub batch: usize,
    /// Calls of [`Sink::deliver`] under way at once, at least 1. A namespace may use at most as many as are
    /// still free: the first gets half, the next a quarter. So there is room for others, however many
    /// namespaces answer slowly or not at all.
    pub concurrency: usize,
    /// The least time from the beginning of one call to that of the next.
    pub interval: Duration,
    /// How long one call may take before it is cancelled.
    pub timeout: Duration,
}

/// A type of sink: its name in the configuration, what it needs and what it does.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub struct SinkType {
    /// The word after `type:` in the configuration.
    pub name: &'static str,
    /// Whether it needs [`SinkContext::kubernetes`].
    pub needs_cluster: bool,
    /// Whether a restarted program can read back from it which kills were reported.
    pub remembers: bool,
    /// Whether it writes to standard output.
    pub owns_stdout: bool,
    /// Whether it can tell that an incident is over ([`Sink::resolve`]), and so has the key `send_resolved`.
    pub tells_resolved: bool,
    /// How findings are gathered unless the configuration says otherwise.
    pub grouping: Grouping,
    /// Reads the settings that only this type has. Notes errors in the section, and then returns `None`.
    pub read: fn(&mut ConfigSection<'_>) -> Option<Arc<dyn SinkSettings>>,
}

impl SinkType {
    /// A type that needs nothing and gathers nothing. Other types state how they differ from it.
    pub const PLAIN: Self = Self {
        name: "",
        needs_cluster: false,
        remembers: false,
        owns_stdout: false,
        tells_resolved: false,
        grouping: Grouping::NONE,
        read: |_| None,
    };
}

impl fmt::Debug for SinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How long findings about one container of one workload are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// How long the first finding waits for others.
    pub wait: Duration,
    /// The least time between two deliveries after that; zero delivers at once.
    pub interval: Duration,
}

impl Grouping {
    /// Gathers nothing: every finding is due at once.
    pub const NONE: Self = Self { wait: Duration::ZERO, interval: Duration::ZERO };
}

/// The settings of one sink, read and valid.
///
/// `Debug` shows no secret.
pub trait SinkSettings: fmt::Debug + Send + Sync {
    /// Makes the sink, without connecting to anything.
    ///
    /// # Errors
    ///
    /// Something that it needs is missing.
    fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError>;

    /// Returns what is valid but may not be meant, as a sentence about the sink without its subject.
    fn warning(&self) -> Option<&'static str> {
        None
    }
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
            // Its own text is part of this error's text.
            Self::Failed { source, .. } => source.source(),
        }
    }
}

/// What a sink may use of the program.
#[derive(Clone)]
pub struct SinkContext {
    /// The client of the cluster, if [`SinkType::needs_cluster`].
    pub kubernetes: Option<kube::Client>,
    /// Whether standard output is the only sink.
    pub only_stdout: bool,
}

/// All types of sinks.
pub const TYPES: &[SinkType] =
    &[alertmanager::TYPE, kubernetes::TYPE, slack::TYPE, stdout::TYPE, webhook::TYPE];
