//! What is read of an object is the same in JSON and in Protobuf: of those in the recordings, and of what a real
//! API server says of a Pod that has everything. Field numbers are those of the Kubernetes that is pinned.

use std::{collections::BTreeMap, fs, process::Command};

use ::cluster::protobuf::{PROTOBUF, WireMessage, open_envelope};
use http::{Request, header::ACCEPT};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    client::Body,
    core::{ApiResource, DynamicObject},
};
use kubernetes_oom_event_generator::source::objects::{Event, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Error, Namespace, protobuf};

use crate::cluster::kills::cluster;

fn text_of<T: DeserializeOwned + std::fmt::Debug>(json: &[u8]) -> String {
    format!("{:#?}", serde_json::from_slice::<T>(json).unwrap())
}

#[test]
fn recordings_say_the_same_in_both_encodings() {
    let folder = format!("{}/tests/recordings", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recordings = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut objects = 0;
    for line in recordings
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let object = serde_json::from_str::<Value>(&line).unwrap()["object"].take();
        let json = object.to_string();
        if object["kind"] == "Pod" {
            let pod = Pod::decode(&protobuf::object("Pod", &object)).unwrap();
            assert_eq!(format!("{pod:#?}"), text_of::<Pod>(json.as_bytes()), "{json}");
        } else {
            let event = Event::decode(&protobuf::object("Event", &object)).unwrap();
            assert_eq!(format!("{event:#?}"), text_of::<Event>(json.as_bytes()), "{json}");
        }
        objects += 1;
    }
    assert!(objects > 100, "{objects}");
}

/// What the API server says of this in both encodings, as far as it is read.
async fn read<T>(client: &Client, path: &str) -> Result<(String, String), kube::Error>
where
    T: DeserializeOwned + WireMessage + std::fmt::Debug,
{
    let body = async |accept| {
        let request = Request::get(path).header(ACCEPT, accept).body(Body::empty()).unwrap();
        Ok::<_, kube::Error>(client.send(request).await?.into_body().collect().await?.to_bytes())
    };
    let in_protobuf = T::decode(open_envelope(&body(PROTOBUF).await?).unwrap()).unwrap();
    Ok((format!("{in_protobuf:#?}"), text_of::<T>(&body("application/json").await?)))
}

/// A Pod with everything that is read of one.
fn whole_pod() -> Value {
    let resources = |limit: &str, request: &str| json!({"limits": {"memory": limit, "cpu": "1"}, "requests": {"memory": request, "cpu": "100m"}});
    json!({
        "metadata": {
            "name": "whole",
            "labels": {"app": "cart", "pod-template-hash": "6c9f7b9d4"},
            "annotations": {
                "openshift.io/deployment-config.name": "cart",
                "openshift.io/deployment.name": "cart-3",
                "oom-event-generator/ignore": "true",
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "u1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-6c9f7b9d4", "uid": "u2", "controller": true},
            ],
        },
        "spec": {
            "nodeName": "node-a",
            "restartPolicy": "OnFailure",
            "resources": resources("1Gi", "512Mi"),
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
                {"name": "disk", "emptyDir": {}},
            ],
            "initContainers": [
                {"name": "migrate", "image": "registry.test/migrate:1", "resources": resources("32Mi", "16Mi")},
                {"name": "proxy", "image": "registry.test/proxy:1", "restartPolicy": "Always"},
            ],
            "containers": [
                {
                    "name": "app",
                    "image": "registry.test/app:1",
                    "resources": resources("64Mi", "32Mi"),
                    "volumeMounts": [
                        {"name": "shm", "mountPath": "/dev/shm"}, {"name": "disk", "mountPath": "/disk"},
                    ],
                },
                {
                    "name": "worker",
                    "image": "registry.test/worker:1",
                    "restartPolicy": "Never",
                    "restartPolicyRules": [
                        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42, 137]}},
                    ],
                },
            ],
        },
    })
}

