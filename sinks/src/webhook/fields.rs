//! Gives a template the fields of a JSON object. What may be absent is null, what is unknown an error.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::value::{Enumerator, Object, Value};
use serde_json::Value as Json;

/// The fields of an object: those that it has, and those that others of its kind have.
#[derive(Debug)]
struct KnownFields {
    present: BTreeMap<String, Value>,
    absent: Vec<String>,
}

impl Object for KnownFields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let is_absent = || self.absent.iter().any(|absent| absent == key).then(|| Value::from(()));
        self.present.get(key).cloned().or_else(is_absent)
    }

    /// Lists those that it has alone: `{{ finding }}` writes the finding as it is.
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.present.keys().map(|key| Value::from(key.as_str())).collect())
    }
}

/// Converts JSON. Objects know the fields that the example has.
pub(super) fn value(json: Json, example: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => value.into(),
        Json::String(text) => text.into(),
        Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (_, Some(number), _) => number.into(),
            (.., number) => number.unwrap_or_default().into(),
        },
        Json::Array(items) => {
            items.into_iter().map(|item| value(item, example.get(0).unwrap_or(&Json::Null))).collect()
        }
        Json::Object(fields) => {
            let known = example.as_object();
            let is_absent = |key: &&String| !fields.contains_key(*key);
            let absent =
                known.into_iter().flat_map(|known| known.keys().filter(is_absent)).cloned().collect();
            let present = fields.into_iter().map(|(key, field)| {
                let field = value(field, known.and_then(|known| known.get(&key)).unwrap_or(&Json::Null));
                (key, field)
            });
            Value::from_object(KnownFields { present: present.collect(), absent })
        }
    }
}
