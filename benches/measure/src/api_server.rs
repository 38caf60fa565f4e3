//! What a real API server uses for the program's list, in Protobuf and in JSON.

use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, header::ACCEPT};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams, client::Body};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use support::{ControlPlane, Namespace};

use crate::{
    Outcome,
    limits::{accept, json_page, protobuf_page},
    objects::{self, Encoding, Moment, Place, SpelledPod, Spelling},
    parts::{PODS, Run},
    process::cpu,
    table::{Goal, Row, Unit, median},
};

/// Pods to a page, as the program asks for them.
const PAGE: u32 = 500;
/// How many Pods are created at once.
const AT_ONCE: usize = 16;

#[tokio::main(flavor = "current_thread")]
pub async fn measure(run: &Run<'_>) -> Outcome<Vec<Row>> {
    // Another part may have done so.
    rustls::crypto::ring::default_provider().install_default().ok();
    let plane = ControlPlane::start().await?;
    let namespace = plane.namespace("measure").await?;
    create(&namespace).await?;
    let process = plane.api_server_id().ok_or("the API server ended")?;
    let client = plane.client()?;
    let (mut used, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    // The first round warms up.
    for round in 0..=run.options.rounds {
        let mut both = [f64::NAN; 2];
        for (encoding, used) in [Encoding::Protobuf, Encoding::Json].into_iter().zip(&mut both) {
            let before = cpu(process)?;
            list(&client, encoding).await?;
            *used = cpu(process)? - before;
        }
        if round > 0 {
            used.iter_mut().zip(both).for_each(|(used, now)| used.push(now));
            ratios.push(both[0] / both[1]);
        }
    }
    let name = |what: &str| format!("CPU of a real API server, {PODS} Pods listed, {what}");
    let [protobuf, json] = used.map(median);
    Ok(vec![
        Row::new(name("protobuf"), Unit::Seconds, &[protobuf]),
        Row::new(name("json"), Unit::Seconds, &[json]),
        Row::new(name("protobuf / json"), Unit::Ratio, &[median(ratios)]).goal(Goal::AtMost(0.6)),
    ])
}

/// Creates the Pods of the synthetic cluster, each in one namespace and with its status.
async fn create(namespace: &Namespace) -> Outcome<()> {
    let mut spelling = Spelling::new(Encoding::Json);
    let pods = (0..PODS as u64).map(|number| {
        let pod = SpelledPod { number, container: objects::Container::default(), version: 0 };
        let mut spelled = Vec::new();
        spelling.pod(&mut spelled, &pod, &Moment::now(), Place::Alone);
        spelled
    });
    let pods: Vec<Vec<u8>> = pods.collect();
    let api: Api<Pod> = namespace.api();
    stream::iter(pods)
        .map(Ok::<_, Box<dyn std::error::Error>>)
        .try_for_each_concurrent(AT_ONCE, |spelled| {
            let (api, name) = (api.clone(), namespace.name());
            async move {
                let mut pod: Value = serde_json::from_slice(&spelled)?;
                let status = pod["status"].take();
                let metadata = pod["metadata"].as_object_mut().ok_or("no metadata")?;
                metadata.retain(|key, _| {
                    ["name", "labels", "annotations", "ownerReferences"].contains(&key.as_str())
                });
                metadata.insert("namespace".to_owned(), json!(name));
                let mut created = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
                created.status = Some(serde_json::from_value(status)?);
                let name = created.metadata.name.clone().unwrap_or_default();
                api.replace_status(&name, &PostParams::default(), &created).await?;
                Ok(())
            }
        })
        .await
}

/// Reads all pages of the list, and nothing in them but where the next begins.
async fn list(client: &Client, encoding: Encoding) -> Outcome<()> {
    let mut next = String::new();
    loop {
        let request = Request::get(format!("/api/v1/pods?limit={PAGE}&continue={next}"))
            .header(ACCEPT, accept(encoding))
            .body(Body::empty())?;
        let body = client.send(request).await?.into_body().collect().await?.to_bytes();
        next = match encoding {
            Encoding::Json => json_page::<IgnoredAny>(&body)?,
            Encoding::Protobuf => protobuf_page(&body, |_| Ok(()))?,
        };
        if next.is_empty() {
            return Ok(());
        }
    }
}
