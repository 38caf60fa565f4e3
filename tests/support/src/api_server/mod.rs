//! An API server that misbehaves as it is told, and remembers every request with its time. What it
//! should say is the affair of the [`Store`] behind it: [`Etcd`] holds Pods and Events in memory.
//!
//! It answers and misbehaves in Protobuf where that is accepted, unless it is told to speak [JSON](ApiServer::speak_json)
//! alone.
//!
//! A `kube::Client` speaks to it without a socket, so that time can be paused and an hour of trouble
//! takes no time. [`ApiServer::listen`] puts it behind a socket as well.

mod asked;
mod etcd;

use std::{
    future::pending,
    io,
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{
    bytes::Bytes,
    io::{InspectReader, InspectWriter},
};

use crate::{
    behaviour::{Answer, Behaviour},
    protobuf,
};
pub use asked::Asked;
pub use etcd::{Etcd, EtcdBackup};

/// What an answer in Protobuf is called.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// What stands behind an API server: the objects, and how they are listed, watched and created.
pub trait Store: Send + Sync + 'static {
    /// Does what was asked for, and answers.
    fn answer(&self, asked: &Asked) -> Response<AnswerBody>;
}

/// An API server. Clones are the same. What can be done to its store can be done to itself.
pub struct ApiServer<S = Etcd>(Arc<Shared<S>>);

struct Shared<S> {
    store: S,
    state: Mutex<ServerState>,
    /// Both ways, TLS included.
    bytes: AtomicU64,
}

#[derive(Default)]
struct ServerState {
    /// The newest first.
    rules: Vec<RequestRule>,
    asked: Vec<Asked>,
    /// The only bearer token that is accepted; any without one.
    token: Option<String>,
    sockets: JoinSet<()>,
    ahead: Option<SignedDuration>,
    /// Whether it knows nothing of Protobuf.
    only_json: bool,
}

type RequestRule = Box<dyn FnMut(&Asked) -> Option<Behaviour> + Send>;

/// Returns a `metav1.Status` that refuses.
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
}

/// Returns what is said of a version that is too old.
pub fn gone() -> Value {
    status(410, "Expired", "too old resource version: 1 (9)")
}

/// Returns a whole answer.
pub fn whole(code: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    response(code, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

/// Returns an answer that comes in parts.
pub fn streamed(parts: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<AnswerBody> {
    response(StatusCode::OK, StreamBody::new(parts.map(|part| Ok(Frame::data(part)))).boxed_unsync())
}

/// Returns an answer in Protobuf, if the client accepts that and the answer is what an API server says. Of a watch, what
/// it isn't stays as it is.
fn translated(asked: &Asked, response: Response<AnswerBody>) -> Response<AnswerBody> {
    if !asked.accepts_protobuf() {
        return response;
    }
    let (kind, is_watch) = (asked.kind(), asked.watches() && response.status().is_success());
    let response = response.map(|body| {
        body.map_frame(move |frame| {
            frame.map_data(|data| translate(kind, is_watch, &data).map_or(data, Bytes::from))
        })
        .boxed_unsync()
    });
    in_protobuf(response)
}

/// Says of an answer that it is Protobuf.
pub fn in_protobuf(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    response
}

/// Returns in Protobuf what stands there in JSON, if an API server would say it.
fn translate(kind: &str, is_watch: bool, json: &[u8]) -> Option<Vec<u8>> {
    if !is_watch {
        return protobuf::answer(kind, &serde_json::from_slice(json).ok()?);
    }
    let lines = json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| protobuf::frame(kind, &serde_json::from_slice(line).ok()?))
        .collect::<Option<Vec<_>>>()
        .map(|frames| frames.concat())
}

fn response(code: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    response.body(body).unwrap()
}

impl<S> Clone for ApiServer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Deref for ApiServer<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0.store
    }
}

impl ApiServer {
    /// An API server that behaves, of a cluster without a single object.
    pub fn new() -> Self {
        Self::of(Etcd::new())
    }
}

impl<S: Store> ApiServer<S> {
    /// An API server that behaves, before this store.
    pub fn of(store: S) -> Self {
        Self(Arc::new(Shared { store, state: Mutex::default(), bytes: AtomicU64::new(0) }))
    }

