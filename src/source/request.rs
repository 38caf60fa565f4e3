//! One request of a watch to the API server.

use std::{fmt, io, time::Duration};

use cluster::{Refusal, RequestError, send, without_secrets};
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use http_body_util::BodyExt;
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
use tokio::time::timeout;
use untrusted::{ReadError, read_up_to};

use super::{
    answer::Page,
    failure::{Failure, FailureKind},
    lines::Lines,
};

/// How long it may take over one page of a list.
const PAGE: Duration = Duration::from_secs(50);
/// How long one page may be, or one line of a watch, in bytes. An object is at most 1.5 MiB in etcd,
/// up to six times that in JSON (`<` is written `\u003c`), and rarely a hundredth of it.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;

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

/// What is wanted of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The objects.
    Whole,
    /// Their metadata.
    Metadata,
    /// Its version alone, which doesn't depend on what is selected.
    Version,
}

/// How far a list was taken in.
pub(super) struct Cursor {
    shape: Shape,
    limit: u32,
    /// What the next page is asked for with; `None` for the first.
    pub next: Option<String>,
}

impl Cursor {
    /// The beginning of a list, of so many objects to a page.
    pub(super) fn new(shape: Shape, limit: u32) -> Self {
        Self { shape, limit, next: None }
    }

    /// The same page is to be asked for again, a smaller one, or the first.
    pub(super) fn failed(&mut self, failure: &Failure) {
        match failure.kind {
            FailureKind::Expired => self.next = None,
            FailureKind::TooLong => self.limit = (self.limit / 10).max(1),
            _ => {}
        }
    }
}

impl Endpoint {
    /// One page of the list, as it came, in the place of what `page` held. Who asks for several keeps it:
    /// it has found its size with the first, and the heap stays in one piece.
    pub(super) async fn page(&self, cursor: &Cursor, page: &mut Vec<u8>) -> Result<(), Failure> {
        let selector = self.selector.filter(|_| cursor.shape != Shape::Version);
        let params = ListParams {
            field_selector: selector.map(str::to_owned),
            limit: Some(cursor.limit),
            continue_token: cursor.next.clone(),
            ..ListParams::default()
        };
        let request = Request::new(self.path());
        let request = match cursor.shape {
            Shape::Whole => request.list(&params),
            Shape::Metadata | Shape::Version => request.list_metadata(&params),
        };
        let read = async {
            let body = self.send("list", request).await?;
            read_up_to(body, LONGEST, page).await.map_err(|error| self.unread(&error))
        };
        timeout(PAGE, read).await.map_err(|_| self.silent("list", PAGE))?
    }

    /// Reads a page.
    pub(super) fn read<'a, O: Deserialize<'a>>(&self, page: &'a [u8]) -> Result<Page<O>, Failure> {
        Page::read(page).map_err(|error| self.unusable("list", &error.to_string()))
    }

    /// Opens a watch that begins after `version` and that the API server ends after `lifetime`
    /// seconds.
    pub(super) async fn watch(&self, version: &str, lifetime: u32) -> Result<Lines, Failure> {
        let params = WatchParams {
            field_selector: self.selector.map(str::to_owned),
            timeout: Some(lifetime),
            ..WatchParams::default()
        };
        let body = self.send("watch", Request::new(self.path()).watch(&params, version)).await?;
        Ok(Lines::new(body.into_data_stream().map_err(io::Error::other).boxed()))
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
        let request = request.map_err(|error| self.unreachable(verb, &error.to_string()))?;
        match send(&self.client, request).await {
            Ok(response) => Ok(response.into_body()),
            Err(RequestError::Refused(refusal)) => Err(self.refused(verb, &refusal)),
            Err(RequestError::Silent(limit)) => Err(self.silent(verb, limit)),
            Err(error @ RequestError::Unanswered(_)) => Err(self.unreachable(verb, &error.to_string())),
        }
    }

    /// The API server answered so, at once or within a watch.
    pub(super) fn refused(&self, verb: &'static str, refusal: &Refusal) -> Failure {
        let kind =
            if refusal.is_expired() { FailureKind::Expired } else { FailureKind::Answered(refusal.code) };
        let remedy = match kind {
            FailureKind::Answered(StatusCode::UNAUTHORIZED) => {
                ". The credentials are missing, wrong or expired: renew the token, or log in anew".to_owned()
            }
            FailureKind::Answered(StatusCode::FORBIDDEN) => format!(". {}", self.missing_rule()),
            _ => String::new(),
        };
        let sentence = format!("can't {verb} {self}: the API server answers {refusal}{remedy}");
        Failure::new(kind, &sentence).retry_after(refusal.retry_after)
    }

    fn missing_rule(&self) -> String {
        let (role, place) = match &self.namespace {
            Some(namespace) => ("Role", format!("in the namespace {namespace}")),
            None => ("ClusterRole", "in the whole cluster".to_owned()),
        };
        let resource = self.resource;
        format!(
            "Grant the account the verbs list and watch on {resource} (API group \"\") by a {role}, {place}"
        )
    }

    /// There was no answer, or it broke off.
    pub(super) fn unreachable(&self, verb: &str, said: &str) -> Failure {
        let why = format!("no answer from the API server: {said}. Is it up, and is its address right?");
        self.failed(FailureKind::Unreachable, verb, &why)
    }

    /// A page was not read to its end.
    fn unread(&self, error: &ReadError) -> Failure {
        match error {
            ReadError::TooLong { limit } => {
                self.failed(FailureKind::TooLong, "list", &format!("a page of more than {limit} bytes"))
            }
            ReadError::BrokenOff(_) => self.unreachable("list", &without_secrets(error)),
        }
    }

    /// The answer is of no use: no JSON, not what was asked for, or nothing at all.
    pub(super) fn unusable(&self, verb: &str, why: &str) -> Failure {
        self.failed(FailureKind::Unusable, verb, &format!("the API server's answer is of no use: {why}"))
    }

    /// There was no answer in time, or no more of it.
    pub(super) fn silent(&self, verb: &str, limit: Duration) -> Failure {
        self.failed(FailureKind::Silent, verb, &format!("the API server was silent for {limit:?}"))
    }

    /// What was tried with this endpoint failed, and why.
    pub(super) fn failed(&self, kind: FailureKind, verb: &str, why: &str) -> Failure {
        Failure::new(kind, &format!("can't {verb} {self}: {why}"))
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
