//! An incident that is over, as a sink may tell it.

use jiff::Timestamp;
use serde::Serialize;

use crate::{ContainerKind, Incident, KillId, Workload};

/// An incident that is over: its container has not been killed for an hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedIncident {
    /// The version of the JSON form.
    pub schema: ResolvedSchema,
    /// The identity of the incident's end: the same however often it is sent.
    pub id: KillId,
    /// The cluster's name, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// What the killed Pods belong to.
    pub workload: Workload,
    /// The container that was killed.
    pub container: ResolvedContainer,
    /// How many kills there were, since when, in how many Pods.
    pub incident: Incident,
    /// When the last instance was killed.
    pub last_kill: Timestamp,
    /// How the container's memory limit, in bytes, differs from that of the first kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<Change<Option<u64>>>,
    /// How the container's image differs from that of the first kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Change<String>>,
    /// What is gone, if the killed Pods are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// All of it in a sentence.
    pub message: String,
}

/// The name and version of the JSON form of a [`ResolvedIncident`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ResolvedSchema {
    /// The first and only version.
    #[default]
    #[serde(rename = "oom-resolved/v1")]
    V1,
}

/// The container whose incident is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolvedContainer {
    /// Its name within the Pod.
    pub name: String,
    /// Which of the Pod's lists it stands in.
    #[serde(rename = "type")]
    pub kind: ContainerKind,
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// What it was.
    pub from: T,
    /// What it is now.
    pub to: T,
}

/// What is gone at the end of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gone {
    /// The Pods that were killed; the workload has others.
    Pods,
    /// The Pods that were killed, and no other of the workload was seen since the incident began.
    Workload,
}
