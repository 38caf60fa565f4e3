//! Reads amounts of memory as Kubernetes writes them: `64Mi`, `1.5G`, `128974848`, `1e9`, `100m`.
//! Goes in: a JSON string or number; comes out: bytes, rounded up as the kubelet does.

use std::fmt;

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The bytes that a resource quantity stands for; zero and what is no quantity are `None`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(deserializer.deserialize_any(Quantity)?.filter(|bytes| *bytes > 0))
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
        Ok(parse(text))
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

fn parse(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa: u128 =
        if fraction.is_empty() { whole.parse() } else { format!("{whole}{fraction}").parse() }.ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(divisor)?;
    u64::try_from(mantissa.checked_mul(multiplier)?.div_ceil(divisor)).ok()
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    if let Some(unit) = suffix.strip_suffix('i') {
        return Some((1024_u128.pow(power(unit)?), 1));
    }
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1_000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        "k" => Some((1_000, 1)),
        _ if suffix.len() == 1 => Some((1_000_u128.pow(power(suffix)?), 1)),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

/// What power of a thousand, or of 1024, a unit stands for.
fn power(unit: &str) -> Option<u32> {
    let place = ["K", "M", "G", "T", "P", "E"].iter().position(|known| *known == unit)?;
    u32::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::{bytes, parse};

    #[test]
    fn every_way_to_write_an_amount_is_read() {
        for (text, bytes) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("1E3", 1_000),
            ("12E", 12_000_000_000_000_000_000),
            ("129M", 129_000_000),
            ("2k", 2_000),
            ("128974848000m", 128_974_848),
            ("1m", 1),
            (".5Ki", 512),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_unknown() {
        for text in [
            "",
            "Mi",
            "lots",
            "-1",
            "1Xi",
            "1MiB",
            "1e999",
            "1KM",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

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
