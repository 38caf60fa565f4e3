//! Lists a resource page by page and watches it from there, for as long as the program runs and
//! whatever the API server does. Goes in: what to list. Comes out: observations.
//!
//! An own loop rather than `kube::runtime::watcher`, which spins on empty answers, never lists
//! again after an HTTP 410 and fails a whole list for one object that doesn't decode. The rules:
//!
//! | the API server | the loop |
//! |---|---|
//! | fails, or can't be reached | asks the same again: the page, or the watch from where it was |
//! | says that a version is too old or too new (410, in whatever way) | lists again |
//! | ends or breaks five watches in a row within 5 seconds, or answers them with errors | lists again |
//! | was restored from a backup, so that its versions went back | lists again: a watch would be silent until they are back where they were, so the version is asked for after a watch that broke, ended early, or had nothing to say though bookmarks were due (of Pods) |
//! | goes silent | gives a watch up after 55 seconds, a page after 50, what hasn't begun after 30 |
//! | sends an object that doesn't decode | counts it and passes over it |
//!
//! [`super::pace`] says how fast.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use cluster::Refusal;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use untrusted::{one_line, with_causes};

use super::{
    Observation,
    answer::{Line, Page, decode, is_before, metadata},
    failure::{Failure, FailureKind},
    objects::ObjectMetadata,
    request::{Cursor, Endpoint, Shape},
    trouble::{Moment, Trouble},
};
use crate::{
    health::WatchState,
    metrics::{Metrics, WatchedResource},
};

/// How long a watch is asked to last, in seconds; a little less for some, so that they don't all
/// end at once.
const LIFETIME: RangeInclusive<u32> = 40..=50;
/// A watch that is silent for longer than it lasts is broken. So that is noticed within a minute, and
/// without bookmarks, which the API server doesn't send for Events.
const SILENCE: Duration = Duration::from_secs(55);
/// A watch that ends sooner has failed, whatever it said.
const SOON: Duration = Duration::from_secs(5);
/// So many watches of no use in a row, which is about a minute of them, and the resource is listed
/// again: not sooner, as a watch that goes on shows all that happened, and a list only the last of it.
const USELESS_WATCHES: u32 = 5;

/// The observations go nowhere any more: the program ends.
#[derive(Debug)]
pub(super) struct Closed;

/// An object that says where a watch may go on after it.
pub(super) trait Versioned {
    fn resource_version(&self) -> &str;
}

