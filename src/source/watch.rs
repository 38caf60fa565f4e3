//! Lists a resource page by page and watches it from there, for as long as the program runs and
//! whatever the API server does. Goes in: what to list. Comes out: observations.
//!
//! It doesn't use `kube::runtime::watcher`, which asks without pause after empty answers, never lists again
//! after an HTTP 410, and fails a whole list for one object that doesn't decode.
//!
//! | a watch | is | what follows |
//! |---|---|---|
//! | lasted 5 seconds or longer and ended well | [`WatchEnd::Certain`] | the next watch, from that version; three to five hours after the last list, a list, which finds what no watch has shown |
//! | did so, but without a message, though a bookmark was due or it ended before its time | [`WatchEnd::Uncertain`] | a question whether the API server has reached that version, then the next watch |
//! | was refused, broke, ended sooner, or was silent for 55 seconds | [`WatchEnd::Failed`] | a pause, the same question, then the next watch; after five useless answers since the last list or working watch, a list |
//! | was to begin at a version that is too old, or that the API server hasn't reached (410 or another word for it) | [`WatchEnd::Expired`] | a list |
//!
//! The question finds an API server that was restored from a backup, whose versions went back: a watch would
//! be silent until they are where they were.
//!
//! A watch works once it has lasted 5 seconds, or after a silent watch once it has said something or ended well; all
//! trouble before it is over then. After a failure, a list asks for the same page again, or begins anew if
//! its version has expired. [`super::backoff`] says how fast.

use std::{convert::Infallible, ops::RangeInclusive, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    backoff::Backoff,
    decode::EncodedObject,
    failure::{FailureCause, FailureKind, RequestFailure},
    intake::{WatchWord, Watched, read_message, read_object},
    items::{PageEnd, PagePart},
    messages::WatchMessages,
    outlet::Outlet,
    report::WatchReport,
    request::{Endpoint, ListCursor, ListShape},
    setbacks::{Setbacks, Severity},
    sync_moment::SyncMoment,
};

/// How long a watch is asked to last. It varies, so that watches don't all end at once.
const WATCH_LIFETIME_SECONDS: RangeInclusive<u32> = 40..=50;
/// How long a watch may be silent. Longer than a watch lasts: Events have no bookmarks, so a healthy watch may
/// be silent until its end. A broken one is noticed within a minute.
const WATCH_SILENCE: Duration = Duration::from_secs(55);
/// How long a watch lasts at least. One that ends sooner has failed, whatever it said.
const MIN_WATCH_LIFETIME: Duration = Duration::from_secs(5);

/// How many minutes after a list that was taken in whole all is listed anew, if a watch ends well then.
const RELIST_MINUTES: RangeInclusive<u64> = 180..=300;

/// How long after trouble such a list waits.
const MIN_REST: Duration = Duration::from_mins(10);

/// Returns when to list again though all is well. It varies, so that programs don't all list at once.
fn next_relist() -> Instant {
    Instant::now() + Duration::from_mins(fastrand::u64(RELIST_MINUTES))
}

/// Returns whether a version comes before another: they count up (KEP 5504). Returns false unless both
/// are numbers.
fn is_before(version: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    number(version).zip(number(other)).is_some_and(|(version, other)| version < other)
}

/// What became of one watch.
enum WatchEnd {
    /// It ended well, and the API server has reached its version.
    Certain,
    /// It ended well, but nothing shows that the API server has reached its version.
    Uncertain,
    /// It failed.
    Failed(RequestFailure),
    /// It can't go on from its version.
    Expired(RequestFailure),
}

/// What came of waiting for a message.
enum Heard {
    Message,
    End,
    TimeUp,
}

/// One list and watch.
pub(super) struct ResourceWatch<W> {
    pub watched: W,
    pub endpoint: Endpoint,
    pub outlet: Outlet,
    pub report: WatchReport,
    backoff: Backoff,
    setbacks: Setbacks,
    /// Up to when everything that happened is known to have been taken in.
    in_sync: SyncMoment,
    /// When it is listed anew though all is well.
    relist_at: Instant,
}