    /// A client that needs no socket.
    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let answer = move |request| {
            let answer = server.clone().answer(request);
            async { answer.await.map(|answer| answer.map(in_pieces)) }
        };
        kube::Client::new(tower::service_fn(answer), "default")
    }

    /// Does with a request what the script says, before all that was said earlier.
    pub fn script(&self, script: impl FnMut(&Asked) -> Option<Behaviour> + Send + 'static) {
        self.state().rules.insert(0, Box::new(script));
    }

    /// Misbehaves to the requests that this applies to, before all that was said earlier.
    pub fn misbehave(&self, behaviour: Behaviour, applies: impl Fn(&Asked) -> bool + Send + 'static) {
        self.misbehave_times(usize::MAX, behaviour, applies);
    }

    /// As [`misbehave`](Self::misbehave), so many times and then no more.
    pub fn misbehave_times(
        &self,
        mut times: usize,
        behaviour: Behaviour,
        applies: impl Fn(&Asked) -> bool + Send + 'static,
    ) {
        self.script(move |asked| {
            let meets = times > 0 && applies(asked);
            times -= usize::from(meets);
            meets.then(|| behaviour.clone())
        });
    }

    /// Behaves from now on. What is frozen stays so.
    pub fn behave(&self) {
        self.state().rules.clear();
    }

    /// Has a clock that is this far ahead, and says in each answer what time it is.
    pub fn is_ahead(&self, ahead: SignedDuration) {
        self.state().ahead = Some(ahead);
    }

    /// The requests that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// How many bytes went through its sockets, both ways, TLS included.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Accepts no other bearer token.
    pub fn accept_only(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Answers in JSON, whatever is accepted.
    pub fn speak_json(&self) {
        self.state().only_json = true;
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
                stream.set_nodelay(true).unwrap();
                let (reading, writing) = (server.clone(), server.clone());
                let stream = InspectReader::new(stream, move |read: &[u8]| reading.count(read));
                let stream = InspectWriter::new(stream, move |written: &[u8]| writing.count(written));
                let (server, tls) = (server.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        // Whoever doesn't like the certificate is gone.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                server.serve(stream).await;
                            }
                        }
                        None => server.serve(stream).await,
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
    }

    fn count(&self, bytes: &[u8]) {
        self.0.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| self.clone().answer(request));
        // How a connection ends is the client's affair.
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
    }

    async fn answer<B: hyper::body::Body>(self, request: Request<B>) -> io::Result<Response<AnswerBody>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let mut asked = Asked::read(&head, &body);
        if self.state().only_json {
            asked.accept = asked.accept.replace(PROTOBUF, "");
        }
        let (number, behaviour) = self.state().take(&asked, head.headers.get(header::AUTHORIZATION));
        if !behaviour.after.is_zero() {
            sleep(behaviour.after).await;
        }
        let right = behaviour.acts.then(|| self.0.store.answer(&asked));
        match &right {
            Some(response) if !response.status().is_success() => return Ok(right.unwrap_or_default()),
            right => self.state().asked[number].stored = right.is_some(),
        }
        let answer = match behaviour.answer {
            Answer::Never => pending().await,
            Answer::Breaks | Answer::BreaksUnread => return Err(io::ErrorKind::ConnectionReset.into()),
            Answer::Says { code, retry_after, body } => {
                let code = StatusCode::from_u16(code).unwrap();
                let is_watch = asked.watches() && code.is_success();
                let is_said = translate(asked.kind(), is_watch, body.as_bytes()).is_some();
                let said = whole(code, body);
                let mut response = if is_said { translated(&asked, said) } else { said };
                response
                    .headers_mut()
                    .extend(retry_after.map(|seconds| (header::RETRY_AFTER, seconds.into())));
                response
            }
            Answer::SaysInProtobuf { code, bytes } => {
                in_protobuf(whole(StatusCode::from_u16(code).unwrap(), bytes))
            }
            Answer::Right => right.unwrap(),
            Answer::FreezesAfter(bytes) => right.unwrap().map(|body| cut(body, bytes, stream::pending())),
            Answer::BreaksAfter(bytes) => {
                let reset = stream::iter([Err(io::ErrorKind::ConnectionReset.into())]);
                right.unwrap().map(|body| cut(body, bytes, reset))
            }
        };
        let mut answer = answer;
        let mut state = self.state();
        state.asked[number].answered = answer.status().is_success();
        if let Some(ahead) = state.ahead {
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + ahead));
            answer.headers_mut().insert(header::DATE, date.unwrap().parse().unwrap());
        }
        Ok(answer)
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.0.state.lock().unwrap()
    }
}

impl ServerState {
    /// Remembers a request. The answer is its number, and what to do with it.
    fn take(&mut self, asked: &Asked, token: Option<&header::HeaderValue>) -> (usize, Behaviour) {
        self.asked.push(asked.clone());
        let expected = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let is_welcome =
            expected.is_none() || expected.as_deref() == token.and_then(|token| token.to_str().ok());
        let behaviour = if is_welcome {
            self.rules.iter_mut().find_map(|rule| rule(asked)).unwrap_or_else(Behaviour::good)
        } else {
            Behaviour::refuses(&status(401, "Unauthorized", "Unauthorized"))
        };
        (self.asked.len() - 1, behaviour)
    }
}

/// A body in pieces as they come out of a socket.
fn in_pieces(body: AnswerBody) -> AnswerBody {
    const PIECE: usize = 32 * 1024;
    let pieces = body.into_data_stream().flat_map(|data| {
        let pieces: Vec<_> = match data {
            Ok(data) => {
                let starts = (0..data.len().max(1)).step_by(PIECE);
                starts.map(|at| Ok(Frame::data(data.slice(at..data.len().min(at + PIECE))))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The first bytes of a body, and then something else.
fn cut(
    body: AnswerBody,
    bytes: usize,
    then: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> AnswerBody {
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
