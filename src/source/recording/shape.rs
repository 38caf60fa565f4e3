//! Tells what an object is: by its kind, or by what it consists of.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// What an object says of its kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ObjectType {
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    api_version: Option<String>,
    /// Whether it has an `object`, as a watch event does.
    #[serde(rename = "object", default, deserialize_with = "is_there")]
    pub is_change: bool,
}

/// What tells the kind of an object that doesn't say it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectShape<'a> {
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(alias = "regarding", default)]
    involved_object: Option<IgnoredAny>,
}

/// What the `spec` or the `status` of a Pod has and that of another object doesn't.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodShape {
    #[serde(default)]
    containers: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    container_statuses: Option<Vec<IgnoredAny>>,
}

impl ObjectType {
    /// Reads what an object says of its kind.
    pub(super) fn of(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// Returns what the items are of a list that says this of its own kind, unless they may be of any.
    pub(super) fn of_items(self) -> Option<Self> {
        let kind = self.kind?.strip_suffix("List")?.to_owned();
        (!kind.is_empty()).then_some(Self { kind: Some(kind), ..self })
    }

    /// Returns its group, which is empty for the core of Kubernetes, and its kind.
    pub(super) fn group_and_kind(&self) -> (&str, &str) {
        let group = self.api_version.as_deref().and_then(|version| version.split_once('/'));
        (group.map_or("", |(group, _)| group), self.kind.as_deref().unwrap_or_default())
    }

    /// Returns what the object is, which says this of itself: if it doesn't say its kind, what its list says
    /// of its items, or else what it consists of. Returns nothing if nothing tells.
    pub(super) fn or_guessed(&self, json: &str, listed_as: Option<&Self>) -> Option<Self> {
        if self.kind.is_some() {
            return Some(self.clone());
        }
        if self.is_change {
            return None;
        }
        listed_as.cloned().or_else(|| {
            let kind = Some(guessed_kind(json)?.to_owned());
            Some(Self { kind, ..self.clone() })
        })
    }
}

fn guessed_kind(json: &str) -> Option<&'static str> {
    let shape: ObjectShape<'_> = serde_json::from_str(json).ok()?;
    let has_containers = |part: &RawValue| {
        serde_json::from_str::<PodShape>(part.get())
            .is_ok_and(|part| part.containers.or(part.container_statuses).is_some())
    };
    if shape.spec.is_some_and(has_containers) || shape.status.is_some_and(has_containers) {
        Some("Pod")
    } else {
        shape.involved_object.map(|_| "Event")
    }
}

fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
