//! Watches the cluster: Pods and `Started` Events, of the whole cluster or of each included namespace, and
//! first of all the program's own Events. Goes in: a client. Comes out: one stream of observations.

use jiff::Timestamp;
use kube::Client;
use serde::Deserialize;

use super::{
    Observation, Scope,
    intake::{Versioned, Watched},
    objects::{Event, ObjectMetadata, Pod},
    outlet::{Observations, Outlet},
    report::WatchReport,
    request::{Endpoint, ListCursor, ListShape},
    watch::ResourceWatch,
};
use crate::{
    health::Readiness,
    metrics::{Metrics, WatchedResource},
};

/// The program's own Events, by [`finding::EVENT_REASON`].
const OWN_EVENTS_SELECTOR: &str = "reason=PreviousContainerWasOOMKilled,involvedObject.kind=Pod";
/// The kubelet's Events about started containers. Their `reportingComponent` is empty up to 1.27.
const STARTED_SELECTOR: &str = "reason=Started,involvedObject.kind=Pod";

/// Watches the namespaces, or without any the whole cluster.
///
/// Dropping the observations ends all watches. By themselves they end only if a watch panicked.
pub fn observe(
    client: &Client,
    namespaces: &[String],
    metrics: &Metrics,
    readiness: &Readiness,
) -> Observations {
    let (outlet, mut observations) = Outlet::new();
    let scopes: Vec<Option<String>> = match namespaces {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    for (number, namespace) in (0..).zip(scopes) {
        let endpoint = |name, resource, selector| Endpoint {
            client: client.clone(),
            name,
            resource,
            namespace: namespace.clone(),
            selector,
        };
        let own_events = watch(
            OwnEvents,
            endpoint("own events", "events", Some(OWN_EVENTS_SELECTOR)),
            &outlet,
            metrics,
            readiness,
        );
        let pods = watch(Pods(Scope(number)), endpoint("pods", "pods", None), &outlet, metrics, readiness);
        observations.spawn(async move {
            own_events.read_back().await;
            pods.run().await
        });
        let started = watch(
            StartedEvents,
            endpoint("events", "events", Some(STARTED_SELECTOR)),
            &outlet,
            metrics,
            readiness,
        );
        observations.spawn(started.run());
    }
    observations
}

/// Returns a watch that has asked for nothing yet.
pub(super) fn watch<W: Watched>(
    watched: W,
    endpoint: Endpoint,
    outlet: &Outlet,
    metrics: &Metrics,
    readiness: &Readiness,
) -> ResourceWatch<W> {
    let report = WatchReport::new(&endpoint, W::RESOURCE, metrics, readiness);
    ResourceWatch::new(watched, endpoint, outlet.clone(), report)
}

/// The program's own Events, which tell what kills were reported before.
struct OwnEvents;

/// An own Event, as far as it is read.
#[derive(Deserialize)]
struct OwnEvent {
    metadata: ObjectMetadata,
}

impl Versioned for OwnEvent {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Watched for OwnEvents {
    type Object = OwnEvent;
    const RESOURCE: WatchedResource = WatchedResource::OwnEvents;
    const HAS_BOOKMARKS: bool = false;
    const LIST: ListShape = ListShape::Metadata;
    const PAGE_OBJECTS: u32 = 500;

    fn listed(&self, OwnEvent { metadata }: OwnEvent) -> Option<Observation> {
        Some(Observation::Reported { namespace: metadata.namespace, event: metadata.name })
    }
}

impl ResourceWatch<OwnEvents> {
    /// Tells which kills were reported before.
    ///
    /// Without the right to list Events the program goes on: it finds every kill all the same.
    async fn read_back(mut self) {
        let mut cursor = ListCursor::new(OwnEvents::LIST, OwnEvents::PAGE_OBJECTS);
        let mut bytes = Vec::new();
        loop {
            match self.page(&mut cursor, &mut bytes).await {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(failure) if failure.is_forbidden() => {
                    tracing::warn!(
                        "{failure}, and restart the program. Without it, this run can't tell which kills were reported \
                         before: sinks other than Kubernetes may repeat them"
                    );
                    break;
                }
                Err(failure) => self.page_failed(&mut cursor, &failure),
            }
        }
        self.report.done();
    }
}

/// Pods, each with all that its kubelet said of its containers.
pub(super) struct Pods(pub Scope);

impl Versioned for Box<Pod> {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Watched for Pods {
    type Object = Box<Pod>;
    const RESOURCE: WatchedResource = WatchedResource::Pods;
    const HAS_BOOKMARKS: bool = true;
    const LIST: ListShape = ListShape::Whole;
    const PAGE_OBJECTS: u32 = 50;

    fn list_begins(&self, in_sync: Timestamp) -> Option<Observation> {
        Some(Observation::ListBegins { scope: self.0, in_sync })
    }

    fn listed(&self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Listed(self.0, pod))
    }

    fn list_ends(&self) -> Option<Observation> {
        Some(Observation::ListEnds(self.0))
    }

    fn changed(&self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Changed(self.0, pod))
    }

    fn deleted(&self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Deleted(self.0, pod))
    }
}

/// `Started` Events. What stood there before the watch began tells nothing that the statuses of the Pods
/// don't, so only the list's version is asked for. One that its TTL takes away says nothing.
struct StartedEvents;

impl Versioned for Event {
    fn resource_version(&self) -> &str {
        self.resource_version()
    }
}

impl Watched for StartedEvents {
    type Object = Event;
    const RESOURCE: WatchedResource = WatchedResource::Events;
    const HAS_BOOKMARKS: bool = false;
    const LIST: ListShape = ListShape::Version;
    const PAGE_OBJECTS: u32 = 1;

    fn changed(&self, event: Event) -> Option<Observation> {
        event.into_started().map(Observation::Started)
    }
}

#[cfg(test)]
mod tests {
    use super::OWN_EVENTS_SELECTOR;

    #[test]
    fn the_reason_of_own_events_is_that_of_the_sink() {
        assert!(OWN_EVENTS_SELECTOR.starts_with(&format!("reason={},", finding::EVENT_REASON)));
    }
}
