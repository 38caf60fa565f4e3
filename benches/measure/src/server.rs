//! What stands behind the API server that is measured against: it lists, watches and takes Events as a
//! real one does. It is several times faster than any client, because it spells objects and never parses one.
//!
//! It serves one client; a second watch of a resource takes the place of the first.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    fs,
    path::Path,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use support::{
    api_server::{AnswerBody, ApiServer, Asked, Store, in_protobuf, streamed, whole},
    protobuf::{self, WirePart},
    sockets::Authority,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use crate::{
    cluster::{Page, SyntheticCluster},
    objects::Encoding,
    orders::{Resource, Tally},
};

/// What no object is longer than, in bytes.
const MAX_OBJECT_BYTES: usize = 10_000;
/// Objects that are spelled at a time.
const AT_A_TIME: usize = 50;
/// How long nobody may take what is sent.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long before a watch ends the last bookmark comes.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The synthetic API server.
pub type Server = ApiServer<SyntheticStore>;

/// The synthetic cluster, and who watches it. Clones are the same.
#[derive(Clone)]
pub struct SyntheticStore(Arc<Synthetic>);

struct Synthetic {
    cluster: Mutex<SyntheticCluster>,
    pods: Feed,
    events: Feed,
    kills: Mutex<Kills>,
}

/// Of kills, by the names of their Pods: when what confirmed them was sent, and when they were told
/// of.
#[derive(Default)]
pub struct Kills {
    pub confirmed: HashMap<String, Instant>,
    pub told: HashMap<String, Instant>,
    /// All that was told, of whichever.
    pub count: u64,
}

/// A watch of a resource, if there is one.
struct Feed(watch::Sender<Option<mpsc::Sender<Chunk>>>);

/// Lines of a watch; perhaps what confirms the kill in the Pod of that name.
pub struct Chunk {
    pub lines: Bytes,
    pub confirms: Option<String>,
}

impl From<Vec<u8>> for Chunk {
    fn from(lines: Vec<u8>) -> Self {
        Self { lines: lines.into(), confirms: None }
    }
}

impl Feed {
    fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Waits until somebody watches.
    async fn watched(&self) -> mpsc::Sender<Chunk> {
        let mut feed = self.0.subscribe();
        loop {
            if let Some(sender) = feed.borrow_and_update().clone().filter(|sender| !sender.is_closed()) {
                return sender;
            }
            if feed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sends to whoever watches, or will.
    async fn send(&self, mut chunk: Chunk) {
        loop {
            match self.watched().await.send(chunk).await {
                Ok(()) => return,
                Err(mpsc::error::SendError(unsent)) => chunk = unsent,
            }
            self.0.send_if_modified(|feed| feed.take_if(|sender| sender.is_closed()).is_some());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SyntheticStore {
    pub fn new(cluster: SyntheticCluster) -> Self {
        Self(Arc::new(Synthetic {
            cluster: Mutex::new(cluster),
            pods: Feed::new(),
            events: Feed::new(),
            kills: Mutex::default(),
        }))
    }

    pub fn cluster(&self) -> MutexGuard<'_, SyntheticCluster> {
        lock(&self.0.cluster)
    }

    pub fn kills(&self) -> MutexGuard<'_, Kills> {
        lock(&self.0.kills)
    }

    fn feed(&self, resource: Resource) -> &Feed {
        match resource {
            Resource::Pods => &self.0.pods,
            Resource::Events => &self.0.events,
        }
    }

    /// Sends lines to whoever watches the resource, or will. Ends this process if nobody takes them.
    pub async fn send(&self, resource: Resource, chunk: impl Into<Chunk>) {
        if timeout(PATIENCE, self.feed(resource).send(chunk.into())).await.is_err() {
            eprintln!("nobody takes in {resource:?} any more: did the client end?");
            process::exit(1);
        }
    }

    /// Waits until the resources are watched. The answer is whether they are.
    pub async fn await_watches(&self, resources: &[Resource], within: Duration) -> bool {
        let all = async {
            for resource in resources {
                self.feed(*resource).watched().await;
            }
        };
        timeout(within, all).await.is_ok()
    }

    /// An Event was written. One that tells of a kill is remembered.
    fn told(&self, asked: &Asked, event: &Value) {
        let now = Instant::now();
        if event["reason"] == "PreviousContainerWasOOMKilled" {
            let mut kills = self.kills();
            kills.count += 1;
            kills.told.entry(asked.pod().to_owned()).or_insert(now);
        }
    }

    fn list(&self, resource: Resource, asked: &Asked) -> Response<AnswerBody> {
        let cluster = self.cluster();
        let all = match resource {
            Resource::Pods => cluster.pods(),
            Resource::Events if asked.selects("PreviousContainerWasOOMKilled") => 0,
            Resource::Events => cluster.events(),
        };
        let number = |key| asked.number(key).and_then(|number| usize::try_from(number).ok());
        let begin = number("continue").unwrap_or(0);
        // What may be as old as the cache has it is answered from there, and whole.
        let is_cached = asked.query.get("resourceVersion").is_some_and(|version| version == "0");
        let limit = number("limit").filter(|limit| *limit > 0 && !is_cached).unwrap_or(all);
        let end = all.min(begin + limit);
        // client-go takes a list of another kind for an empty one.
        let kind = match resource {
            Resource::Pods => "PodList",
            Resource::Events => "EventList",
        };
        let head =
            ListHead { kind, version: cluster.version(), next: (end < all).then_some((end, all - end)) };
        let encoding = cluster.encoding();
        drop(cluster);
        let items = move |store: &Self, out: &mut Vec<u8>, begin: usize, end: usize| {
            let page = Page { begin, limit: end - begin };
            match resource {
                Resource::Pods => store.cluster().listed_pods(out, &page),
                Resource::Events => store.cluster().listed_events(out, &page),
            }
        };
        if encoding == Encoding::Protobuf {
            let mut spelled = Vec::with_capacity((end - begin) * MAX_OBJECT_BYTES);
            items(self, &mut spelled, begin, end);
            return in_protobuf(whole(StatusCode::OK, head.around(spelled)));
        }
        let head = head.in_json();
        if end - begin <= 1000 {
            let mut page = Vec::with_capacity((end - begin) * MAX_OBJECT_BYTES + head.len() + 2);
            page.extend(head.into_bytes());
            items(self, &mut page, begin, end);
            page.extend(b"]}");
            return whole(StatusCode::OK, page);
        }
        let store = self.clone();
        let parts = (begin..end).step_by(AT_A_TIME).map(move |at| {
            let mut part = Vec::with_capacity(AT_A_TIME * MAX_OBJECT_BYTES);
            if at > begin {
                part.push(b',');
            }
            items(&store, &mut part, at, end.min(at + AT_A_TIME));
            part
        });
        let parts = [head.into_bytes()].into_iter().chain(parts).chain([b"]}".to_vec()]);
        streamed(stream::iter(parts.map(Bytes::from)))
    }

    fn watch(&self, resource: Resource, asked: &Asked) -> Response<AnswerBody> {
        let encoding = self.cluster().encoding();
        let (sender, mut chunks) = mpsc::channel::<Chunk>(4);
        // Nothing happens to nodes, whose watch must not take the place of that of containers' starts.
        if !asked.is_of_nodes() {
            self.feed(resource).0.send_replace(Some(sender.clone()));
        }
        let lasting = Duration::from_secs(asked.number("timeoutSeconds").unwrap_or(1800));
        let allowed = asked.query.get("allowWatchBookmarks").is_some_and(|allowed| allowed == "true");
        let bookmarks = resource == Resource::Pods && allowed;
        let store = self.clone();
        tokio::spawn(async move {
            sleep(lasting.saturating_sub(LAST_BOOKMARK)).await;
            if bookmarks {
                let bookmark = store.cluster().bookmark();
                // Nobody may be there any more.
                sender.send(bookmark.into()).await.unwrap_or_default();
            }
            sleep(LAST_BOOKMARK).await;
            let is_it = |feed: &mut Option<mpsc::Sender<Chunk>>| {
                feed.take_if(|current| current.same_channel(&sender)).is_some()
            };
            store.feed(resource).0.send_if_modified(is_it);
        });
        let store = self.clone();
        let chunks = stream::poll_fn(move |context| chunks.poll_recv(context));
        let answer = streamed(chunks.map(move |Chunk { lines, confirms }| {
            // From here it goes through TLS to the socket at once.
            if let Some(name) = confirms {
                store.kills().confirmed.insert(name, Instant::now());
            }
            lines
        }));
        if encoding == Encoding::Protobuf { in_protobuf(answer) } else { answer }
    }
}

/// What a page of a list says beside its objects.
struct ListHead {
    kind: &'static str,
    version: u64,
    /// Where the next page begins, and how many objects are left.
    next: Option<(usize, usize)>,
}

impl ListHead {
    fn in_json(&self) -> String {
        let next =
            self.next.map(|(begin, left)| format!(r#","continue":"{begin}","remainingItemCount":{left}"#));
        format!(
            r#"{{"kind":"{}","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}},"items":["#,
            self.kind,
            self.version,
            next.unwrap_or_default()
        )
    }

    /// Returns the list with these objects, in Protobuf.
    fn around(&self, objects: Vec<u8>) -> Vec<u8> {
        let (next, left) = self.next.unzip();
        let metadata = json!({
            "resourceVersion": self.version.to_string(),
            "continue": next.map(|next| next.to_string()).unwrap_or_default(),
            "remainingItemCount": left,
        });
        let metadata = protobuf::message("ListMeta", &metadata);
        protobuf::written(&protobuf::envelope(
            self.kind,
            vec![WirePart::Field(1, metadata), WirePart::Bytes(objects)],
        ))
    }
}

impl Store for SyntheticStore {
    fn answer(&self, asked: &Asked) -> Response<AnswerBody> {
        let not_found = || whole(StatusCode::NOT_FOUND, NOT_FOUND);
        let resource = match asked.resource.as_str() {
            "pods" => Resource::Pods,
            "events" => Resource::Events,
            "/version" => return whole(StatusCode::OK, r#"{"major":"1","minor":"37"}"#),
            _ if asked.review.is_some() => {
                return whole(StatusCode::CREATED, r#"{"status":{"allowed":true}}"#);
            }
            _ => return not_found(),
        };
        if asked.object.is_none() && asked.name.is_none() {
            let is_protobuf = asked.accepts_protobuf();
            self.cluster().speak(if is_protobuf { Encoding::Protobuf } else { Encoding::Json });
        }
        match (&asked.object, &asked.name) {
            (Some(event), _) => {
                self.told(asked, event);
                whole(StatusCode::CREATED, event.to_string())
            }
            (None, Some(name)) => {
                let mut pod = Vec::new();
                self.cluster().pod(&mut pod, name).map_or_else(not_found, |()| whole(StatusCode::OK, pod))
            }
            (None, None) if asked.watches() => self.watch(resource, asked),
            (None, None) => self.list(resource, asked),
        }
    }
}

const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"not found","code":404}"#;

/// Answers for ever. In `dir` it writes what [`open`] does.
pub async fn serve(server: &Server, dir: &Path) -> Result<Infallible, Box<dyn Error>> {
    open(server, dir).await?;
    // The answer to this tells that all is written.
    crate::say(&())?;
    std::future::pending().await
}

/// Lets a server listen, and writes a kubeconfig, `address` and `ca.pem` in `dir`.
pub async fn open<S: Store>(server: &ApiServer<S>, dir: &Path) -> Result<(), Box<dyn Error>> {
    let authority = Authority::new();
    let address = server.listen(Some(authority.certify())).await;
    fs::write(dir.join("ca.pem"), authority.pem())?;
    fs::write(dir.join("address"), address.to_string())?;
    fs::create_dir(dir.join(".kube"))?;
    fs::write(
        dir.join(".kube/config"),
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{ name: c, cluster: {{ server: \"https://{address}\", certificate-authority: \"{}\" }} }}]\n\
             contexts: [{{ name: c, context: {{ cluster: c, user: u }} }}]\n\
             users: [{{ name: u, user: {{}} }}]\n",
            dir.join("ca.pem").display()
        ),
    )?;
    Ok(())
}

/// What was asked of the server so far.
pub fn tally(server: &Server) -> Tally {
    let asked = server.asked();
    let watches = asked.iter().filter(|asked| asked.watches()).count() as u64;
    let pages = asked.iter().filter(|asked| asked.is_list("pods") && !asked.is_of_version()).count() as u64;
    let encoding = server.cluster().encoding();
    Tally { watches, pages, others: asked.len() as u64 - watches, bytes: server.bytes(), encoding }
}
