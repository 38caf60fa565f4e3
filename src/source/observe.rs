//! Watches the cluster: Pods and `Started` Events, of the whole cluster or of each included namespace, first
//! of all the program's own Events, and if it is the whole cluster, Events about nodes. Goes in: a client. Comes out: one stream of observations.

use jiff::Timestamp;
use kube::Client;

use super::{
    Observation, Scope,
    intake::{ApiObject, Watched},
    objects::{Event, NAMESPACE_OF_NODE_EVENTS, Pod},
    outlet::{Observations, Outlet},
    read_back::{OWN_EVENTS_SELECTOR, OwnEvents, ReadBack},
    report::WatchReport,
    request::{Endpoint, ListShape, WatchedServer},
    scopes,
    watch::ResourceWatch,
};
use crate::{
    health::Readiness,
    metrics::{Metrics, NodeOomCounters, WatchedResource},
};

/// The kubelet's Events about started containers. Their `reportingComponent` is empty up to 1.27.
const STARTED_SELECTOR: &str = "reason=Started,involvedObject.kind=Pod";

/// What a kubelet or node-problem-detector warns of about a node. A selector can't name two reasons, so the few
/// others are passed over here.
const NODE_WARNINGS_SELECTOR: &str = "involvedObject.kind=Node,type=Warning";

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
    let server = WatchedServer::new(client);
    for (number, namespace) in (0..).zip(scopes(namespaces)) {
        let endpoint = |name, resource, selector| Endpoint {
            server: server.clone(),
            name,
            resource,
            namespace: namespace.clone(),
            selector,
        };
        let own_events = || {
            let endpoint = endpoint("own events", "events", Some(OWN_EVENTS_SELECTOR));
            watch(OwnEvents::default(), endpoint, &outlet, metrics, readiness)
        };
        let (first, further) = (own_events(), own_events());
        observations.spawn(ReadBack::again(further, Scope(number), observations.again()));
        let mut pods =
            watch(Pods::of(Scope(number)), endpoint("pods", "pods", None), &outlet, metrics, readiness);
        let again = observations.again();
        observations.spawn(async move {
            pods.watched.read_back = ReadBack::begin(first, again).await.map(Box::new);
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
    if namespaces.is_empty() {
        observations.spawn(node_events(server, &outlet, metrics).run());
    }
    observations
}

/// Returns the watch of Events about nodes. It asks for those of one namespace, because an API server decodes
/// all Events of a watch's namespaces for it. That it is broken is logged and counted, but the program is ready
/// all the same.
fn node_events(server: WatchedServer, outlet: &Outlet, metrics: &Metrics) -> ResourceWatch<NodeEvents> {
    let endpoint = Endpoint {
        server,
        name: "warnings about nodes",
        resource: "events",
        namespace: Some(NAMESPACE_OF_NODE_EVENTS.to_owned()),
        selector: Some(NODE_WARNINGS_SELECTOR),
    };
    let watched = NodeEvents { counters: metrics.node_ooms() };
    watch(watched, endpoint, outlet, metrics, &Readiness::new())
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

/// Pods, each with all that its kubelet said of its containers.
pub(super) struct Pods {
    scope: Scope,
    /// The program's own Events, as long as some are still to be read.
    read_back: Option<Box<ReadBack>>,
}

impl Pods {
    pub(super) fn of(scope: Scope) -> Self {
        Self { scope, read_back: None }
    }
}

impl ApiObject for Box<Pod> {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Watched for Pods {
    type Object = Box<Pod>;
    const RESOURCE: WatchedResource = WatchedResource::Pods;
    const HAS_BOOKMARKS: bool = true;
    const LIST: ListShape = ListShape::Whole;
    const PAGE_OBJECTS: u32 = 500;

    fn list_begins(&self, in_sync: Timestamp) -> Option<Observation> {
        Some(Observation::ListBegins { scope: self.scope, in_sync })
    }

    async fn before(&mut self, pod: &Box<Pod>) {
        if let Some(read_back) = &mut self.read_back
            && !read_back.before_pods_of(&pod.metadata.namespace).await
        {
            self.read_back = None;
        }
    }

    fn listed(&mut self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Listed(self.scope, pod))
    }

    fn list_ends(&mut self) -> Option<Observation> {
        if let Some(read_back) = self.read_back.take() {
            read_back.done();
        }
        Some(Observation::ListEnds(self.scope))
    }

    fn changed(&self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Changed(self.scope, pod))
    }

    fn deleted(&self, pod: Box<Pod>) -> Option<Observation> {
        Some(Observation::Deleted(self.scope, pod))
    }
}

/// `Started` Events. What stood there before the watch began tells nothing that the statuses of the Pods
/// don't, so only the list's version is asked for. One that its TTL takes away says nothing.
struct StartedEvents;

impl ApiObject for Event {
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

/// Events that say that a node ran out of memory. Those that stood there before tell of kills that lists show.
struct NodeEvents {
    counters: NodeOomCounters,
}

impl Watched for NodeEvents {
    type Object = Event;
    const RESOURCE: WatchedResource = WatchedResource::NodeEvents;
    const HAS_BOOKMARKS: bool = false;
    const LIST: ListShape = ListShape::Whole;
    const PAGE_OBJECTS: u32 = 100;

    fn listed(&mut self, event: Event) -> Option<Observation> {
        event.node_oom().map(Observation::NodeRanOut)
    }

    fn changed(&self, event: Event) -> Option<Observation> {
        let oom = event.node_oom()?;
        self.counters.count(&oom.node);
        Some(Observation::NodeRanOut(oom))
    }
}
