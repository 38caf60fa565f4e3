//! What the fan-out makes of sinks that misbehave. Time is paused: it jumps to the next timer
//! whenever everything waits.

mod books;
mod calls;
mod drain;
mod fakes;
mod leadership;
mod ledger;
mod replicas;
mod resolutions;
mod retries;
mod schedule;
mod shares;

pub(crate) use fakes::finding;
