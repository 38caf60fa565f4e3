//! The kubernetes sink and its courier against a real API server.

use std::{io, time::Instant};

use http::{Request, Response};
use k8s_openapi::api::core::v1::{Event, Namespace as NamespaceObject};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    client::Body,
};
use serde_json::json;
use support::{
    ControlPlane, Error, Namespace, eventually,
    program::{PATIENCE, Program},
};

use super::books::{Books, Ends, kill};

const REASON: &str = "PreviousContainerWasOOMKilled";

async fn cluster() -> &'static ControlPlane {
    ControlPlane::shared().await.unwrap()
}

/// Waits until so many findings have ended, as delivered or otherwise.
async fn ended(books: &Books, count: u64) -> Ends {
    let ends = eventually(format!("{count} ends"), PATIENCE, async || {
        let ends = books.ends("events");
        (ends.delivered + ends.duplicate + ends.failed >= count).then_some(ends)
    });
    ends.await.unwrap()
}

async fn events(namespace: &Namespace) -> Vec<Event> {
    namespace.events(REASON).await.unwrap()
}

#[tokio::test]
async fn five_hundred_kills_are_written_in_seconds() -> Result<(), Error> {
    let namespace = cluster().await.namespace("many").await?;
    let mut books = Books::open(Some(cluster().await.client()?), None);
    let begun = Instant::now();
    books.send((0..500).map(|number| kill(namespace.name(), number)));
    assert_eq!(ended(&books, 500).await, Ends { delivered: 500, ..Ends::default() });
    println!("500 Events were written in {:?}", begun.elapsed());
    assert_eq!(events(&namespace).await.len(), 500);
    Ok(())
}

#[tokio::test]
async fn what_is_stored_is_stored_once_though_every_first_answer_is_lost() -> Result<(), Error> {
    let namespace = cluster().await.namespace("lost").await?;
    let client = cluster().await.client()?;
    let lossy = {
        let (client, mut asked) = (client.clone(), 0);
        tower::service_fn(move |request: Request<Body>| {
            let (client, loses) = (client.clone(), asked < 50);
            asked += 1;
            async move {
                let answer: Response<Body> = client.send(request).await.map_err(io::Error::other)?;
                if loses { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok(answer) }
            }
        })
    };
    let mut books = Books::open(Some(kube::Client::new(lossy, "default")), None);
    books.send((0..60).map(|number| kill(namespace.name(), number)));
    let ends = ended(&books, 60).await;
    assert_eq!((ends.delivered + ends.duplicate, ends.failed), (60, 0), "{ends:?}");
    assert!(ends.duplicate > 0, "{ends:?}");
    assert_eq!(events(&namespace).await.len(), 60);

    let mut again = Books::open(Some(client), None);
    again.send((0..60).map(|number| kill(namespace.name(), number)));
    assert_eq!(ended(&again, 60).await, Ends { duplicate: 60, ..Ends::default() });
    assert_eq!(events(&namespace).await.len(), 60);
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_is_deleted_or_never_was_is_given_up_quietly() -> Result<(), Error> {
    let namespace = cluster().await.namespace("deleted").await?;
    let client = cluster().await.client()?;
    // There is no controller that would make an end of it: it stays in deletion.
    let namespaces = Api::<NamespaceObject>::all(client.clone());
    namespaces.delete(namespace.name(), &DeleteParams::default()).await.unwrap();
    let mut books = Books::open(Some(client), None);
    books.send([kill(namespace.name(), 0), kill("never-was", 1)]);
    assert_eq!(ended(&books, 2).await, Ends { failed: 2, ..Ends::default() });
    assert_eq!(books.gone("events").len(), 2);
    assert_eq!(books.undelivered("events"), [""; 0]);
    Ok(())
}

/// All names as long as they may be.
#[tokio::test]
async fn the_longest_names_are_taken() -> Result<(), Error> {
    let client = cluster().await.client()?;
    let begin = cluster().await.namespace("long").await?.name().to_owned();
    let namespace: NamespaceObject =
        serde_json::from_value(json!({"metadata": {"name": format!("{begin:n<63}")}})).unwrap();
    let namespace = Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let namespace = namespace.metadata.name.unwrap();
    let mut books = Books::open(Some(client.clone()), None);
    for (number, cut_at) in ["a", "-", ".", "b"].into_iter().enumerate() {
        let mut finding = kill(&namespace, number);
        // The name of an Event keeps 220 characters of it.
        finding.pod.name = format!("{number}{:p<218}{cut_at}{:q<33}", "", "");
        assert_eq!(finding.pod.name.len(), 253);
        finding.container.name = "c".repeat(63);
        finding.pod.workload.name.clone_from(&finding.pod.name);
        books.send([finding]);
    }
    assert_eq!(ended(&books, 4).await, Ends { delivered: 4, ..Ends::default() });
    let written = Api::<Event>::namespaced(client, &namespace).list(&ListParams::default()).await.unwrap();
    assert_eq!(written.items.len(), 4);
    for event in written {
        assert_eq!(event.involved_object.name.unwrap().len(), 253);
    }
    Ok(())
}

/// `kubectl describe pod` of a mirror pod asks for Events with the static pod's UID, which the annotation
/// has (kubectl: `pkg/describe`, `searchEvents`).
#[tokio::test]
async fn kubectl_finds_the_event_of_a_mirror_pod() -> Result<(), Error> {
    let namespace = cluster().await.namespace("mirror").await?;
    let include = [("OOM_NAMESPACES__INCLUDE", namespace.name())];
    let program = Program::ready(&cluster().await.kubeconfig(), &[], &include).await;
    let uid = "1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f";
    let annotations = json!({
        "kubernetes.io/config.mirror": uid, "kubernetes.io/config.hash": uid, "kubernetes.io/config.source": "file",
    });
    let pod = json!({
        "metadata": {"name": "proxy-node-a", "annotations": annotations},
        "spec": {"containers": [{"name": "app"}]},
    });
    namespace.create_pod(pod).await?;
    namespace.shows("proxy-node-a", &["app R(1,b)+L(a)"]).await?;
    let selector = format!("involvedObject.uid={uid},involvedObject.name=proxy-node-a");
    let selected = ListParams::default().fields(&selector);
    eventually("the Event", PATIENCE, async || {
        let found = namespace.api::<Event>().list(&selected).await.unwrap().items;
        (found.len() == 1).then_some(())
    })
    .await?;
    assert_eq!(program.stop().await, Some(0));
    Ok(())
}
