//! A Pod, as far as it is read.

use std::collections::BTreeMap;

use finding::ContainerKind;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    labels::asked_labels,
    lenient::{record, record_or_default, records, scalar, scalar_or_default, scalars},
    quantity,
    text::{cut_image_or_none, cut_name, cut_name_or_empty, cut_name_or_none, is_true},
    time_or_none,
    volumes::{memory_volumes, mounted_volumes},
};

/// A Pod, as far as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Who it is.
    pub metadata: PodMetadata,
    /// What it should be.
    #[serde(default, deserialize_with = "record_or_default")]
    pub spec: PodSpec,
    /// What its kubelet last said of it.
    #[serde(default, deserialize_with = "record_or_default")]
    pub status: PodStatus,
}

/// `metadata` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// The Pod's name.
    #[serde(deserialize_with = "cut_name")]
    pub name: String,
    /// Its namespace.
    #[serde(deserialize_with = "cut_name")]
    pub namespace: String,
    /// Where a watch may go on after it.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub resource_version: String,
    /// Its UID: another one is another Pod, whatever its name.
    #[serde(deserialize_with = "cut_name")]
    pub uid: String,
    /// When it was created, by the API server's clock.
    #[serde(default, deserialize_with = "time_or_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// How often its spec was written, from 1 on; 0 before Kubernetes 1.33. A resize is such a change.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub generation: u64,
    /// Those of its labels that somebody asks for: see [`keep_labels`](super::keep_labels).
    #[serde(default, deserialize_with = "asked_labels")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as far as they matter.
    #[serde(default, deserialize_with = "record_or_default")]
    pub annotations: Annotations,
    /// Its owners, of which at most one is the controlling one.
    #[serde(default, deserialize_with = "records")]
    pub owner_references: Vec<OwnerReference>,
}

/// The annotations of a Pod that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Annotations {
    /// Of a mirror pod: the UID of the static pod, which is a hash of its definition.
    #[serde(rename = "kubernetes.io/config.mirror", default, deserialize_with = "cut_name_or_none")]
    pub mirror: Option<String>,
    /// Of a Pod of an OpenShift `DeploymentConfig`: its name.
    #[serde(rename = "openshift.io/deployment-config.name", default, deserialize_with = "cut_name_or_none")]
    pub deployment_config: Option<String>,
    /// Whether its owner wants its kills kept from most sinks.
    #[serde(rename = "oom-event-generator/ignore", default, deserialize_with = "is_true")]
    pub ignore: bool,
    /// Of such a Pod: the name of its `ReplicationController`.
    #[serde(rename = "openshift.io/deployment.name", default, deserialize_with = "cut_name_or_none")]
    pub deployment: Option<String>,
}

/// What a Pod belongs to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// Such as `apps/v1`.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub api_version: String,
    /// Such as `ReplicaSet`.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub kind: String,
    /// The owner's name.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub name: String,
    /// Whether this owner controls the Pod.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub controller: bool,
}

impl OwnerReference {
    /// Returns whether this owner controls the Pod, and is known.
    pub fn is_controller(&self) -> bool {
        self.controller && !self.kind.is_empty() && !self.name.is_empty()
    }
}

/// `spec` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it is bound to.
    #[serde(default, deserialize_with = "cut_name_or_none")]
    pub node_name: Option<String>,
    /// Whether its containers are started again, unless they say so themselves.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub restart_policy: RestartPolicy,
    #[serde(rename = "volumes", default, deserialize_with = "memory_volumes")]
    pub(super) memory_volumes: Vec<String>,
    #[serde(default, deserialize_with = "records")]
    pub(super) containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "records")]
    pub(super) init_containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "records")]
    pub(super) ephemeral_containers: Vec<ContainerSpec>,
    /// What the Pod as a whole may use.
    #[serde(default, deserialize_with = "record_or_default")]
    pub resources: Resources,
}

