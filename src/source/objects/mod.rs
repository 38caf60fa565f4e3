//! The fields of Pods and Events that this program reads, and no others.
//!
//! Decoding is the program's cost: a Pod is 6-10 KB of JSON, of which these fields are a tenth.
//! Whoever may write Pods and Events controls their content, so anything but the identity of an
//! object may be missing, or odd ([`lenient`]).

mod event;
mod labels;
mod lenient;
mod pod;
mod protobuf;
mod quantity;
mod text;
mod volumes;

use jiff::Timestamp;
use lenient::{scalar, scalar_or_default};
use serde::{Deserialize, Deserializer};

pub use event::{Event, InvolvedObject, NAMESPACE_OF_NODE_EVENTS, NodeOom, Started};
pub use labels::keep_labels;
pub use pod::{
    Annotations, ContainerList, ContainerSpec, ContainerState, ContainerStatus, ExitCodeOperator, ExitCodes,
    MemoryAmount, OwnerReference, Phase, Pod, PodMetadata, PodSpec, PodStatus, Resources, RestartAction,
    RestartPolicy, RestartRule, Running, Terminated,
};

pub(in crate::source) use protobuf::time_of;

/// `metadata` of any object: what tells it from others, and its version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetadata {
    /// Its namespace.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub namespace: String,
    /// Its name.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub name: String,
    /// Where a watch may go on after it.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub resource_version: String,
}

/// Reads a time. One that can't be read, or isn't after 1970, is unknown: a runtime that never set a time
/// reports 0.
fn time_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(scalar(deserializer)?.filter(|time| *time > Timestamp::UNIX_EPOCH))
}
