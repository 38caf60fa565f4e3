//! Keeps the ledger in the Events themselves: changes the annotations of an Event that stands.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use cluster::{Refusal, RequestError, send};
use finding::{Finding, OWED_ANNOTATION, RENEWED_ANNOTATION, event_name};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Client, Resource,
    api::{Patch, PatchParams},
    core::Request,
};
use serde_json::json;

use super::{POLICY_REMEDY, forbidden_remedy};
use crate::{LedgerStore, NoteOutcome};

/// Changes Events with a merge patch each.
pub struct EventLedger {
    client: Client,
}

impl EventLedger {
    /// Writes with this client. It should not retry by itself, because the ledger does.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl LedgerStore for EventLedger {
    async fn note(&self, finding: &Finding, owed: &[Arc<str>], renewed: Option<Timestamp>) -> NoteOutcome {
        let (namespace, name) = (&finding.namespace, event_name(&finding.pod.name, &finding.id));
        let mut annotations = BTreeMap::from([(OWED_ANNOTATION, owed_value(owed))]);
        annotations.extend(renewed.map(|at| (RENEWED_ANNOTATION, Some(at.to_string()))));
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let url = Event::url_path(&(), Some(namespace));
        let request = match Request::new(url).patch(&name, &PatchParams::default(), &patch) {
            Ok(request) => request,
            Err(error) => {
                return NoteOutcome::Retry { reason: format!("building the request: {error}"), after: None };
            }
        };
        match send(&self.client, request).await {
            Ok(_) => NoteOutcome::Noted,
            Err(RequestError::Refused(refusal)) => refused(namespace, &refusal),
            Err(error) => NoteOutcome::Retry {
                reason: format!("changing an Event in namespace {namespace}: {error}"),
                after: None,
            },
        }
    }
}

/// Returns the annotation that names these sinks; `None` if there are none.
pub(super) fn owed_value(owed: &[Arc<str>]) -> Option<String> {
    (!owed.is_empty()).then(|| owed.join(","))
}

fn refused(namespace: &str, refusal: &Refusal) -> NoteOutcome {
    let reason = |remedy: &str| format!("changing an Event in namespace {namespace}: {refusal}{remedy}");
    match refusal.code {
        StatusCode::NOT_FOUND if refusal.reason == "NotFound" => NoteOutcome::Gone,
        StatusCode::FORBIDDEN if refusal.has_cause("NamespaceTerminating") => NoteOutcome::Gone,
        StatusCode::FORBIDDEN => {
            NoteOutcome::Denied { reason: reason(&forbidden_remedy(namespace, &refusal.message, "patch")) }
        }
        code if code == StatusCode::UNPROCESSABLE_ENTITY || code == StatusCode::BAD_REQUEST => {
            NoteOutcome::Retry { reason: reason(POLICY_REMEDY), after: refusal.retry_after }
        }
        _ => NoteOutcome::Retry { reason: reason(""), after: refusal.retry_after },
    }
}