/// A container in a Pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Its name, unique among all containers of the Pod.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub name: String,
    /// Its image.
    #[serde(default, deserialize_with = "cut_image_or_none")]
    pub image: Option<String>,
    /// What it may use.
    #[serde(default, deserialize_with = "record_or_default")]
    pub resources: Resources,
    /// Whether it is started again; `Always` makes a sidecar of an init container.
    #[serde(default, deserialize_with = "scalar")]
    pub restart_policy: Option<RestartPolicy>,
    /// The names of the volumes that it mounts.
    #[serde(rename = "volumeMounts", default, deserialize_with = "mounted_volumes")]
    pub mounted_volumes: Vec<String>,
    /// What goes before the container's own policy; the first rule that applies counts.
    #[serde(default, deserialize_with = "records")]
    pub restart_policy_rules: Vec<RestartRule>,
}

/// Whether a container is started again after it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// Only if its exit code isn't 0.
    OnFailure,
    /// Not at all.
    Never,
    /// Whatever its exit code is.
    #[default]
    #[serde(other)]
    Always,
}

/// What happens when a container exits with certain codes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartRule {
    /// What happens.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub action: RestartAction,
    /// When.
    #[serde(default, deserialize_with = "record")]
    pub exit_codes: Option<ExitCodes>,
}

/// What a [`RestartRule`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RestartAction {
    /// Starts the container again.
    Restart,
    /// Starts all containers of the Pod again.
    RestartAllContainers,
    /// Something that isn't known here.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The exit codes that a [`RestartRule`] is for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ExitCodes {
    /// Whether it is for the values or for all others.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub operator: ExitCodeOperator,
    /// The values.
    #[serde(default, deserialize_with = "scalars")]
    pub values: Vec<i32>,
}

/// How [`ExitCodes`] are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ExitCodeOperator {
    /// One of the values.
    In,
    /// None of the values.
    NotIn,
    /// Something that isn't known here.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Requests and limits.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Resources {
    /// What may not be exceeded.
    #[serde(default, deserialize_with = "record_or_default")]
    pub limits: MemoryAmount,
    /// What is set aside.
    #[serde(default, deserialize_with = "record_or_default")]
    pub requests: MemoryAmount,
}

/// The memory part of a list of resources.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct MemoryAmount {
    /// In bytes; zero and what is no quantity read as unknown.
    #[serde(rename = "memory", default, deserialize_with = "quantity::bytes")]
    pub bytes: Option<u64>,
}

/// `status` of a [`Pod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Where it is in its life.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub phase: Phase,
    /// What the Pod as a whole may use now; a resize that is deferred isn't in it.
    #[serde(default, deserialize_with = "record_or_default")]
    pub resources: Resources,
    /// Of `spec.containers`.
    #[serde(default, deserialize_with = "records")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Of `spec.initContainers`.
    #[serde(default, deserialize_with = "records")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Of `spec.ephemeralContainers`.
    #[serde(default, deserialize_with = "records")]
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
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub name: String,
    /// How many instances came before the newest one. It can fall, when a node loses its logs.
    #[serde(default, deserialize_with = "scalar")]
    pub restart_count: Option<u32>,
    /// The newest instance. While the container waits, it names the dead one.
    #[serde(rename = "containerID", default, deserialize_with = "cut_name_or_none")]
    pub container_id: Option<String>,
    /// The newest instance's state.
    #[serde(default, deserialize_with = "record_or_default")]
    pub state: ContainerState,
    /// How the instance before it ended; while the container waits, the newest.
    #[serde(default, deserialize_with = "record_or_default")]
    pub last_state: ContainerState,
    /// What is in force. It differs from the spec's after an in-place resize that isn't done yet.
    #[serde(default, deserialize_with = "record_or_default")]
    pub resources: Resources,
    /// What is set aside for it on its node.
    #[serde(default, deserialize_with = "record_or_default")]
    pub allocated_resources: MemoryAmount,
}

/// `state` or `lastState` of a container; neither field given means that it waits.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContainerState {
    /// It runs.
    #[serde(default, deserialize_with = "record")]
    pub running: Option<Running>,
    /// It ended.
    #[serde(default, deserialize_with = "record")]
    pub terminated: Option<Terminated>,
}

/// A running instance.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Since when.
    #[serde(default, deserialize_with = "time_or_none")]
    pub started_at: Option<Timestamp>,
}

