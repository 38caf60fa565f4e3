//! Sends a recorded watch stream through the filter. Goes in: what a watch printed. Comes out: one
//! finding a line, whatever its age; nothing is remembered between two calls.

use std::io::{self, BufRead, Write};

use sinks::stdout::line;
use thiserror::Error;

use crate::{
    filter::{Filter, Settings, Verdict},
    source::recording::{self, RecordingError},
};

/// Why a replay ended before its input did.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The input can't be read. The findings before that place are printed.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The findings can't be printed.
    #[error("can't write the findings: {0}")]
    Output(#[from] io::Error),
}

/// Prints what the filter finds in `input` to `output`, each line as it is found.
///
/// # Errors
///
/// At the first line that can't be read or written.
pub fn replay(input: impl BufRead, settings: Settings, output: &mut impl Write) -> Result<(), ReplayError> {
    let mut filter = Filter::new(settings);
    for recorded in recording::read(input) {
        let (observation, received_at) = recorded?;
        print(filter.observe(observation, received_at), output)?;
    }
    Ok(print(filter.finish(), output)?)
}

fn print(verdicts: Vec<Verdict>, output: &mut impl Write) -> io::Result<()> {
    for verdict in verdicts {
        if let Verdict::Finding(finding) = verdict {
            output.write_all((line(&finding) + "\n").as_bytes())?;
            output.flush()?;
        }
    }
    Ok(())
}
