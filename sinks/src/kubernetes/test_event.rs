//! Writes the test Event of `check --send`: a Normal Event on the Pod that the program runs in, else on the
//! namespace. The program doesn't read its reason back as a kill.

use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::{Api, ResourceExt, api::ListParams};

use cluster::RequestError;
use finding::TestFinding;
use thiserror::Error;
use untrusted::one_line;

use super::{KubernetesSink, event};
use crate::{AttemptOutcome, TestOutcome};

/// The `reason` of the Event.
const REASON: &str = "TestFinding";

/// Writes the Event with the Pod's UID, without which `kubectl describe` doesn't show it. If the UID can't
/// be read (with `list`, a verb that the program needs anyway), the Event is written without.
pub(super) async fn deliver(sink: &KubernetesSink, test: &TestFinding) -> TestOutcome {
    let namespace = &test.namespace;
    let uid = match &test.pod {
        Some(pod) => Some(uid(sink, namespace, pod).await),
        None => None,
    };
    let event = test_event(test, uid.as_ref().and_then(|uid| uid.as_ref().ok()));
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

/// Why the UID of a Pod isn't known.
#[derive(Debug, Error)]
enum UidError {
    #[error("there is no such Pod")]
    NoPod,
    #[error("its UID can't be learned: {}", one_line(&.0.to_string()))]
    Unanswered(#[from] RequestError),
}

/// Returns the UID of a Pod.
async fn uid(sink: &KubernetesSink, namespace: &str, name: &str) -> Result<String, UidError> {
    let pods = Api::<Pod>::namespaced(sink.client.clone(), namespace);
    let only = ListParams::default().fields(&format!("metadata.name={name}"));
    pods.list_metadata(&only)
        .await
        .map_err(RequestError::from)?
        .items
        .first()
        .and_then(ResourceExt::uid)
        .ok_or(UidError::NoPod)
}

fn test_event(test: &TestFinding, uid: Option<&String>) -> Event {
    let (kind, name) = match &test.pod {
        Some(pod) => ("Pod", pod),
        None => ("Namespace", &test.namespace),
    };
    Event {
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(kind.into()),
            name: Some(name.clone()),
            // The API server requires the Event's own namespace here, even for a Namespace.
            namespace: Some(test.namespace.clone()),
            uid: uid.cloned(),
            ..ObjectReference::default()
        },
        type_: Some("Normal".into()),
        reason: Some(REASON.into()),
        ..event(&test.finding())
    }
}

/// Says what the Event is on, and which command shows it.
fn place(test: &TestFinding, uid: Option<Result<String, UidError>>) -> String {
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
