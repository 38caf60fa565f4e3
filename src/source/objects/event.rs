//! An Event, as far as it is read: it says that a container was started, or that a node ran out of memory.

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    lenient::{record_or_default, scalar_or_default},
    text::cut_name_or_empty,
    time_or_none,
};

/// An Event that says that a container was started, as far as it is read. Of v1, or of `events.k8s.io/v1`,
/// which has other names for the same fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(default, deserialize_with = "record_or_default")]
    pub(super) metadata: EventMetadata,
    /// The container that it is about.
    #[serde(alias = "regarding", default, deserialize_with = "record_or_default")]
    pub involved_object: InvolvedObject,
    /// Why it was written: `Started`, for all that matters here.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub reason: String,
    /// Differs between versions of Kubernetes; read for one prefix alone.
    #[serde(alias = "note", default, deserialize_with = "scalar_or_default")]
    pub message: String,
    #[serde(alias = "deprecatedLastTimestamp", default, deserialize_with = "time_or_none")]
    pub(super) last_timestamp: Option<Timestamp>,
    #[serde(rename = "eventTime", default, deserialize_with = "time_or_none")]
    pub(super) time: Option<Timestamp>,
    /// How often it happened, dropped Events included.
    #[serde(alias = "deprecatedCount", default, deserialize_with = "scalar_or_default")]
    pub(super) count: i64,
    #[serde(default, deserialize_with = "record_or_default")]
    pub(super) series: EventSeries,
    /// Who wrote it.
    #[serde(alias = "deprecatedSource", default, deserialize_with = "record_or_default")]
    pub(super) source: EventSource,
    /// The same, in newer clusters. Kubelets up to 1.27 leave it empty.
    #[serde(alias = "reportingController", default, deserialize_with = "cut_name_or_empty")]
    pub(super) reporting_component: String,
}

/// `metadata` of an [`Event`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventMetadata {
    /// The Pod's namespace, too: an API server stores no Event about an object of another one, but for
    /// those of `events.k8s.io/v1`.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub(super) namespace: String,
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub(super) resource_version: String,
}

/// What an [`Event`] is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvolvedObject {
    /// The object's kind.
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub kind: String,
    /// The namespace that it is said to be in, by whoever wrote the Event.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub namespace: String,
    /// The Pod's name; a mirror pod and its static pod share it.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub name: String,
    /// The Pod's UID; of a mirror pod, the static pod's.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub uid: String,
    /// The container, such as `spec.containers{app}`.
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventSeries {
    #[serde(default, deserialize_with = "scalar_or_default")]
    pub(super) count: i64,
    #[serde(default, deserialize_with = "time_or_none")]
    pub(super) last_observed_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct EventSource {
    #[serde(default, deserialize_with = "cut_name_or_empty")]
    pub(super) component: String,
}

/// Who starts containers, and tells of it.
const KUBELET: &str = "kubelet";

/// client-go begins the message of an Event so that stands for several different ones
/// (`tools/record/events_cache.go`). Its `fieldPath` is that of the first of them.
const COMBINED: &str = "(combined from similar events)";

/// Where Events about nodes stand. Elsewhere anybody may write them who may write Events there.
pub const NAMESPACE_OF_NODE_EVENTS: &str = "default";

/// The reasons of Events that say that a node ran out of memory: the kubelet's, and that of
/// node-problem-detector.
const NODE_OOM_REASONS: [&str; 2] = ["SystemOOM", "OOMKilling"];

impl Event {
    /// Where a watch may go on after it.
    pub fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// The start that the Event proves: `None` if it is about something else, stands for Events of several
    /// containers, says that somebody else than a kubelet wrote it, or is about a Pod of another namespace
    /// than its own. Whoever may write Events in one namespace proves nothing for others.
    pub fn into_started(self) -> Option<Started> {
        let writers = [&self.source.component, &self.reporting_component];
        if writers.into_iter().any(|writer| !writer.is_empty() && writer != KUBELET) {
            return None;
        }
        let at = self.at();
        let (object, namespace) = (self.involved_object, self.metadata.namespace);
        if self.reason != "Started" || object.kind != "Pod" || self.message.starts_with(COMBINED) {
            return None;
        }
        if !object.namespace.is_empty() && object.namespace != namespace {
            return None;
        }
        let (_, container) = object.field_path.strip_suffix('}')?.split_once('{')?;
        let container = container.to_owned();
        let count = u32::try_from(self.count.max(self.series.count)).unwrap_or_default();
        let InvolvedObject { name: pod, uid: event_uid, .. } = object;
        Some(Started { namespace, pod, event_uid, container, at: at?, count })
    }

    /// Returns which node ran out of memory, if it says that.
    pub fn node_oom(&self) -> Option<NodeOom> {
        let InvolvedObject { kind, name, .. } = &self.involved_object;
        let namespace = self.metadata.namespace.as_str();
        let is_trusted = namespace == NAMESPACE_OF_NODE_EVENTS || namespace.is_empty();
        let tells = NODE_OOM_REASONS.contains(&self.reason.as_str()) && kind == "Node" && is_trusted;
        let at = self.at().filter(|_| tells && !name.is_empty())?;
        Some(NodeOom { node: name.clone(), at })
    }

    /// Returns when it happened last.
    fn at(&self) -> Option<Timestamp> {
        self.series.last_observed_time.max(self.last_timestamp).or(self.time)
    }
}

/// A node ran out of memory, by the word of its kubelet or of node-problem-detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOom {
    /// The node's name.
    pub node: String,
    /// When, by its clock.
    pub at: Timestamp,
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
    /// When, by its node's clock, to the second. The Event is written after the start, so the instance
    /// may have ended before.
    pub at: Timestamp,
    /// How many starts of the container the kubelet has told since it was started itself. 0 if the
    /// Event doesn't say.
    pub count: u32,
}
