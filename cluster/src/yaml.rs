//! YAML as client-go reads it: made JSON first, so that a mapping may have keys of any type, and the last of
//! several equal ones counts. Of several documents the first counts.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::DuplicateKeyPolicy;
use thiserror::Error;

/// Why a text is not YAML. Shows nothing of it: secrets stand in it.
#[derive(Debug, Error)]
pub enum YamlError {
    /// It is something else.
    #[error("it is not valid YAML, or not a text in UTF-8 or UTF-16")]
    NotText,
    /// There is a mistake in it.
    #[error("it is not valid YAML at line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
    },
}

/// Reads the first document of a text; null if there is none.
///
/// # Errors
///
/// It is not YAML.
pub(crate) fn first_document(bytes: &[u8]) -> Result<Value, YamlError> {
    let text = decode(bytes).ok_or(YamlError::NotText)?;
    let options =
        serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins, with_snippet: false };
    let mut first = None;
    let read = serde_saphyr::with_deserializer_from_str_with_options(&text, options, |document| {
        first = Some(Json::deserialize(document)?);
        Ok(())
    });
    match (first, read) {
        // What comes after the first document is of no matter, an error there neither.
        (Some(Json(value)), _) => Ok(value),
        (None, Ok(())) => Ok(Value::Null),
        (None, Err(error)) => Err(match error.location() {
            Some(place) => YamlError::Syntax { line: place.line(), column: place.column() },
            None => YamlError::NotText,
        }),
    }
}

/// UTF-8, or UTF-16 as PowerShell writes it.
fn decode(bytes: &[u8]) -> Option<String> {
    let units = |unit: fn([u8; 2]) -> u16| {
        let (pairs, []) = bytes.as_chunks() else { return None };
        String::from_utf16(&pairs[1..].iter().map(|pair| unit(*pair)).collect::<Vec<_>>()).ok()
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => String::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).to_vec()).ok(),
    }
}

/// A value of JSON, from one of YAML.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(value)) = values.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Json(key), Json(value))) = entries.next_entry()? {
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
