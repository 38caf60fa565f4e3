//! Watches a cluster, recognises each container start that an OOM kill preceded, and delivers one
//! finding for it. An event pipeline: **source -> filter -> fan-out -> sinks**; each stage knows
//! only its neighbour's type, and [`pipeline`] is the one place that knows all of them.

pub mod check;
pub mod cli;
pub mod config;
pub mod fanout;
pub mod filter;
pub mod health;
pub mod incidents;
pub mod logging;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod replay;
pub mod scan;
pub mod server;
pub mod source;
pub mod stop;
pub mod table;
