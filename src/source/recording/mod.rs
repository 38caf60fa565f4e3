//! Reads what kubectl printed of Pods and Events, as the observations that a watch of the cluster would
//! have given, each with the time it was received.
//!
//! | what stands there | is read as |
//! |---|---|
//! | `{"type":…,"object":…}` of `--watch --output-watch-events` | that change |
//! | the same with a list in it, as kubectl prints what it watches from if that is more than 500 objects | that change of each of its items |
//! | an object, of `get -o json`, with or without `--watch` | its newest state |
//! | an object with `items`, such as a `List` or a `PodList` | its items, one after the other |
//! | a JSON array, of `jq --slurp` | what stands in it, one after the other |
//! | an object of any other kind | nothing |
//!
//! One follows the other in any mixture, pretty-printed or not. Events may be of `v1` or of
//! `events.k8s.io`. The items of a `PodList` don't say their kind: the list does, or what they consist of.
//!
//! | file | what it does |
//! |---|---|
//! | `text` | reads UTF-8 or UTF-16, and knows the place |
//! | `values` | cuts it into objects |
//! | `shape` | tells what an object is |
//! | `contents` | counts them, for a line at the end |

mod contents;
mod shape;
mod text;
mod values;

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

pub use contents::RecordingContents;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use shape::ObjectType;
use thiserror::Error;
use values::{RecordedValue, RecordedValues};

use super::{Observation, Scope, mend::read_json, objects::Event};

/// Why a recording can't be read any further.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// Reading failed.
    #[error("line {line}: can't read on")]
    Unreadable {
        /// The line, from 1.
        line: usize,
        /// What the system said.
        source: io::Error,
    },
    /// It isn't JSON.
    #[error("line {line}: this is no JSON but begins with `{begins_with}`. {EXPECTED}")]
    NoJson {
        /// The line, from 1.
        line: usize,
        /// The first word of it.
        begins_with: String,
    },
    /// It ends in the middle of an object.
    #[error("line {line}: the object that begins here has no end. {EXPECTED}")]
    Unfinished {
        /// The line that the object begins in, from 1.
        line: usize,
    },
    /// It isn't what kubectl prints.
    #[error("line {line}: {reason}. {EXPECTED}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

const EXPECTED: &str = "Expected what `kubectl get pods -o json` prints, with or without `--watch` and \
                        `--output-watch-events`";

/// An observation, and when it was received, if the recording says so.
pub type Recorded = (Observation, Option<Timestamp>);

/// What stands in a recording, from its beginning on. It doesn't wait for more than the next object. Nothing
/// follows an error.
pub struct Recording<R> {
    values: RecordedValues<R>,
    /// What a list in a change showed besides what was taken of it so far.
    waiting: VecDeque<Recorded>,
    is_over: bool,
    contents: RecordingContents,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ChangeKind {
    #[default]
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object with `type` and `object`")]
struct RecordedChange<'a> {
    r#type: ChangeKind,
    #[serde(borrow)]
    object: &'a RawValue,
    #[serde(default)]
    received_at: Option<Timestamp>,
}

/// The list in a change.
#[derive(Deserialize)]
struct RecordedList<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Reads a recording.
pub fn read<R: BufRead>(input: R) -> Recording<R> {
    Recording {
        values: RecordedValues::new(input),
        waiting: VecDeque::new(),
        is_over: false,
        contents: RecordingContents::default(),
    }
}

impl<R> Recording<R> {
    /// Returns what stood in it, as far as it was read.
    pub fn contents(&self) -> &RecordingContents {
        &self.contents
    }

    fn take_value(&mut self, value: &RecordedValue) -> Result<Option<Recorded>, RecordingError> {
        let json = value.json.as_str();
        let said = ObjectType::of(json).map_err(|error| value.malformed(json, &error))?;
        if let Some(known) = said.or_guessed(json, value.listed_as.as_ref()) {
            let taken = self.take_object(&known, json, ChangeKind::default(), None);
            return taken.map_err(|error| value.malformed(json, &error));
        }
        if value.is_item && !said.is_change {
            self.contents.count_other(&said, json);
            return Ok(None);
        }
        let change = serde_json::from_str::<RecordedChange<'_>>(json);
        let RecordedChange { r#type, object, received_at } =
            change.map_err(|error| value.malformed(json, &error))?;
        let json = object.get();
        let said = ObjectType::of(json).map_err(|error| value.malformed(json, &error))?;
        if let (Some(items_are), Ok(list)) = (said.clone().of_items(), serde_json::from_str(json)) {
            let RecordedList { items } = list;
            for item in items {
                let item = item.get();
                let taken = self.take_item(&items_are, item, r#type, received_at);
                self.waiting.extend(taken.map_err(|error| value.malformed(item, &error))?);
            }
            return Ok(self.waiting.pop_front());
        }
        let known = said.or_guessed(json, None).unwrap_or(said);
        self.take_object(&known, json, r#type, received_at).map_err(|error| value.malformed(json, &error))
    }

    /// Counts an item of a list in a change, as [`take_object`](Self::take_object) does.
    fn take_item(
        &mut self,
        items_are: &ObjectType,
        json: &str,
        change: ChangeKind,
        received_at: Option<Timestamp>,
    ) -> serde_json::Result<Option<Recorded>> {
        let said = ObjectType::of(json)?;
        let known = said.or_guessed(json, Some(items_are)).unwrap_or(said);
        self.take_object(&known, json, change, received_at)
    }

    /// Counts an object to which this happened. Returns what it shows, if it is of a kind that is needed.
    fn take_object(
        &mut self,
        known: &ObjectType,
        json: &str,
        change: ChangeKind,
        received_at: Option<Timestamp>,
    ) -> serde_json::Result<Option<Recorded>> {
        if change == ChangeKind::Bookmark {
            return Ok(None);
        }
        let group_and_kind = known.group_and_kind();
        let observation = match (group_and_kind, change) {
            (("", "Pod"), ChangeKind::Added | ChangeKind::Modified) => {
                Some(Observation::Changed(Scope::WHOLE, read_json(json.as_bytes())?))
            }
            (("", "Pod"), ChangeKind::Deleted) => {
                Some(Observation::Deleted(Scope::WHOLE, read_json(json.as_bytes())?))
            }
            (("" | "events.k8s.io", "Event"), ChangeKind::Added | ChangeKind::Modified) => {
                witness(read_json(json.as_bytes())?)
            }
            _ => None,
        };
        match group_and_kind {
            ("", "Pod") | ("" | "events.k8s.io", "Event") => self.contents.count_useful(),
            _ => self.contents.count_other(known, json),
        }
        Ok(observation.map(|observation| (observation, received_at)))
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<Recorded, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            if let Some(recorded) = self.waiting.pop_front() {
                return Some(Ok(recorded));
            }
            let taken = match self.values.next_value() {
                Ok(Some(value)) => self.take_value(&value),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            self.is_over = taken.is_err();
            if let Some(recorded) = taken.transpose() {
                return Some(recorded);
            }
        }
        self.is_over = true;
        None
    }
}

/// Returns what an Event tells, if it is of those that a cluster is watched for.
fn witness(event: Event) -> Option<Observation> {
    match event.node_oom() {
        Some(oom) => Some(Observation::NodeRanOut(oom)),
        None => event.into_started().map(Observation::Started),
    }
}

#[cfg(test)]
mod tests;
