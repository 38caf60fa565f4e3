//! One request of a watch to the API server, and what its failure means: a sentence that says what
//! was tried, what the answer was and what to do.

use std::{fmt, time::Duration};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::{
    Client,
    client::Body,
    core::{
        Request,
        params::{ListParams, WatchParams},
        request,
    },
};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::timeout;

use super::connect::chain;

/// How long the API server may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take over one page of a list.
const PAGE: Duration = Duration::from_mins(1);
/// How much of an error's body is read.
const ERROR_BODY: usize = 16 * 1024;

/// What is listed and watched.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub client: Client,
    /// `pods` or `events`.
    pub resource: &'static str,
    /// The whole cluster without one.
    pub namespace: Option<String>,
    /// What is selected on the server's side.
    pub selector: Option<&'static str>,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The resourceVersion is too old, or the API server knows nothing of it: list again.
    #[error("{0}")]
    Expired(String),
    /// The API server answered with an error.
    #[error("{sentence}")]
    Answered { sentence: String, status: StatusCode, retry_after: Option<Duration> },
    /// There was no answer, or only part of one.
    #[error("{0}")]
    Unreachable(String),
}

/// What an API server says when it refuses (`metav1.Status`), as far as it is read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    details: Option<StatusDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    #[serde(default)]
    retry_after_seconds: Option<u64>,
}

impl Endpoint {
    /// One page of the list, as it came.
    pub(super) async fn page(
        &self,
        limit: u32,
        continue_token: Option<&str>,
        metadata_only: bool,
    ) -> Result<Vec<u8>, Failure> {
        let mut params =
            ListParams { field_selector: self.selector.map(str::to_owned), ..ListParams::default() }
                .limit(limit);
        params.continue_token = continue_token.map(str::to_owned);
        let request = Request::new(self.path());
        let request = if metadata_only { request.list_metadata(&params) } else { request.list(&params) };
        let read = async {
            let body = self.send("list", request).await?;
            body.collect().await.map_err(|error| self.unreachable("list", &error))
        };
        let collected = timeout(PAGE, read).await.map_err(|_| self.silent("list", PAGE))??;
        Ok(collected.to_bytes().into())
    }

    /// Opens a watch that begins after `version` and that the API server ends after `lifetime`
    /// seconds.
    pub(super) async fn watch(&self, version: &str, lifetime: u32) -> Result<Body, Failure> {
        let params = WatchParams {
            field_selector: self.selector.map(str::to_owned),
            timeout: Some(lifetime),
            ..WatchParams::default()
        };
        self.send("watch", Request::new(self.path()).watch(&params, version)).await
    }

    fn path(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/{}", self.resource),
            None => format!("/api/v1/{}", self.resource),
        }
    }

    async fn send(
        &self,
        verb: &'static str,
        request: Result<http::Request<Vec<u8>>, request::Error>,
    ) -> Result<Body, Failure> {
        let request = request.map_err(|error| self.unreachable(verb, &error))?;
        let answer = timeout(ANSWER, self.client.send(request.map(Body::from))).await;
        let response =
            answer.map_err(|_| self.silent(verb, ANSWER))?.map_err(|error| self.unreachable(verb, &error))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (head, body) = response.into_parts();
        let body = timeout(ANSWER, Limited::new(body, ERROR_BODY).collect()).await;
        let body = match body.map_err(|_| self.silent(verb, ANSWER))? {
            Ok(body) => body.to_bytes().to_vec(),
            Err(error) if error.is::<LengthLimitError>() => Vec::new(),
            Err(error) => return Err(self.unreachable(verb, error.as_ref())),
        };
        let mut status = serde_json::from_slice::<Status>(&body).unwrap_or_default();
        if status.message.is_empty() {
            status.message = String::from_utf8_lossy(&body).chars().take(200).collect();
        }
        status.code = head.status.as_u16();
        Err(self.refused(verb, status, retry_after(&head.headers)))
    }

    /// What it means that the API server answered so, in an answer or within a watch.
    pub(super) fn refused(
        &self,
        verb: &'static str,
        status: Status,
        retry_after: Option<Duration>,
    ) -> Failure {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let too_large = status.message.contains("Too large resource version");
        let said = format!("the API server answers {code}: {}", status.message.trim());
        if code == StatusCode::GONE || status.reason == "Expired" || too_large {
            return Failure::Expired(format!("can't {verb} {self} from there: {said}"));
        }
        let remedy = match code {
            StatusCode::UNAUTHORIZED => {
                ". The credentials are missing, wrong or expired: renew the token, or log in anew".to_owned()
            }
            StatusCode::FORBIDDEN => format!(". {}", self.missing_rule(verb)),
            _ => String::new(),
        };
        let asked = status.details.and_then(|details| details.retry_after_seconds).map(Duration::from_secs);
        Failure::Answered {
            sentence: format!("can't {verb} {self}: {said}{remedy}"),
            status: code,
            retry_after: retry_after.or(asked),
        }
    }

    fn missing_rule(&self, verb: &str) -> String {
        let (role, place) = match &self.namespace {
            Some(namespace) => ("Role", format!("in the namespace {namespace}")),
            None => ("ClusterRole", "in the whole cluster".to_owned()),
        };
        format!(
            "Grant the account the verb {verb} on {} (API group \"\") by a {role}, {place}",
            self.resource
        )
    }

    pub(super) fn unreachable(&self, verb: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
        let said = chain(error);
        Failure::Unreachable(format!(
            "can't {verb} {self}: no answer from the API server: {said}. Is it up, and is its address right?"
        ))
    }

    /// An answer that is no JSON, or not what was asked for.
    pub(super) fn unreadable(&self, verb: &str, error: &serde_json::Error) -> Failure {
        Failure::Unreachable(format!(
            "can't {verb} {self}: can't read the API server's answer: {error}. Is it an API server?"
        ))
    }

    fn silent(&self, verb: &str, limit: Duration) -> Failure {
        Failure::Unreachable(format!("can't {verb} {self}: no answer from the API server within {limit:?}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in the namespace {namespace}", self.resource),
            None => write!(f, "{} in the whole cluster", self.resource),
        }
    }
}

impl Failure {
    /// How long the API server asked to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            Self::Expired(_) | Self::Unreachable(_) => None,
        }
    }

    /// Whether the account lacks a right.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Answered { status: StatusCode::FORBIDDEN, .. })
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
