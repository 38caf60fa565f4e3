//! Reads the program's own Events back, which tell what kills were reported before. So it comes before the
//! list of Pods, but only for a while: no kill waits for what can't be had.
//!
//! Whoever may write Events in a namespace may write any number that look like the program's own. So of one
//! namespace no more than a share is read. Where a namespace has more, or the list takes longer than a
//! minute, the namespaces after it are read one by one, each before the first of its Pods is taken in.
//!
//! | the list of own Events | what follows |
//! |---|---|
//! | ends | the list of Pods |
//! | has more of a namespace than its share, or takes longer than a minute | the list of Pods, and before the Pods of each namespace after it those Events |
//! | so, of an included namespace | the list of Pods |
//! | takes longer than two minutes in all | the list of Pods, with what is known; and the Events once more, for what is owed |
//! | is forbidden | the same |
//!
//! What the Events say is owed may be more than there is room for. It is read again when there is.

use std::{convert::Infallible, future::pending, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Observation, Scope,
    intake::Watched,
    own_events::OwnEvent,
    request::{ListCursor, ListShape},
    watch::ResourceWatch,
};
use crate::metrics::WatchedResource;

/// The program's own Events, by [`finding::EVENT_REASON`] and [`finding::EVENT_COMPONENT`].
pub(super) const OWN_EVENTS_SELECTOR: &str =
    "reason=PreviousContainerWasOOMKilled,involvedObject.kind=Pod,source=oom-event-generator";

/// How many own Events of one namespace are read.
const MAX_READ_PER_NAMESPACE: usize = 8 * 1024;
/// How long the list of all own Events may take.
const MAX_LIST_TIME: Duration = Duration::from_mins(1);
/// How long reading back may take in all.
const MAX_READ_BACK_TIME: Duration = Duration::from_mins(2);

/// The program's own Events.
#[derive(Default)]
pub(super) struct OwnEvents {
    /// The namespace of the Event that was read last.
    namespace: String,
    /// How many Events of that namespace were read.
    count: usize,
    /// Whether the namespaces after one that has too many are read with it.
    goes_on: bool,
}

/// How a list of own Events ended.
enum ReadEnd {
    /// All are read, or as many as may be.
    Complete,
    /// A namespace has more than its share.
    Exceeded,
    /// It took too long.
    Late,
    /// The account lacks the right.
    Forbidden,
}

/// Reads own Events back.
pub(super) struct ReadBack {
    list: ResourceWatch<OwnEvents>,
    /// When it is given up.
    until: Instant,
    /// The namespaces up to this one are read.
    read_to: String,
    /// Has the Events read once more.
    again: watch::Sender<u64>,
}

impl Watched for OwnEvents {
    type Object = OwnEvent;
    const RESOURCE: WatchedResource = WatchedResource::OwnEvents;
    const HAS_BOOKMARKS: bool = false;
    const LIST: ListShape = ListShape::Metadata;
    // With the finding in each, a page is as large as one of Pods.
    const PAGE_OBJECTS: u32 = 100;

    fn listed(&mut self, event: OwnEvent) -> Option<Observation> {
        if event.namespace() != self.namespace {
            if self.is_exceeded() && !self.goes_on {
                return None;
            }
            *self = Self { namespace: event.namespace().to_owned(), count: 0, ..*self };
        }
        self.count += 1;
        (!self.is_exceeded()).then(|| event.into_observation())
    }
}

impl OwnEvents {
    /// Returns whether there are more of a namespace than its share. Then nothing after it was read.
    fn is_exceeded(&self) -> bool {
        self.count > MAX_READ_PER_NAMESPACE
    }
}

