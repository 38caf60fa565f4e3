//! Webhooks and policies of a real API server that let no Events into a namespace.

use std::{convert::Infallible, time::Instant};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use support::{ControlPlane, Error, eventually, log::logged, program::PATIENCE, sockets::Authority};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::bytes::Bytes;

use super::books::{Books, Ends, kill};

async fn create(client: &Client, path: &str, object: &Value) {
    let request = Request::post(path).body(object.to_string().into_bytes()).unwrap();
    client.request::<Value>(request).await.unwrap();
}

/// What selects a namespace by its name.
fn only(namespace: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}})
}

/// A webhook that denies everything under `/denies`, and never answers elsewhere.
async fn serve_webhook(authority: &Authority, tasks: &mut JoinSet<()>) -> String {
    let (listener, tls) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), authority.certify());
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            connections.spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let serving =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(review));
                serving.await.unwrap_or_default();
            });
        }
    });
    format!("https://{address}")
}

async fn review(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/denies" {
        return std::future::pending().await;
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": false, "status": {"message": "no Events here"}},
    });
    Ok(Response::new(Full::new(answer.to_string().into())))
}

fn webhook(namespace: &str, url: &str, authority: &Authority) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "events.example.com",
            "clientConfig": {
                "url": url,
                "caBundle": k8s_openapi::ByteString(authority.pem().into_bytes()),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}],
            "namespaceSelector": only(namespace),
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        }],
    })
}

/// Waits until an Event is refused there, or not answered.
async fn effective(client: &Client, namespace: &str) {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "probe-"},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "probe"},
    });
    eventually("a denial", PATIENCE, async || {
        let path = format!("/api/v1/namespaces/{namespace}/events?dryRun=All");
        let request = Request::post(path).body(event.to_string().into_bytes()).unwrap();
        let answer =
            tokio::time::timeout(std::time::Duration::from_secs(2), client.request::<Value>(request));
        answer.await.map_or(true, |answer| answer.is_err()).then_some(())
    })
    .await
    .unwrap();
}

/// The reasons that the log has for failures.
fn reasons() -> String {
    logged(&["delivery fails; trying again"]).join("\n")
}

#[tokio::test]
async fn a_webhook_that_hangs_or_denies_in_a_namespace_delays_no_other() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let client = cluster.client()?;
    let (authority, mut tasks) = (Authority::new(), JoinSet::new());
    let url = serve_webhook(&authority, &mut tasks).await;
    let (stuck, free) = (cluster.namespace("stuck").await?, cluster.namespace("free").await?);
    for path in ["denies", "hangs"] {
        let url = format!("{url}/{path}");
        let configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        create(&client, configurations, &webhook(stuck.name(), &url, &authority)).await;
        effective(&client, stuck.name()).await;
        let mut books = Books::open(Some(client.clone()), None);
        books.send((0..100).map(|number| kill(stuck.name(), number)));
        let begun = Instant::now();
        let kills = (0..100).map(|number| kill(free.name(), number));
        books.send(kills.map(|mut kill| {
            kill.id = finding::KillId::new(&[path, kill.id.as_str()]);
            kill
        }));
        eventually("100 Events", PATIENCE, async || (books.ends("events").delivered == 100).then_some(()))
            .await?;
        println!("beside a namespace whose webhook {path}, 100 Events were written in {:?}", begun.elapsed());
        assert_eq!(books.ends("events"), Ends { delivered: 100, waiting: 100, ..Ends::default() });
        let denied = path == "denies";
        assert_eq!(
            reasons().contains("Let the webhook, policy or quota that forbids it"),
            denied,
            "{}",
            reasons()
        );
        let delete = Request::delete(format!("{configurations}/{}", stuck.name())).body(Vec::new()).unwrap();
        client.request::<Value>(delete).await.unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn what_a_policy_denies_is_tried_again_and_its_mending_heals() -> Result<(), Error> {
    let cluster = ControlPlane::shared().await?;
    let (client, namespace) = (cluster.client()?, cluster.namespace("policy").await?);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace.name()},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]},
    });
    create(&client, policies, &policy).await;
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace.name()},
        "spec": {
            "policyName": namespace.name(), "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": only(namespace.name())},
        },
    });
    create(&client, bindings, &binding).await;
    effective(&client, namespace.name()).await;
    let mut books = Books::open(Some(client.clone()), None);
    books.send([kill(namespace.name(), 0)]);
    eventually("the remedy", PATIENCE, async || {
        reasons().contains("Let the webhook, policy or quota that forbids it").then_some(())
    })
    .await?;
    let delete = Request::delete(format!("{bindings}/{}", namespace.name())).body(Vec::new()).unwrap();
    client.request::<Value>(delete).await.unwrap();
    eventually("the Event", PATIENCE, async || (books.ends("events").delivered == 1).then_some(())).await?;
    Ok(())
}
