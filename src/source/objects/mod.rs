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

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

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

/// A runtime that never set a time reports 0, which reads 1970.
fn unix_epoch_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<Timestamp>::deserialize(deserializer)?.filter(|time| *time > Timestamp::UNIX_EPOCH))
}
