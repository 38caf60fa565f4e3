//! Reads amounts of memory as Kubernetes writes them. Goes in: a JSON string or number; comes out: bytes.

use std::fmt;

use finding::parse_quantity;
use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The bytes that a resource quantity stands for; zero and what is no quantity are `None`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(deserializer.deserialize_any(Quantity)?.filter(|bytes| *bytes > 0))
}

/// As [`bytes`], of a text.
pub(super) fn bytes_of(text: &str) -> Option<u64> {
    parse_quantity(text).filter(|bytes| *bytes > 0)
}

/// Takes whatever stands there. An untagged enum would do in a line, and take a twentieth of the time
/// that a whole Pod takes.
struct Quantity;

impl<'de> Visitor<'de> for Quantity {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of memory")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(parse_quantity(text))
    }

    fn visit_u64<E>(self, bytes: u64) -> Result<Self::Value, E> {
        Ok(Some(bytes))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::bytes;

    #[test]
    fn whatever_stands_there_is_taken() {
        #[derive(Deserialize)]
        struct WithMemory {
            #[serde(deserialize_with = "bytes")]
            memory: Option<u64>,
            after: u8,
        }
        for (memory, expected) in [
            (json!("64Mi"), Some(64 << 20)),
            (json!(1024), Some(1024)),
            (json!("0"), None),
            (json!(0), None),
            (json!(-1), None),
            (json!(1.5), None),
            (json!(true), None),
            (json!(null), None),
            (json!(["64Mi", {"a": [1]}]), None),
            (json!({"a": {"b": "64Mi"}}), None),
        ] {
            let text = json!({"memory": memory, "after": 7}).to_string();
            let read: WithMemory = serde_json::from_str(&text).expect(&text);
            assert_eq!((read.memory, read.after), (expected, 7), "{text}");
        }
    }
}
