//! An API server in memory that holds Pods and Events, lists and watches them as a real one does, and
//! misbehaves as it is told. It remembers every request with its time.
//!
//! A `kube::Client` speaks to it without a socket, so that time can be paused and an hour of trouble
//! takes no time. [`Server::listen`] puts it behind a socket as well.

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{StreamExt, channel::mpsc, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::bytes::Bytes;

/// What the server does instead of what it should.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// Answers 200 and ends at once.
    EndsAtOnce,
    /// Answers with this `Status`, under its code.
    Refuses(Value),
    /// As above, with a `Retry-After` of so many seconds.
    RefusesFor(u32, Value),
    /// Answers 200 and this, whatever it was asked, and ends.
    Says(String),
    /// Takes the request and never answers.
    NeverAnswers,
    /// Says a minute late that it ran out of time.
    TimesOut,
    /// Begins as it should, and after so many bytes says no more.
    FreezesAfter(usize),
    /// Begins as it should, and after so many bytes the connection breaks.
    BreaksAfter(usize),
    /// Can't be reached.
    CannotBeReached,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    /// `pods` or `events`.
    pub resource: String,
    pub namespace: Option<String>,
    pub query: BTreeMap<String, String>,
}

/// An API server. Clones are the same.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

/// All that there is in the cluster, and ever was.
#[derive(Clone)]
pub struct Etcd {
    version: u64,
    /// By resource, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    changes: Vec<Change>,
    /// What came up to this version is forgotten.
    compacted: u64,
}

#[derive(Clone)]
struct Change {
    version: u64,
    resource: String,
    namespace: String,
    kind: &'static str,
    object: Value,
}

struct State {
    etcd: Etcd,
    watches: Vec<Watch>,
    rules: Vec<Rule>,
    asked: Vec<Asked>,
    /// The only bearer token that is accepted; any without one.
    token: Option<String>,
    sockets: JoinSet<()>,
}

struct Watch {
    asked: Asked,
    from: u64,
    lines: mpsc::UnboundedSender<io::Result<Bytes>>,
    is_frozen: bool,
}

struct Rule {
    applies: Box<dyn Fn(&Asked) -> bool + Send>,
    times: usize,
    misbehaviour: Misbehaviour,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A `metav1.Status` that refuses.
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// What is said of a version that is too old.
pub fn gone() -> Value {
    status(410, "Expired", "too old resource version: 1 (9)")
}

impl Asked {
    pub fn is_watch(&self, resource: &str) -> bool {
        self.resource == resource && self.query.contains_key("watch")
    }

    /// Whether a page of a list is asked for.
    pub fn is_list(&self, resource: &str) -> bool {
        self.resource == resource && !self.query.contains_key("watch") && !self.is_of_version()
    }

    /// Whether the program's own Events are read back.
    pub fn is_of_reported(&self) -> bool {
        self.is_list("events") && self.selects("reason=PreviousContainerWasOOMKilled")
    }

    /// Whether only the version of the list is wanted.
    pub fn is_of_version(&self) -> bool {
        self.query.get("limit").is_some_and(|limit| limit == "1")
    }

    pub fn is_next_page(&self) -> bool {
        self.query.contains_key("continue")
    }

    fn selects(&self, selector: &str) -> bool {
        self.query.get("fieldSelector").is_some_and(|fields| fields.contains(selector))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.query.get(key)?.parse().ok()
    }

    fn covers(&self, resource: &str, namespace: &str, object: &Value) -> bool {
        let reason = object["reason"].as_str().unwrap_or("none");
        self.resource == resource
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
            && (!self.selects("reason=") || self.selects(&format!("reason={reason},")))
    }

    fn read<T>(request: &Request<T>) -> Self {
        let query = request.uri().query().unwrap_or_default().split('&');
        let decoded = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let path: Vec<_> = request.uri().path().trim_start_matches("/api/v1/").split('/').collect();
        let (namespace, resource) = match path[..] {
            ["namespaces", namespace, resource] => (Some(namespace.to_owned()), resource),
            [resource] => (None, resource),
            _ => panic!("asked for {}", request.uri()),
        };
        Self {
            at: Instant::now(),
            resource: resource.to_owned(),
            namespace,
            query: query
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), decoded(value)))
                .collect(),
        }
    }
}

impl Server {
    /// An API server that behaves, of a cluster without a single object.
    pub fn new() -> Self {
        let etcd = Etcd { version: 1000, objects: BTreeMap::new(), changes: Vec::new(), compacted: 0 };
        Self(Arc::new(Mutex::new(State {
            etcd,
            watches: Vec::new(),
            rules: Vec::new(),
            asked: Vec::new(),
            token: None,
            sockets: JoinSet::new(),
        })))
    }

