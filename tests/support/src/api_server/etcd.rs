//! Pods and Events in memory: listed page by page, watched from any version on, and created.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::channel::mpsc;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::bytes::Bytes;

use super::{AnswerBody, Asked, Store, gone, status, streamed, translated, whole};

/// The objects of a cluster. Clones are the same.
#[derive(Clone)]
pub struct Etcd(Arc<Mutex<EtcdState>>);

struct EtcdState {
    now: EtcdBackup,
    watches: Vec<OpenWatch>,
}

/// All that there is in the cluster, and ever was.
#[derive(Clone)]
pub struct EtcdBackup {
    version: u64,
    /// By resource, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    changes: Vec<ObjectChange>,
    /// What came up to this version is forgotten.
    compacted: u64,
}

#[derive(Clone)]
struct ObjectChange {
    version: u64,
    resource: String,
    namespace: String,
    kind: &'static str,
    object: Value,
}

struct OpenWatch {
    asked: Asked,
    from: u64,
    lines: mpsc::UnboundedSender<Bytes>,
    is_frozen: bool,
}

impl Store for Etcd {
    fn answer(&self, asked: &Asked) -> Response<AnswerBody> {
        if asked.review.is_some() {
            return whole(StatusCode::CREATED, json!({"status": {"allowed": true}}).to_string());
        }
        if let (Some(patch), Some(name)) = (&asked.patch, &asked.name) {
            return self.patch(asked, name, patch);
        }
        assert!(!asked.resource.contains('/') && asked.name.is_none(), "asked for {asked:?}");
        let answer = match &asked.object {
            Some(object) => self.create(asked, object),
            None if asked.watches() => self.watch(asked),
            None => self.state().list(asked),
        };
        translated(asked, answer)
    }
}

impl Etcd {
    pub fn new() -> Self {
        let now = EtcdBackup { version: 1000, objects: BTreeMap::new(), changes: Vec::new(), compacted: 0 };
        Self(Arc::new(Mutex::new(EtcdState { now, watches: Vec::new() })))
    }

    /// The objects of a resource.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        let objects = state.now.objects.iter().filter(|((of, _, _), _)| of == resource);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// Creates an object, or replaces the one of that name.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        let name = |key| object["metadata"][key].as_str().unwrap().to_owned();
        let key = (resource.to_owned(), name("namespace"), name("name"));
        object["metadata"]["resourceVersion"] = (state.now.version + 1).to_string().into();
        let is_new = state.now.objects.insert(key, object.clone()).is_none();
        state.change(resource, if is_new { "ADDED" } else { "MODIFIED" }, object);
    }

    /// Deletes an object.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.now.objects.remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = (state.now.version + 1).to_string().into();
        state.change(resource, "DELETED", object);
    }

    /// Time passes elsewhere in the cluster: the version goes on, and a bookmark tells of it.
    pub fn bookmark(&self, resource: &str) {
        let mut state = self.state();
        state.now.version += 10;
        let version = state.now.version.to_string();
        let object = json!({"metadata": {"resourceVersion": version, "creationTimestamp": null}});
        state.say(resource, &format!("{}\n", json!({"type": "BOOKMARK", "object": object})));
    }

    /// Says this line in the watches of a resource, and ends them.
    pub fn end_watches(&self, resource: &str, last: &Value) {
        let mut state = self.state();
        state.say(resource, &format!("{last}\n"));
        state.watches.retain(|watch| watch.asked.resource != resource);
    }

    /// Says in the watches of a resource what is no line of a watch.
    pub fn say(&self, resource: &str, text: &str) {
        self.state().say(resource, text);
    }

    /// The open watches say no more, and don't end.
    pub fn freeze_watches(&self) {
        for watch in &mut self.state().watches {
            watch.is_frozen = true;
        }
    }

    /// The open watches end, as if their connections had been closed.
    pub fn drop_watches(&self) {
        self.state().watches.clear();
    }

    /// Forgets all versions but the newest.
    pub fn compact(&self) {
        let mut state = self.state();
        state.now.compacted = state.now.version;
    }

    /// All that there is.
    pub fn backup(&self) -> EtcdBackup {
        self.state().now.clone()
    }

    /// All is as it was, the version too.
    pub fn swap(&self, backup: EtcdBackup) {
        self.state().now = backup;
    }

    /// As [`swap`](Self::swap), and connections break.
    pub fn restore(&self, backup: EtcdBackup) {
        self.swap(backup);
        self.drop_watches();
    }

    fn create(&self, asked: &Asked, object: &Value) -> Response<AnswerBody> {
        let name = object["metadata"]["name"].as_str().unwrap();
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        assert_eq!(asked.namespace.as_deref(), Some(namespace));
        let key = (asked.resource.clone(), namespace.to_owned(), name.to_owned());
        if self.state().now.objects.contains_key(&key) {
            let message = format!("{} {name:?} already exists", asked.resource);
            return refusal(&status(409, "AlreadyExists", &message));
        }
        self.put(&asked.resource, object.clone());
        whole(StatusCode::CREATED, "{}")
    }

    fn patch(&self, asked: &Asked, name: &str, patch: &Value) -> Response<AnswerBody> {
        let namespace = asked.namespace.clone().unwrap();
        let key = (asked.resource.clone(), namespace, name.to_owned());
        let Some(mut object) = self.state().now.objects.get(&key).cloned() else {
            return refusal(&status(404, "NotFound", &format!("{} {name:?} not found", asked.resource)));
        };
        merge(&mut object, patch);
        self.put(&asked.resource, object);
        whole(StatusCode::OK, "{}")
    }

    /// Opens a watch. Of one that begins in the future nothing is heard until then.
    fn watch(&self, asked: &Asked) -> Response<AnswerBody> {
        let mut state = self.state();
        let from = asked.number("resourceVersion").unwrap_or(state.now.version);
        if from < state.now.compacted {
            return whole(StatusCode::OK, format!("{}\n", json!({"type": "ERROR", "object": gone()})));
        }
        let (sender, lines) = mpsc::unbounded();
        let watch = OpenWatch { asked: asked.clone(), from, lines: sender, is_frozen: false };
        for change in &state.now.changes {
            watch.show(change);
        }
        state.watches.push(watch);
        let (end, ended) = (self.clone(), asked.clone());
        let lifetime = Duration::from_secs(asked.number("timeoutSeconds").unwrap());
        tokio::spawn(async move {
            sleep(lifetime).await;
            let goes_on = |asked: &Asked| {
                let key = |asked: &Asked| (asked.at, asked.resource.clone(), asked.namespace.clone());
                key(asked) != key(&ended)
            };
            end.state().watches.retain(|watch| watch.is_frozen || goes_on(&watch.asked));
        });
        streamed(lines)
    }

    fn state(&self) -> MutexGuard<'_, EtcdState> {
        self.0.lock().unwrap()
    }
}

