//! Lists a resource page by page and watches it from there, for as long as the program runs and
//! whatever the API server does. Goes in: what to list. Comes out: observations.
//!
//! An own loop rather than `kube::runtime::watcher`, which spins on empty answers, never lists
//! again after an HTTP 410 and fails a whole list for one object that doesn't decode. The rules:
//!
//! | the API server | the loop |
//! |---|---|
//! | fails, or can't be reached | asks the same again: the page, or the watch from where it was |
//! | says that a version is too old (410, in whatever way) | lists again |
//! | ends three watches in a row without a word, or answers them with errors | lists again |
//! | goes silent | gives the watch up 5 seconds after its time, which is under a minute |
//! | sends an object that doesn't decode | counts it and passes over it |
//!
//! [`super::pace`] says how fast.

use std::{io, sync::Arc, time::Duration};

use futures::TryStreamExt;
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::io::StreamReader;

use super::{
    Observation,
    objects::Metadata,
    pace::Pace,
    request::{Endpoint, Failure, Status},
};
use crate::{
    health::WatchState,
    metrics::{Metrics, WatchedResource},
};

/// How long a watch is asked to last, in seconds; a little less for some, so that they don't all
/// end at once. A watch that is silent past its end is broken: so that is noticed within a minute,
/// without bookmarks, which the API server doesn't send for Events.
const LIFETIME: std::ops::RangeInclusive<u32> = 40..=50;
/// How long after its end a watch may still be heard of.
const LATE: Duration = Duration::from_secs(5);
/// A watch that ends sooner, without a word, has failed.
const SOON: Duration = Duration::from_secs(5);
/// So many failed watches in a row, and the resource is listed again.
const FAILED_WATCHES: u32 = 3;

/// The observations go nowhere any more: the program ends.
#[derive(Debug)]
pub(super) struct Closed;

/// What a watch is kept of, and how what it shows becomes observations.
pub(super) trait Watched: Send {
    /// The type that its objects are decoded into.
    type Object: DeserializeOwned + Send;
    /// Its name in the metrics.
    const RESOURCE: WatchedResource;
    /// Objects to a page. A page is held in memory until it is decoded.
    const PAGE: u32;
    /// Whether the whole list is taken in, or only its version.
    const WHOLE: bool;

    /// A list begins; `in_sync` is when the last watch was known to work.
    fn list_begins(&self, in_sync: Timestamp) -> Option<Observation>;
    /// An object stands in the list.
    fn listed(&self, object: Self::Object) -> Option<Observation>;
    /// The list is complete.
    fn list_ends(&self) -> Option<Observation>;
    /// An object was added or changed.
    fn changed(&self, object: Self::Object) -> Option<Observation>;
    /// An object was deleted.
    fn deleted(&self, object: Self::Object) -> Option<Observation>;
}

/// One list and watch.
pub(super) struct Watch<W> {
    pub watched: W,
    pub endpoint: Endpoint,
    pub observations: mpsc::Sender<Observation>,
    pub metrics: Arc<Metrics>,
    pub state: WatchState,
    pub trouble: Trouble,
}

/// How it goes with one watch.
pub(super) struct Trouble {
    pace: Pace,
    /// When the watch was last known to work.
    in_sync: Timestamp,
    /// The failure that was said last.
    said: Option<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Metadata,
}

impl<W: Watched> Watch<W> {
    /// Lists and watches until nobody wants the observations.
    pub(super) async fn run(mut self) -> Closed {
        loop {
            let ended = match self.list().await {
                Ok(version) => self.follow(version).await,
                Err(closed) => Err(closed),
            };
            if let Err(closed) = ended {
                return closed;
            }
            self.metrics.watch_restart(W::RESOURCE);
        }
    }

    /// Takes in the whole list; the answer is its version.
    async fn list(&mut self) -> Result<String, Closed> {
        let mut next: Option<String> = None;
        loop {
            self.trouble.pace.ready().await;
            let page = self.endpoint.page(W::PAGE, next.as_deref(), false).await;
            let page = page.and_then(|bytes| match self.page(&bytes, next.is_none()) {
                Ok(page) => Ok(page),
                Err(error) => Err(self.endpoint.unreadable("list", &error)),
            });
            let (metadata, observations) = match page {
                Ok(page) => page,
                Err(failure) => {
                    if matches!(failure, Failure::Expired(_)) {
                        next = None;
                    }
                    self.failed(failure).await;
                    continue;
                }
            };
            for observation in observations {
                self.send(Some(observation)).await?;
            }
            next = metadata.r#continue.filter(|token| W::WHOLE && !token.is_empty());
            if next.is_none() {
                self.send(self.watched.list_ends()).await?;
                self.trouble.in_sync = Timestamp::now();
                self.state.synced();
                return Ok(metadata.resource_version);
            }
        }
    }

    fn page(&self, bytes: &[u8], first: bool) -> Result<(PageMetadata, Vec<Observation>), serde_json::Error> {
        let page: Page<'_> = serde_json::from_slice(bytes)?;
        let mut observations = Vec::new();
        if first {
            observations.extend(self.watched.list_begins(self.trouble.in_sync));
        }
        for item in page.items.unwrap_or_default().into_iter().filter(|_| W::WHOLE) {
            observations.extend(self.decode(item).and_then(|object| self.watched.listed(object)));
        }
        Ok((page.metadata, observations))
    }

