//! One request of a watch to the API server.

use std::{error::Error, fmt, io, time::Duration};

use cluster::{Refusal, RequestError, send};
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::{
    Client,
    client::Body,
    core::{
        Request,
        params::{ListParams, WatchParams},
        request,
    },
};
use tokio::time::timeout;
use untrusted::{ReadError, read_up_to};

use super::{
    failure::{FailureCause, FailureKind, RequestFailure},
    lines::WatchLines,
    server_clock::ServerClock,
    sync_moment::SyncMoment,
};

/// How long a page of a list may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a page may be. It holds at least one object, which is at most 1.5 MiB in etcd, and up to six
/// times that in JSON: `<` is written `\u003c`.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// What is listed and watched.
pub(super) struct Endpoint {
    pub client: Client,
    /// What people call it: `pods`, `events` or `own events`.
    pub name: &'static str,
    /// `pods` or `events`.
    pub resource: &'static str,
    /// `None` for the whole cluster.
    pub namespace: Option<String>,
    /// Which objects the API server is to select.
    pub selector: Option<&'static str>,
    /// What its answers say of the time.
    pub clock: ServerClock,
}

/// What is wanted of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListShape {
    /// The objects.
    Whole,
    /// Their metadata.
    Metadata,
    /// The list's version alone, which doesn't depend on what is selected.
    Version,
}

/// How far a list was taken in.
pub(super) struct ListCursor {
    shape: ListShape,
    page_objects: u32,
    max_page_objects: u32,
    /// What to ask for the next page with; `None` for the first.
    next: Option<String>,
    /// When the first page was asked for.
    pub begun: SyncMoment,
}

impl ListCursor {
    /// The beginning of a list, with so many objects to a page at most.
    pub(super) fn new(shape: ListShape, max_page_objects: u32) -> Self {
        Self { shape, page_objects: max_page_objects, max_page_objects, next: None, begun: SyncMoment::now() }
    }

    /// Returns whether the first page is next.
    pub(super) fn is_at_start(&self) -> bool {
        self.next.is_none()
    }

    /// Goes on to the next page, which may be larger again after it was made smaller.
    pub(super) fn advance(&mut self, next: String) {
        self.page_objects = (self.page_objects * 2).min(self.max_page_objects);
        self.next = Some(next);
    }

    /// Goes back to the first page, or makes pages smaller, where the failure calls for it. Otherwise the
    /// same page is next.
    pub(super) fn failed(&mut self, kind: FailureKind) {
        match kind {
            FailureKind::Expired => self.next = None,
            FailureKind::TooLong => self.page_objects = (self.page_objects / 10).max(1),
            _ => {}
        }
    }
}

impl Endpoint {
    /// Asks for a page of the list, and puts the answer in the place of what `page` held. Whoever asks for
    /// several keeps `page`: it grows to their size once, and the heap stays in one piece.
    pub(super) async fn page(&self, cursor: &ListCursor, page: &mut Vec<u8>) -> Result<(), RequestFailure> {
        let selector = self.selector.filter(|_| cursor.shape != ListShape::Version);
        let params = ListParams {
            field_selector: selector.map(str::to_owned),
            limit: Some(cursor.page_objects),
            continue_token: cursor.next.clone(),
            ..ListParams::default()
        };
        let request = Request::new(self.path());
        let request = match cursor.shape {
            ListShape::Whole => request.list(&params),
            ListShape::Metadata | ListShape::Version => request.list_metadata(&params),
        };
        let read = async {
            let body = self.send("list", request).await?;
            read_up_to(body, MAX_PAGE_BYTES, page).await.map_err(|error| self.failed("list", error.into()))
        };
        let silent = |_| self.failed("list", FailureCause::Silent(PAGE_TIMEOUT));
        timeout(PAGE_TIMEOUT, read).await.map_err(silent)?
    }

    /// Opens a watch that begins after `version` and that the API server ends after `lifetime_seconds`.
    pub(super) async fn watch(
        &self,
        version: &str,
        lifetime_seconds: u32,
    ) -> Result<WatchLines, RequestFailure> {
        let params = WatchParams {
            field_selector: self.selector.map(str::to_owned),
            timeout: Some(lifetime_seconds),
            ..WatchParams::default()
        };
        let body = self.send("watch", Request::new(self.path()).watch(&params, version)).await?;
        Ok(WatchLines::new(body.into_data_stream().map_err(io::Error::other).boxed()))
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
    ) -> Result<Body, RequestFailure> {
        let request = request.map_err(|error| self.failed(verb, FailureCause::Unreachable(error.into())))?;
        match send(&self.client, request).await {
            Ok(response) => {
                if let Some(date) = untrusted::date(response.headers()) {
                    self.clock.heard(date, Timestamp::now());
                }
                Ok(response.into_body())
            }
            Err(RequestError::Refused(refusal)) => Err(self.refused(verb, refusal)),
            Err(RequestError::Silent(limit)) => Err(self.failed(verb, FailureCause::Silent(limit))),
            Err(RequestError::Unanswered(error)) => Err(self.failed(verb, FailureCause::Unreachable(error))),
            Err(error @ (RequestError::Credentials(_) | RequestError::Handshake(_))) => {
                Err(self.failed(verb, FailureCause::NotSent(error)))
            }
        }
    }

    /// Returns the failure when the API server answered so, at once or within a watch.
    pub(super) fn refused(&self, verb: &str, refusal: Refusal) -> RequestFailure {
        let remedy = match refusal.code {
            _ if refusal.is_expired() => String::new(),
            StatusCode::UNAUTHORIZED => {
                ". The credentials are missing, wrong or expired: renew the token, or log in anew".to_owned()
            }
            StatusCode::FORBIDDEN => format!(". {}", self.missing_rule()),
            _ => String::new(),
        };
        self.failed(verb, FailureCause::Refused { refusal, remedy })
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

    /// Returns the failure when the answer is of no use: no JSON, not what was asked for, or nothing at all.
    pub(super) fn unusable(
        &self,
        verb: &str,
        why: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> RequestFailure {
        self.failed(verb, FailureCause::Unusable(why.into()))
    }

    /// Returns the failure of what was tried with this endpoint.
    pub(super) fn failed(&self, verb: &str, cause: FailureCause) -> RequestFailure {
        RequestFailure { tried: format!("{verb} {self}"), cause }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in the namespace {namespace}", self.name),
            None => write!(f, "{} in the whole cluster", self.name),
        }
    }
}

impl From<ReadError> for FailureCause {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLong { limit } => Self::TooLong { limit },
            ReadError::BrokenOff(_) => Self::Unreachable(error.into()),
        }
    }
}
