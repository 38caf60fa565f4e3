//! What hostile or broken input looks like: real input, changed at random.

use ::cluster::protobuf::{ENVELOPE_MARK, WireFields, WireValue};
use fastrand::Rng;
use serde_json::{Value, json};
use support::protobuf::varint;

/// Bytes and numbers that decoders tend to stumble over.
const ODD: [&[u8]; 19] = [
    b"\0",
    b"{",
    b"}",
    b"[",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xf0\x9f\x92\xa9",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\r\n",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    // Of Protobuf: numbers of 64 bits and of more, a length of 2 GB, a group, an envelope.
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\x0a\xff\xff\xff\xff\x07",
    b"\x0b",
    &ENVELOPE_MARK,
];

/// Returns one of the texts with up to eight random changes; parts of the others may be among them.
pub fn mutate(rng: &mut Rng, texts: &[Vec<u8>]) -> Vec<u8> {
    let text = texts[rng.usize(..texts.len())].clone();
    changed(rng, text, texts)
}

/// Returns a message of Protobuf with random changes somewhere in its depth. The lengths of what stands around them
/// fit, so that they are come upon.
pub fn mutate_message(rng: &mut Rng, message: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    if let Some(enveloped) = message.strip_prefix(&ENVELOPE_MARK) {
        return [&ENVELOPE_MARK, mutate_message(rng, enveloped, others).as_slice()].concat();
    }
    let mut fields = WireFields(message);
    let mut inner = Vec::new();
    loop {
        let begin = message.len() - fields.0.len();
        match fields.next_field() {
            Ok(Some((number, WireValue::Bytes(value)))) => {
                inner.push((begin..message.len() - fields.0.len(), number, value));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    if inner.is_empty() || rng.u8(..5) == 0 {
        return changed(rng, message.to_vec(), others);
    }
    let (place, number, value) = inner.swap_remove(rng.usize(..inner.len()));
    let value = mutate_message(rng, value, others);
    let mut field = Vec::new();
    varint(number << 3 | 2, &mut field);
    varint(value.len() as u64, &mut field);
    [&message[..place.start], &field, &value, &message[place.end..]].concat()
}

/// Returns the text with up to eight random changes; parts of the others may be among them.
fn changed(rng: &mut Rng, mut text: Vec<u8>, texts: &[Vec<u8>]) -> Vec<u8> {
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(0..=text.len());
        let end = (at + rng.usize(0..=64)).min(text.len());
        match rng.u8(0..6) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => drop(text.splice(at..at, ODD[rng.usize(..ODD.len())].iter().copied())),
            3 => {
                let part = text[at..end].repeat(rng.usize(1..=32));
                drop(text.splice(at..at, part));
            }
            4 => text[at..end].iter_mut().for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
            _ => {
                let other = &texts[rng.usize(..texts.len())];
                let from = rng.usize(0..=other.len());
                let to = (from + rng.usize(0..=256)).min(other.len());
                drop(text.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    text
}

/// Puts an odd value in the place of one somewhere in an object, but for those of `kept`.
pub fn spoil(rng: &mut Rng, object: &mut Value, kept: &[&str]) {
    let mut places = Vec::new();
    collect(object, String::new(), &mut places);
    places.retain(|place| !kept.contains(&place.as_str()));
    let place = &places[rng.usize(..places.len())];
    if let Some(value) = object.pointer_mut(place) {
        *value = odd(rng);
    }
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
            fields
                .iter()
                .for_each(|(key, value)| collect(value, format!("{place}/{}", escaped(key)), places));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| collect(value, format!("{place}/{at}"), places));
        }
        _ => {}
    }
    if !place.is_empty() {
        places.push(place);
    }
}

fn odd(rng: &mut Rng) -> Value {
    match rng.u8(0..10) {
        0 => json!(null),
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(1.5e300),
        4 => json!(true),
        5 => json!(""),
        6 => json!("\u{202e}\u{1b}[31m\r\n".repeat(rng.usize(1..=1_000))),
        7 => json!([[], {"a": [1]}, "9999-99-99T99:99:99Z"]),
        8 => json!({"a": {"b": []}, "name": 7}),
        _ => json!("9999-12-31T23:59:59Z"),
    }
}
