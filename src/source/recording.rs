//! Reads a recorded watch stream: what `kubectl get pods --watch --output-watch-events -o json`
//! prints, Pods and Events mixed, pretty-printed or one to a line. Goes in: bytes. Comes out: the
//! observations that a watch of the cluster would have given, each with the time it was received.

use std::io::{self, BufRead};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use super::{
    Observation, Scope, answer,
    objects::{Event, Pod},
};

/// Why a recording can't be read any further.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// Reading failed.
    #[error("line {line}: can't read on: {source}")]
    Unreadable {
        /// The line, from 1.
        line: usize,
        /// What the system said.
        source: io::Error,
    },
    /// It isn't JSON, or isn't what a watch prints.
    #[error(
        "line {line}: {reason}. Expected what `kubectl get pods --watch --output-watch-events -o json` prints"
    )]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

/// An observation, and when it was received, if the recording says so.
pub type Recorded = (Observation, Option<Timestamp>);

/// Reads a recording from its beginning. Nothing follows an error.
pub fn read(input: impl BufRead) -> impl Iterator<Item = Result<Recorded, RecordingError>> {
    let mut values = Values { input, line: 0, text: Vec::new() };
    let mut failed = false;
    std::iter::from_fn(move || {
        while !failed {
            let recorded = match values.next_value() {
                Ok(None) => return None,
                Ok(Some(first_line)) => observation(&values.text, first_line),
                Err(error) => Err(error),
            };
            failed = recorded.is_err();
            if let Some(recorded) = recorded.transpose() {
                return Some(recorded);
            }
        }
        None
    })
}

/// What is needed of a line before its object can be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `type` and `object`")]
struct Line {
    r#type: Change,
    object: Kind,
    #[serde(default)]
    received_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Change {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct Of<T> {
    object: T,
}

fn observation(text: &[u8], first_line: usize) -> Result<Option<Recorded>, RecordingError> {
    let line: Line = decode(text, first_line)?;
    let observation = match (line.r#type, line.object.kind.as_str()) {
        (Change::Added | Change::Modified, "Pod") => {
            Some(Observation::Changed(Scope::WHOLE, Box::new(decode::<Of<Pod>>(text, first_line)?.object)))
        }
        (Change::Deleted, "Pod") => {
            Some(Observation::Deleted(Scope::WHOLE, Box::new(decode::<Of<Pod>>(text, first_line)?.object)))
        }
        (Change::Added | Change::Modified, "Event") => {
            decode::<Of<Event>>(text, first_line)?.object.into_started().map(Observation::Started)
        }
        _ => None,
    };
    Ok(observation.map(|observation| (observation, line.received_at)))
}

fn decode<T: DeserializeOwned>(text: &[u8], first_line: usize) -> Result<T, RecordingError> {
    answer::decode(text).map_err(|error| {
        let line = first_line + error.line().saturating_sub(1);
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        RecordingError::Malformed { line, reason: format!("{reason} (column {})", error.column()) }
    })
}

/// Cuts the input into JSON objects by their braces, so that one may span many lines.
struct Values<R> {
    input: R,
    /// The number of the line read last, from 1.
    line: usize,
    /// The object read last.
    text: Vec<u8>,
}

impl<R: BufRead> Values<R> {
    /// Reads the next object into `text`; the answer is the number of its first line.
    fn next_value(&mut self) -> Result<Option<usize>, RecordingError> {
        self.text.clear();
        let mut first_line = None;
        let mut braces = Braces::default();
        loop {
            let begin = self.text.len();
            let length = self.input.read_until(b'\n', &mut self.text);
            let length =
                length.map_err(|source| RecordingError::Unreadable { line: self.line + 1, source })?;
            // Within an object every line is indented: one that isn't begins the next.
            let ended = length == 0 || self.text[begin..].starts_with(b"{");
            match first_line {
                Some(line) if ended => {
                    let reason = "the object that begins here has no end".to_owned();
                    return Err(RecordingError::Malformed { line, reason });
                }
                None if length == 0 => return Ok(None),
                _ => self.line += 1,
            }
            if first_line.is_none() {
                if self.text.trim_ascii().is_empty() {
                    self.text.clear();
                    continue;
                }
                first_line = Some(self.line);
            }
            if braces.closed_after(&self.text[begin..]) {
                return Ok(first_line);
            }
        }
    }
}

/// Counts the braces outside of strings.
#[derive(Default)]
struct Braces {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Braces {
    /// Whether every brace is closed at the end of this line. A line that opens none is closed too:
    /// what it is, the decoder says.
    fn closed_after(&mut self, line: &[u8]) -> bool {
        for byte in line {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        // A JSON string never spans lines: one left open is an error that the decoder explains.
        self.depth == 0 || self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u"}}}"#;

    fn all(text: &str) -> Vec<Result<Recorded, RecordingError>> {
        read(text.as_bytes()).collect()
    }

    #[test]
    fn pretty_printed_and_one_a_line_read_the_same() {
        let value: serde_json::Value = serde_json::from_str(POD).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(all(&format!("{POD}\n\n{pretty}\n{POD}")).into_iter().flatten().count(), 3);
    }

    #[test]
    fn a_broken_line_is_named_and_ends_the_reading() {
        let pretty = "{\n \"type\": \"ADDED\",\n \"object\": {\"kind\":\"Pod\",\n \"metadata\": 5}\n}";
        for (text, place) in [
            (format!("{POD}\n\nnonsense\n{POD}"), "line 3: expected ident (column 2)"),
            (format!("{POD}\n{{\"type\":\"ADDED\"}}\n{POD}"), "line 2: missing field `object` (column 16)"),
            (format!("{POD}\n{{\"type\":\"GONE\",\"object\":{{}}}}\n"), "line 2: unknown variant `GONE`"),
            (format!("{POD}\n{pretty}"), "line 5: invalid type: integer `5`"),
            (format!("{POD}\n{}", &POD[..50]), "line 2: the object that begins here has no end"),
            (format!("{POD}\n{}\n{POD}", &POD[..8]), "line 2: the object that begins here has no end"),
        ] {
            let read = all(&text);
            assert_eq!(read.len(), 2, "{text}");
            let error = read[1].as_ref().unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn what_is_no_pod_or_start_is_passed_over() {
        let lines = [
            r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"5"}}}"#,
            r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#,
            r#"{"type":"ADDED","object":{"kind":"Node"}}"#,
            r#"{"type":"DELETED","object":{"kind":"Event","reason":"Started"}}"#,
            r#"{"type":"ADDED","object":{"kind":"Event","reason":"Pulled","involvedObject":{"kind":"Pod"}}}"#,
        ];
        assert_eq!(all(&lines.join("\n")).len(), 0);
    }
}
