//! What the measuring command tells the synthetic API server, which is a process of its own so that
//! their CPU times can be told apart: one order a line, one answer a line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::objects::Encoding;

/// What is to happen in the cluster.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Wait until this is watched. Answer: whether it is.
    Await { resources: Vec<Resource>, within: Duration },
    /// Send so many changes, as fast as they are taken; then, if asked to, kill a container and wait
    /// until it is told of. Answer: whether it was.
    Flood { resource: Resource, changes: u64, then_kill: bool },
    /// Let this happen in a second, for so long. Answer: [`Delays`].
    Churn { changes: u64, kills: u32, lasting: Duration },
    /// Let this happen as fast as it goes. Answer: [`Delays`], without the delays.
    Day { changes: u64, kills: u64 },
    /// Answer: [`Tally`].
    Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    Pods,
    Events,
}

/// How long after what confirmed it each kill was told of.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delays {
    pub kills: usize,
    pub found: usize,
    pub told_after: Vec<Duration>,
}

/// What was asked of the API server so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub watches: u64,
    /// Lists, of whatever length, and anything else but watches.
    pub others: u64,
    /// Lists of Pods, page by page.
    pub pages: u64,
    /// Both ways, TLS included.
    pub bytes: u64,
    /// What was answered in last.
    pub encoding: Encoding,
}
