//! Sends a recorded watch stream through the filter and prints its findings, whatever their age: one a line as
//! they are found, or a table of them at the end. Nothing is remembered between two calls.
//!
//! What a Pod's first state shows may be the last of many kills. So a finding has its incident only where the
//! recording shows more than one state of its Pod.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
};

use finding::{AdvicePolicy, Finding};
use sinks::stdout::line;
use thiserror::Error;

use crate::{
    cli::{RecordingSource, ReplayArguments, ReplayFormat, SortOrder, TableFormat},
    filter::{Conclusion, Filter, FilterSettings},
    incidents::Incidents,
    scan::print_kills,
    source::{
        Observation,
        recording::{self, RecordingError},
    },
    table::ListedKill,
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
pub fn run(arguments: &ReplayArguments, settings: FilterSettings) -> Result<(), ReplayError> {
    let replayed = match arguments.output {
        ReplayFormat::Json => replay_source(&arguments.recording, settings, |finding| print(&finding)),
        ReplayFormat::Table => {
            let mut kills = Vec::new();
            let replayed = replay_source(&arguments.recording, settings, |finding| {
                let restarts = finding.restarted.as_ref().and_then(|restarted| restarted.restart_count);
                kills.push(ListedKill { finding, restarts });
                Ok(())
            });
            let nothing = || "No OOM kill: nothing in the recording shows one.".to_owned();
            let printed = if kills.is_empty() && replayed.is_err() {
                Ok(())
            } else {
                print_kills(kills, TableFormat::Table, SortOrder::Time, nothing)
            };
            replayed.and(printed.map_err(ReplayError::Output))
        }
    };
    match replayed {
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        replayed => replayed,
    }
}

fn replay_source(
    recording: &RecordingSource,
    settings: FilterSettings,
    take: impl FnMut(Finding) -> io::Result<()>,
) -> Result<(), ReplayError> {
    match recording {
        RecordingSource::Stdin => replay("stdin", io::stdin().lock(), settings, take),
        RecordingSource::File(path) => {
            let name = path.display().to_string();
            match File::open(path) {
                Ok(file) => replay(&name, BufReader::new(file), settings, take),
                Err(source) => Err(ReplayError::Open { name, source }),
            }
        }
    }
}

/// Gives `take` what the filter finds in `input`, each finding as it is found, and at the end says on stderr
/// what there was. Errors call the input `name`.
///
/// # Errors
///
/// At the first line that can't be read, or finding that can't be taken.
fn replay(
    name: &str,
    input: impl BufRead,
    settings: FilterSettings,
    mut take: impl FnMut(Finding) -> io::Result<()>,
) -> Result<(), ReplayError> {
    let mut past = RecordedPast { advice: settings.advice, ..RecordedPast::default() };
    let (mut filter, mut kills) = (Filter::new(settings), 0);
    let mut take_all = |conclusions: Vec<Conclusion>, past: &mut RecordedPast| {
        conclusions.into_iter().try_for_each(|conclusion| match conclusion {
            Conclusion::Finding(finding) => {
                kills += 1;
                take(past.complete(*finding))
            }
            Conclusion::UnobservedEnds { .. } => Ok(()),
        })
    };
    let mut recording = recording::read(input);
    for recorded in recording.by_ref() {
        let (observation, received_at) =
            recorded.map_err(|source| ReplayError::Recording { name: name.to_owned(), source })?;
        past.see(&observation);
        take_all(filter.observe(observation, received_at), &mut past)?;
    }
    take_all(filter.finish(), &mut past)?;
    Ok(writeln!(io::stderr(), "{}", recording.contents().summary(kills))?)
}

/// What the recording has shown so far.
#[derive(Default)]
struct RecordedPast {
    incidents: Incidents,
    advice: Option<AdvicePolicy>,
    /// The Pods by their UIDs, and whether more than one state of them was seen.
    pods: BTreeMap<String, bool>,
}

impl RecordedPast {
    fn see(&mut self, observation: &Observation) {
        if let Observation::Changed(_, pod) | Observation::Deleted(_, pod) = observation {
            self.pods.entry(pod.metadata.uid.clone()).and_modify(|again| *again = true).or_default();
        }
    }

    /// Adds what the incident of a kill tells.
    fn complete(&mut self, mut finding: Finding) -> Finding {
        let history = self.incidents.add(&mut finding);
        finding.explain(self.advice.as_ref(), &history);
        if !self.pods.get(&finding.pod.uid).is_some_and(|again| *again) {
            finding.incident = None;
        }
        finding
    }
}

fn print(finding: &Finding) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all((line(finding) + "\n").as_bytes())?;
    stdout.flush()
}