/// An instance that ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// Why: `OOMKilled`, `Error`, `Completed`, …
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub reason: String,
    /// What its process exited with.
    #[serde(default, deserialize_with = "scalar")]
    pub exit_code: Option<i32>,
    /// The instance.
    #[serde(rename = "containerID", default, deserialize_with = "cut_name_or_none")]
    pub container_id: Option<String>,
    /// When it was started.
    #[serde(default, deserialize_with = "time_or_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "time_or_none")]
    pub finished_at: Option<Timestamp>,
}

impl Pod {
    /// Returns the UID that Events about this Pod carry. For a mirror pod it is the static pod's.
    pub fn event_uid(&self) -> &str {
        self.metadata.annotations.mirror.as_deref().unwrap_or(&self.metadata.uid)
    }

    /// Returns whether it stands for a static pod. It may be deleted and made anew while its containers
    /// run on.
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.mirror.is_some()
    }

    /// Returns the containers that have a status and a name, each with the list of the spec that it is in.
    pub fn statuses<'a>(&'a self) -> impl Iterator<Item = (ContainerList, &'a ContainerStatus)> {
        let listed = |list, statuses: &'a [ContainerStatus]| {
            let named = statuses.iter().filter(|status| !status.name.is_empty());
            named.map(move |status| (list, status))
        };
        listed(ContainerList::Init, &self.status.init_container_statuses)
            .chain(listed(ContainerList::Containers, &self.status.container_statuses))
            .chain(listed(ContainerList::Ephemeral, &self.status.ephemeral_container_statuses))
    }

    /// Returns the name of a volume in memory that the container mounts.
    pub fn memory_volume(&self, container: &ContainerSpec) -> Option<&str> {
        let is_mounted = |volume: &&String| container.mounted_volumes.contains(*volume);
        self.spec.memory_volumes.iter().find(is_mounted).map(String::as_str)
    }

    /// Returns the memory limit of a container that is in force, in bytes.
    pub fn memory_limit(&self, list: ContainerList, status: &ContainerStatus) -> Option<u64> {
        status.resources.limits.bytes.or_else(|| self.asked_memory_limit(list, &status.name))
    }

    /// Returns the memory limit of the Pod as a whole that is in force, in bytes.
    pub fn whole_memory_limit(&self) -> Option<u64> {
        self.status.resources.limits.bytes.or(self.spec.resources.limits.bytes)
    }

    /// Returns whether a container's memory limit was changed, and is yet to be.
    pub fn is_being_resized(&self, list: ContainerList, status: &ContainerStatus) -> bool {
        let asked = self.asked_memory_limit(list, &status.name);
        status.resources.limits.bytes.is_some_and(|given| Some(given) != asked)
    }

    fn asked_memory_limit(&self, list: ContainerList, name: &str) -> Option<u64> {
        self.container(list, name).and_then(|spec| spec.resources.limits.bytes)
    }

    /// Returns the spec of the container of that name in that list.
    pub fn container(&self, list: ContainerList, name: &str) -> Option<&ContainerSpec> {
        let containers = match list {
            ContainerList::Containers => &self.spec.containers,
            ContainerList::Init => &self.spec.init_containers,
            ContainerList::Ephemeral => &self.spec.ephemeral_containers,
        };
        containers.iter().find(|container| container.name == name)
    }

    /// Returns the containers of the spec that have restart rules, each with the list that it is in.
    pub fn ruled_containers<'a>(&'a self) -> impl Iterator<Item = (ContainerList, &'a ContainerSpec)> {
        let listed = |list, specs: &'a [ContainerSpec]| specs.iter().map(move |spec| (list, spec));
        listed(ContainerList::Containers, &self.spec.containers)
            .chain(listed(ContainerList::Init, &self.spec.init_containers))
            .filter(|(_, spec)| !spec.restart_policy_rules.is_empty())
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
    /// Returns the kind of a container in this list with this spec.
    pub fn kind(self, spec: Option<&ContainerSpec>) -> ContainerKind {
        match self {
            Self::Containers => ContainerKind::Container,
            Self::Ephemeral => ContainerKind::Ephemeral,
            Self::Init if spec.is_some_and(|spec| spec.restart_policy == Some(RestartPolicy::Always)) => {
                ContainerKind::Sidecar
            }
            Self::Init => ContainerKind::Init,
        }
    }
}
