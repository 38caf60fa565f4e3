//! What stands in the synthetic cluster: Pods and Events, as an API server spells them. Goes in: the
//! number of a Pod and what its first container does. Comes out: JSON or Protobuf of 5-10 KB.
//!
//! Each form in which a shape of Pod is shown is prepared once; an object is a copy of it in which gaps of
//! fixed length are filled in, which takes a microsecond. So the server is faster than any client, and keeps
//! nothing.

use std::{collections::HashMap, fmt, io::Write};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::protobuf;

use super::shapes;

/// What the API server writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Encoding {
    #[default]
    Json,
    Protobuf,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        })
    }
}

/// What the first container of a Pod does. All instances of it have a number, the first one 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Container {
    /// How many instances came before the newest one.
    pub restarts: u32,
    /// What is to be seen of it.
    pub sight: Sight,
}

/// What a status shows of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The newest instance runs; those before it failed by themselves.
    #[default]
    Running,
    /// The newest instance was killed for memory just now.
    Killed,
    /// As above, and the next one has to wait.
    BackingOff,
    /// The newest instance runs; the one before it was killed for memory just now.
    Restarted,
}

/// A Pod at a moment.
#[derive(Clone, Copy, Debug)]
pub struct SpelledPod {
    pub number: u64,
    pub container: Container,
    /// Its `resourceVersion`.
    pub version: u64,
}

/// Where an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a list; in Protobuf with the head of its field.
    Listed,
    /// In a watch, with this word.
    Watched(&'static str),
    /// By itself, in JSON.
    Alone,
}

/// The moment that is shown, to the second; a kill is two before it, so that a start is later for sure.
pub struct Moment {
    now: Timestamp,
    before: Timestamp,
}

impl Moment {
    pub fn now() -> Self {
        let now = Timestamp::now();
        Self { now, before: now.checked_sub(SignedDuration::from_secs(2)).unwrap_or(now) }
    }
}

/// Spells Pods and Events.
pub struct Spelling {
    pub encoding: Encoding,
    prepared: HashMap<Form, Prepared>,
}

/// All in which two objects of a form are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    shown: Shown,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Shown {
    Pod { shape: usize, sight: Sight, is_first: bool },
    Started,
}

/// A form with its gaps, and where they are.
struct Prepared {
    bytes: Vec<u8>,
    gaps: Vec<(usize, Gap)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// What tells this Pod from others of its workload.
    Suffix,
    Workload,
    Namespace,
    Node,
    Uid,
    Hash,
    Version,
    ContainerId,
    /// The instance before that.
    LastId,
    Now,
    Before,
    Restarts,
    /// How many starts of the container its kubelet has told, with the one to come.
    Starts,
}

/// What stands for a gap in a shape, and where its value is known by, which is as long as any.
const GAPS: [(&str, Gap, &str); 13] = [
    ("<suffix>", Gap::Suffix, "6c9f7b9d4-<suffix>"),
    ("<workload>", Gap::Workload, "<workload>"),
    ("<namespace>", Gap::Namespace, "<namespace>"),
    ("<node>", Gap::Node, "ip-10-<node>.eu-central-1.compute.internal"),
    ("<uid>", Gap::Uid, "00000000-0000-4000-8000-<pod's uid->"),
    ("<hash>", Gap::Hash, "<hash---------------------------------------------------------->"),
    ("<version>", Gap::Version, "<version->"),
    ("<containerID>", Gap::ContainerId, "<container ID-------------------------------------------------->"),
    ("<lastID>", Gap::LastId, "<last ID------------------------------------------------------->"),
    ("<now>", Gap::Now, "2001-01-01T00:00:00Z"),
    ("<before>", Gap::Before, "2001-01-01T00:00:01Z"),
    ("<restarts>", Gap::Restarts, "200000001"),
    ("<starts>", Gap::Starts, "200000002"),
];