/// What a watch is kept of, and how what it shows becomes observations.
pub(super) trait Watched: Send {
    /// The type that its objects are decoded into.
    type Object: DeserializeOwned + Versioned + Send;
    /// Its name in the metrics.
    const RESOURCE: WatchedResource;
    /// Whether the API server sends bookmarks, one of them just before a watch ends. It does for all
    /// that it caches, which Events are not.
    const BOOKMARKS: bool;
    /// What of a list is taken in.
    const LIST: Shape;
    /// Objects to a page. A page is held in memory until it is decoded.
    const PAGE: u32;

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

/// Why something was not taken in to its end.
enum Cut {
    Closed(Closed),
    Failed(Failure),
}

impl From<Closed> for Cut {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
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
        }
    }

    /// Takes in the whole list; the answer is its version.
    async fn list(&mut self) -> Result<String, Closed> {
        let mut cursor = Cursor::new(W::LIST, W::PAGE);
        let mut begun = Moment::now();
        let mut bytes = Vec::new();
        loop {
            self.trouble.pace.ready().await;
            if cursor.next.is_none() {
                begun = Moment::now();
            }
            let answer = self.endpoint.page(&cursor, &mut bytes).await;
            let page = match answer.and_then(|()| self.page(&bytes, cursor.next.is_none())) {
                Ok(page) => page,
                Err(failure) => {
                    cursor.failed(&failure);
                    self.failed(&failure);
                    continue;
                }
            };
            for observation in page.observations {
                self.send(Some(observation)).await?;
            }
            if page.next.is_none() {
                self.send(self.watched.list_ends()).await?;
                if self.trouble.listed(begun) {
                    tracing::info!("watching {}", self.endpoint);
                }
                self.state.synced();
                return Ok(page.version);
            }
            cursor.next = page.next;
            self.trouble.pace.next_page();
        }
    }

    fn page(&mut self, bytes: &[u8], is_first: bool) -> Result<Decoded, Failure> {
        if W::LIST == Shape::Version {
            let version = self.endpoint.read::<IgnoredAny>(bytes)?.version;
            return Ok(Decoded { version, next: None, observations: Vec::new() });
        }
        let Page { version, next, items } = if let Ok(page) = Page::<W::Object>::read(bytes) {
            page.items.iter().for_each(|_| self.metrics.watch_event(W::RESOURCE));
            page
        } else {
            let Page { version, next, items } = self.endpoint.read::<&RawValue>(bytes)?;
            let items = items.into_iter().filter_map(|item| self.decode(item)).collect();
            Page { version, next, items }
        };
        let mut observations = Vec::new();
        if is_first {
            observations.extend(self.watched.list_begins(self.trouble.in_sync.timestamp()));
        }
        observations.extend(items.into_iter().filter_map(|object| self.watched.listed(object)));
        Ok(Decoded { version, next, observations })
    }

    /// Watches from `version` on, until the resource must be listed again.
    async fn follow(&mut self, mut version: String) -> Result<(), Closed> {
        let mut is_certain = true;
        while self.trouble.useless < USELESS_WATCHES {
            let ended = match if is_certain { Ok(()) } else { self.check(&version).await } {
                Ok(()) => self.watch(&mut version).await,
                Err(failure) => Err(Cut::Failed(failure)),
            };
            self.metrics.watch_restart(W::RESOURCE);
            match ended {
                Ok(beyond_doubt) => is_certain = beyond_doubt,
                Err(Cut::Closed(closed)) => return Err(closed),
                Err(Cut::Failed(failure)) => {
                    is_certain = false;
                    self.failed(&failure);
                    if failure.kind == FailureKind::Expired {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks whether the API server has got to `version` at all.
    async fn check(&mut self, version: &str) -> Result<(), Failure> {
        self.trouble.pace.ready().await;
        let mut bytes = Vec::new();
        self.endpoint.page(&Cursor::new(Shape::Version, 1), &mut bytes).await?;
        let newest = self.endpoint.read::<IgnoredAny>(&bytes)?.version;
        if is_before(&newest, version) {
            let why = format!("the versions went back, from {version} to {newest}");
            return Err(self.endpoint.failed(FailureKind::Expired, "watch", &why));
        }
        self.trouble.pace.followed();
        Ok(())
    }

    /// One watch, from its beginning to its end. The answer is whether its version is beyond doubt: it
    /// said something, or lasted as long as it was asked to and had nothing to say.
    async fn watch(&mut self, version: &mut String) -> Result<bool, Cut> {
        self.trouble.pace.ready().await;
        let begun = Moment::now();
        let lifetime = fastrand::u32(LIFETIME);
        let mut lines = self.endpoint.watch(version, lifetime).await?;
        let opened = Instant::now();
        let mut last_word = None;
        let mut is_well = false;
        loop {
            let lasts = opened.elapsed() >= SOON;
            // After a watch that went silent, silence proves nothing.
            if lasts && !is_well && (last_word.is_some() || !self.trouble.is_silent) {
                is_well = true;
                self.well();
            }
            let patience = if lasts { last_word.unwrap_or(opened) + SILENCE } else { opened + SOON };
            match timeout_at(patience, lines.next()).await {
                Err(_) if lasts => return Err(self.endpoint.silent("watch", SILENCE).into()),
                Err(_) => {}
                Ok(Ok(Some(line))) => {
                    last_word = Some(Instant::now());
                    let observation = self.line(line, version)?;
                    self.send(observation).await?;
                }
                Ok(Ok(None)) if opened.elapsed() >= SOON => {
                    self.well();
                    self.trouble.in_sync = begun;
                    let lasted =
                        opened.elapsed() + Duration::from_secs(1) >= Duration::from_secs(lifetime.into());
                    return Ok(last_word.is_some() || lasted && !W::BOOKMARKS);
                }
                Ok(Ok(None)) => return Err(self.endpoint.unusable("watch", "it ended at once").into()),
                Ok(Err(error)) => return Err(self.endpoint.unusable("watch", &with_causes(&error)).into()),
            }
        }
    }

    fn line(&mut self, line: &[u8], version: &mut String) -> Result<Option<Observation>, Failure> {
        if let Ok(Line { r#type: r#type @ ("ADDED" | "MODIFIED" | "DELETED"), object }) =
            decode::<Line<'_, W::Object>>(line)
            && !object.resource_version().is_empty()
        {
            self.metrics.watch_event(W::RESOURCE);
            object.resource_version().clone_into(version);
            return Ok(self.observation(r#type, object));
        }
        let read = decode::<Line<'_, &RawValue>>(line);
        let Line { r#type, object } =
            read.map_err(|error| self.endpoint.unusable("watch", &error.to_string()))?;
        if r#type == "ERROR" {
            return Err(self.endpoint.refused("watch", &Refusal::of_status(object.get())));
        }
        if let Some(metadata) = metadata(object).filter(|metadata| !metadata.resource_version.is_empty()) {
            *version = metadata.resource_version;
        }
        if r#type == "BOOKMARK" {
            return Ok(None);
        }
        let Some(object) = self.decode(object) else { return Ok(None) };
        Ok(self.observation(r#type, object))
    }

    fn observation(&self, r#type: &str, object: W::Object) -> Option<Observation> {
        if r#type == "DELETED" { self.watched.deleted(object) } else { self.watched.changed(object) }
    }

    /// The object; one that doesn't decode is counted and passed over.
    fn decode(&mut self, object: &RawValue) -> Option<W::Object> {
        self.metrics.watch_event(W::RESOURCE);
        let error = match serde_json::from_str(object.get()) {
            Ok(object) => return Some(object),
            Err(error) => error,
        };
        self.metrics.undecodable(W::RESOURCE);
        let ObjectMetadata { namespace, name, .. } = metadata(object).unwrap_or_default();
        let sentence = format!(
            "passed over {namespace}/{name} of the {}: can't read it: {error}. Please report it",
            self.endpoint
        );
        let sentence = one_line(&sentence);
        if self.trouble.undecodable() {
            tracing::error!("{sentence}");
        } else {
            tracing::debug!("{sentence}");
        }
        None
    }

    async fn send(&self, observation: Option<Observation>) -> Result<(), Closed> {
        match observation {
            Some(observation) => self.observations.send(observation).await.map_err(|_| Closed),
            None => Ok(()),
        }
    }

    fn well(&mut self) {
        self.state.working();
        if self.trouble.well() {
            tracing::info!("watching {} again", self.endpoint);
        }
    }

    /// Counts a failure, says it if it is the first of its kind in a row, and sees to the pause
    /// after it.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if self.trouble.is_routine(failure) {
            tracing::debug!("{failure}");
            return;
        }
        self.metrics.watch_error(W::RESOURCE);
        if failure.is_forbidden() && self.endpoint.namespace.is_some() {
            self.state.not_counted(failure.to_string());
        } else {
            self.state.broken(failure.to_string());
        }
        if self.trouble.failed(failure) {
            tracing::warn!("{failure} (trying on)");
        } else {
            tracing::debug!("{failure}");
        }
    }
}

/// A page of a list, decoded.
struct Decoded {
    version: String,
    next: Option<String>,
    observations: Vec<Observation>,
}
