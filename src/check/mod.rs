//! Will it work? Shows what holds of the configuration and where each value was written, then
//! delivers a test finding to each sink. Goes in: what [`Config::load`](crate::config::Config::load)
//! found. Comes out on stdout: YAML, then a line for each sink.

mod send;
mod show;

use std::io::{self, ErrorKind, Write};

use crate::config::Loaded;

pub use send::send;

/// Prints the configuration; what there is to warn of goes to stderr.
///
/// # Errors
///
/// A sentence, if it can't be printed.
pub fn show(loaded: &Loaded) -> Result<(), String> {
    for warning in &loaded.warnings {
        // Where stderr is closed, nobody wants to know.
        writeln!(io::stderr(), "warning: {warning}").unwrap_or_default();
    }
    print(&show::yaml(&loaded.resolved)?)
}

/// Prints to stdout, at once. A reader that has had enough is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("can't write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}