impl Spelling {
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, prepared: HashMap::new() }
    }

    /// Adds a Pod.
    pub fn pod(&mut self, out: &mut Vec<u8>, pod: &SpelledPod, moment: &Moment, place: Place) {
        let shape = usize::try_from(pod.number).unwrap_or_default() % shapes::COUNT;
        let Container { restarts, sight } = pod.container;
        self.spell(out, Shown::Pod { shape, sight, is_first: restarts == 0 }, place, pod, moment);
    }

    /// Adds the Event that tells of the start of a Pod's first container.
    pub fn started(&mut self, out: &mut Vec<u8>, pod: &SpelledPod, moment: &Moment, place: Place) {
        self.spell(out, Shown::Started, place, pod, moment);
    }

    fn spell(&mut self, out: &mut Vec<u8>, shown: Shown, place: Place, pod: &SpelledPod, moment: &Moment) {
        let encoding = if place == Place::Alone { Encoding::Json } else { self.encoding };
        let form = Form { shown, place };
        let prepared = self.prepared.entry(form).or_insert_with(|| Prepared::new(form, encoding));
        let begin = out.len();
        out.extend_from_slice(&prepared.bytes);
        for (at, gap) in &prepared.gaps {
            fill(&mut out[begin + at..], *gap, encoding, pod, moment);
        }
    }
}

impl Prepared {
    fn new(form: Form, encoding: Encoding) -> Self {
        let mut text = match form.shown {
            Shown::Pod { shape, sight, is_first } => shapes::pod(shape)
                .replace("<state>", state(sight))
                .replace("<lastState>", &last_state(sight, is_first)),
            Shown::Started => shapes::STARTED.to_owned(),
        };
        for (name, _, stands_there) in GAPS {
            text = text.replace(name, stands_there);
        }
        let kind = if form.shown == Shown::Started { "Event" } else { "Pod" };
        let bytes = match encoding {
            Encoding::Json => json(form.place, kind, &text),
            Encoding::Protobuf => in_protobuf(form.place, kind, &text),
        };
        let gaps = GAPS.iter().flat_map(|(_, gap, stands_there)| {
            let needle = needle(*gap, stands_there, encoding);
            let places = bytes.windows(needle.len()).enumerate();
            let found = places.filter(|(_, window)| *window == needle).map(|(at, _)| (at, *gap));
            found.collect::<Vec<_>>()
        });
        let gaps = gaps.collect();
        Self { bytes, gaps }
    }
}

/// What stands in the bytes where a gap is.
fn needle(gap: Gap, stands_there: &str, encoding: Encoding) -> Vec<u8> {
    let number = match gap {
        Gap::Now | Gap::Before => stands_there.parse::<Timestamp>().map(Timestamp::as_second).ok(),
        Gap::Restarts | Gap::Starts => stands_there.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if encoding == Encoding::Protobuf => {
            let mut needle = Vec::new();
            protobuf::varint(number.cast_unsigned(), &mut needle);
            needle
        }
        _ => stands_there.as_bytes().to_vec(),
    }
}

fn json(place: Place, kind: &str, fields: &str) -> Vec<u8> {
    let alone = format!(r#"{{"kind":"{kind}","apiVersion":"v1",{fields}}}"#);
    match place {
        Place::Listed => format!("{{{fields}}}"),
        Place::Watched(word) => format!(r#"{{"type":"{word}","object":{alone}}}{}"#, "\n"),
        Place::Alone => alone,
    }
    .into_bytes()
}

fn in_protobuf(place: Place, kind: &str, fields: &str) -> Vec<u8> {
    let object: Value =
        serde_json::from_str(&format!("{{{fields}}}")).unwrap_or_else(|error| panic!("{error}: {fields}"));
    match place {
        Place::Watched(word) => {
            let event = serde_json::json!({"type": word, "object": object});
            protobuf::frame(kind, &event).unwrap_or_default()
        }
        Place::Listed | Place::Alone => {
            let object = protobuf::object(kind, &object);
            let mut item = vec![2 << 3 | 2];
            protobuf::varint(object.len() as u64, &mut item);
            item.extend(object);
            item
        }
    }
}

/// The name of a Pod, which no other has.
pub fn name(pod: u64) -> String {
    format!("{}-{:02}-6c9f7b9d4-{pod:08x}", workload(pod), pod / 56 % 50)
}

fn workload(pod: u64) -> &'static str {
    const NAMES: [&str; 8] =
        ["billing", "catalog", "indexer", "ledgers", "mailing", "pricing", "reviews", "webshop"];
    NAMES.get(usize::try_from(pod / 7 % 8).unwrap_or_default()).unwrap_or(&"webshop")
}

fn state(sight: Sight) -> &'static str {
    match sight {
        Sight::Running => r#""running":{"startedAt":"2026-11-01T08:00:01Z"}"#,
        Sight::Restarted => r#""running":{"startedAt":"<now>"}"#,
        Sight::Killed => KILLED,
        Sight::BackingOff => {
            r#""waiting":{"reason":"CrashLoopBackOff","message":"back-off 10s restarting failed container=app"}"#
        }
    }
}

