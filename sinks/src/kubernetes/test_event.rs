//! What does `check --send` write? A Normal Event on the Pod that the program runs in, else on the
//! namespace, with a reason that the program never reads back as a kill.

use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::{Api, ResourceExt, api::ListParams};

use cluster::without_secrets;
use finding::TestFinding;
use untrusted::one_line;

use super::{KubernetesSink, event};
use crate::{AttemptOutcome, TestOutcome};

/// The `reason` of the Event.
const REASON: &str = "TestFinding";

/// Writes the Event. The Pod's UID, without which `kubectl describe` doesn't show it, is asked for with
/// a verb that the program needs anyway; where that fails the Event is written without.
pub(super) async fn deliver(sink: &KubernetesSink, test: &TestFinding) -> TestOutcome {
    let namespace = &test.namespace;
    let uid = match &test.pod {
        Some(pod) => Some(uid(sink, namespace, pod).await),
        None => None,
    };
    let event = test_event(test, uid.as_ref().and_then(|uid| uid.clone().ok()));
    match sink.create(namespace, &event).await {
        AttemptOutcome::Gone { .. } => TestOutcome::Refused {
            reason: format!(
                "creating an Event in namespace {namespace}: there is no such namespace, or it is being deleted. Name \
                 another in $POD_NAMESPACE, or with `kubectl config set-context --current --namespace=NAME`"
            ),
        },
        outcome => TestOutcome::new(outcome, place(test, uid)),
    }
}

/// Learns the UID of a Pod, or says why it can't.
async fn uid(sink: &KubernetesSink, namespace: &str, name: &str) -> Result<String, String> {
    let pods = Api::<Pod>::namespaced(sink.client.clone(), namespace);
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    match pods.list_metadata(&only).await {
        Ok(found) => {
            found.items.first().and_then(ResourceExt::uid).ok_or_else(|| "there is no such Pod".into())
        }
        Err(error) => Err(format!("its UID can't be learned: {}", one_line(&without_secrets(&error)))),
    }
}

fn test_event(test: &TestFinding, uid: Option<String>) -> Event {
    let (kind, name) = match &test.pod {
        Some(pod) => ("Pod", pod),
        None => ("Namespace", &test.namespace),
    };
    Event {
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(kind.into()),
            name: Some(name.clone()),
            // The API server wants the Event's own here, even if the object is in none.
            namespace: Some(test.namespace.clone()),
            uid,
            ..ObjectReference::default()
        },
        type_: Some("Normal".into()),
        reason: Some(REASON.into()),
        ..event(&test.finding())
    }
}

/// What the Event is on, and the command that shows it.
fn place(test: &TestFinding, uid: Option<Result<String, String>>) -> String {
    let namespace = &test.namespace;
    let list = format!("kubectl get events --namespace {namespace} --field-selector reason={REASON}");
    match (&test.pod, uid) {
        (Some(pod), Some(Err(why))) => format!(
            "an Event {REASON} on Pod {pod} in namespace {namespace}; {why}, so only this shows it: {list}"
        ),
        (Some(pod), _) => format!(
            "an Event {REASON} on Pod {pod} in namespace {namespace}: kubectl describe pod {pod} --namespace {namespace}"
        ),
        (None, _) => format!("an Event {REASON} on Namespace {namespace}: {list}"),
    }
}
