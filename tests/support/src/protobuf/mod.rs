//! Writes what is JSON here as an API server writes it in Protobuf.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use jiff::Timestamp;
use serde_json::{Value, json};

/// Fields whose own fields stand in JSON where they would stand themselves.
const INLINED: [&str; 4] = ["volumeSource", "ephemeralContainerCommon", "handler", "localObjectReference"];

/// Messages that stand there though nothing is in them: in Go they are no pointers.
const ALWAYS_THERE: [&str; 11] = [
    "metadata",
    "spec",
    "status",
    "state",
    "lastState",
    "creationTimestamp",
    "involvedObject",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "eventTime",
];

/// What is no message.
const SCALARS: [&str; 5] = ["string", "bytes", "bool", "int32", "int64"];

/// A part of a message.
#[derive(Clone, Debug)]
pub enum WirePart {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A field that has its length before it.
    Field(u64, Vec<WirePart>),
}

/// The fields of all messages, as Kubernetes declares them.
pub const MESSAGES_PROTO: &str = include_str!("messages.proto");

/// The fields of each message, by their names.
static MESSAGES: LazyLock<HashMap<&str, BTreeMap<u64, Field>>> = LazyLock::new(read_messages);

struct Field {
    name: &'static str,
    of: &'static str,
    is: Multiplicity,
}

enum Multiplicity {
    One,
    List,
    Map,
}

fn read_messages() -> HashMap<&'static str, BTreeMap<u64, Field>> {
    let mut messages = HashMap::new();
    for message in MESSAGES_PROTO.split("\nmessage ").skip(1) {
        let (name, fields) = message.split_once(" {").unwrap();
        let fields = fields.lines().filter_map(|line| line.trim().strip_suffix(';'));
        messages.insert(name, fields.map(read_field).collect());
    }
    messages
}

fn read_field(line: &'static str) -> (u64, Field) {
    let (declared, number) = line.split_once(" = ").unwrap();
    let (of, name) = declared.rsplit_once(' ').unwrap();
    let (is, of) = match of.split_once(' ').unwrap() {
        ("optional", of) => (Multiplicity::One, of),
        ("repeated", of) => (Multiplicity::List, of),
        (_, value) => (Multiplicity::Map, value.trim_end_matches('>')),
    };
    (number.parse().unwrap(), Field { name, of, is })
}

/// Returns an object as it stands in a list. A value that doesn't fit is one of another type here, too.
pub fn object(kind: &str, object: &Value) -> Vec<u8> {
    written(&message(kind, object))
}

/// Returns an object as it stands alone.
pub fn enveloped(kind: &str, object: &Value) -> Vec<u8> {
    written(&envelope(kind, message(kind, object)))
}

/// Returns what a watch says, or nothing if it isn't what a watch says.
pub fn frame(kind: &str, event: &Value) -> Option<Vec<u8>> {
    let word = event.get("type")?.as_str()?;
    let object = event.get("object")?;
    let kind = if word == "ERROR" { "Status" } else { kind };
    Some(framed(&written(&watch_event(word, envelope(kind, message(kind, object))))))
}

/// Returns a message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// Returns what a watch says of an object.
pub fn watch_event(word: &str, object: Vec<WirePart>) -> Vec<WirePart> {
    vec![text(1, word), WirePart::Field(2, vec![WirePart::Field(1, object)])]
}

/// Returns the envelope around an object.
pub fn envelope(kind: &str, object: Vec<WirePart>) -> Vec<WirePart> {
    let kind = vec![text(1, "v1"), text(2, kind)];
    vec![
        WirePart::Bytes(b"k8s\0".to_vec()),
        WirePart::Field(1, kind),
        WirePart::Field(2, object),
        text(3, ""),
        text(4, ""),
    ]
}

