//! One request of a watch to the API server.

use std::{error::Error, fmt, io};

use cluster::{Refusal, RequestError, protobuf::PROTOBUF, send};
use futures::{StreamExt, TryStreamExt};
use http::{HeaderValue, Response, StatusCode, header::ACCEPT};
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

use super::{
    answer::{AnswerBytes, AnswerEncoding, ByteBudget},
    failure::{FailureCause, FailureKind, RequestFailure},
    items::{PageEnd, PageError, PageItems, PagePart},
    messages::WatchMessages,
    server_clock::ServerClock,
    sync_moment::SyncMoment,
    trouble::SharedTrouble,
};

/// What makes an answer hold metadata alone.
const METADATA_LIST: &str = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The API server, and what all watches of it share. Clones are the same.
#[derive(Clone)]
pub(super) struct WatchedServer {
    pub client: Client,
    /// What its answers say of the time.
    pub clock: ServerClock,
    /// What may be held of its answers.
    pub budget: ByteBudget,
    /// What keeps requests from being sent.
    pub trouble: SharedTrouble,
}

impl WatchedServer {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            clock: ServerClock::default(),
            budget: ByteBudget::new(),
            trouble: SharedTrouble::new(),
        }
    }
}

/// What is listed and watched.
pub(super) struct Endpoint {
    pub server: WatchedServer,
    /// What people call it: `pods`, `events` or `own events`.
    pub name: &'static str,
    /// `pods` or `events`.
    pub resource: &'static str,
    /// `None` for the whole cluster.
    pub namespace: Option<String>,
    /// Which objects the API server is to select.
    pub selector: Option<&'static str>,
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
            // It may be the token that the API server can't read, though it gave it.
            FailureKind::Expired | FailureKind::Refused(StatusCode::BAD_REQUEST) => self.next = None,
            FailureKind::Silent => self.page_objects = (self.page_objects / 10).max(1),
            _ => {}
        }
    }
}

impl Endpoint {
    /// Asks for a page of the list.
    pub(super) async fn page(&self, cursor: &ListCursor) -> Result<PageItems, RequestFailure> {
        let selector = self.selector.filter(|_| cursor.shape != ListShape::Version);
        let params = ListParams {
            field_selector: selector.map(str::to_owned),
            limit: Some(cursor.page_objects),
            continue_token: cursor.next.clone(),
            ..ListParams::default()
        };
        let parameter = if cursor.shape == ListShape::Whole { "" } else { METADATA_LIST };
        let answer = self.send("list", Request::new(self.path()).list(&params), parameter).await?;
        let encoding = AnswerEncoding::of(answer.headers());
        Ok(PageItems::new(self.bytes(answer), encoding))
    }

    /// Asks for the version of a list of now.
    pub(super) async fn version(&self) -> Result<String, RequestFailure> {
        let mut page = self.page(&ListCursor::new(ListShape::Version, 1)).await?;
        loop {
            let part = page.next().await.map_err(|error| self.failed("list", error.into()))?;
            if let PagePart::End(PageEnd { version, .. }) = part {
                return Ok(version);
            }
        }
    }

    /// Opens a watch that begins after `version` and that the API server ends after `lifetime_seconds`.
    pub(super) async fn watch(
        &self,
        version: &str,
        lifetime_seconds: u32,
    ) -> Result<WatchMessages, RequestFailure> {
        let params = WatchParams {
            field_selector: self.selector.map(str::to_owned),
            timeout: Some(lifetime_seconds),
            ..WatchParams::default()
        };
        let request = Request::new(self.path()).watch(&params, version);
        let answer = self.send("watch", request, ";stream=watch").await?;
        let encoding = AnswerEncoding::of(answer.headers());
        Ok(WatchMessages::new(self.bytes(answer), encoding))
    }

    fn bytes(&self, answer: Response<Body>) -> AnswerBytes {
        let pieces = answer.into_body().into_data_stream().map_err(io::Error::other);
        AnswerBytes::new(pieces.boxed(), self.server.budget.clone())
    }

    fn path(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/{}", self.resource),
            None => format!("/api/v1/{}", self.resource),
        }
    }

    /// Sends a request. The answer may be in Protobuf with that parameter, or in JSON.
    async fn send(
        &self,
        verb: &'static str,
        request: Result<http::Request<Vec<u8>>, request::Error>,
        parameter: &str,
    ) -> Result<Response<Body>, RequestFailure> {
        let unsent =
            |error: Box<dyn Error + Send + Sync>| self.failed(verb, FailureCause::Unreachable(error));
        let mut request = request.map_err(|error| unsent(error.into()))?;
        let json = if parameter == METADATA_LIST { METADATA_LIST } else { "" };
        let accept = format!("{PROTOBUF}{parameter}, application/json{json}");
        let accept = HeaderValue::try_from(accept).map_err(|error| unsent(error.into()))?;
        request.headers_mut().insert(ACCEPT, accept);
        match send(&self.server.client, request).await {
            Ok(response) => {
                if let Some(date) = untrusted::date(response.headers()) {
                    self.server.clock.heard(date, Timestamp::now());
                }
                Ok(response)
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

impl From<PageError> for FailureCause {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Silent(limit) => Self::Silent(limit),
            PageError::BrokenOff(error) => Self::Unreachable(error.into()),
            PageError::NoList(why) => Self::Unusable(why),
        }
    }
}
