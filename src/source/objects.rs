//! The fields of Pods and Events that this program reads, and no others.
//!
//! Decoding is the program's cost: a Pod is 6-10 KB of JSON, of which these fields are a tenth.
//! Whoever may write Pods and Events controls their content, so anything but the identity of an
//! object may be missing.

use std::collections::BTreeMap;

use finding::ContainerKind;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::quantity;

/// `metadata` of any object: what tells it from others, and its version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
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

/// A Pod, as far as it is read.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    /// Who it is.
    pub metadata: PodMetadata,
    /// What it should be.
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: PodSpec,
    /// What its kubelet last said of it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: PodStatus,
}

/// `metadata` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// The Pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where a watch may go on after it.
    #[serde(default)]
    pub resource_version: String,
    /// Its UID: another one is another Pod, whatever its name.
    pub uid: String,
    /// Its labels.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as far as they matter.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: Annotations,
    /// Its owners, of which at most one is the controlling one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// The annotations of a Pod that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations {
    /// Of a mirror pod: the UID of the static pod, which is a hash of its definition.
    #[serde(rename = "kubernetes.io/config.mirror", default, deserialize_with = "empty_is_none")]
    pub mirror: Option<String>,
}

/// What a Pod belongs to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// Such as `apps/v1`.
    #[serde(default)]
    pub api_version: String,
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// Whether this owner controls the Pod.
    #[serde(default, deserialize_with = "null_is_default")]
    pub controller: bool,
}

/// `spec` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it is bound to.
    #[serde(default)]
    pub node_name: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "null_is_default")]
    init_containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "null_is_default")]
    ephemeral_containers: Vec<ContainerSpec>,
    /// What the Pod as a whole may use.
    #[serde(default, deserialize_with = "null_is_default")]
    pub resources: Resources,
}

/// A container in a Pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Its name, unique among all containers of the Pod.
    pub name: String,
    /// Its image.
    #[serde(default)]
    pub image: Option<String>,
    /// What it may use.
    #[serde(default, deserialize_with = "null_is_default")]
    pub resources: Resources,
    /// `Always` makes a sidecar of an init container.
    #[serde(default)]
    pub restart_policy: Option<String>,
}

/// Requests and limits.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Resources {
    /// What may not be exceeded.
    #[serde(default, deserialize_with = "null_is_default")]
    pub limits: Memory,
    /// What is set aside.
    #[serde(default, deserialize_with = "null_is_default")]
    pub requests: Memory,
}

/// The memory part of a list of resources.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Memory {
    /// In bytes; zero and what is no quantity read as unknown.
    #[serde(rename = "memory", default, deserialize_with = "quantity::bytes")]
    pub bytes: Option<u64>,
}

/// `status` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Where it is in its life.
    #[serde(default, deserialize_with = "null_is_default")]
    pub phase: Phase,
    /// Of `spec.containers`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Of `spec.initContainers`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Of `spec.ephemeralContainers`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// Where a Pod is in its life, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Nothing of it will be started again.
    #[serde(alias = "Failed", alias = "Succeeded")]
    Over,
    /// Anything else.
    #[default]
    #[serde(other)]
    Alive,
}

/// What the kubelet last said of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// How many instances came before the newest one. It can fall, when a node loses its logs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub restart_count: u32,
    /// The newest instance. While the container waits, it names the dead one.
    #[serde(rename = "containerID", default, deserialize_with = "empty_is_none")]
    pub container_id: Option<String>,
    /// The newest instance's state.
    #[serde(default, deserialize_with = "null_is_default")]
    pub state: ContainerState,
    /// How the instance before it ended; while the container waits, the newest.
    #[serde(default, deserialize_with = "null_is_default")]
    pub last_state: ContainerState,
    /// What is in force, which an in-place resize may have made another than the spec's.
    #[serde(default, deserialize_with = "null_is_default")]
    pub resources: Resources,
}

/// `state` or `lastState` of a container; neither field given means that it waits.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContainerState {
    /// It runs.
    #[serde(default)]
    pub running: Option<Running>,
    /// It ended.
    #[serde(default)]
    pub terminated: Option<Terminated>,
}

/// A running instance.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Since when.
    #[serde(default, deserialize_with = "unix_epoch_is_none")]
    pub started_at: Option<Timestamp>,
}

/// An instance that ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// Why: `OOMKilled`, `Error`, `Completed`, …
    #[serde(default, deserialize_with = "null_is_default")]
    pub reason: String,
    /// What its process exited with.
    #[serde(default, deserialize_with = "null_is_default")]
    pub exit_code: i32,
    /// The instance.
    #[serde(rename = "containerID", default, deserialize_with = "empty_is_none")]
    pub container_id: Option<String>,
    /// When it was started.
    #[serde(default, deserialize_with = "unix_epoch_is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "unix_epoch_is_none")]
    pub finished_at: Option<Timestamp>,
}