/// Returns a message.
pub fn message(name: &str, object: &Value) -> Vec<WirePart> {
    let mut parts = Vec::new();
    match (name, object) {
        ("Time" | "MicroTime" | "Timestamp", Value::String(time)) => match time.parse::<Timestamp>() {
            Ok(time) => {
                parts.extend([number(1, time.as_second()), number(2, time.subsec_nanosecond().into())]);
            }
            Err(_) => parts.push(number(1, i64::MAX)),
        },
        ("Quantity", Value::String(quantity)) => parts.push(text(1, quantity)),
        ("Quantity", Value::Number(quantity)) => parts.push(text(1, &quantity.to_string())),
        ("IntOrString", Value::String(string)) => parts.extend([number(1, 1), number(2, 0), text(3, string)]),
        ("IntOrString", Value::Number(int)) => {
            parts.extend([number(1, 0), number(2, int.as_i64().unwrap()), text(3, "")]);
        }
        ("FieldsV1", fields) => parts.push(text(1, &fields.to_string())),
        (_, Value::Object(_)) => {
            let fields = MESSAGES.get(name).unwrap_or_else(|| panic!("no message {name}"));
            for (number, field) in fields {
                field.write(*number, object, &mut parts);
            }
        }
        _ => {}
    }
    parts
}

impl Field {
    fn write(&self, number: u64, object: &Value, parts: &mut Vec<WirePart>) {
        let value = match &object[self.name] {
            Value::Null if INLINED.contains(&self.name) => object,
            value => value,
        };
        match (&self.is, value) {
            (_, Value::Null) if ALWAYS_THERE.contains(&self.name) => {
                parts.push(WirePart::Field(number, Vec::new()));
            }
            (_, Value::Null) => {}
            (Multiplicity::One, value) => parts.push(self.value(number, value)),
            (Multiplicity::List, Value::Array(values)) => {
                parts.extend(values.iter().map(|value| self.value(number, value)));
            }
            (Multiplicity::Map, Value::Object(entries)) => {
                parts.extend(
                    entries.iter().map(|(key, value)| {
                        WirePart::Field(number, vec![text(1, key), self.value(2, value)])
                    }),
                );
            }
            _ => parts.push(odd(number, self.of)),
        }
    }

    fn value(&self, number: u64, value: &Value) -> WirePart {
        match (self.of, value) {
            ("string" | "bytes", Value::String(string)) => text(number, string),
            ("bool", Value::Bool(is)) => self::number(number, i64::from(*is)),
            ("int32" | "int64", Value::Number(value)) if value.is_i64() => {
                self::number(number, value.as_i64().unwrap())
            }
            ("Time" | "MicroTime" | "Quantity" | "IntOrString", Value::String(_))
            | ("Quantity" | "IntOrString", Value::Number(_))
            | ("FieldsV1", _)
            | (_, Value::Object(_))
                if !SCALARS.contains(&self.of) =>
            {
                WirePart::Field(number, message(self.of, value))
            }
            (of, _) => odd(number, of),
        }
    }
}

/// Returns a field that is a number.
pub fn number(number: u64, value: i64) -> WirePart {
    let mut bytes = Vec::new();
    varint(number << 3, &mut bytes);
    varint(value.cast_unsigned(), &mut bytes);
    WirePart::Bytes(bytes)
}

/// Returns a field that is a text.
pub fn text(number: u64, text: &str) -> WirePart {
    let text = if text.is_empty() { Vec::new() } else { vec![WirePart::Bytes(text.as_bytes().to_vec())] };
    WirePart::Field(number, text)
}

/// Returns a field of another type than it should have: what is odd in JSON, too.
fn odd(number: u64, of: &str) -> WirePart {
    match of {
        "bool" | "int32" | "int64" => text(number, "odd"),
        _ => self::number(number, 7),
    }
}

/// Adds a number as long as it has to be.
pub fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

/// Returns the bytes of these parts.
pub fn written(parts: &[WirePart]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            WirePart::Bytes(bytes) => out.extend(bytes),
            WirePart::Field(number, parts) => {
                let value = written(parts);
                varint(number << 3 | 2, &mut out);
                varint(value.len() as u64, &mut out);
                out.extend(value);
            }
        }
    }
    out
}

/// Returns an answer of JSON in Protobuf, if it is a list of this kind of objects or a status.
pub(crate) fn answer(kind: &str, answer: &Value) -> Option<Vec<u8>> {
    if answer["kind"] == "Status" || answer.get("code").is_some() {
        return Some(enveloped("Status", answer));
    }
    let items = answer.get("items")?;
    let kind = format!("{kind}List");
    Some(enveloped(&kind, &json!({"metadata": answer["metadata"], "items": items})))
}
