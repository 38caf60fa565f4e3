//! Plays a recorded watch stream into the API server, as the kubelet that was recorded would.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Namespace, kubelet::from};
use crate::Error;

/// One line of a recording.
struct Step {
    deleted: bool,
    object: Value,
    received: Timestamp,
}

impl Namespace {
    /// Plays a recording (its lines, as in `tests/recordings/*.jsonl`), `speed` times as fast as it
    /// was recorded, or at once if that is 0. Answers how many lines were played.
    ///
    /// Pods are created with the recorded name and spec, in this namespace, and get a UID of their own,
    /// which the Events then carry too; a mirror pod's Events keep the static pod's. After that each
    /// line is one status, or one Event that is created, patched or deleted. Container IDs stay the
    /// same. All times are moved by the same whole seconds, so that the recording ends as playing
    /// begins.
    ///
    /// # Errors
    ///
    /// A line can't be read, or the API server refused.
    pub async fn play(&self, recording: &str, speed: f64) -> Result<usize, Error> {
        let mut steps = recording.lines().map(Step::read).collect::<Result<Vec<_>, _>>()?;
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(0) };
        let first = first.received;
        let shift = SignedDuration::from_secs(Timestamp::now().duration_since(last.received).as_secs());
        let begun = Instant::now();
        // The recorded UIDs and those that their Pods have here.
        let mut uids = HashMap::new();
        for step in &mut steps {
            if speed > 0.0 {
                let since = step.received.duration_since(first).as_secs_f64() / speed;
                sleep_until(begun + Duration::try_from_secs_f64(since).unwrap_or_default()).await;
            }
            move_times(&mut step.object, shift);
            match step.object["kind"].as_str() {
                Some("Pod") => self.play_pod(step, &mut uids).await?,
                Some("Event") => self.play_event(step, &uids).await?,
                kind => return Err(Error::new("playing a recording", format!("what to do with {kind:?}?"))),
            }
        }
        Ok(steps.len())
    }

    async fn play_pod(&self, step: &Step, uids: &mut HashMap<String, String>) -> Result<(), Error> {
        let metadata = &step.object["metadata"];
        let (name, uid) = (text(&metadata["name"]), text(&metadata["uid"]));
        if step.deleted {
            return self.delete_pod(name).await;
        }
        if !uids.contains_key(uid) {
            let existing = self.api::<Pod>().get_opt(name).await;
            let existing = existing.map_err(|error| Error::new(format!("reading the Pod {name}"), error))?;
            let pod = match existing {
                Some(pod) => pod,
                None => self.create_pod(unplaced(&step.object)).await?,
            };
            uids.insert(uid.to_owned(), pod.uid().unwrap_or_default());
        }
        self.set_status(name, step.object["status"].clone()).await
    }

    async fn play_event(&self, step: &Step, uids: &HashMap<String, String>) -> Result<(), Error> {
        let events = self.api::<Event>();
        let name = text(&step.object["metadata"]["name"]);
        let tried = |error| Error::new(format!("playing the Event {name}"), error);
        if step.deleted {
            return events.delete(name, &DeleteParams::default()).await.map(drop).map_err(tried);
        }
        let mut event = unplaced(&step.object);
        event["involvedObject"]["namespace"] = self.name().into();
        if let Some(uid) = uids.get(text(&event["involvedObject"]["uid"])) {
            event["involvedObject"]["uid"] = uid.as_str().into();
        }
        if events.get_opt(name).await.map_err(tried)?.is_some() {
            let patch = Patch::Merge(json!({
                "count": event["count"], "lastTimestamp": event["lastTimestamp"], "message": event["message"],
            }));
            return events.patch(name, &PatchParams::default(), &patch).await.map(drop).map_err(tried);
        }
        events.create(&PostParams::default(), &from(event)?).await.map(drop).map_err(tried)
    }
}

impl Step {
    fn read(line: &str) -> Result<Self, Error> {
        let tried = |error: &dyn std::fmt::Display| Error::new("reading a line of a recording", error);
        let mut line: Value = serde_json::from_str(line).map_err(|error| tried(&error))?;
        let received = text(&line["receivedAt"]).parse().map_err(|error| tried(&error))?;
        Ok(Self { deleted: line["type"] == "DELETED", object: line["object"].take(), received })
    }
}

/// The object without what only the API server that it was recorded from knows.
fn unplaced(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| {
            ["name", "labels", "annotations", "ownerReferences"].contains(&field.as_str())
        });
    }
    object
}

/// Moves every time in the object.
fn move_times(value: &mut Value, shift: SignedDuration) {
    match value {
        Value::String(text) => {
            if let Ok(moved) = text.parse::<Timestamp>().and_then(|time| time.checked_add(shift)) {
                *text = moved.to_string();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| move_times(value, shift)),
        Value::Object(fields) => fields.values_mut().for_each(|value| move_times(value, shift)),
        _ => {}
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