impl Pod {
    /// The UID that Events about this Pod carry: of a mirror pod, the static pod's.
    pub fn event_uid(&self) -> &str {
        self.metadata.annotations.mirror.as_deref().unwrap_or(&self.metadata.uid)
    }

    /// Whether it stands for a static pod. It may be deleted and made anew, while its containers
    /// run on.
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.mirror.is_some()
    }

    /// The containers that have a status, each with the list of the spec that it stands in.
    pub fn statuses<'a>(&'a self) -> impl Iterator<Item = (ContainerList, &'a ContainerStatus)> {
        let listed =
            |list, statuses: &'a [ContainerStatus]| statuses.iter().map(move |status| (list, status));
        listed(ContainerList::Init, &self.status.init_container_statuses)
            .chain(listed(ContainerList::Containers, &self.status.container_statuses))
            .chain(listed(ContainerList::Ephemeral, &self.status.ephemeral_container_statuses))
    }

    /// The container of that name in that list of the spec.
    pub fn container(&self, list: ContainerList, name: &str) -> Option<&ContainerSpec> {
        let containers = match list {
            ContainerList::Containers => &self.spec.containers,
            ContainerList::Init => &self.spec.init_containers,
            ContainerList::Ephemeral => &self.spec.ephemeral_containers,
        };
        containers.iter().find(|container| container.name == name)
    }
}

/// A list of containers in a Pod's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerList {
    /// `spec.containers`.
    Containers,
    /// `spec.initContainers`, sidecars among them.
    Init,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

impl ContainerList {
    /// The kind of the container in this list that the spec describes so.
    pub fn kind(self, spec: Option<&ContainerSpec>) -> ContainerKind {
        match self {
            Self::Containers => ContainerKind::Container,
            Self::Ephemeral => ContainerKind::Ephemeral,
            Self::Init if spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Always")) => {
                ContainerKind::Sidecar
            }
            Self::Init => ContainerKind::Init,
        }
    }
}

/// An Event that says that a container was started, as far as it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(default)]
    metadata: EventMetadata,
    /// The container that it is about.
    pub involved_object: InvolvedObject,
    /// Why it was written: `Started`, for all that matters here.
    #[serde(default, deserialize_with = "null_is_default")]
    pub reason: String,
    /// Differs between versions of Kubernetes; read for one prefix alone.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message: String,
    #[serde(default)]
    last_timestamp: Option<Timestamp>,
    #[serde(rename = "eventTime", default)]
    time: Option<Timestamp>,
    #[serde(default)]
    series: Option<EventSeries>,
}

/// `metadata` of an [`Event`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata {
    #[serde(default)]
    resource_version: String,
}

/// What an [`Event`] is about.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvolvedObject {
    /// The object's kind.
    #[serde(default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// The Pod's namespace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub namespace: String,
    /// The Pod's name; a mirror pod and its static pod share it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// The Pod's UID; of a mirror pod, the static pod's.
    #[serde(default, deserialize_with = "null_is_default")]
    pub uid: String,
    /// The container, such as `spec.containers{app}`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub field_path: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventSeries {
    #[serde(default)]
    last_observed_time: Option<Timestamp>,
}

/// client-go begins the message of an Event so that stands for several different ones
/// (`tools/record/events_cache.go`). Its `fieldPath` is that of the first of them.
const COMBINED: &str = "(combined from similar events)";

impl Event {
    /// Where a watch may go on after it.
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// The start that the Event proves: `None` if it is about something else, or stands for
    /// Events of several containers.
    pub fn into_started(self) -> Option<Started> {
        let object = self.involved_object;
        if self.reason != "Started" || object.kind != "Pod" || self.message.starts_with(COMBINED) {
            return None;
        }
        let (_, container) = object.field_path.strip_suffix('}')?.split_once('{')?;
        let container = container.to_owned();
        let series = self.series.and_then(|series| series.last_observed_time);
        let at = series.max(self.last_timestamp).or(self.time)?;
        let InvolvedObject { namespace, name: pod, uid: event_uid, .. } = object;
        Some(Started { namespace, pod, event_uid, container, at })
    }
}

/// A container of a Pod was started, by the word of its kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// The UID that Events about the Pod carry: see [`Pod::event_uid`].
    pub event_uid: String,
    /// The container's name, which is unique within its Pod.
    pub container: String,
    /// When, by its node's clock, to the second.
    pub at: Timestamp,
}

/// Go writes an empty list, map or struct as `null` as readily as it leaves it out.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn empty_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// A runtime that never set a time reports 0, which reads 1970.
fn unix_epoch_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(Option::<Timestamp>::deserialize(deserializer)?.filter(|time| *time > Timestamp::UNIX_EPOCH))
}
