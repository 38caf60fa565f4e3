//! The `kubernetes` sink: one core/v1 Event per kill, on the Pod, where `kubectl describe` shows it.
//!
//! The Event's name derives from the kill's identity, so the API server itself refuses to store a kill
//! twice, whoever writes it and however often. The verb `create` on `events` is all it takes.

mod test_event;

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Client, Resource,
    api::PostParams,
    client::Body,
    core::{Request, Status},
};

use crate::{
    Delivery, Finding, Grouping, KillId, Limits, Outcome, Settings, Sink, SinkType, Surroundings, Test,
    Tested, with_causes,
};

/// `type: kubernetes`.
pub const TYPE: SinkType =
    SinkType { name: "kubernetes", grouping: Grouping::NONE, read: |_| Some(Arc::new(KubernetesSettings)) };

/// Who the Events say they are from.
pub const COMPONENT: &str = "oom-event-generator";

/// The `reason` of the Events.
pub const REASON: &str = "PreviousContainerWasOOMKilled";

/// What the API server allows for the name of an object: a DNS-1123 subdomain.
const LONGEST_NAME: usize = 253;

/// Creating Events one at a time would take minutes in a storm. One namespace has twenty of these, which
/// are written in seconds and are still few for an API server.
const CONCURRENCY: usize = 40;

/// Admission webhooks may take 10 s each by default, 30 s at most, and the API server answers after them.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Answers are shown up to here, in characters: they come from webhooks too, and end up in a log.
const LONGEST_ANSWER: usize = 500;

/// What to do about a denial that is nobody's role.
const POLICY_REMEDY: &str =
    ". Let the webhook, policy or quota that forbids it make an exception for this program's Events";

/// The name of the Event that tells of a kill in a Pod: the same for the same kill, always.
pub fn event_name(pod_name: &str, id: &KillId) -> String {
    let room = LONGEST_NAME - 1 - id.as_str().len();
    let start: String = pod_name.chars().take(room).collect();
    // A label of a DNS-1123 subdomain may not end in a hyphen, nor be empty.
    format!("{}.{}", start.trim_end_matches(['-', '.']), id.as_str())
}

/// There is nothing to set.
#[derive(Debug)]
struct KubernetesSettings;

impl Settings for KubernetesSettings {
    fn build(&self, surroundings: &Surroundings) -> Result<Arc<dyn Sink>, String> {
        let client = surroundings.kubernetes.clone().ok_or("the program is not connected to a cluster")?;
        Ok(Arc::new(Kubernetes::new(client)))
    }
}

/// Writes findings as Events.
pub struct Kubernetes {
    client: Client,
}

impl Kubernetes {
    /// Writes with this client, which should not retry by itself: that is the courier's.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn create(&self, namespace: &str, event: &Event) -> Outcome {
        let request = match request(namespace, event) {
            Ok(request) => request,
            Err(error) => return Outcome::Refused { reason: format!("building the request: {error}") },
        };
        // Not `Api::create`, which drops the Retry-After header.
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return unanswered(namespace, &error),
        };
        let (head, body) = response.into_parts();
        match body.collect_bytes().await {
            _ if head.status.is_success() => Outcome::Delivered,
            Ok(body) => refusal(namespace, head.status, &head.headers, &body),
            Err(error) => unanswered(namespace, &error),
        }
    }
}

#[async_trait]
impl Sink for Kubernetes {
    fn limits(&self) -> Limits {
        Limits { batch: 1, concurrency: CONCURRENCY, interval: Duration::ZERO, timeout: TIMEOUT }
    }

    /// # Cancel safety
    ///
    /// An Event that was stored although nobody waited for the answer is a duplicate the next time.
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for Delivery { finding, .. } in batch {
            outcomes.push(self.create(&finding.namespace, &event(finding)).await);
        }
        outcomes
    }

    async fn deliver_test(&self, test: &Test) -> Tested {
        test_event::deliver(self, test).await
    }
}

fn request(namespace: &str, event: &Event) -> Result<http::Request<Body>, Box<dyn Error>> {
    let path = Event::url_path(&(), Some(namespace));
    let body = serde_json::to_vec(event)?;
    Ok(Request::new(path).create(&PostParams::default(), body)?.map(Body::from))
}