impl EtcdState {
    fn list(&self, asked: &Asked) -> Response<AnswerBody> {
        let read = |token: &'_ String| {
            let (version, after) = token.split_once('/')?;
            Some((version.parse().ok()?, after.to_owned()))
        };
        let (version, after) = match asked.query.get("continue").map(read) {
            Some(Some(token)) => token,
            Some(None) => return refusal(&status(400, "BadRequest", "continue key is not valid")),
            None => (self.now.version, String::new()),
        };
        if version < self.now.compacted {
            return refusal(&status(410, "Expired", "The provided continue parameter is too old"));
        }
        let limit = usize::try_from(asked.number("limit").unwrap()).unwrap();
        let mut selected = self
            .now
            .objects
            .iter()
            .filter(|((resource, namespace, _), object)| asked.covers(resource, namespace, object))
            .map(|((_, namespace, name), object)| (format!("{namespace}.{name}"), object))
            .filter(|(key, _)| *key > after)
            .peekable();
        let (mut items, mut next) = (Vec::new(), None);
        while let Some((key, object)) = selected.next() {
            items.push(object);
            if items.len() == limit {
                next = selected.peek().map(|_| format!("{version}/{key}"));
                break;
            }
        }
        let remaining = next.as_ref().map(|_| selected.count());
        let metadata = json!({"resourceVersion": version.to_string(), "continue": next, "remainingItemCount": remaining});
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items});
        whole(StatusCode::OK, list.to_string())
    }

    fn change(&mut self, resource: &str, kind: &'static str, object: Value) {
        self.now.version += 1;
        let change = ObjectChange {
            version: self.now.version,
            resource: resource.to_owned(),
            namespace: object["metadata"]["namespace"].as_str().unwrap().to_owned(),
            kind,
            object,
        };
        for watch in &self.watches {
            watch.show(&change);
        }
        self.now.changes.push(change);
    }

    fn say(&mut self, resource: &str, text: &str) {
        for watch in self.watches.iter().filter(|watch| watch.asked.resource == resource) {
            watch.say(text.to_owned());
        }
    }
}

impl OpenWatch {
    fn show(&self, change: &ObjectChange) {
        if change.version > self.from
            && self.asked.covers(&change.resource, &change.namespace, &change.object)
        {
            self.say(format!("{}\n", json!({"type": change.kind, "object": change.object})));
        }
    }

    fn say(&self, text: String) {
        if !self.is_frozen {
            // Fails if nobody listens any more.
            self.lines.unbounded_send(text.into()).unwrap_or_default();
        }
    }
}

/// Merges a patch as RFC 7386 has it.
fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn refusal(status: &Value) -> Response<AnswerBody> {
    let code = StatusCode::from_u16(u16::try_from(status["code"].as_u64().unwrap()).unwrap()).unwrap();
    whole(code, status.to_string())
}