/// The newest instance, killed.
const KILLED: &str = r#""terminated":{"exitCode":137,"reason":"OOMKilled","startedAt":"2026-11-01T07:59:00Z","finishedAt":"<before>","containerID":"containerd://<containerID>"}"#;

fn last_state(sight: Sight, is_first: bool) -> String {
    match sight {
        Sight::BackingOff => KILLED.to_owned(),
        _ if is_first => String::new(),
        Sight::Restarted => KILLED.replace("<containerID>", "<lastID>"),
        Sight::Running | Sight::Killed => {
            r#""terminated":{"exitCode":1,"reason":"Error","startedAt":"2026-11-01T07:59:00Z","finishedAt":"2026-11-01T08:00:00Z","containerID":"containerd://<lastID>"}"#.to_owned()
        }
    }
}

/// Fills in the gap that the bytes begin with.
fn fill(bytes: &mut [u8], gap: Gap, encoding: Encoding, pod: &SpelledPod, moment: &Moment) {
    let &SpelledPod { number, container: Container { restarts, .. }, version } = pod;
    let instance = |instance: u32| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15), instance);
    let mut add = |text: std::fmt::Arguments<'_>| {
        // It is as long as what stands there.
        (&mut *bytes).write_fmt(text).unwrap_or_default();
    };
    match gap {
        Gap::Suffix => add(format_args!("6c9f7b9d4-{number:08x}")),
        Gap::Workload => add(format_args!("{}-{:02}", workload(number), number / 56 % 50)),
        Gap::Namespace => add(format_args!("team-{:06}", number % 211)),
        Gap::Node => add(format_args!("ip-10-{:02}-{:03}", number / 30 % 16, number / 480 % 250)),
        Gap::Uid => add(format_args!("00000000-0000-4000-8000-{number:012x}")),
        Gap::Hash => add(format_args!("{:064x}", number.wrapping_mul(0x2545_f491_4f6c_dd1d))),
        Gap::Version => add(format_args!("{version:010}")),
        Gap::ContainerId | Gap::LastId => {
            let (pod, instance) =
                instance(if gap == Gap::LastId { restarts.saturating_sub(1) } else { restarts });
            add(format_args!("{pod:056x}{instance:08x}"));
        }
        Gap::Now => fill_time(bytes, encoding, moment.now),
        Gap::Before => fill_time(bytes, encoding, moment.before),
        Gap::Restarts => fill_number(bytes, encoding, restarts.into()),
        Gap::Starts => fill_number(bytes, encoding, u64::from(restarts) + 2),
    }
}

fn fill_time(bytes: &mut [u8], encoding: Encoding, time: Timestamp) {
    match encoding {
        Encoding::Json => write!(&mut *bytes, "{time:.0}").unwrap_or_default(),
        Encoding::Protobuf => fill_varint(&mut bytes[..5], time.as_second().cast_unsigned()),
    }
}

fn fill_number(bytes: &mut [u8], encoding: Encoding, number: u64) {
    match encoding {
        Encoding::Json => write!(&mut *bytes, "{number:>9}").unwrap_or_default(),
        Encoding::Protobuf => fill_varint(&mut bytes[..4], number),
    }
}

/// Writes a number as long as its place is: it may be longer than it has to.
fn fill_varint(bytes: &mut [u8], mut number: u64) {
    let last = bytes.len() - 1;
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (number & 0x7f) as u8 | if at < last { 0x80 } else { 0 };
        number >>= 7;
    }
}