/// The Event that tells of a finding. It carries none of the Pod's labels or annotations: Argo CD would
/// take it for an object of the application's.
fn event(finding: &Finding) -> Event {
    let detected_at = finding.detected_at.map(Time);
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(&finding.pod.name, &finding.id)),
            namespace: Some(finding.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(finding.namespace.clone()),
            name: Some(finding.pod.name.clone()),
            uid: Some(finding.pod.event_uid.clone()),
            field_path: Some(format!(
                "spec.{}{{{}}}",
                finding.container.kind.spec_field(),
                finding.container.name
            )),
            ..ObjectReference::default()
        },
        type_: Some("Warning".into()),
        reason: Some(REASON.into()),
        message: Some(finding.message.clone()),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: None }),
        reporting_component: Some(COMPONENT.into()),
        count: Some(1),
        first_timestamp: detected_at.clone(),
        last_timestamp: detected_at,
        ..Event::default()
    }
}

/// No answer, or not the whole of one.
fn unanswered(namespace: &str, error: &kube::Error) -> Outcome {
    let reason = format!("creating an Event in namespace {namespace}: {}", with_causes(error));
    Outcome::Retry { reason, after: None }
}

/// What an answer that is no success means.
fn refusal(namespace: &str, code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    // Proxies and the API server's own flow control answer in plain text.
    let status: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(body).into_owned(),
        ..Status::default()
    });
    let answer = shown(&status.message);
    let reason =
        |remedy: &str| format!("creating an Event in namespace {namespace}: {code}: {answer}{remedy}");
    let retry =
        |remedy: &str| Outcome::Retry { reason: reason(remedy), after: retry_after(headers, &status) };

    match code {
        StatusCode::CONFLICT if status.is_already_exists() => Outcome::Duplicate,
        StatusCode::NOT_FOUND if status.reason == "NotFound" => {
            Outcome::Gone { reason: format!("namespace {namespace} is gone") }
        }
        // Any other conflict is one between requests, such as two that count towards the same quota;
        // any other 404 is a proxy's, while the API server is away.
        StatusCode::CONFLICT
        | StatusCode::NOT_FOUND
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => retry(""),
        StatusCode::FORBIDDEN if is_terminating(&status) => {
            Outcome::Gone { reason: format!("namespace {namespace} is being deleted") }
        }
        StatusCode::FORBIDDEN => retry(&forbidden_remedy(namespace, &status.message)),
        _ if is_denied_by_policy(&status.message) => retry(POLICY_REMEDY),
        StatusCode::UNAUTHORIZED => retry(
            ". The API server does not accept this program's credentials: check the service account's \
             token, or the user in the kubeconfig",
        ),
        code if code.is_server_error() => retry(""),
        _ => Outcome::Refused { reason: reason("") },
    }
}

/// Set by the admission of a namespace that is being deleted (`apimachinery`: `NamespaceTerminatingCause`).
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// A webhook's denial has whatever code the webhook gives it, 400 if it gives none (apiserver:
/// `webhookerrors.ToStatusErr`), and a `ValidatingAdmissionPolicy`'s has 422. Someone may mend either.
fn is_denied_by_policy(message: &str) -> bool {
    message.starts_with("admission webhook ") || message.contains("ValidatingAdmissionPolicy ")
}

/// A 403 comes from the authorizer, which names the user and the verb, or from admission.
fn forbidden_remedy(namespace: &str, message: &str) -> String {
    let Some((_, rest)) = message.split_once("User \"") else {
        return POLICY_REMEDY.into();
    };
    let user = rest.split('"').next().unwrap_or_default();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
    let grantee = match account {
        Some((home, name)) => format!("ServiceAccount {}/{}", shown(home), shown(name)),
        None => format!("user {}", shown(user)),
    };
    format!(
        ". Grant it to {grantee}: a Role in namespace {namespace}, or a ClusterRole, with the rule \
         apiGroups [\"\"], resources [\"events\"], verbs [\"create\"]"
    )
}

fn retry_after(headers: &HeaderMap, status: &Status) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let details = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
    header.or(details).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Text of another's making, on one line and not too long.
fn shown(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "no reason given".into();
    }
    text.chars().take(LONGEST_ANSWER).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
