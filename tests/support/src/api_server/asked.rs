//! A request that came to the API server, and what became of it.

use std::collections::BTreeMap;

use http::{Method, header::ACCEPT, request::Parts};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::bytes::Bytes;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    /// `pods` or `events`; another path whole.
    pub resource: String,
    pub namespace: Option<String>,
    /// The one object that is meant.
    pub name: Option<String>,
    pub query: BTreeMap<String, String>,
    /// The object that is to be created, or to replace the one that is meant.
    pub object: Option<Value>,
    /// What is to be changed of the one object that is meant.
    pub patch: Option<Value>,
    /// What is asked whether it is allowed: `verb`, `resource` and `namespace`.
    pub review: Option<Value>,
    /// What may be answered, in the order of preference.
    pub accept: String,
    /// Whether this very request was heeded.
    pub stored: bool,
    /// Whether the client was told so.
    pub answered: bool,
}

impl Asked {
    pub(super) fn read(head: &Parts, body: &Bytes) -> Self {
        let query = head.uri.query().unwrap_or_default().split('&');
        let decoded = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let path: Vec<_> = head.uri.path().trim_start_matches("/api/v1/").split('/').collect();
        let (namespace, resource, name) = match path[..] {
            ["namespaces", namespace, resource, name] => (Some(namespace), resource, Some(name)),
            ["namespaces", namespace, resource] => (Some(namespace), resource, None),
            [resource] => (None, resource, None),
            _ => (None, head.uri.path(), None),
        };
        let sent = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        let is_review = resource.ends_with("/selfsubjectaccessreviews");
        Self {
            at: Instant::now(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query: query
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), decoded(value)))
                .collect(),
            object: (head.method == Method::PUT || head.method == Method::POST && !is_review).then(sent),
            patch: (head.method == Method::PATCH).then(sent),
            review: is_review.then(|| sent()["spec"]["resourceAttributes"].take()),
            accept: head
                .headers
                .get(ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            stored: false,
            answered: false,
        }
    }

    /// Whether a resource is watched; of Events, those about Pods.
    pub fn is_watch(&self, resource: &str) -> bool {
        self.resource == resource && self.watches() && !self.is_of_nodes()
    }

    /// Whether it is about Events of nodes.
    pub fn is_of_nodes(&self) -> bool {
        self.selects("involvedObject.kind=Node")
    }

    /// Whether anything is watched.
    pub fn watches(&self) -> bool {
        self.query.contains_key("watch")
    }

    /// Whether a page of a list is asked for.
    pub fn is_list(&self, resource: &str) -> bool {
        self.resource == resource && !self.watches() && !self.is_of_version()
    }

    /// Whether the program's own Events are read back.
    pub fn is_of_reported(&self) -> bool {
        self.is_list("events") && self.selects("reason=PreviousContainerWasOOMKilled")
    }

    /// Whether only the version of the list is wanted.
    pub fn is_of_version(&self) -> bool {
        self.query.get("limit").is_some_and(|limit| limit == "1")
            && self.accept.contains("as=PartialObjectMetadataList")
    }

    /// Whether it is asked if this verb on this resource is allowed.
    pub fn asks_for(&self, verb: &str, resource: &str) -> bool {
        self.review.as_ref().is_some_and(|review| review["verb"] == verb && review["resource"] == resource)
    }

    pub fn is_next_page(&self) -> bool {
        self.query.contains_key("continue")
    }

    /// The Pod that an Event is about.
    pub fn pod(&self) -> &str {
        self.object.as_ref().and_then(|event| event["involvedObject"]["name"].as_str()).unwrap_or_default()
    }

    /// Whether the answer may be in Protobuf.
    pub fn accepts_protobuf(&self) -> bool {
        self.accept.starts_with("application/vnd.kubernetes.protobuf")
    }

    /// The kind of the objects in the answer.
    pub fn kind(&self) -> &'static str {
        match &*self.resource {
            _ if self.accept.contains("as=PartialObjectMetadataList") => "PartialObjectMetadata",
            "pods" => "Pod",
            _ => "Event",
        }
    }

    /// The value of a parameter that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.query.get(key)?.parse().ok()
    }

    /// Whether the selector of fields says this.
    pub fn selects(&self, selector: &str) -> bool {
        self.query.get("fieldSelector").is_some_and(|fields| fields.contains(selector))
    }

    pub(super) fn covers(&self, resource: &str, namespace: &str, object: &Value) -> bool {
        let reason = object["reason"].as_str().unwrap_or("none");
        self.resource == resource
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
            && (!self.selects("reason=") || self.selects(&format!("reason={reason},")))
    }
}
