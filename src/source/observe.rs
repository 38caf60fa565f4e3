//! The cluster as a stream of observations: Pods and `Started` Events, of the whole cluster or of
//! each included namespace, and first of all which kills were reported before.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use kube::Client;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Observation, Scope,
    answer::{Page, metadata},
    objects::{Event, ObjectMetadata, Pod},
    request::{Cursor, Endpoint, Shape},
    trouble::Trouble,
    watch::{Versioned, Watch, Watched},
};
use crate::{
    health::{Readiness, WatchState},
    metrics::{Metrics, WatchedResource},
};

/// How many observations may wait for the filter, which is faster than any API server.
const WAITING: usize = 64;

/// The program's own Events, by [`finding::EVENT_REASON`].
const REPORTED: &str = "reason=PreviousContainerWasOOMKilled,involvedObject.kind=Pod";
/// The kubelet's Events about started containers. Their `reportingComponent` is empty up to 1.27.
const STARTED: &str = "reason=Started,involvedObject.kind=Pod";

/// Watches the namespaces, or without any the whole cluster.
///
/// Dropping the stream ends all watches. By itself it ends only if a watch panicked.
pub fn observe(
    client: &Client,
    namespaces: &[String],
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
) -> BoxStream<'static, Observation> {
    let (sender, observations) = mpsc::channel(WAITING);
    let mut watches = JoinSet::new();
    let scopes: Vec<Option<String>> = match namespaces {
        [] => vec![None],
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    for (number, namespace) in (0..).zip(scopes) {
        let endpoint = |resource, selector| Endpoint {
            client: client.clone(),
            resource,
            namespace: namespace.clone(),
            selector,
        };
        let state = |endpoint: &Endpoint| readiness.register(endpoint.to_string());
        let pods = endpoint("pods", None);
        let pods_state = state(&pods);
        watches.spawn(observe_pods(
            endpoint("events", Some(REPORTED)),
            watch(Pods(Scope(number)), pods, &sender, metrics, pods_state),
        ));
        let started = endpoint("events", Some(STARTED));
        let started_state = state(&started);
        let started = watch(Starts, started, &sender, metrics, started_state);
        watches.spawn(async move {
            started.run().await;
        });
    }
    stream::unfold((observations, watches), async |(mut observations, mut watches)| {
        let observation = tokio::select! {
            observation = observations.recv() => observation,
            _ = watches.join_next() => None,
        };
        observation.map(|observation| (observation, (observations, watches)))
    })
    .boxed()
}

fn watch<W: Watched>(
    watched: W,
    endpoint: Endpoint,
    observations: &mpsc::Sender<Observation>,
    metrics: &Arc<Metrics>,
    state: WatchState,
) -> Watch<W> {
    Watch {
        watched,
        endpoint,
        observations: observations.clone(),
        metrics: Arc::clone(metrics),
        state,
        trouble: Trouble::none(),
    }
}

/// Reads the program's own Events back, then keeps the Pods.
async fn observe_pods(reported: Endpoint, mut pods: Watch<Pods>) {
    if read_reported(&reported, &mut pods).await.is_some() {
        pods.run().await;
    }
}

/// Tells which kills were reported before; `None` when nobody wants to know any more.
///
/// Without the right to list Events the program goes on: every kill is found all the same.
async fn read_reported(reported: &Endpoint, pods: &mut Watch<Pods>) -> Option<()> {
    let mut cursor = Cursor::new(Shape::Metadata, 500);
    let mut bytes = Vec::new();
    loop {
        pods.trouble.pace.ready().await;
        let answer = reported.page(&cursor, &mut bytes).await;
        let page = answer.and_then(|()| {
            let Page { items, next, .. } = reported.read::<&RawValue>(&bytes)?;
            Ok((items.into_iter().filter_map(metadata).collect::<Vec<_>>(), next))
        });
        match page {
            Ok((events, next)) => {
                for ObjectMetadata { namespace, name: event, .. } in events {
                    pods.observations.send(Observation::Reported { namespace, event }).await.ok()?;
                }
                if next.is_none() {
                    pods.trouble.pace.followed();
                    return Some(());
                }
                cursor.next = next;
                pods.trouble.pace.next_page();
            }
            Err(failure) if failure.is_forbidden() => {
                tracing::warn!(
                    "{failure}. Until then nothing tells which kills were reported before this start: \
                     sinks other than Kubernetes may repeat them"
                );
                return Some(());
            }
            Err(failure) => {
                cursor.failed(&failure);
                pods.failed(&failure);
            }
        }
    }
}

/// Pods, each with all that its kubelet said of its containers.
struct Pods(Scope);

impl Versioned for Box<Pod> {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Watched for Pods {
    type Object = Box<Pod>;
    const RESOURCE: WatchedResource = WatchedResource::Pods;
    const BOOKMARKS: bool = true;
    const LIST: Shape = Shape::Whole;
    const PAGE: u32 = 50;

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

/// `Started` Events. What stood there before the watch began tells nothing that the statuses of
/// the Pods don't, so a list of one gives the version to watch from.
struct Starts;

impl Versioned for Event {
    fn resource_version(&self) -> &str {
        self.resource_version()
    }
}

impl Watched for Starts {
    type Object = Event;
    const RESOURCE: WatchedResource = WatchedResource::Events;
    const BOOKMARKS: bool = false;
    const LIST: Shape = Shape::Version;
    const PAGE: u32 = 1;

    fn list_begins(&self, _: Timestamp) -> Option<Observation> {
        None
    }

    fn listed(&self, _: Event) -> Option<Observation> {
        None
    }

    fn list_ends(&self) -> Option<Observation> {
        None
    }

    fn changed(&self, event: Event) -> Option<Observation> {
        event.into_started().map(Observation::Started)
    }

    /// An Event that its TTL takes away says nothing.
    fn deleted(&self, _: Event) -> Option<Observation> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::REPORTED;

    #[test]
    fn the_reason_of_own_events_is_that_of_the_sink() {
        assert!(REPORTED.starts_with(&format!("reason={},", finding::EVENT_REASON)));
    }
}
