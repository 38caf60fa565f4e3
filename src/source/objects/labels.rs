//! The labels of a Pod, as far as anybody asks for them. Whoever may create Pods may write a megabyte of
//! labels into each, so all others are passed over while a Pod is decoded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{PoisonError, RwLock},
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use super::{
    lenient::record,
    text::{cut_label_or_none, short_name},
};

/// The labels that tell which workload a Pod belongs to.
const WORKLOAD_LABELS: [&str; 4] = [
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "openshift.io/deployment-config.name",
    "deploymentconfig",
];

/// The keys that were asked for. They only ever become more: a label too many does no harm.
static ASKED_LABELS: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Has labels with these keys kept in all Pods that are decoded from now on.
pub fn keep_labels(keys: impl IntoIterator<Item = String>) {
    ASKED_LABELS.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
}

/// Returns whether anybody asks for labels with this key.
fn is_asked(key: &str, asked: &BTreeSet<String>) -> bool {
    WORKLOAD_LABELS.contains(&key) || asked.contains(key)
}

/// Adds a label if it is asked for.
pub(super) fn add_label(labels: &mut BTreeMap<String, String>, key: &str, value: &str) {
    if is_asked(key, &ASKED_LABELS.read().unwrap_or_else(PoisonError::into_inner)) {
        labels.insert(key.to_owned(), short_name(value));
    }
}

/// Reads the labels that are asked for.
pub(super) fn asked_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(record(deserializer)?.map(|AskedLabels(labels)| labels).unwrap_or_default())
}

struct AskedLabels(BTreeMap<String, String>);

struct LabelsVisitor;

impl<'de> Deserialize<'de> for AskedLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let asked = ASKED_LABELS.read().unwrap_or_else(PoisonError::into_inner);
        let mut labels = BTreeMap::new();
        while let Some(key) = map.next_key_seed(AskedKey(&asked))? {
            match key {
                Some(key) => labels.extend(map.next_value::<LabelValue>()?.0.map(|value| (key, value))),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(labels)
    }
}

#[derive(Deserialize)]
struct LabelValue(#[serde(deserialize_with = "cut_label_or_none")] Option<String>);

/// Reads a key: `None` unless it is asked for.
struct AskedKey<'a>(&'a BTreeSet<String>);

impl<'de> DeserializeSeed<'de> for AskedKey<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for AskedKey<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of a label")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(is_asked(key, self.0).then(|| key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::objects::PodMetadata;

    #[test]
    fn only_labels_that_are_asked_for_are_kept() {
        keep_labels(["team".to_owned()]);
        let read = |labels: &str| {
            let metadata = format!(r#"{{"name":"p","namespace":"n","uid":"u","labels":{labels}}}"#);
            serde_json::from_str::<PodMetadata>(&metadata).unwrap().labels
        };
        let labels =
            read(r#"{"a":"b","pod-template-hash":"6c9","te\u0061m":"shop","tea":"x","z":{"y":[1]}}"#);
        assert_eq!(labels, read(r#"{"pod-template-hash":"6c9","team":"shop"}"#));
        assert_eq!(labels.len(), 2);
        assert!(read("null").is_empty() && read("{}").is_empty() && read("[7]").is_empty());
        assert_eq!(read(r#"{"team":"","pod-template-hash":{"a":1}}"#), read(r#"{"team":""}"#));
    }
}
