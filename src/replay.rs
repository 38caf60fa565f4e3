//! Sends a recorded watch stream through the filter and prints one finding a line, whatever its age.
//! Nothing is remembered between two calls.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
};

use sinks::stdout::line;
use thiserror::Error;

use crate::{
    cli::RecordingSource,
    filter::{Conclusion, Filter, FilterSettings},
    source::recording::{self, RecordingError},
};

/// Why a replay ended before its input did.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file can't be opened.
    #[error("can't read {name}")]
    Open {
        /// The file's path.
        name: String,
        /// Why it can't.
        source: io::Error,
    },
    /// The input can't be read. The findings before that place are printed.
    #[error("{name}")]
    Recording {
        /// The file's path, or `stdin`.
        name: String,
        /// The place, and what is wrong there.
        source: RecordingError,
    },
    /// The findings can't be printed.
    #[error("can't write the findings")]
    Output(#[from] io::Error),
}

/// Prints to stdout what the filter finds in a recording. A reader that stops reading is no failure.
///
/// # Errors
///
/// The recording can't be read, or the findings can't be printed.
pub fn run(recording: &RecordingSource, settings: FilterSettings) -> Result<(), ReplayError> {
    let mut stdout = io::stdout().lock();
    let replayed = match recording {
        RecordingSource::Stdin => replay("stdin", io::stdin().lock(), settings, &mut stdout),
        RecordingSource::File(path) => {
            let name = path.display().to_string();
            match File::open(path) {
                Ok(file) => replay(&name, BufReader::new(file), settings, &mut stdout),
                Err(source) => Err(ReplayError::Open { name, source }),
            }
        }
    };
    match replayed {
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        replayed => replayed,
    }
}

/// Prints what the filter finds in `input` to `output`, each line as it is found. Errors call the input
/// `name`.
///
/// # Errors
///
/// At the first line that can't be read or written.
fn replay(
    name: &str,
    input: impl BufRead,
    settings: FilterSettings,
    output: &mut impl Write,
) -> Result<(), ReplayError> {
    let mut filter = Filter::new(settings);
    for recorded in recording::read(input) {
        let (observation, received_at) =
            recorded.map_err(|source| ReplayError::Recording { name: name.to_owned(), source })?;
        print(filter.observe(observation, received_at), output)?;
    }
    Ok(print(filter.finish(), output)?)
}

fn print(conclusions: Vec<Conclusion>, output: &mut impl Write) -> io::Result<()> {
    for conclusion in conclusions {
        if let Conclusion::Finding(finding) = conclusion {
            output.write_all((line(&finding) + "\n").as_bytes())?;
            output.flush()?;
        }
    }
    Ok(())
}
