//! What a hostile tenant writes.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::pod_dsl::{PodDsl, PodIdentity};

/// How large an object can be in JSON: what etcd holds, each byte written as `\u003c`.
pub const MAX_POD_BYTES: usize = 8_700_000;

/// A Pod with so many containers, each OOM-killed and started again just now.
pub fn killed_pod(namespace: &str, name: &str, containers: usize) -> Value {
    let mut dsl = PodDsl::at(Timestamp::now() - SignedDuration::from_secs(9));
    let uid = format!("{namespace}-{name}");
    dsl.pod = PodIdentity { namespace: namespace.to_owned(), name: name.to_owned(), uid, ..dsl.pod };
    let mut pod = dsl.object(&["app R(1,b)+L(a)"]);
    let repeated = |object: &Value, name_at: &[&str]| {
        let each = (0..containers).map(|number| {
            let mut object = object.clone();
            object["name"] = format!("c{number}").into();
            for (at, instance) in name_at.iter().zip(["1", "0"]) {
                *object.pointer_mut(at).unwrap() =
                    format!("containerd://{namespace}-{name}-{number}-{instance}").into();
            }
            object
        });
        each.collect::<Value>()
    };
    let ids = ["/containerID", "/lastState/terminated/containerID"];
    pod["status"]["containerStatuses"] = repeated(&pod["status"]["containerStatuses"][0], &ids);
    pod["spec"]["containers"] = repeated(&pod["spec"]["containers"][0], &[]);
    pod
}

/// Gives a Pod labels, or annotations, of 1.2 MB in all.
#[must_use]
pub fn with_long(what: &str, mut pod: Value) -> Value {
    let entries = (0..60).map(|number| (format!("entry-{number}"), "v".repeat(20_000).into()));
    pod["metadata"][what] = Value::Object(entries.collect());
    pod
}

/// Gives everything in a Pod that has a name the longest one that is kept of it.
#[must_use]
pub fn with_long_names(mut pod: Value) -> Value {
    let number = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let long = |text: &str| format!("{text}-{number}-{}", "n".repeat(300));
    for field in ["name", "uid"] {
        pod["metadata"][field] = long(field).into();
    }
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": long("kind"), "name": long("owner"), "controller": true}]);
    pod["spec"]["nodeName"] = long("node").into();
    for (at, text) in [
        ("/spec/containers/0/name", long("c")),
        ("/spec/containers/0/image", "i".repeat(600)),
        ("/status/containerStatuses/0/name", long("c")),
        ("/status/containerStatuses/0/containerID", long("containerd://new")),
        ("/status/containerStatuses/0/lastState/terminated/containerID", long("containerd://old")),
    ] {
        *pod.pointer_mut(at).unwrap() = text.into();
    }
    pod
}

/// Gives a Pod an owner with a name of 1 MB.
#[must_use]
pub fn with_long_owner(mut pod: Value) -> Value {
    let (kind, name) = ("k".repeat(100_000), "n".repeat(1_000_000));
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": kind, "name": name, "controller": true}]);
    pod
}

/// Makes a Pod as large as one can be.
#[must_use]
pub fn as_large_as_can_be(mut pod: Value) -> Value {
    pod["spec"]["containers"][0]["env"] = json!([{"name": "X", "value": "x".repeat(MAX_POD_BYTES)}]);
    pod
}
