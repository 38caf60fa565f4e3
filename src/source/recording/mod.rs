//! Reads what kubectl printed of Pods and Events, as the observations that a watch of the cluster would
//! have given, each with the time it was received.
//!
//! | what stands there | is read as |
//! |---|---|
//! | `{"type":…,"object":…}` of `--watch --output-watch-events` | that change |
//! | an object, of `get -o json`, with or without `--watch` | its newest state |
//! | a `List`, `PodList` or `EventList` | its items, one after the other |
//! | a JSON array, of `jq --slurp` | what stands in it, one after the other |
//! | an object of any other kind | nothing |
//!
//! One follows the other in any mixture, pretty-printed or not. Events may be of `v1` or of
//! `events.k8s.io`.

mod values;

use std::{
    io::{self, BufRead},
    iter, mem,
    ops::Range,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use values::{RecordedValue, RecordedValues};

use super::{Observation, Scope, objects::Event};

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

/// Reads a recording from its beginning, without waiting for more than the next object. Nothing follows an
/// error.
pub fn read(input: impl BufRead) -> impl Iterator<Item = Result<Recorded, RecordingError>> {
    let (mut values, mut parts, mut failed) = (RecordedValues::new(input), None::<ValueParts>, false);
    let next = move || loop {
        if let Some(recorded) = parts.as_mut().and_then(ValueParts::next) {
            return Some(recorded);
        }
        parts = None;
        match values.next()? {
            Ok(value) => parts = Some(ValueParts::of(value)),
            Err(error) => return Some(Err(error)),
        }
    };
    iter::from_fn(next).take_while(move |recorded| !mem::replace(&mut failed, recorded.is_err()))
}

/// What is still to be read of a value.
struct ValueParts {
    value: RecordedValue,
    /// The first is the last.
    parts: Vec<ValuePart>,
}

/// A part of a value, by the place where it stands.
struct ValuePart {
    range: Range<usize>,
    context: PartContext,
}

/// What is known of a part before it is read.
#[derive(Clone, Copy, Default)]
struct PartContext {
    /// What happened to the object, if it stands in a watch event.
    change: Option<ChangeKind>,
    received_at: Option<Timestamp>,
    /// The object's kind where it doesn't say it itself: the items of a `PodList` don't.
    kind: &'static str,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ChangeKind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// What came of reading a part.
enum PartContent {
    Parts(Vec<ValuePart>),
    Observation(Option<Recorded>),
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ObjectType {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
}

#[derive(Deserialize)]
struct ObjectList<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

impl ValueParts {
    fn of(value: RecordedValue) -> Self {
        let whole = ValuePart { range: 0..value.json().len(), context: PartContext::default() };
        Self { value, parts: vec![whole] }
    }

    fn read(&self, ValuePart { range, context }: ValuePart) -> serde_json::Result<PartContent> {
        let json = &self.value.json()[range];
        if json.starts_with('[') {
            return Ok(self.split(&serde_json::from_str::<Vec<_>>(json)?, context));
        }
        let ObjectType { kind, api_version } = serde_json::from_str(json)?;
        if kind.is_none() && context.change.is_none() {
            let RecordedChange { r#type, object, received_at } = serde_json::from_str(json)?;
            return Ok(self.split(&[object], PartContext { change: Some(r#type), received_at, kind: "" }));
        }
        let kind = kind.as_deref().unwrap_or(context.kind);
        let kind_of_items = match kind {
            "List" => Some(""),
            "PodList" => Some("Pod"),
            "EventList" => Some("Event"),
            _ => None,
        };
        if let Some(kind) = kind_of_items {
            let ObjectList { items } = serde_json::from_str(json)?;
            let change = context.change.or(Some(ChangeKind::Added));
            return Ok(self.split(&items.unwrap_or_default(), PartContext { change, kind, ..context }));
        }
        let group = api_version
            .as_deref()
            .map_or("", |version| version.split_once('/').map_or("", |(group, _)| group));
        let observation = observation((group, kind), context.change, json)?;
        Ok(PartContent::Observation(observation.map(|observation| (observation, context.received_at))))
    }

    fn split(&self, parts: &[&RawValue], context: PartContext) -> PartContent {
        let part = |part: &&RawValue| ValuePart { range: self.value.range_of(part), context };
        PartContent::Parts(parts.iter().rev().map(part).collect())
    }
}

impl Iterator for ValueParts {
    type Item = Result<Recorded, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(part) = self.parts.pop() {
            let begin = part.range.start;
            match self.read(part) {
                Ok(PartContent::Parts(parts)) => self.parts.extend(parts),
                Ok(PartContent::Observation(Some(recorded))) => return Some(Ok(recorded)),
                Ok(PartContent::Observation(None)) => {}
                Err(error) => return Some(Err(self.value.malformed(begin, &error))),
            }
        }
        None
    }
}

/// Returns what an object shows to which this happened; nothing if it is of a kind that isn't needed.
fn observation(
    group_and_kind: (&str, &str),
    change: Option<ChangeKind>,
    json: &str,
) -> serde_json::Result<Option<Observation>> {
    Ok(match (group_and_kind, change.unwrap_or(ChangeKind::Added)) {
        (("", "Pod"), ChangeKind::Added | ChangeKind::Modified) => {
            Some(Observation::Changed(Scope::WHOLE, serde_json::from_str(json)?))
        }
        (("", "Pod"), ChangeKind::Deleted) => {
            Some(Observation::Deleted(Scope::WHOLE, serde_json::from_str(json)?))
        }
        (("" | "events.k8s.io", "Event"), ChangeKind::Added | ChangeKind::Modified) => {
            witness(serde_json::from_str(json)?)
        }
        _ => None,
    })
}

/// Returns what an Event tells, if it is of those that a cluster is watched for.
fn witness(event: Event) -> Option<Observation> {
    match event.node_oom() {
        Some(oom) => Some(Observation::NodeRanOut(oom)),
        None => event.into_started().map(Observation::Started),
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

    /// How many observations there are, all of which can be read.
    #[track_caller]
    fn count(input: impl AsRef<[u8]>) -> usize {
        read(input.as_ref()).map(Result::unwrap).count()
    }

    fn pretty(json: &str) -> String {
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn pretty_printed_and_one_a_line_read_the_same() {
        assert_eq!(count(format!("{POD}\n\n{}\n{POD}{POD}", pretty(POD))), 4);
    }

    #[test]
    fn every_encoding_that_a_shell_writes_is_read() {
        let text = format!("{}\r\n", pretty(&POD.replace("uid\":\"u", "uid\":\"😀")).replace('\n', "\r\n"));
        for encoded in [
            text.clone().into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(&text, u16::to_le_bytes),
            utf16(&text, u16::to_be_bytes),
        ] {
            let (read, _) = read(&*encoded.repeat(2)).next().unwrap().unwrap();
            assert!(matches!(read, Observation::Changed(_, pod) if pod.metadata.uid == "😀"));
            assert_eq!(count(encoded.repeat(2)), 2);
        }
    }

    #[test]
    fn an_object_is_its_newest_state_wherever_it_stands() {
        let change: serde_json::Value = serde_json::from_str(POD).unwrap();
        let pod = change["object"].to_string();
        let bare = r#"{"metadata":{"name":"p","namespace":"n","uid":"u"}}"#;
        let list = |kind: &str, item: &str| format!(r#"{{"items":[{item},{item}],"kind":"{kind}"}}"#);
        for (text, observations) in [
            (pod.clone(), 1),
            (format!("{pod}\n{}\n{POD}", pretty(&pod)), 3),
            (list("List", &pod), 2),
            (list("List", &list("List", &pod)), 4),
            (list("PodList", bare), 2),
            (list("List", bare), 0),
            (list("PodMetricsList", bare), 0),
            (pretty(&format!("[{POD},[{pod}],{}]", list("PodList", bare))), 4),
            (r#"{"kind":"List","items":null}"#.to_owned(), 0),
            ("[]".to_owned(), 0),
            (String::new(), 0),
        ] {
            assert_eq!(count(&text), observations, "{text}");
        }
    }

    #[test]
    fn events_of_both_groups_tell_the_same() {
        let (core, newer) = (
            r#"{"apiVersion":"v1","kind":"Event","reason":"Started","message":"Started container",
                "involvedObject":{"kind":"Pod","namespace":"n","name":"p","uid":"u","fieldPath":"spec.containers{c}"},
                "lastTimestamp":"2026-05-01T12:00:00Z","eventTime":null,"series":null,"metadata":{}}"#,
            r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","reason":"Started","note":"Started container",
                "regarding":{"kind":"Pod","namespace":"n","name":"p","uid":"u","fieldPath":"spec.containers{c}"},
                "deprecatedLastTimestamp":"2026-05-01T12:00:00Z","eventTime":null,"metadata":{}}"#,
        );
        let started = |text: &str| match all(text).remove(0).unwrap() {
            (Observation::Started(started), None) => started,
            other => panic!("{other:?}"),
        };
        assert_eq!(started(core), started(newer));
        assert_eq!(count(core.replace("\"v1\"", "\"eventing.example/v1\"")), 0);
    }

    #[test]
    fn a_finding_need_not_wait_for_what_follows() {
        struct OpenPipe<'a>(&'a [u8]);
        impl io::Read for OpenPipe<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(!self.0.is_empty(), "it waits for more");
                self.0.read(buffer)
            }
        }
        let pretty = pretty(POD);
        let mut recorded = read(io::BufReader::with_capacity(7, OpenPipe(pretty.as_bytes())));
        assert!(recorded.next().unwrap().is_ok());
    }

    #[test]
    fn a_broken_line_is_named_and_ends_the_reading() {
        let pretty = "{\n \"type\": \"ADDED\",\n \"object\": {\"kind\":\"Pod\",\n \"metadata\": 5}\n}";
        for (text, place) in [
            (format!("{POD}\n\nnonsense\n{POD}"), "line 3: this is no JSON but begins with `nonsense`"),
            (format!("{POD}\nNAME  READY\n"), "line 2: this is no JSON but begins with `NAME`"),
            (format!("{POD}\n{{\"type\":\"ADDED\"}}\n{POD}"), "line 2: missing field `object` (column 16)"),
            (format!("{POD}\n{{\"type\":\"GONE\",\"object\":{{}}}}\n"), "line 2: unknown variant `GONE`"),
            (format!("{POD}\n{{}}\n"), "line 2: missing field `type` (column 2)"),
            (format!("{POD}\n{pretty}"), "line 5: invalid type: integer `5`"),
            (format!("{POD} {pretty}"), "line 4: invalid type: integer `5`"),
            (
                format!("{POD}\n[\n{POD},\n5]"),
                "line 4: invalid type: integer `5`, expected an object (column 1)",
            ),
            (format!("{POD}\n{}", &POD[..50]), "line 2: the object that begins here has no end"),
            (format!("{POD}\n{}\n{POD}", &POD[..8]), "line 2: the object that begins here has no end"),
            (format!("{POD}\n{{\n1"), "line 3: key must be a string (column 1)"),
        ] {
            let read = all(&text);
            assert_eq!(read.iter().position(Result::is_err), Some(read.len() - 1), "{text}");
            let error = read.last().unwrap().as_ref().unwrap_err().to_string();
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
            r#"{"kind":"Secret","type":"Opaque"}"#,
            r#"{"kind":"AllowList","items":{}}"#,
            r#"{"kind":"Pod","apiVersion":"example/v1"}"#,
        ];
        assert_eq!(count(lines.join("\n")), 0);
    }
}