    /// A client that needs no socket.
    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        kube::Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default")
    }

    /// Misbehaves to the requests that this applies to, before all that was said earlier.
    pub fn misbehave(&self, misbehaviour: Misbehaviour, applies: impl Fn(&Asked) -> bool + Send + 'static) {
        self.misbehave_times(usize::MAX, misbehaviour, applies);
    }

    /// As [`misbehave`](Self::misbehave), so many times and then no more.
    pub fn misbehave_times(
        &self,
        times: usize,
        misbehaviour: Misbehaviour,
        applies: impl Fn(&Asked) -> bool + Send + 'static,
    ) {
        self.state().rules.insert(0, Rule { applies: Box::new(applies), times, misbehaviour });
    }

    /// Behaves from now on. What is frozen stays so.
    pub fn behave(&self) {
        self.state().rules.clear();
    }

    /// The objects of a resource.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        let objects = state.etcd.objects.iter().filter(|((of, _, _), _)| of == resource);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// The requests that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Accepts no other bearer token.
    pub fn accept_only(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Creates an object, or replaces the one of that name.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.state();
        let name = |key| object["metadata"][key].as_str().unwrap().to_owned();
        let key = (resource.to_owned(), name("namespace"), name("name"));
        object["metadata"]["resourceVersion"] = (state.etcd.version + 1).to_string().into();
        let is_new = state.etcd.objects.insert(key, object.clone()).is_none();
        state.change(resource, if is_new { "ADDED" } else { "MODIFIED" }, object);
    }

    /// Deletes an object.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.etcd.objects.remove(&key).unwrap();
        object["metadata"]["resourceVersion"] = (state.etcd.version + 1).to_string().into();
        state.change(resource, "DELETED", object);
    }

    /// Time passes elsewhere in the cluster: the version goes on, and a bookmark tells of it.
    pub fn bookmark(&self, resource: &str) {
        let mut state = self.state();
        state.etcd.version += 10;
        let version = state.etcd.version.to_string();
        let object = json!({"metadata": {"resourceVersion": version, "creationTimestamp": null}});
        state.say(resource, &json!({"type": "BOOKMARK", "object": object}));
    }

    /// Says this line in the watches of a resource, and ends them.
    pub fn end_watches(&self, resource: &str, last: &Value) {
        let mut state = self.state();
        state.say(resource, last);
        state.watches.retain(|watch| watch.asked.resource != resource);
    }

    /// Says in the watches of a resource what is no line of a watch.
    pub fn say(&self, resource: &str, text: &str) {
        self.state().say_text(resource, text);
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
        state.etcd.compacted = state.etcd.version;
    }

    /// All that there is.
    pub fn backup(&self) -> Etcd {
        self.state().etcd.clone()
    }

    /// All is as it was, the version too.
    pub fn swap(&self, etcd: Etcd) {
        self.state().etcd = etcd;
    }

    /// As [`swap`](Self::swap), and connections break.
    pub fn restore(&self, etcd: Etcd) {
        self.swap(etcd);
        self.drop_watches();
    }

    /// Listens on a port of its own until told to [`hang_up`](Self::hang_up).
    pub async fn listen(&self, tls: Option<TlsAcceptor>) -> SocketAddr {
        self.listen_on("127.0.0.1:0".parse().unwrap(), tls).await
    }

    /// As [`listen`](Self::listen), on this port.
    pub async fn listen_on(&self, address: SocketAddr, tls: Option<TlsAcceptor>) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        self.state().sockets.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, tls) = (server.clone(), tls.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| server.clone().answer(request));
                    let http = http1::Builder::new();
                    // Whoever hung up, or didn't like the certificate, is gone.
                    match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            http.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
                        }
                        None => {
                            http.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
                        }
                    }
                });
            }
        });
        address
    }

    /// Closes all sockets.
    pub async fn hang_up(&self) {
        let mut sockets = std::mem::take(&mut self.state().sockets);
        sockets.shutdown().await;
        self.state().watches.clear();
    }

    async fn answer<T: hyper::body::Body>(self, request: Request<T>) -> io::Result<Response<Body>> {
        let asked = Asked::read(&request);
        let token = request.headers().get(header::AUTHORIZATION).cloned();
        let created = (request.method() == Method::POST).then_some(request.into_body());
        let misbehaviour = {
            let mut state = self.state();
            state.asked.push(asked.clone());
            let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
            if expected.is_some() && token.is_none_or(|token| expected.as_deref() != token.to_str().ok()) {
                Some(Misbehaviour::Refuses(status(401, "Unauthorized", "Unauthorized")))
            } else {
                state.rule(&asked)
            }
        };
        match misbehaviour {
            None => match created {
                Some(object) => Ok(self.create(&asked.resource, object).await),
                None => Ok(self.behave_to(&asked)),
            },
            Some(Misbehaviour::EndsAtOnce) => Ok(ok(String::new())),
            Some(Misbehaviour::Says(text)) => Ok(ok(text)),
            Some(Misbehaviour::Refuses(status)) => Ok(refusal(&status)),
            Some(Misbehaviour::RefusesFor(seconds, status)) => {
                let mut refusal = refusal(&status);
                refusal.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                Ok(refusal)
            }
            Some(Misbehaviour::NeverAnswers) => pending().await,
            Some(Misbehaviour::TimesOut) => {
                sleep(Duration::from_mins(1)).await;
                Ok(refusal(&status(504, "Timeout", "Timeout: request did not complete within 60s")))
            }
            Some(Misbehaviour::FreezesAfter(bytes)) => {
                Ok(self.behave_to(&asked).map(|body| cut(body, bytes, stream::pending())))
            }
            Some(Misbehaviour::BreaksAfter(bytes)) => {
                let reset = stream::iter([Err(io::ErrorKind::ConnectionReset.into())]);
                Ok(self.behave_to(&asked).map(|body| cut(body, bytes, reset)))
            }
            Some(Misbehaviour::CannotBeReached) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    async fn create<T: hyper::body::Body>(&self, resource: &str, object: T) -> Response<Body> {
        let Ok(object) = object.collect().await else { panic!("an object broke off") };
        self.put(resource, serde_json::from_slice(&object.to_bytes()).unwrap());
        let mut response = ok("{}".to_owned());
        *response.status_mut() = StatusCode::CREATED;
        response
    }

    fn behave_to(&self, asked: &Asked) -> Response<Body> {
        let mut state = self.state();
        if !asked.query.contains_key("watch") {
            return state.list(asked);
        }
        let lines = match state.watch(asked) {
            Ok(lines) => lines,
            Err(status) => return ok(format!("{}\n", json!({"type": "ERROR", "object": status}))),
        };
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
        Response::new(StreamBody::new(lines.map(|line| line.map(Frame::data))).boxed_unsync())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn rule(&mut self, asked: &Asked) -> Option<Misbehaviour> {
        let rule = self.rules.iter_mut().find(|rule| rule.times > 0 && (rule.applies)(asked))?;
        rule.times -= 1;
        Some(rule.misbehaviour.clone())
    }

    fn list(&self, asked: &Asked) -> Response<Body> {
        let (version, after) = match asked.query.get("continue").map(|token| token.split_once('/').unwrap()) {
            Some((version, after)) => (version.parse().unwrap(), after),
            None => (self.etcd.version, ""),
        };
        if version < self.etcd.compacted {
            return refusal(&status(410, "Expired", "The provided continue parameter is too old"));
        }
        let limit = usize::try_from(asked.number("limit").unwrap()).unwrap();
        let mut selected = self
            .etcd
            .objects
            .iter()
            .filter(|((resource, namespace, _), object)| asked.covers(resource, namespace, object))
            .map(|((_, namespace, name), object)| (format!("{namespace}.{name}"), object))
            .filter(|(key, _)| key.as_str() > after)
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
        ok(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}).to_string())
    }

    /// Opens a watch. Of one that begins in the future nothing is heard until then.
    fn watch(&mut self, asked: &Asked) -> Result<mpsc::UnboundedReceiver<io::Result<Bytes>>, Value> {
        let from = asked.number("resourceVersion").unwrap_or(self.etcd.version);
        if from < self.etcd.compacted {
            return Err(gone());
        }
        let (sender, lines) = mpsc::unbounded();
        let watch = Watch { asked: asked.clone(), from, lines: sender, is_frozen: false };
        for change in &self.etcd.changes {
            watch.show(change);
        }
        self.watches.push(watch);
        Ok(lines)
    }

    fn change(&mut self, resource: &str, kind: &'static str, object: Value) {
        self.etcd.version += 1;
        let change = Change {
            version: self.etcd.version,
            resource: resource.to_owned(),
            namespace: object["metadata"]["namespace"].as_str().unwrap().to_owned(),
            kind,
            object,
        };
        for watch in &self.watches {
            watch.show(&change);
        }
        self.etcd.changes.push(change);
    }

    fn say(&mut self, resource: &str, line: &Value) {
        self.say_text(resource, &format!("{line}\n"));
    }

    fn say_text(&mut self, resource: &str, text: &str) {
        for watch in self.watches.iter().filter(|watch| watch.asked.resource == resource) {
            watch.say(text.to_owned());
        }
    }
}

