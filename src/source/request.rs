//! One request of a watch to the API server.

use std::{fmt, io, time::Duration};

use futures::{StreamExt, TryStreamExt};
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
use sinks::with_causes;
use tokio::time::timeout;

use super::{
    answer::{Page, decode},
    failure::{Failure, Kind, Status, shown},
    lines::Lines,
};

/// How long the API server may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take over one page of a list.
const PAGE: Duration = Duration::from_secs(50);
/// How much of an error's body is read.
const ERROR_BODY: usize = 16 * 1024;
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
            Kind::Expired => self.next = None,
            Kind::TooLong => self.limit = (self.limit / 10).max(1),
            _ => {}
        }
    }
}

impl Endpoint {
    /// One page of the list, as it came, in the place of what `page` held. Who asks for several keeps it:
    /// it has found its size with the first, and the heap stays in one piece.
    pub(super) async fn page(&self, cursor: &Cursor, page: &mut Vec<u8>) -> Result<(), Failure> {
        page.clear();
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
            let mut body = Limited::new(self.send("list", request).await?, LONGEST);
            // Not `collect`, which would hold the page twice.
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.broken_off(error.as_ref()))?;
                page.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            Ok(())
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
        let request = request.map_err(|error| self.unreachable(verb, &error))?;
        let answer = timeout(ANSWER, self.client.send(request.map(Body::from))).await;
        let response =
            answer.map_err(|_| self.silent(verb, ANSWER))?.map_err(|error| self.unreachable(verb, &error))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (head, body) = response.into_parts();
        // An error counts though its body breaks off.
        let body = timeout(ANSWER, Limited::new(body, ERROR_BODY).collect()).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        let mut status = decode::<Status>(&body).unwrap_or_default();
        if status.message.is_empty() {
            status.message = String::from_utf8_lossy(&body).into_owned();
        }
        status.code = head.status.as_u16();
        let failure = self.refused(verb, &status);
        let asked = retry_after(&head.headers).or(failure.retry_after);
        Err(failure.retry_after(asked))
    }

    /// The API server answered so, at once or within a watch.
    pub(super) fn refused(&self, verb: &'static str, status: &Status) -> Failure {
        let kind = status.kind();
        let remedy = match kind {
            Kind::Answered(StatusCode::UNAUTHORIZED) => {
                ". The credentials are missing, wrong or expired: renew the token, or log in anew".to_owned()
            }
            Kind::Answered(StatusCode::FORBIDDEN) => format!(". {}", self.missing_rule()),
            _ => String::new(),
        };
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = shown(&status.message);
        let sentence = format!("can't {verb} {self}: the API server answers {code}: {message}{remedy}");
        Failure::new(kind, &sentence).retry_after(status.retry_after())
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
    pub(super) fn unreachable(&self, verb: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
        let said = with_causes(error);
        let why = format!("no answer from the API server: {said}. Is it up, and is its address right?");
        self.failed(Kind::Unreachable, verb, &why)
    }

    /// A page ended too soon.
    fn broken_off(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        if error.is::<LengthLimitError>() {
            let why = format!("a page of more than {LONGEST} bytes");
            return self.failed(Kind::TooLong, "list", &why);
        }
        self.unreachable("list", error)
    }

    /// The answer is of no use: no JSON, not what was asked for, or nothing at all.
    pub(super) fn unusable(&self, verb: &str, why: &str) -> Failure {
        self.failed(Kind::Unusable, verb, &format!("the API server's answer is of no use: {why}"))
    }

    /// There was no answer in time, or no more of it.
    pub(super) fn silent(&self, verb: &str, limit: Duration) -> Failure {
        self.failed(Kind::Silent, verb, &format!("the API server was silent for {limit:?}"))
    }

    /// What was tried with this endpoint failed, and why.
    pub(super) fn failed(&self, kind: Kind, verb: &str, why: &str) -> Failure {
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

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
