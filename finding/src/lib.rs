//! What is known of one OOM kill: the one type that every sink delivers, and its JSON form.
//!
//! The JSON form is `oom-finding.schema.json` beside this crate's manifest; a test holds the two
//! together. What is unknown is absent, never a made-up value.

mod advice;
mod cause;
mod event;
mod example;
mod explanation;
mod history;
mod memory;
mod message;
mod quantity;
mod resolved;
mod size;
mod test_finding;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use ring::digest;
use serde::{Deserialize, Serialize};

pub use advice::AdvicePolicy;
pub use cause::KillEvidence;
pub use event::{
    EVENT_COMPONENT, EVENT_REASON, FINDING_ANNOTATION, OWED_ANNOTATION, RENEWED_ANNOTATION, event_name,
};
pub use explanation::{Advice, Cause, CauseKind, Incident};
pub use history::{KillHistory, RaisedLimit};
pub use memory::bytes;
pub use quantity::parse_quantity;
pub use resolved::{Change, Gone, ResolvedContainer, ResolvedIncident, ResolvedSchema};
pub use test_finding::TestFinding;

/// One OOM kill of one container, and the start that followed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The version of the JSON form.
    pub schema: Schema,
    /// Whether it is made up to test a sink.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// The kill's identity: the same for the same kill, over restarts, replicas and replays.
    pub id: KillId,
    /// The cluster's name, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub cluster: Option<String>,
    /// When this program learned of it, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// The Pod's namespace.
    #[serde(deserialize_with = "text::bounded")]
    pub namespace: String,
    /// The Pod.
    pub pod: AffectedPod,
    /// The container as its Pod describes it.
    pub container: AffectedContainer,
    /// The instance that was killed.
    pub killed: Killed,
    /// The instance that was started after it; `None` for a kill that no restart followed.
    pub restarted: Option<Restarted>,
    /// Why it was killed, as far as the Pod and its node show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// The kills of the same container of the same workload that this one belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
    /// All of it in a sentence; the text of the Kubernetes Event.
    #[serde(deserialize_with = "text::bounded")]
    pub message: String,
    /// What cause and advice are found out from, besides what is said above.
    #[serde(skip)]
    pub evidence: KillEvidence,
}

/// The name and version of the JSON form of a [`Finding`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// The first and only version.
    #[default]
    #[serde(rename = "oom-finding/v1")]
    V1,
}

/// The Pod that a killed container belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedPod {
    /// `metadata.name`.
    #[serde(deserialize_with = "text::bounded")]
    pub name: String,
    /// `metadata.uid`.
    #[serde(deserialize_with = "text::bounded")]
    pub uid: String,
    /// `spec.nodeName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub node: Option<String>,
    /// The memory limit of the Pod as a whole, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// The topmost owner that the Pod itself shows.
    pub workload: Workload,
    /// The UID that Events about this Pod carry. For a mirror pod that is the static pod's, by
    /// which `kubectl describe pod` looks them up (annotation `kubernetes.io/config.mirror`).
    #[serde(skip)]
    pub event_uid: String,
    /// Those of `metadata.labels` that a `match` asks for. No sink shows them. `None` in a finding that was
    /// read from its JSON, which doesn't have them.
    #[serde(skip)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether its annotation `oom-event-generator/ignore` is `true`.
    #[serde(skip)]
    pub asks_to_be_ignored: bool,
}

/// What a Pod belongs to: its Deployment, `CronJob` or other controlling owner, or the Pod itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// The owner's kind, such as `Deployment`.
    #[serde(deserialize_with = "text::bounded")]
    pub kind: String,
    /// The owner's name.
    #[serde(deserialize_with = "text::bounded")]
    pub name: String,
}

/// A container as its Pod describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedContainer {
    /// Its name within the Pod.
    #[serde(deserialize_with = "text::bounded")]
    pub name: String,
    /// Which of the Pod's lists it stands in.
    #[serde(rename = "type")]
    pub kind: ContainerKind,
    /// The image, as the Pod's spec names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub image: Option<String>,
    /// The memory limit in force, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// The memory request in force, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_request_bytes: Option<u64>,
}

/// Which of a Pod's lists a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// `spec.containers`.
    Container,
    /// `spec.initContainers`, run to completion before the others.
    Init,
    /// `spec.initContainers` with `restartPolicy: Always`.
    Sidecar,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