impl Watch {
    fn show(&self, change: &Change) {
        if change.version > self.from
            && self.asked.covers(&change.resource, &change.namespace, &change.object)
        {
            self.say(format!("{}\n", json!({"type": change.kind, "object": change.object})));
        }
    }

    fn say(&self, text: String) {
        if !self.is_frozen {
            // Fails if nobody listens any more.
            self.lines.unbounded_send(Ok(text.into())).unwrap_or_default();
        }
    }
}

fn ok(text: String) -> Response<Body> {
    Response::new(StreamBody::new(stream::iter([Ok(Frame::data(text.into()))])).boxed_unsync())
}

fn refusal(status: &Value) -> Response<Body> {
    let mut response = ok(status.to_string());
    let code = u16::try_from(status["code"].as_u64().unwrap()).unwrap();
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// The first bytes of a body, and then something else.
fn cut(
    body: Body,
    bytes: usize,
    then: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Body {
    let begin = stream::unfold((body.into_data_stream(), bytes), async |(mut body, left)| {
        if left == 0 {
            return None;
        }
        let mut chunk = body.next().await?.unwrap();
        chunk.truncate(left);
        let left = left - chunk.len();
        Some((Ok(chunk), (body, left)))
    });
    StreamBody::new(begin.chain(then).map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}
