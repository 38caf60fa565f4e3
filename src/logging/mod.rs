//! Sets up the log: to stderr, as text for people or as JSON for collectors.

mod clean;
mod throttle;

use std::{
    io::{self, IsTerminal},
    panic,
};

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use clean::JsonLines;
pub use throttle::LogThrottle;
use untrusted::one_line;

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// What an operator should know: `-v 0`.
    Info,
    /// Also each step: `-v 1`.
    Debug,
    /// All there is: `-v 2` and more.
    Trace,
}

/// Starts the log. Only this workspace's crates log, at any verbosity: what goes wrong in other crates is
/// logged by ours with a remedy, and their own lines about requests may show secrets. A panic is logged too.
pub fn start(format: LogFormat, verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Info => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    };
    let own = ["kubernetes_oom_event_generator", "cluster", "sinks"].map(|target| (target, level));
    let targets = Targets::new().with_targets(own);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => {
            let lines = fmt::layer().fmt_fields(clean::text_fields());
            registry.with(lines.with_writer(io::stderr).with_ansi(io::stderr().is_terminal())).init();
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().with_writer(|| JsonLines(io::stderr()))).init();
        }
    }
    panic::set_hook(Box::new(|panic| tracing::error!("{}", one_line(&panic.to_string()))));
}