impl ContainerKind {
    /// Returns the field of the Pod's spec that lists containers of this kind.
    pub fn spec_field(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Init | Self::Sidecar => "initContainers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// The instance that was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Killed {
    /// The runtime's ID of the instance, such as `containerd://…`. Virtual kubelets leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub container_id: Option<String>,
    /// Usually 137. Another code means that the kernel killed a child process, which marks the
    /// container as OOM-killed, and that its main process exited with this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When the instance was started, by its node's clock, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended, by its node's clock, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// The instance that was started after a kill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarted {
    /// The runtime's ID of the instance; unknown where a `Started` Event alone tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "text::bounded_or_none")]
    pub container_id: Option<String>,
    /// When it was started, by its node's clock, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// `restartCount` of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_count: Option<u32>,
}

/// The identity of one kill: 32 hexadecimal digits, safe in names of Kubernetes objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KillId(#[serde(deserialize_with = "text::id")] String);

impl KillId {
    /// Makes an identity of parts. Their order matters, and where one ends and the next begins.
    pub fn new(parts: &[&str]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let digest = context.finish();
        let half = digest.as_ref().iter().take(16);
        let digits = half.flat_map(|byte| [byte >> 4, byte & 0xf]);
        Self(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
    }

    /// Returns the 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The usual [`Killed::exit_code`]: 128 + SIGKILL.
pub const EXIT_CODE_OF_SIGKILL: i32 = 137;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Allows no property that it doesn't name, so what validates has none that it lacks.
    fn schema() -> Value {
        serde_json::from_str(include_str!("../oom-finding.schema.json")).unwrap()
    }

    fn schema_of_resolved() -> Value {
        serde_json::from_str(include_str!("../oom-resolved.schema.json")).unwrap()
    }

    fn problems(finding: &Value) -> Vec<String> {
        problems_by(&schema(), finding)
    }

    fn problems_by(schema: &Value, value: &Value) -> Vec<String> {
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    #[test]
    fn the_schemas_are_ones() {
        assert!(jsonschema::meta::is_valid(&schema()) && jsonschema::meta::is_valid(&schema_of_resolved()));
    }

    #[test]
    fn the_schema_allows_what_resolved_incidents_say() {
        for resolved in [ResolvedIncident::full(), ResolvedIncident::minimal()] {
            assert_eq!(problems_by(&schema_of_resolved(), &json!(resolved)), Vec::<String>::new());
        }
        let limit = Some(Change { from: Some(64 << 20), to: None });
        let resolved = ResolvedIncident {
            memory_limit_bytes: limit,
            gone: Some(Gone::Workload),
            ..ResolvedIncident::full()
        };
        assert_eq!(problems_by(&schema_of_resolved(), &json!(resolved)), Vec::<String>::new());
    }

    #[test]
    fn the_schema_allows_what_findings_say() {
        let known_from_the_event_alone = Finding {
            restarted: Some(Restarted { container_id: None, restart_count: None, ..Restarted::default() }),
            ..Finding::full()
        };
        let test = Finding { test: true, ..Finding::minimal() };
        for finding in [Finding::full(), Finding::minimal(), known_from_the_event_alone, test] {
            assert_eq!(problems(&json!(finding)), Vec::<String>::new());
        }
        for kind in [ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral] {
            let mut finding = Finding::full();
            finding.container.kind = kind;
            assert_eq!(problems(&json!(finding)), Vec::<String>::new());
        }
    }

    #[test]
    fn the_schemas_name_nothing_that_is_never_said() {
        fn compare(schema: &Value, value: &Value, path: &str) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}/{name}");
                assert!(property["description"].is_string(), "{path} has no description");
                assert!(value.get(name).is_some(), "{path} is in the schema and never said");
                compare(property, &value[name], &path);
            }
        }
        compare(&schema(), &json!(Finding { test: true, ..Finding::full() }), "");
        compare(&schema_of_resolved(), &json!(ResolvedIncident::full()), "");
    }

    #[test]
    fn the_schema_demands_what_is_always_known() {
        fn names(value: &Value) -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        }
        let minimal = json!(Finding::minimal());
        for place in ["", "/pod", "/pod/workload", "/container", "/killed"] {
            for name in names(minimal.pointer(place).unwrap()) {
                let mut without = minimal.clone();
                without.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(&name);
                assert_ne!(problems(&without), Vec::<String>::new(), "{place}/{name} is not demanded");
            }
        }
    }

    #[test]
    fn a_finding_is_read_back_from_its_json_without_what_that_does_not_have() {
        for finding in [Finding::full(), Finding::minimal()] {
            let read: Finding = serde_json::from_str(&json!(finding).to_string()).unwrap();
            let pod = AffectedPod { labels: None, event_uid: String::new(), ..finding.pod.clone() };
            assert_eq!(read, Finding { pod, evidence: KillEvidence::default(), ..finding });
        }
    }

    #[test]
    fn what_is_no_finding_of_this_program_is_not_read() {
        let long = "a".repeat(text::MAX_TEXT_BYTES + 1);
        for (place, value) in [
            ("/schema", json!("oom-finding/v2")),
            ("/id", json!("0123456789ABCDEF0123456789abcdef")),
            ("/id", json!("0123")),
            ("/id", json!("../../secrets/0123456789abcdef01")),
            ("/namespace", json!(long)),
            ("/pod/name", json!(long)),
            ("/pod/workload/name", json!(long)),
            ("/pod/node", json!(long)),
            ("/container/image", json!(long)),
            ("/container/memoryLimitBytes", json!(-1)),
            ("/killed/containerId", json!(long)),
            ("/cause/text", json!(long)),
            ("/advice/command", json!(long)),
            ("/message", json!(long)),
        ] {
            let mut changed = json!(Finding::full());
            *changed.pointer_mut(place).unwrap() = value;
            assert!(serde_json::from_value::<Finding>(changed).is_err(), "{place}");
        }
    }

    #[test]
    fn an_identity_depends_on_every_part_and_border() {
        let id = KillId::new(&["ab", "c"]);
        assert_eq!(id.as_str().len(), 32);
        assert_eq!(id, KillId::new(&["ab", "c"]));
        assert_ne!(id, KillId::new(&["a", "bc"]));
        assert_ne!(id, KillId::new(&["ab"]));
    }
}
