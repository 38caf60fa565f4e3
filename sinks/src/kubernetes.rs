//! The `kubernetes` sink: writes one core/v1 Event per kill, on the Pod, where `kubectl describe` shows it.
//!
//! The Event's name derives from the kill's identity, so the API server refuses to store a kill twice,
//! whoever writes it and however often. It needs no right but `create` on `events`.
//!
//! The Event is the ledger as well: its annotations hold the finding, and name the other sinks that the finding
//! is still owed to. [`EventLedger`] takes them off, for which it needs `patch`.

mod ledger;
mod test_event;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use cluster::{Refusal, RequestError, rbac_rule, send};
use finding::{
    EVENT_COMPONENT, EVENT_REASON, FINDING_ANNOTATION, Finding, OWED_ANNOTATION, TestFinding, event_name,
};
use http::StatusCode;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Client, Resource, api::PostParams, core::Request};
use untrusted::one_line;

pub use self::ledger::EventLedger;
use self::ledger::owed_value;
use crate::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
    TestOutcome, stdout::line,
};

/// `type: kubernetes`.
pub const TYPE: SinkType = SinkType {
    name: "kubernetes",
    needs_cluster: true,
    remembers: true,
    read: |_| Some(Arc::new(KubernetesSettings)),
    ..SinkType::PLAIN
};

/// How many Events are created at once. One namespace uses at most half of them, which writes a storm in
/// seconds and is still few for an API server.
const CONCURRENCY: usize = 40;

/// How long creating an Event may take. The API server answers after its admission webhooks, which may
/// take 10 s each by default and 30 s at most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What to do about a denial that no Role can lift.
const POLICY_REMEDY: &str =
    ". Let the webhook, policy or quota that forbids it make an exception for this program's Events";

/// The settings of a `kubernetes` sink: none.
#[derive(Debug)]
struct KubernetesSettings;

impl SinkSettings for KubernetesSettings {
    fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        let client = context.kubernetes.clone().ok_or(SinkBuildError::NoCluster)?;
        Ok(Arc::new(KubernetesSink::new(client)))
    }
}

/// Writes findings as Events.
pub struct KubernetesSink {
    client: Client,
}

impl KubernetesSink {
    /// Writes with this client. It should not retry by itself, because the courier does.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn create(&self, namespace: &str, event: &Event) -> AttemptOutcome {
        let request = match request(namespace, event) {
            Ok(request) => request,
            Err(error) => {
                return AttemptOutcome::Refused { reason: format!("building the request: {error}") };
            }
        };
        // Not `Api::create`, which loses the Retry-After header.
        match send(&self.client, request).await {
            Ok(_) => AttemptOutcome::Delivered,
            Err(RequestError::Refused(refusal)) => refused(namespace, &refusal),
            Err(error) => AttemptOutcome::Retry {
                reason: format!("creating an Event in namespace {namespace}: {error}"),
                after: None,
            },
        }
    }
}

#[async_trait]
impl Sink for KubernetesSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 1, concurrency: CONCURRENCY, interval: Duration::ZERO, timeout: TIMEOUT }
    }

    /// # Cancel safety
    ///
    /// The Event may still be stored. A retry then returns [`AttemptOutcome::Duplicate`].
    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for Delivery { finding, owed, .. } in batch {
            let owed = match owed {
                Some(owed) => owed.note_for_event().await,
                None => Vec::new(),
            };
            let mut event = event(finding);
            event.metadata.annotations = Some(annotations(finding, &owed));
            outcomes.push(self.create(&finding.namespace, &event).await);
        }
        outcomes
    }

    async fn deliver_test(&self, test: &TestFinding) -> TestOutcome {
        test_event::deliver(self, test).await
    }
}

fn request(namespace: &str, event: &Event) -> Result<http::Request<Vec<u8>>, Box<dyn Error>> {
    let path = Event::url_path(&(), Some(namespace));
    let body = serde_json::to_vec(event)?;
    Ok(Request::new(path).create(&PostParams::default(), body)?)
}