/// Its status: all states, and times with and without a value.
fn whole_status() -> Value {
    let resources = |limit: &str| json!({"limits": {"memory": limit}, "requests": {"memory": "8Mi"}});
    let killed = json!({"terminated": {
        "exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-11-22T12:00:00Z",
        "finishedAt": "2026-11-22T12:00:07Z", "containerID": "containerd://killed",
    }});
    let without_times =
        json!({"terminated": {"exitCode": -1, "reason": "Error", "startedAt": null, "finishedAt": null}});
    let runs = json!({"running": {"startedAt": "2026-11-22T12:00:09Z"}});
    let waits = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    let status = |name: &str, state: &Value, last: &Value| {
        json!({
            "name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 3, "state": state,
            "lastState": last, "containerID": format!("containerd://{name}"),
        })
    };
    let mut app = status("app", &runs, &killed);
    app["resources"] = resources("48Mi");
    app["allocatedResources"] = json!({"memory": "24Mi", "cpu": "1"});
    json!({
        "phase": "Running",
        "resources": resources("900Mi"),
        "initContainerStatuses": [
            status("migrate", &killed, &json!({})),
            status("proxy", &json!({"running": {"startedAt": null}}), &without_times),
        ],
        "containerStatuses": [app, status("worker", &waits, &killed)],
        "ephemeralContainerStatuses": [status("debug", &without_times, &json!({}))],
    })
}

async fn create_whole_pod(namespace: &Namespace) -> Result<(), Error> {
    // The type in kube doesn't know all fields yet.
    let kind = ApiResource::erase::<v1::Pod>(&());
    let all = Api::namespaced_with(namespace.api::<v1::Pod>().into_client(), namespace.name(), &kind);
    let pod: DynamicObject = serde_json::from_value(whole_pod()).unwrap();
    all.create(&PostParams::default(), &pod).await.unwrap();
    let pods: Api<v1::Pod> = namespace.api();
    let debug = json!([{"name": "debug", "image": "registry.test/debug:1", "targetContainerName": "app"}]);
    let patch = json!({"spec": {"ephemeralContainers": debug}});
    pods.patch_ephemeral_containers("whole", &PatchParams::default(), &Patch::Strategic(&patch))
        .await
        .unwrap();
    namespace.set_status("whole", whole_status()).await
}

