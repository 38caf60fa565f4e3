//! Reads values whatever their type. Whoever may write Pods and Events controls what stands in them, so a
//! value of another type, or one that doesn't fit, is unknown, and the rest of the object counts.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{self, MapAccessDeserializer},
    },
};

/// Reads a number, a string or a boolean.
pub(super) fn scalar<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Scalar::deserialize(deserializer).map(|Scalar(value)| value)
}

/// Reads a number, a string or a boolean; what is unknown is the default.
pub(super) fn scalar_or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    scalar(deserializer).map(Option::unwrap_or_default)
}

/// Reads a JSON object.
pub(super) fn record<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Record::deserialize(deserializer).map(|Record(value)| value)
}

/// Reads a JSON object; what is unknown is the default.
pub(super) fn record_or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    record(deserializer).map(Option::unwrap_or_default)
}

/// Reads a list of numbers, strings or booleans, and passes over what is unknown.
pub(super) fn scalars<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(ListVisitor::<Scalar<T>, T>(PhantomData))
}

/// Reads a list of JSON objects, and passes over what is unknown.
pub(super) fn records<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(ListVisitor::<Record<T>, T>(PhantomData))
}

/// A number, a string or a boolean, if one stands there.
struct Scalar<T>(Option<T>);

/// A JSON object, if one stands there.
struct Record<T>(Option<T>);

struct ScalarVisitor<T>(PhantomData<T>);

struct RecordVisitor<T>(PhantomData<T>);

struct ListVisitor<L, T>(PhantomData<(L, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Record<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecordVisitor(PhantomData)).map(Self)
    }
}

impl<T> From<Scalar<T>> for Option<T> {
    fn from(Scalar(value): Scalar<T>) -> Self {
        value
    }
}

impl<T> From<Record<T>> for Option<T> {
    fn from(Record(value): Record<T>) -> Self {
        value
    }
}

/// Returns what a value says, if it is of the type that is asked for and fits into it.
fn known<'de, T: Deserialize<'de>, V: IntoDeserializer<'de, value::Error>>(value: V) -> Option<T> {
    T::deserialize(value.into_deserializer()).ok()
}

/// Takes these as unknown.
macro_rules! unknown {
    ($($visit:ident($type:ty)),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*
    };
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ScalarVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(known(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(known(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(known(number))
    }

    fn visit_bool<E: Error>(self, is_true: bool) -> Result<Self::Value, E> {
        Ok(known(is_true))
    }

    unknown!(visit_f64(f64));

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for RecordVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    unknown!(visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool));

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| None)
    }
}

impl<'de, L: Deserialize<'de> + Into<Option<T>>, T> Visitor<'de> for ListVisitor<L, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut known = Vec::new();
        while let Some(element) = list.next_element::<L>()? {
            known.extend(element.into());
        }
        Ok(known)
    }

    unknown!(visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool));

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct OddFields {
        #[serde(default, deserialize_with = "scalar")]
        count: Option<u32>,
        #[serde(default, deserialize_with = "scalar_or_default")]
        text: String,
        #[serde(default, deserialize_with = "scalar_or_default")]
        is_true: bool,
        #[serde(default, deserialize_with = "scalars")]
        codes: Vec<i32>,
        #[serde(default, deserialize_with = "record")]
        inner: Option<Box<Self>>,
        #[serde(default, deserialize_with = "records")]
        each: Vec<Self>,
    }

    fn read(object: &Value) -> OddFields {
        serde_json::from_str(&object.to_string()).unwrap_or_else(|error| panic!("{object}: {error}"))
    }

    #[test]
    fn one_odd_value_is_unknown_and_the_rest_counts() {
        let whole = json!({
            "count": 3, "text": "a", "isTrue": true, "codes": [1, -1],
            "inner": {"count": 4}, "each": [{"count": 5}, {"count": 6}],
        });
        assert_eq!(read(&whole).each.len(), 2);
        for name in ["count", "text", "isTrue", "codes", "inner", "each"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(name);
            for odd in
                [json!(-1.5), json!(1_u64 << 40), json!(null), json!([[{"count": 1}]]), json!({"a": [1]})]
            {
                let fits = matches!((name, &odd), ("inner", Value::Object(_)));
                let mut other = whole.clone();
                other[name] = odd;
                assert!(fits || read(&other) == read(&without), "{other}");
            }
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_unknown() {
        for odd in
            ["-1", "4294967296", "18446744073709551615", "99999999999999999999999999", "1e300", "\"1\""]
        {
            assert_eq!(
                serde_json::from_str::<OddFields>(&format!(r#"{{"count": {odd}}}"#)).unwrap(),
                OddFields::default()
            );
        }
    }

    #[test]
    fn odd_elements_of_a_list_are_passed_over() {
        let fields = read(
            &json!({"codes": [1, "2", null, {"a": 3}, 4], "each": [7, {"count": 5}, [], {"count": []}]}),
        );
        assert_eq!(fields.codes, [1, 4]);
        assert_eq!(fields.each.iter().map(|each| each.count).collect::<Vec<_>>(), [Some(5), None]);
    }
}