/// Returns what makes an Event part of the ledger: the finding as the `stdout` sink writes it, and whom it is
/// owed to.
fn annotations(finding: &Finding, owed: &[Arc<str>]) -> BTreeMap<String, String> {
    let owed = owed_value(owed).map(|owed| (OWED_ANNOTATION.to_owned(), owed));
    [(FINDING_ANNOTATION.to_owned(), line(finding))].into_iter().chain(owed).collect()
}

/// Returns the Event for a finding. It has none of the Pod's labels or annotations, by which Argo CD would
/// take it for one of the application's objects.
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
        reason: Some(EVENT_REASON.into()),
        message: Some(finding.message.clone()),
        source: Some(EventSource { component: Some(EVENT_COMPONENT.into()), host: None }),
        reporting_component: Some(EVENT_COMPONENT.into()),
        count: Some(1),
        first_timestamp: detected_at.clone(),
        last_timestamp: detected_at,
        ..Event::default()
    }
}

/// Returns the outcome that a refusal means.
fn refused(namespace: &str, refusal: &Refusal) -> AttemptOutcome {
    let reason = |remedy: &str| format!("creating an Event in namespace {namespace}: {refusal}{remedy}");
    let retry = |remedy: &str| AttemptOutcome::Retry { reason: reason(remedy), after: refusal.retry_after };

    match refusal.code {
        StatusCode::CONFLICT if refusal.reason == "AlreadyExists" => AttemptOutcome::Duplicate,
        StatusCode::NOT_FOUND if refusal.reason == "NotFound" => {
            AttemptOutcome::Gone { reason: format!("namespace {namespace} is gone") }
        }
        // Any other conflict is between two requests, such as two that change the same quota. Any other
        // 404 comes from a proxy while the API server is away.
        StatusCode::CONFLICT
        | StatusCode::NOT_FOUND
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => retry(""),
        // `NamespaceTerminatingCause` of `apimachinery`: the namespace is being deleted.
        StatusCode::FORBIDDEN if refusal.has_cause("NamespaceTerminating") => {
            AttemptOutcome::Gone { reason: format!("namespace {namespace} is being deleted") }
        }
        StatusCode::FORBIDDEN => retry(&forbidden_remedy(namespace, &refusal.message, "create")),
        _ if is_denied_by_policy(&refusal.message) => retry(POLICY_REMEDY),
        StatusCode::UNAUTHORIZED => retry(
            ". The API server does not accept this program's credentials: check the service account's \
             token, or the user in the kubeconfig",
        ),
        code if code.is_server_error() => retry(""),
        _ => AttemptOutcome::Refused { reason: reason("") },
    }
}

/// Returns whether a webhook or a `ValidatingAdmissionPolicy` denied it, which a person may change. A
/// webhook chooses the status code, 400 by default (apiserver: `webhookerrors.ToStatusErr`); a policy has
/// 422.
fn is_denied_by_policy(message: &str) -> bool {
    message.starts_with("admission webhook ") || message.contains("ValidatingAdmissionPolicy ")
}

/// Returns what to do about a 403. It comes from the authorizer, which names the user, or from admission.
fn forbidden_remedy(namespace: &str, message: &str, verb: &str) -> String {
    let Some((_, rest)) = message.split_once("User \"") else {
        return POLICY_REMEDY.into();
    };
    let user = rest.split('"').next().unwrap_or_default();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
    let grantee = match account {
        Some((home, name)) => format!("ServiceAccount {}/{}", one_line(home), one_line(name)),
        None => format!("user {}", one_line(user)),
    };
    let rule = rbac_rule("", "events", None, verb);
    format!(
        ". Grant it to {grantee}: a Role in namespace {namespace}, or a ClusterRole, with the rule {rule}"
    )
}

#[cfg(test)]
mod tests;