    /// Watches from `version` on, until the resource must be listed again.
    async fn follow(&mut self, mut version: String) -> Result<(), Closed> {
        let mut failed_watches = 0;
        while failed_watches < FAILED_WATCHES {
            self.trouble.pace.ready().await;
            let begin = Instant::now();
            let mut heard = false;
            let ended = self.watch(&mut version, &mut heard).await?;
            if heard || (ended.is_ok() && begin.elapsed() >= SOON) {
                failed_watches = 0;
                self.well();
            }
            match ended {
                Ok(()) if heard || begin.elapsed() >= SOON => {}
                Ok(()) => {
                    failed_watches += 1;
                    let silent = io::Error::other("the watch ended at once, without a word");
                    self.failed(self.endpoint.unreachable("watch", &silent)).await;
                }
                Err(failure @ Failure::Expired(_)) => {
                    self.failed(failure).await;
                    return Ok(());
                }
                Err(failure) => {
                    failed_watches += u32::from(matches!(failure, Failure::Answered { .. }));
                    self.failed(failure).await;
                }
            }
        }
        Ok(())
    }

    /// One watch, from its beginning to its end. `heard`: whether it said anything of use.
    async fn watch(&mut self, version: &mut String, heard: &mut bool) -> Result<Result<(), Failure>, Closed> {
        let lifetime = fastrand::u32(LIFETIME);
        let deadline = Instant::now() + Duration::from_secs(lifetime.into()) + LATE;
        let body = match self.endpoint.watch(version, lifetime).await {
            Ok(body) => body,
            Err(failure) => return Ok(Err(failure)),
        };
        self.state.working();
        let mut lines = lines(body);
        let mut line = Vec::new();
        loop {
            line.clear();
            match timeout_at(deadline, lines.read_until(b'\n', &mut line)).await {
                Err(_) => {
                    let silent = io::Error::other("the watch went silent");
                    return Ok(Err(self.endpoint.unreachable("watch", &silent)));
                }
                Ok(Err(error)) => return Ok(Err(self.endpoint.unreachable("watch", &error))),
                Ok(Ok(0)) => return Ok(Ok(())),
                Ok(Ok(_)) if line.trim_ascii().is_empty() => {}
                Ok(Ok(_)) => match self.line(&line, version) {
                    Ok(observation) => {
                        if !*heard {
                            *heard = true;
                            self.well();
                        }
                        self.trouble.in_sync = Timestamp::now();
                        self.send(observation).await?;
                    }
                    Err(failure) => return Ok(Err(failure)),
                },
            }
        }
    }

    fn line(&self, line: &[u8], version: &mut String) -> Result<Option<Observation>, Failure> {
        let line: Line<'_> = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => return Err(self.endpoint.unreadable("watch", &error)),
        };
        if line.r#type == "ERROR" {
            let status: Status = serde_json::from_str(line.object.get()).unwrap_or_default();
            return Err(self.endpoint.refused("watch", status, None));
        }
        if let Ok(Versioned { metadata }) = serde_json::from_str(line.object.get())
            && !metadata.resource_version.is_empty()
        {
            *version = metadata.resource_version;
        }
        if line.r#type == "BOOKMARK" {
            return Ok(None);
        }
        self.metrics.watch_event(W::RESOURCE);
        let Some(object) = self.decode(line.object) else { return Ok(None) };
        Ok(if line.r#type == "DELETED" { self.watched.deleted(object) } else { self.watched.changed(object) })
    }

    /// The object; one that doesn't decode is counted and passed over.
    fn decode(&self, object: &RawValue) -> Option<W::Object> {
        match serde_json::from_str(object.get()) {
            Ok(object) => Some(object),
            Err(error) => {
                self.metrics.undecodable(W::RESOURCE);
                let versioned = serde_json::from_str::<Versioned>(object.get());
                let Metadata { namespace, name, .. } =
                    versioned.map(|object| object.metadata).unwrap_or_default();
                tracing::warn!(%namespace, %name, "passed over one of the {}: can't read it: {error}", self.endpoint);
                None
            }
        }
    }

    async fn send(&self, observation: Option<Observation>) -> Result<(), Closed> {
        match observation {
            Some(observation) => self.observations.send(observation).await.map_err(|_| Closed),
            None => Ok(()),
        }
    }

    fn well(&mut self) {
        self.trouble.in_sync = Timestamp::now();
        self.trouble.pace.succeeded();
        self.state.working();
        if self.trouble.said.take().is_some() {
            tracing::info!("watching {} again", self.endpoint);
        }
    }

    /// Says the failure, once for each of its kind in a row, and waits.
    pub(super) async fn failed(&mut self, failure: Failure) {
        self.metrics.watch_error(W::RESOURCE);
        let sentence = failure.to_string();
        if failure.is_forbidden() && self.endpoint.namespace.is_some() {
            self.state.not_counted(sentence.as_str());
        } else if !matches!(failure, Failure::Expired(_)) {
            self.state.broken(sentence.as_str());
        }
        if matches!(failure, Failure::Expired(_)) || self.trouble.said.as_ref() == Some(&sentence) {
            tracing::debug!("{sentence}");
        } else {
            tracing::warn!("{sentence} (trying on)");
            self.trouble.said = Some(sentence);
        }
        self.trouble.pace.failed(failure.retry_after()).await;
    }
}

impl Trouble {
    /// None so far.
    pub(super) fn none(now: Timestamp) -> Self {
        Self { pace: Pace::new(), in_sync: now, said: None }
    }

    /// The pace of the requests that come before the first list.
    pub(super) fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }
}

fn lines(body: Body) -> BufReader<impl tokio::io::AsyncRead + Unpin> {
    let chunks = body.into_data_stream().map_err(io::Error::other);
    BufReader::new(StreamReader::new(chunks))
}