impl<W: Watched> ResourceWatch<W> {
    pub(super) fn new(watched: W, endpoint: Endpoint, outlet: Outlet, report: WatchReport) -> Self {
        Self {
            watched,
            endpoint,
            outlet,
            report,
            backoff: Backoff::new(),
            setbacks: Setbacks::default(),
            in_sync: SyncMoment::now(),
            relist_at: next_relist(),
        }
    }

    /// Lists and watches until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let version = self.list().await;
            self.follow(version).await;
        }
    }

    /// Takes in the whole list; returns its version.
    async fn list(&mut self) -> String {
        let mut cursor = ListCursor::new(W::LIST, W::PAGE_OBJECTS);
        loop {
            match self.page(&mut cursor).await {
                Ok(None) => {}
                Ok(Some(version)) => {
                    self.report.watching();
                    return version;
                }
                Err(failure) => self.page_failed(&mut cursor, &failure),
            }
        }
    }

    /// Takes in the next page of the list; returns the list's version if it was the last.
    pub(super) async fn page(&mut self, cursor: &mut ListCursor) -> Result<Option<String>, RequestFailure> {
        self.backoff.ready().await;
        let mut begins = cursor.is_at_start();
        if begins {
            cursor.begun = SyncMoment::now();
        }
        let mut page = self.endpoint.page(cursor).await?;
        let encoding = page.encoding();
        let PageEnd { version, next } = loop {
            let part = page.next().await.map_err(|error| self.endpoint.failed("list", error.into()))?;
            if std::mem::take(&mut begins) {
                let in_sync = self.endpoint.server.clock.at(self.in_sync.timestamp());
                self.outlet.listed(self.watched.list_begins(in_sync)).await;
            }
            let object = match part {
                PagePart::End(end) => break end,
                _ if W::LIST == ListShape::Version => None,
                PagePart::Item(object) => read_object(EncodedObject::of(encoding, object), &mut self.report),
                PagePart::LongItem => {
                    self.report.too_long();
                    None
                }
            };
            if let Some(object) = object {
                self.watched.before(&object).await;
                self.outlet.listed(self.watched.listed(object)).await;
            }
        };
        if let Some(next) = next.filter(|_| W::LIST != ListShape::Version) {
            cursor.advance(next);
            self.backoff.page_came();
            return Ok(None);
        }
        self.outlet.listed(self.watched.list_ends()).await;
        self.outlet.list_taken().await;
        self.in_sync = cursor.begun;
        self.relist_at = next_relist();
        self.setbacks.listed();
        self.backoff.watch_follows();
        self.report.listed();
        Ok(Some(version))
    }

    /// Takes in that a page failed.
    pub(super) fn page_failed(&mut self, cursor: &mut ListCursor, failure: &RequestFailure) {
        cursor.failed(failure.kind());
        if cursor.is_at_start() {
            self.backoff.list_begins();
        }
        self.failed(failure);
    }

    /// Watches from `version` on, until the resource must be listed again.
    async fn follow(&mut self, mut version: String) {
        let mut last = WatchEnd::Certain;
        loop {
            last = self.watch_after(&last, &mut version).await;
            match &last {
                WatchEnd::Certain | WatchEnd::Uncertain if self.is_relist_due() => {
                    self.report.relists();
                    return;
                }
                WatchEnd::Certain | WatchEnd::Uncertain => {}
                WatchEnd::Failed(failure) => {
                    self.failed(failure);
                    if self.setbacks.demand_list() {
                        return;
                    }
                }
                WatchEnd::Expired(failure) => {
                    self.failed(failure);
                    return;
                }
            }
        }
    }

    fn is_relist_due(&self) -> bool {
        W::LIST == ListShape::Whole && Instant::now() >= self.relist_at
    }

    /// Watches once more after a watch that ended so.
    async fn watch_after(&mut self, last: &WatchEnd, version: &mut String) -> WatchEnd {
        let confirmed = match last {
            WatchEnd::Certain => Ok(()),
            _ => self.confirm(version).await,
        };
        if let Err(failure) = confirmed {
            return failure.into();
        }
        let end = self.watch(version).await.unwrap_or_else(WatchEnd::from);
        self.report.ended();
        end
    }

    /// Asks whether the API server has reached `version`.
    async fn confirm(&mut self, version: &str) -> Result<(), RequestFailure> {
        self.backoff.ready().await;
        let newest = self.endpoint.version().await?;
        if is_before(&newest, version) {
            let went_back = FailureCause::WentBack { from: version.to_owned(), to: newest };
            return Err(self.endpoint.failed("watch", went_back));
        }
        self.backoff.watch_follows();
        Ok(())
    }

    /// Watches once, from the beginning to the end, and moves `version` on with each message.
    async fn watch(&mut self, version: &mut String) -> Result<WatchEnd, RequestFailure> {
        self.backoff.ready().await;
        let begun = SyncMoment::now();
        let lifetime_seconds = fastrand::u32(WATCH_LIFETIME_SECONDS);
        let mut messages = self.endpoint.watch(version, lifetime_seconds).await?;
        let opened = Instant::now();
        let mut last_word = None;
        loop {
            match self.hear(&mut messages, version, opened + MIN_WATCH_LIFETIME).await? {
                Heard::Message => last_word = Some(Instant::now()),
                Heard::TimeUp => break,
                Heard::End => return Err(self.endpoint.unusable("watch", "it ended within 5 seconds")),
            }
        }
        if last_word.is_some() || self.setbacks.trust_silence() {
            self.works();
        }
        loop {
            match self.hear(&mut messages, version, last_word.unwrap_or(opened) + WATCH_SILENCE).await? {
                Heard::Message => last_word = Some(Instant::now()),
                Heard::TimeUp => {
                    return Err(self.endpoint.failed("watch", FailureCause::Silent(WATCH_SILENCE)));
                }
                Heard::End => break,
            }
            self.works();
        }
        self.works();
        self.in_sync = begun;
        let lifetime = Duration::from_secs(lifetime_seconds.into());
        let lasted = opened.elapsed() + Duration::from_secs(1) >= lifetime;
        let is_certain = last_word.is_some() || lasted && !W::HAS_BOOKMARKS;
        Ok(if is_certain { WatchEnd::Certain } else { WatchEnd::Uncertain })
    }

    /// Takes in the next message of a watch, if one comes by then.
    async fn hear(
        &mut self,
        messages: &mut WatchMessages,
        version: &mut String,
        until: Instant,
    ) -> Result<Heard, RequestFailure> {
        let encoding = messages.encoding();
        let Ok(message) = timeout_at(until, messages.next()).await else { return Ok(Heard::TimeUp) };
        let Some(message) = message.map_err(|error| self.endpoint.unusable("watch", error))? else {
            return Ok(Heard::End);
        };
        let word = read_message(encoding, message, version, &mut self.report);
        let observation = match word.map_err(|error| self.endpoint.unusable("watch", error))? {
            WatchWord::Changed(object) => self.watched.changed(object),
            WatchWord::Deleted(object) => self.watched.deleted(object),
            WatchWord::Nothing => None,
            WatchWord::Error(refusal) => return Err(self.endpoint.refused("watch", refusal)),
        };
        self.outlet.changed(observation).await;
        Ok(Heard::Message)
    }

    /// Takes in that a watch works.
    fn works(&mut self) {
        if self.setbacks.works() {
            self.backoff.works();
            self.relist_at = self.relist_at.max(Instant::now() + MIN_REST);
            self.report.works();
        }
    }

    /// Takes in a failure, and sees to the pause after it.
    fn failed(&mut self, failure: &RequestFailure) {
        match self.setbacks.add(failure.kind()) {
            Severity::Routine => tracing::debug!("{failure}"),
            Severity::Trouble => {
                self.backoff.failed(failure.retry_after());
                self.report.failed(failure);
            }
        }
    }
}

impl From<RequestFailure> for WatchEnd {
    fn from(failure: RequestFailure) -> Self {
        match failure.kind() {
            FailureKind::Expired | FailureKind::WentBack => Self::Expired(failure),
            _ => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_before;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_before("99", "100"));
        assert!(!is_before("100", "100"));
        assert!(!is_before("a", "b"));
    }
}
