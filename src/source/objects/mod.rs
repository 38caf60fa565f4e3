//! The fields of Pods and Events that this program reads, and no others.
//!
//! Decoding is the program's cost: a Pod is 6-10 KB of JSON, of which these fields are a tenth.
//! Whoever may write Pods and Events controls their content, so anything but the identity of an
//! object may be missing.

mod event;
mod labels;
mod pod;
mod quantity;
mod text;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Visitor};

pub use event::{Event, InvolvedObject, Started};
pub use labels::keep_labels;
pub use pod::{
    Annotations, ContainerList, ContainerSpec, ContainerState, ContainerStatus, ExitCodeOperator, ExitCodes,
    MemoryAmount, OwnerReference, Phase, Pod, PodMetadata, PodSpec, PodStatus, Resources, RestartAction,
    RestartPolicy, RestartRule, Running, Terminated,
};

/// `metadata` of any object: what tells it from others, and its version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetadata {
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Where a watch may go on after it.
    #[serde(default)]
    pub resource_version: String,
}

/// Go writes an empty list, map or struct as `null` as readily as it leaves it out.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a time. One that can't be read, or isn't after 1970, is unknown: a runtime that never set a time
/// reports 0.
fn time_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    deserializer.deserialize_option(OptionalTime)
}

struct OptionalTime;

impl<'de> Visitor<'de> for OptionalTime {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH))
    }
}