impl ReadBack {
    /// Reads all own Events back. Returns what is to be read before the Pods, if anything is left.
    pub(super) async fn begin(list: ResourceWatch<OwnEvents>, again: watch::Sender<u64>) -> Option<Self> {
        let start = Instant::now();
        let mut this = Self { list, until: start + MAX_READ_BACK_TIME, read_to: String::new(), again };
        let has_namespaces = this.list.endpoint.namespace.is_none();
        let until = if has_namespaces { start + MAX_LIST_TIME } else { this.until };
        match this.read(until).await {
            ReadEnd::Exceeded | ReadEnd::Late if has_namespaces => {
                this.read_to = std::mem::take(&mut this.list.watched.namespace);
                tracing::warn!(
                    "there are very many Events that look like this program's own, or they are slow to list: those of \
                     the namespaces after {:?} are read one namespace at a time",
                    this.read_to
                );
                // What is owed there may be of Pods that are gone.
                this.again.send_modify(|reading| *reading += 1);
                return Some(this);
            }
            ReadEnd::Complete | ReadEnd::Exceeded | ReadEnd::Forbidden => {}
            ReadEnd::Late => {
                this.give_up();
                return None;
            }
        }
        this.list.report.done();
        None
    }

    /// Reads the own Events of a namespace back whose Pods come next, unless they are read. Returns whether
    /// there may be more to read.
    pub(super) async fn before_pods_of(&mut self, namespace: &str) -> bool {
        if namespace <= self.read_to.as_str() {
            return true;
        }
        namespace.clone_into(&mut self.read_to);
        self.list.watched = OwnEvents::default();
        self.list.endpoint.namespace = Some(namespace.to_owned());
        // It is rare, and its future is large.
        match Box::pin(self.read(self.until)).await {
            ReadEnd::Complete | ReadEnd::Exceeded => true,
            ReadEnd::Late => {
                self.give_up();
                false
            }
            ReadEnd::Forbidden => {
                self.list.report.done();
                false
            }
        }
    }

    /// Takes in that all Pods were listed.
    pub(super) fn done(mut self) {
        self.list.report.done();
    }

    fn give_up(&self) {
        self.list.report.given_up(
            "this run can't tell which kills were reported before: sinks other than Kubernetes may repeat them",
        );
        self.again.send_modify(|reading| *reading += 1);
    }

    /// Reads own Events once more whenever that is asked for, for up to a minute at a time.
    pub(super) async fn again(
        list: ResourceWatch<OwnEvents>,
        scope: Scope,
        again: watch::Sender<u64>,
    ) -> Infallible {
        let mut asked = again.subscribe();
        let mut this = Self { list, until: Instant::now(), read_to: String::new(), again };
        // Nothing depends on it.
        this.list.report.done();
        while asked.changed().await.is_ok() {
            let reading = *asked.borrow_and_update();
            this.list.watched = OwnEvents { goes_on: true, ..OwnEvents::default() };
            let end = this.read(Instant::now() + MAX_LIST_TIME).await;
            // An API server that is away is asked until it is back. One that has too many gives what it has.
            if matches!(end, ReadEnd::Late) && this.list.watched.count == 0 {
                asked.mark_changed();
                continue;
            }
            this.list.outlet.listed(Some(Observation::ReadBack { scope, reading })).await;
        }
        pending().await
    }

    async fn read(&mut self, until: Instant) -> ReadEnd {
        let mut cursor = ListCursor::new(OwnEvents::LIST, OwnEvents::PAGE_OBJECTS);
        loop {
            let Ok(page) = timeout_at(until, self.list.page(&mut cursor)).await else {
                return ReadEnd::Late;
            };
            match page {
                Ok(_) if self.list.watched.is_exceeded() && !self.list.watched.goes_on => {
                    return ReadEnd::Exceeded;
                }
                Ok(None) => {}
                Ok(Some(_)) => return ReadEnd::Complete,
                Err(failure) if failure.is_forbidden() => {
                    tracing::warn!(
                        "{failure}, and restart the program. Without it, this run can't tell which kills were \
                         reported before: sinks other than Kubernetes may repeat them"
                    );
                    return ReadEnd::Forbidden;
                }
                Err(failure) => self.list.page_failed(&mut cursor, &failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OWN_EVENTS_SELECTOR;

    #[test]
    fn own_events_are_those_that_the_sink_writes() {
        let (reason, component) = (finding::EVENT_REASON, finding::EVENT_COMPONENT);
        let expected = format!("reason={reason},involvedObject.kind=Pod,source={component}");
        assert_eq!(OWN_EVENTS_SELECTOR, expected);
    }
}
