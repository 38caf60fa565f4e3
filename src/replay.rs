//! Sends a recorded watch stream through the filter. Goes in: what a watch printed. Comes out: one
//! finding a line, whatever its age; nothing is remembered between two calls.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
};

use sinks::stdout::line;
use thiserror::Error;

use crate::{
    cli::Recording,
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

/// Prints to stdout what the filter finds in a recording. A reader that has had enough is no
/// failure.
///
/// # Errors
///
/// A sentence that says which recording can't be read, where, and why.
pub fn run(recording: &Recording, settings: Settings) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let (name, replayed) = match recording {
        Recording::Stdin => ("stdin".to_owned(), replay(io::stdin().lock(), settings, &mut stdout)),
        Recording::File(path) => {
            let file = File::open(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
            (path.display().to_string(), replay(BufReader::new(file), settings, &mut stdout))
        }
    };
    match replayed {
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        replayed => replayed.map_err(|error| format!("{name}: {error}")),
    }
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
