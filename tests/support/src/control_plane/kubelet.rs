//! A namespace of one's own, in which a test plays the kubelet.
//!
//! It creates Pods as if they had been scheduled, says their statuses, and writes `Started` Events in
//! the way a kubelet does: the first is created, repeats are patched into it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace as NamespaceObject, Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, NamespaceResourceScope},
};
use serde_json::{Value, json};

use super::table;
use crate::{Error, pod_dsl::PodDsl};

/// The node that Pods are on unless they say otherwise.
const NODE: &str = "node-a";

/// A namespace that is this test's alone.
#[derive(Clone)]
pub struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    pub(crate) async fn create(client: Client, name: String) -> Result<Self, Error> {
        let object: NamespaceObject = from(json!({"metadata": {"name": name}}))?;
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .map_err(|error| Error::new(format!("creating the namespace {name}"), error))?;
        Ok(Self { client, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// An API of a kind of objects in this namespace, for what the kubelet doesn't do.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates a Pod as if it had been scheduled. Of `metadata` a name and of each container a name is
    /// enough; node and image are filled in where they are missing.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn create_pod(&self, mut pod: Value) -> Result<Pod, Error> {
        let tried = format!("creating the Pod {} in {}", pod["metadata"]["name"], self.name);
        let spec = &mut pod["spec"];
        if spec["nodeName"].is_null() {
            spec["nodeName"] = NODE.into();
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = "localhost/memhog:1".into();
                }
            }
        }
        let pod: Pod = from(pod)?;
        self.api().create(&PostParams::default(), &pod).await.map_err(|error| Error::new(tried, error))
    }

    /// Replaces a Pod's whole status: what it doesn't say is gone.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn set_status(&self, pod: &str, status: impl Into<Value>) -> Result<(), Error> {
        let tried =
            |error| Error::new(format!("setting the status of the Pod {pod} in {}", self.name), error);
        let kind = ApiResource::erase::<Pod>(&());
        let pods = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.name, &kind);
        let mut object = pods.get(pod).await.map_err(tried)?;
        object.metadata.resource_version = None;
        object.metadata.managed_fields = None;
        object.data["status"] = status.into();
        pods.replace_status(pod, &PostParams::default(), &object).await.map_err(tried)?;
        Ok(())
    }

    /// As [`set_status`](Self::set_status), by these containers in the notation of
    /// [`PodDsl`](crate::pod_dsl::PodDsl). Everything happens now.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn shows(&self, pod: &str, containers: &[&str]) -> Result<(), Error> {
        self.set_status(pod, PodDsl::status_of_now(containers)).await
    }

    /// Deletes a Pod, and it is gone at once.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn delete_pod(&self, pod: &str) -> Result<(), Error> {
        self.api::<Pod>()
            .delete(pod, &DeleteParams::default().grace_period(0))
            .await
            .map(drop)
            .map_err(|error| Error::new(format!("deleting the Pod {pod} in {}", self.name), error))
    }

    /// Says that a container of a Pod was started, in the kubelet's way: with a `count` of 1 a new
    /// Event, as after the kubelet's own start too; above that the newest one is patched, or created
    /// if it has expired.
    ///
    /// # Errors
    ///
    /// The Pod has no such container, or the API server refused.
    pub async fn started(
        &self,
        pod: &Pod,
        container: &str,
        count: i32,
        at: Timestamp,
    ) -> Result<Event, Error> {
        let tried =
            |error| Error::new(format!("writing a Started Event of {container} in {}", self.name), error);
        let events = self.api::<Event>();
        let field_path = field_path(pod, container)?;
        let uid = pod.uid().unwrap_or_default();
        if count > 1 {
            let selector =
                format!("reason=Started,involvedObject.uid={uid},involvedObject.fieldPath={field_path}");
            let list = events.list(&ListParams::default().fields(&selector)).await.map_err(tried)?;
            // The names end with the time of their making.
            if let Some(newest) = list.items.iter().map(ResourceExt::name_any).max() {
                let patch = json!({"count": count, "lastTimestamp": seconds(at)});
                let patch = Patch::Merge(patch);
                return events.patch(&newest, &PatchParams::default(), &patch).await.map_err(tried);
            }
        }
        let event = from(json!({
            "metadata": {"name": format!("{}.{:016x}", pod.name_any(), unique_nanoseconds())},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": self.name, "name": pod.name_any(), "uid": uid,
                "resourceVersion": pod.resource_version(), "fieldPath": field_path,
            },
            "type": "Normal",
            "reason": "Started",
            "message": "Container started",
            "count": count,
            "firstTimestamp": seconds(at),
            "lastTimestamp": seconds(at),
            "source": {"component": "kubelet", "host": NODE},
            "reportingComponent": "kubelet",
            "reportingInstance": NODE,
        }))?;
        events.create(&PostParams::default(), &event).await.map_err(tried)
    }

    /// The Events with this reason; all of them if it is empty.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn events(&self, reason: &str) -> Result<Vec<Event>, Error> {
        let mut parameters = ListParams::default();
        if !reason.is_empty() {
            parameters = parameters.fields(&format!("reason={reason}"));
        }
        let list = self.api::<Event>().list(&parameters).await;
        list.map(|list| list.items)
            .map_err(|error| Error::new(format!("listing Events of {}", self.name), error))
    }

    /// What `kubectl get events --sort-by=.lastTimestamp` shows.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn kubectl_get_events(&self) -> Result<String, Error> {
        Ok(table::of(self.events("").await?, Timestamp::now()))
    }
}

/// How an Event names a container of a Pod, such as `spec.initContainers{migrate}`.
fn field_path(pod: &Pod, container: &str) -> Result<String, Error> {
    let spec = serde_json::to_value(&pod.spec).map_err(|error| Error::new("reading a Pod's spec", error))?;
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let has = |list: &&str| {
        spec[list].as_array().into_iter().flatten().any(|candidate| candidate["name"] == container)
    };
    match lists.into_iter().find(has) {
        Some(list) => Ok(format!("spec.{list}{{{container}}}")),
        None => {
            Err(Error::new(format!("finding the container {container}"), "the Pod has none of that name"))
        }
    }
}

/// What a kubelet ends an Event's name with: the time in nanoseconds, and never the same twice.
fn unique_nanoseconds() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let after = |last: i64| now.max(last.saturating_add(1));
    LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))).map_or(now, after)
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An object of the API from its JSON.
pub(crate) fn from<K: k8s_openapi::serde::de::DeserializeOwned>(object: Value) -> Result<K, Error> {
    let tried = format!("reading {object}");
    serde_json::from_value(object).map_err(|error| Error::new(tried, error))
}
