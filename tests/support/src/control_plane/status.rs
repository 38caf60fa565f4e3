//! What a kubelet would say of a Pod: a short notation for Pod statuses.
//!
//! ```
//! use support::status::{OOM_KILLED, PodStatus, running};
//!
//! PodStatus::new().container("app", running(1, "b").last("a", OOM_KILLED));
//! ```
//!
//! Times are now, to the second, as a kubelet's are, unless they are set.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The reason of a container that was killed for memory.
pub const OOM_KILLED: &str = "OOMKilled";

/// A Pod's whole status.
#[derive(Clone, Debug, Default)]
pub struct PodStatus(Map<String, Value>);

/// One container's status; it has no name until it is put into a [`PodStatus`].
#[derive(Clone, Debug)]
pub struct ContainerStatus(Value);

impl PodStatus {
    /// That of a Pod in phase `Running`, without containers.
    pub fn new() -> Self {
        Self::default().phase("Running")
    }

    /// The Pod's phase, such as `Failed`.
    #[must_use]
    pub fn phase(self, phase: &str) -> Self {
        self.field("phase", phase)
    }

    /// Any other field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a container to `containerStatuses`.
    #[must_use]
    pub fn container(self, name: &str, status: ContainerStatus) -> Self {
        self.push("containerStatuses", name, status)
    }

    /// Adds an init container or a sidecar to `initContainerStatuses`.
    #[must_use]
    pub fn init(self, name: &str, status: ContainerStatus) -> Self {
        self.push("initContainerStatuses", name, status)
    }

    /// Adds a container to `ephemeralContainerStatuses`.
    #[must_use]
    pub fn ephemeral(self, name: &str, status: ContainerStatus) -> Self {
        self.push("ephemeralContainerStatuses", name, status)
    }

    fn push(mut self, list: &str, name: &str, ContainerStatus(mut status): ContainerStatus) -> Self {
        status["name"] = name.into();
        let list = self.0.entry(list).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(status);
        }
        self
    }
}

impl From<PodStatus> for Value {
    fn from(PodStatus(fields): PodStatus) -> Self {
        Self::Object(fields)
    }
}

/// The instance `id` runs, after so many restarts.
pub fn running(restarts: u32, id: &str) -> ContainerStatus {
    let mut status = of(restarts, &json!({"running": {"startedAt": now()}}));
    status["containerID"] = container_id(id).into();
    status["ready"] = true.into();
    status["started"] = true.into();
    ContainerStatus(status)
}

/// The instance `id` has ended, and none came after it yet.
pub fn terminated(restarts: u32, id: &str, reason: &str) -> ContainerStatus {
    let mut status = of(restarts, &json!({"terminated": end(id, reason)}));
    status["containerID"] = container_id(id).into();
    ContainerStatus(status)
}

/// The container waits in `CrashLoopBackOff`.
pub fn waiting(restarts: u32) -> ContainerStatus {
    ContainerStatus(of(restarts, &json!({"waiting": {"reason": "CrashLoopBackOff"}})))
}

impl ContainerStatus {
    /// The instance before was `id`. While the container waits, it is the one that `containerID` names.
    #[must_use]
    pub fn last(mut self, id: &str, reason: &str) -> Self {
        self.0["lastState"] = json!({"terminated": end(id, reason)});
        if self.0["state"]["waiting"].is_object() {
            self.0["containerID"] = container_id(id).into();
        }
        self
    }

    /// When the instance of `state` started.
    #[must_use]
    pub fn started_at(mut self, at: Timestamp) -> Self {
        let state = if self.0["state"]["running"].is_object() { "running" } else { "terminated" };
        self.0["state"][state]["startedAt"] = seconds(at).into();
        self
    }

    /// When the instance of `state` ended.
    #[must_use]
    pub fn finished_at(mut self, at: Timestamp) -> Self {
        self.0["state"]["terminated"]["finishedAt"] = seconds(at).into();
        self
    }

    /// The exit code of the instance of `state`, where it isn't the one that its reason suggests.
    #[must_use]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.0["state"]["terminated"]["exitCode"] = code.into();
        self
    }

    /// When the instance before started and ended.
    #[must_use]
    pub fn last_from_to(mut self, started: Timestamp, finished: Timestamp) -> Self {
        self.0["lastState"]["terminated"]["startedAt"] = seconds(started).into();
        self.0["lastState"]["terminated"]["finishedAt"] = seconds(finished).into();
        self
    }

    /// The exit code of the instance before, where it isn't the one that its reason suggests.
    #[must_use]
    pub fn last_exit_code(mut self, code: i32) -> Self {
        self.0["lastState"]["terminated"]["exitCode"] = code.into();
        self
    }

    /// Any other field, such as `resources`.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }
}

/// The runtime's ID as the API shows it: `containerd://…`.
pub fn container_id(id: &str) -> String {
    if id.is_empty() || id.contains("://") { id.to_owned() } else { format!("containerd://{id}") }
}

fn of(restarts: u32, state: &Value) -> Value {
    let image = "localhost/memhog:1";
    json!({
        "state": state, "lastState": {}, "restartCount": restarts,
        "ready": false, "started": false, "image": image, "imageID": image,
    })
}

fn end(id: &str, reason: &str) -> Value {
    let exit_code = if reason == "Completed" { 0 } else { 137 };
    let mut end = json!({"reason": reason, "exitCode": exit_code, "startedAt": now(), "finishedAt": now()});
    if !id.is_empty() {
        end["containerID"] = container_id(id).into();
    }
    end
}

/// Now, to the second.
fn now() -> String {
    seconds(Timestamp::now())
}

pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
