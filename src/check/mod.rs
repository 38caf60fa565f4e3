//! Shows the resolved configuration and where each value was written, then delivers a test finding to
//! each sink.
//!
//! It takes what [`Config::load`](crate::config::Config::load) returns, and prints to stdout: YAML, then a
//! line for each sink.

mod send;
mod show;

use std::io::{self, ErrorKind, Write};

use thiserror::Error;

use crate::config::LoadedConfig;

pub use send::send;

/// Why a check failed.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Standard output can't be written to.
    #[error("can't write to standard output")]
    Output(#[source] io::Error),
    /// The configuration has a value that YAML can't express, which is a bug.
    #[error("can't print the configuration as YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
    /// These sinks did not get the test finding.
    #[error("the test did not reach every sink; what failed: {}", .0.join(", "))]
    Undelivered(Vec<String>),
}

/// Prints the configuration to stdout, and its warnings to stderr.
///
/// # Errors
///
/// The configuration can't be printed.
pub fn show(loaded: &LoadedConfig) -> Result<(), CheckError> {
    for warning in &loaded.warnings {
        // If stderr is closed, the warnings have no reader.
        writeln!(io::stderr(), "warning: {warning}").unwrap_or_default();
    }
    print(&show::yaml(&loaded.resolved)?)
}

/// Prints to stdout at once. A reader that stops reading is no failure.
fn print(text: &str) -> Result<(), CheckError> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CheckError::Output(error)),
        _ => Ok(()),
    }
}
