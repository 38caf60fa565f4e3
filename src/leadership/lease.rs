//! Sends what an [`ElectionState`](super::election::ElectionState) asks for to the API server.

use std::{error::Error, fmt, time::Duration};

use cluster::{RequestError, rbac_rule, read_json, send};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Client, Resource,
    api::PostParams,
    core::{Request, request},
};
use thiserror::Error;
use tokio::time::timeout;

use super::election::{LEASE_DURATION, LeaseAnswer, LeaseRequest, LeaseState};

/// How long a request may take. A leader has time for several before its term ends.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A Lease, and who asks for it.
#[derive(Clone)]
pub(super) struct LeaseClient {
    pub client: Client,
    pub namespace: String,
    pub lease: String,
    pub identity: String,
}

/// Why a request about a Lease failed.
#[derive(Debug, Error)]
pub(super) enum LeaseError {
    /// No request can be made of it.
    #[error("building the request")]
    Build(#[from] request::Error),
    /// It is no JSON.
    #[error("writing the Lease as JSON")]
    Write(#[from] serde_json::Error),
    /// There is no answer.
    #[error("no answer within {REQUEST_TIMEOUT:?}")]
    Silent,
    /// The API server refuses it, or can't be reached.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer can't be read.
    #[error("the answer is no Lease: {0}")]
    Answer(Box<dyn Error + Send + Sync>),
}

impl LeaseClient {
    /// Sends a request, and returns what the answer means. What helps nobody is an error.
    ///
    /// # Cancel safety
    ///
    /// It may have been carried out nevertheless.
    pub async fn ask(&self, request: &LeaseRequest, now: Timestamp) -> Result<LeaseAnswer, LeaseError> {
        let request = self.build(request, now)?;
        match timeout(REQUEST_TIMEOUT, self.send(request)).await.map_err(|_elapsed| LeaseError::Silent)? {
            Err(LeaseError::Request(RequestError::Refused(refusal)))
                if refusal.code == StatusCode::CONFLICT =>
            {
                Ok(LeaseAnswer::Conflict)
            }
            // A 404 of another reason comes from a proxy while the API server is away, or names the namespace.
            Err(LeaseError::Request(RequestError::Refused(refusal)))
                if refusal.code == StatusCode::NOT_FOUND && refusal.reason == "NotFound" =>
            {
                Ok(LeaseAnswer::Missing)
            }
            answer => answer.map(LeaseAnswer::Stored),
        }
    }

    /// Gives the Lease up, if it still is as `held`.
    ///
    /// # Cancel safety
    ///
    /// It may have been given up nevertheless.
    pub async fn release(&self, held: &LeaseState, now: Timestamp) -> Result<(), LeaseError> {
        let request = self.replace(held, None, now)?;
        timeout(REQUEST_TIMEOUT, self.send(request)).await.map_err(|_elapsed| LeaseError::Silent)??;
        Ok(())
    }

    /// Returns what a request tries.
    pub fn what(&self, request: &LeaseRequest) -> String {
        let doing = match request {
            LeaseRequest::Read => "reading",
            LeaseRequest::Create => "creating",
            LeaseRequest::Hold(_) => "updating",
        };
        format!("{doing} {self}")
    }

    /// Returns what to do about an error.
    pub fn remedy(&self, request: &LeaseRequest, error: &LeaseError) -> String {
        if !matches!(error, LeaseError::Request(error) if error.is_forbidden()) {
            return String::new();
        }
        let (verb, name) = match request {
            LeaseRequest::Read => ("get", Some(self.lease.as_str())),
            // Kubernetes can't limit the right to create by name.
            LeaseRequest::Create => ("create", None),
            LeaseRequest::Hold(_) => ("update", Some(self.lease.as_str())),
        };
        let rule = rbac_rule("coordination.k8s.io", "leases", name, verb);
        format!(". Grant it in a Role in namespace {}: {rule}", self.namespace)
    }

    fn build(&self, request: &LeaseRequest, now: Timestamp) -> Result<http::Request<Vec<u8>>, LeaseError> {
        let requests = Request::new(Lease::url_path(&(), Some(&self.namespace)));
        match request {
            LeaseRequest::Read => Ok(requests.get(&self.lease, &kube::api::GetParams::default())?),
            LeaseRequest::Create => {
                let lease = serde_json::to_vec(&self.lease(None, Some(&self.identity), 0, now))?;
                Ok(requests.create(&PostParams::default(), lease)?)
            }
            LeaseRequest::Hold(known) => self.replace(known, Some(&self.identity), now),
        }
    }

    fn replace(
        &self,
        known: &LeaseState,
        holder: Option<&str>,
        now: Timestamp,
    ) -> Result<http::Request<Vec<u8>>, LeaseError> {
        let changes = i32::from(known.holder.as_deref() != holder && holder.is_some());
        let transitions = known.transitions.saturating_add(changes);
        let lease = serde_json::to_vec(&self.lease(Some(&known.version), holder, transitions, now))?;
        let requests = Request::new(Lease::url_path(&(), Some(&self.namespace)));
        Ok(requests.replace(&self.lease, &PostParams::default(), lease)?)
    }

    /// Returns the Lease to store. Its times are for people: no replica reads them.
    fn lease(&self, version: Option<&str>, holder: Option<&str>, transitions: i32, now: Timestamp) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.lease.clone()),
                namespace: Some(self.namespace.clone()),
                resource_version: version.map(str::to_owned),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                lease_transitions: Some(transitions),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<LeaseState, LeaseError> {
        let response = send(&self.client, request).await?;
        let lease: Lease = read_json(response).await.map_err(LeaseError::Answer)?;
        let spec = lease.spec.unwrap_or_default();
        Ok(LeaseState {
            version: lease.metadata.resource_version.unwrap_or_default(),
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            transitions: spec.lease_transitions.unwrap_or_default(),
        })
    }
}

/// The Lease, for a log line.
impl fmt::Display for LeaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Lease {}/{}", self.namespace, self.lease)
    }
}
