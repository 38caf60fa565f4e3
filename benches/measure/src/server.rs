//! The synthetic API server: lists, watches and takes Events as a real one does, over TLS. It is
//! several times faster than any client, because it spells objects and never parses one.
//!
//! It serves one client; a second watch of a resource takes the place of the first.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    fs, io,
    net::SocketAddr,
    path::Path,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::io::{InspectReader, InspectWriter};

use crate::{
    cluster::{Cluster, Page},
    orders::{Resource, Tally},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What no object is longer than, in bytes.
const LONGEST: usize = 10_000;
/// Objects that are spelled at a time.
const AT_A_TIME: usize = 50;
/// How long nobody may take what is sent.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long before a watch ends the last bookmark comes.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What all connections share.
pub struct Server {
    cluster: Mutex<Cluster>,
    tally: Mutex<Tally>,
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

impl Server {
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster: Mutex::new(cluster),
            tally: Mutex::default(),
            pods: Feed::new(),
            events: Feed::new(),
            kills: Mutex::default(),
        }
    }

    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        lock(&self.cluster)
    }

    pub fn tally(&self) -> Tally {
        *lock(&self.tally)
    }

    pub fn kills(&self) -> MutexGuard<'_, Kills> {
        lock(&self.kills)
    }

    fn feed(&self, resource: Resource) -> &Feed {
        match resource {
            Resource::Pods => &self.pods,
            Resource::Events => &self.events,
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

    /// Answers for ever. In `dir` it writes a kubeconfig, `address` and `ca.pem`.
    pub async fn serve(self: Arc<Self>, dir: &Path) -> Result<Infallible, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let tls = tls(dir, listener.local_addr()?)?;
        // The answer to this tells that all is written.
        crate::say(&())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (server, tls) = (Arc::clone(&self), tls.clone());
            tokio::spawn(async move {
                let stream = InspectReader::new(stream, |read: &[u8]| server.count_bytes(read));
                let stream = InspectWriter::new(stream, |written: &[u8]| server.count_bytes(written));
                let Ok(stream) = tls.accept(stream).await else { return };
                let answer =
                    service_fn(|request| async { Ok::<_, Infallible>(server.answer(request).await) });
                // How a connection ends is the client's affair.
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await
                    .unwrap_or_default();
            });
        }
    }

    fn count_bytes(&self, bytes: &[u8]) {
        lock(&self.tally).bytes += bytes.len() as u64;
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let query = Query(head.uri.query().unwrap_or_default().to_owned());
        let is_watch = query.get("watch").is_some_and(|value| value == "true" || value == "1");
        {
            let mut tally = lock(&self.tally);
            *(if is_watch { &mut tally.watches } else { &mut tally.others }) += 1;
        }
        let path = head.uri.path();
        let rest = path.strip_prefix("/api/v1/").unwrap_or_default();
        let rest =
            rest.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/')).map_or(rest, |it| it.1);
        let (resource, name) = rest.split_once('/').unwrap_or((rest, ""));
        let resource = match resource {
            "pods" => Resource::Pods,
            "events" => Resource::Events,
            _ if path == "/version" => return says(StatusCode::OK, r#"{"major":"1","minor":"37"}"#),
            _ => return says(StatusCode::NOT_FOUND, NOT_FOUND),
        };
        match head.method {
            Method::GET if is_watch => self.watch(resource, &query),
            Method::GET if name.is_empty() => self.list(resource, &query),
            Method::GET => {
                let mut pod = Vec::new();
                match self.cluster().pod(&mut pod, name) {
                    Some(()) => says(StatusCode::OK, pod),
                    None => says(StatusCode::NOT_FOUND, NOT_FOUND),
                }
            }
            method => {
                let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
                self.told(&body);
                says(if method == Method::POST { StatusCode::CREATED } else { StatusCode::OK }, body)
            }
        }
    }

    /// An Event was written. One that tells of a kill is remembered.
    fn told(&self, body: &[u8]) {
        #[derive(Deserialize)]
        struct Written {
            reason: String,
            #[serde(rename = "involvedObject")]
            object: Object,
        }
        #[derive(Deserialize)]
        struct Object {
            name: String,
        }
        let now = Instant::now();
        let Ok(written) = serde_json::from_slice::<Written>(body) else { return };
        if written.reason == "PreviousContainerWasOOMKilled" {
            let mut kills = self.kills();
            kills.count += 1;
            kills.told.entry(written.object.name).or_insert(now);
        }
    }

    fn list(self: &Arc<Self>, resource: Resource, query: &Query) -> Response<Body> {
        let cluster = self.cluster();
        let reported =
            query.get("fieldSelector").is_some_and(|it| it.contains("PreviousContainerWasOOMKilled"));
        let all = match resource {
            Resource::Pods => cluster.pods(),
            Resource::Events if reported => 0,
            Resource::Events => cluster.events(),
        };
        let begin = query.number("continue").unwrap_or(0);
        // What may be as old as the cache has it is answered from there, and whole.
        let limit =
            query.number("limit").filter(|_| query.get("resourceVersion") != Some("0")).unwrap_or(all);
        let end = all.min(begin + limit);
        let next = if end < all {
            format!(r#","continue":"{end}","remainingItemCount":{}"#, all - end)
        } else {
            String::new()
        };
        // client-go takes a list of another kind for an empty one.
        let kind = match resource {
            Resource::Pods => "PodList",
            Resource::Events => "EventList",
        };
        let head = format!(
            r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{next}}},"items":["#,
            cluster.version()
        );
        drop(cluster);
        let items = move |server: &Self, out: &mut Vec<u8>, begin: usize, end: usize| {
            let page = Page { begin, limit: end - begin };
            match resource {
                Resource::Pods => server.cluster().listed_pods(out, &page),
                Resource::Events => server.cluster().listed_events(out, &page),
            }
        };
        if end - begin <= 1000 {
            let mut page = Vec::with_capacity((end - begin) * LONGEST + head.len() + 2);
            page.extend(head.into_bytes());
            items(self, &mut page, begin, end);
            page.extend(b"]}");
            return says(StatusCode::OK, page);
        }
        let server = Arc::clone(self);
        let parts = (begin..end).step_by(AT_A_TIME).map(move |at| {
            let mut part = Vec::with_capacity(AT_A_TIME * LONGEST);
            if at > begin {
                part.push(b',');
            }
            items(&server, &mut part, at, end.min(at + AT_A_TIME));
            part
        });
        let parts = [head.into_bytes()].into_iter().chain(parts).chain([b"]}".to_vec()]);
        streamed(stream::iter(parts.map(Bytes::from)))
    }

    fn watch(self: &Arc<Self>, resource: Resource, query: &Query) -> Response<Body> {
        let (sender, mut chunks) = mpsc::channel::<Chunk>(4);
        self.feed(resource).0.send_replace(Some(sender.clone()));
        let lasting = Duration::from_secs(query.number("timeoutSeconds").unwrap_or(1800) as u64);
        let bookmarks = resource == Resource::Pods && query.get("allowWatchBookmarks") == Some("true");
        let server = Arc::clone(self);
        tokio::spawn(async move {
            sleep(lasting.saturating_sub(LAST_BOOKMARK)).await;
            if bookmarks {
                let bookmark = server.cluster().bookmark();
                // Nobody may be there any more.
                sender.send(bookmark.into()).await.unwrap_or_default();
            }
            sleep(LAST_BOOKMARK).await;
            let is_it = |feed: &mut Option<mpsc::Sender<Chunk>>| {
                feed.take_if(|current| current.same_channel(&sender)).is_some()
            };
            server.feed(resource).0.send_if_modified(is_it);
        });
        let server = Arc::clone(self);
        let chunks = stream::poll_fn(move |context| chunks.poll_recv(context));
        streamed(chunks.map(move |Chunk { lines, confirms }| {
            // From here it goes through TLS to the socket at once.
            if let Some(name) = confirms {
                server.kills().confirmed.insert(name, Instant::now());
            }
            lines
        }))
    }
}

const NOT_FOUND: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"not found","code":404}"#;

/// The parameters of a request. None that matters here needs decoding.
struct Query(String);

impl Query {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok().filter(|number| *number > 0)
    }
}

fn says(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn streamed(parts: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(parts.map(|part| Ok(Frame::data(part)))).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// A certificate of its own, and in `dir` what a client needs to trust it.
fn tls(dir: &Path, address: SocketAddr) -> Result<TlsAcceptor, Box<dyn Error>> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(io::Error::other)?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?;
    fs::write(dir.join("ca.pem"), cert.pem())?;
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
    Ok(TlsAcceptor::from(Arc::new(config)))
}