#[tokio::test]
async fn a_real_api_server_says_the_same_in_both_encodings() -> Result<(), Error> {
    let namespace = cluster().await.namespace("encodings").await?;
    let client = cluster().await.client()?;
    let path =
        |resource: &str, name: &str| format!("/api/v1/namespaces/{}/{resource}/{name}", namespace.name());
    create_whole_pod(&namespace).await?;
    let (of_protobuf, of_json) = read::<Pod>(&client, &path("pods", "whole")).await.unwrap();
    assert_eq!(of_protobuf, of_json);
    // Nothing that is read is missing because it was never there.
    for value in [
        "\"whole\"",
        "6c9f7b9d4",
        "cart-3",
        "ignore: true",
        "\"ReplicaSet\"",
        "controller: true",
        "OnFailure",
        "\"shm\"",
        "registry.test/migrate:1",
        "registry.test/debug:1",
        "\"node-a\"",
        "1073741824",
        "536870912",
        "67108864",
        "33554432",
        "50331648",
        "25165824",
        "943718400",
        "Always",
        "\"OOMKilled\"",
        "137",
        "-1",
        "containerd://killed",
        "2026-11-22T12:00:00Z",
        "2026-11-22T12:00:07Z",
        "2026-11-22T12:00:09Z",
        "started_at: None",
        "finished_at: None",
        "containerd://debug",
    ] {
        assert!(of_protobuf.contains(value), "{value} is missing in {of_protobuf}");
    }

    // A mirror pod may have no ephemeral containers.
    let container = json!({"name": "app"});
    let annotations = json!({"kubernetes.io/config.mirror": "of-the-static-pod"});
    let mirror = json!({"metadata": {"name": "mirror", "annotations": annotations}, "spec": {"containers": [container]}});
    namespace.create_pod(mirror).await?;
    let (of_protobuf, of_json) = read::<Pod>(&client, &path("pods", "mirror")).await.unwrap();
    assert_eq!(of_protobuf, of_json);
    assert!(of_protobuf.contains("of-the-static-pod"), "{of_protobuf}");

    let pod = namespace.api::<v1::Pod>().get("whole").await.unwrap();
    let started = namespace.started(&pod, "app", 1, jiff::Timestamp::now()).await?;
    let (of_protobuf, of_json) = read::<Event>(&client, &path("events", &started.name_any())).await.unwrap();
    assert_eq!(of_protobuf, of_json);
    let mut newer = started.clone();
    newer.metadata = kube::api::ObjectMeta { name: Some("newer".to_owned()), ..Default::default() };
    let mut newer = serde_json::to_value(newer).unwrap();
    newer["eventTime"] = json!("2026-11-22T12:00:00.123456Z");
    newer["action"] = json!("Starting");
    newer["series"] = json!({"count": 7, "lastObservedTime": "2026-11-22T12:00:05.654321Z"});
    let newer: v1::Event = serde_json::from_value(newer).unwrap();
    namespace.api::<v1::Event>().create(&PostParams::default(), &newer).await.unwrap();
    let (of_protobuf, of_json) = read::<Event>(&client, &path("events", "newer")).await.unwrap();
    assert_eq!(of_protobuf, of_json);
    for value in ["count: 7", "12:00:00.123456Z", "12:00:05.654321Z", "spec.containers{app}", "\"kubelet\""] {
        assert!(of_protobuf.contains(value), "{value} is missing in {of_protobuf}");
    }
    Ok(())
}

/// The fields of each message: by their number, what they are called.
fn numbers(proto: &str) -> BTreeMap<(String, String), String> {
    let messages = proto.split("\nmessage ").skip(1).filter_map(|message| message.split_once(" {"));
    let fields = messages.flat_map(|(name, fields)| {
        let lines = fields.split("\n}").next().unwrap_or_default().lines().map(str::trim);
        let fields = lines.filter(|line| !line.starts_with("//")).filter_map(|line| {
            let (declared, number) = line.strip_suffix(';')?.split_once(" = ")?;
            Some(((name.to_owned(), number.to_owned()), declared.rsplit_once(' ')?.1.to_owned()))
        });
        fields.collect::<Vec<_>>()
    });
    fields.collect()
}

#[test]
fn field_numbers_are_those_of_the_kubernetes_that_is_pinned() {
    // `go.mod` pins them for the API server that the tests run against.
    let download = Command::new("go")
        .args(["mod", "download", "-json", "k8s.io/api", "k8s.io/apimachinery"])
        .current_dir(format!("{}/tests/support", env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let modules: Vec<String> = serde_json::Deserializer::from_slice(&download.stdout)
        .into_iter::<Value>()
        .map(|module| module.unwrap()["Dir"].as_str().unwrap().to_owned())
        .collect();
    let [api, machinery] = modules.as_slice() else {
        panic!("{}", String::from_utf8_lossy(&download.stderr));
    };
    let mut pinned = BTreeMap::new();
    for file in [
        format!("{machinery}/pkg/apis/meta/v1"),
        format!("{machinery}/pkg/api/resource"),
        format!("{machinery}/pkg/util/intstr"),
        format!("{api}/core/v1"),
    ] {
        pinned.extend(numbers(&fs::read_to_string(file + "/generated.proto").unwrap()));
    }
    let ours = numbers(protobuf::MESSAGES_PROTO);
    assert!(ours.len() > 500, "{}", ours.len());
    for (field, name) in ours {
        assert_eq!(pinned.get(&field), Some(&name), "{field:?}");
    }
}
