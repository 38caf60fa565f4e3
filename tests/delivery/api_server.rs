//! An API server that takes Events and nothing else, and misbehaves as it is told. It needs no socket, so
//! that time can be paused.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    io,
    sync::{Arc, Mutex},
};

use http::{Request, Response, header::RETRY_AFTER};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::bytes::Bytes;

use super::manner::{Answer, Asked, Manner, Memory};

/// An Event that is to be created.
#[derive(Clone, Debug)]
pub struct Creation {
    pub namespace: String,
    pub pod: String,
    /// How often it was tried before.
    pub attempts: usize,
}

/// Clones are the same.
#[derive(Clone)]
pub struct ApiServer {
    memory: Memory,
    /// By namespace and name.
    stored: Arc<Mutex<BTreeMap<(String, String), Value>>>,
    /// How often, by Pod.
    tried: Arc<Mutex<BTreeMap<String, usize>>>,
    script: Arc<Mutex<Script>>,
}

type Script = dyn FnMut(&Creation) -> Manner + Send;
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Stores, and says so.
pub fn good() -> Manner {
    Manner::good(201, "{}")
}

/// Refuses with a `metav1.Status`.
pub fn refuses(code: u16, reason: &str, message: &str) -> Manner {
    Manner::refuses(code, status(code, reason, message).to_string())
}

/// The namespace is being deleted.
pub fn terminating() -> Manner {
    let mut status = status(403, "Forbidden", "unable to create new content in a namespace being terminated");
    status["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    Manner::refuses(403, status.to_string())
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
}

impl ApiServer {
    /// One that does with each request what the script says.
    pub fn new(script: impl FnMut(&Creation) -> Manner + Send + 'static) -> Self {
        Self {
            memory: Memory::new(),
            stored: Arc::default(),
            tried: Arc::default(),
            script: Arc::new(Mutex::new(script)),
        }
    }

    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        kube::Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default")
    }

    /// The requests that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.memory.all()
    }

    /// The Events that there are.
    pub fn events(&self) -> Vec<Value> {
        self.stored.lock().unwrap().values().cloned().collect()
    }

    fn manner(&self, namespace: String, pod: String) -> Manner {
        let mut tried = self.tried.lock().unwrap();
        let attempts = tried.entry(pod.clone()).or_default();
        let creation = Creation { namespace, pod, attempts: *attempts };
        *attempts += 1;
        (self.script.lock().unwrap())(&creation)
    }

    async fn answer<T: hyper::body::Body>(self, request: Request<T>) -> io::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else { panic!("an Event broke off") };
        let event: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
        let namespace = event["metadata"]["namespace"].as_str().unwrap().to_owned();
        assert_eq!(path, format!("/api/v1/namespaces/{namespace}/events"));
        let pod = event["involvedObject"]["name"].as_str().unwrap().to_owned();
        let number = self.memory.begin();
        self.memory.tells(number, BTreeSet::from([pod.clone()]), event.to_string());
        let Manner { after, stores, answer } = self.manner(namespace.clone(), pod);
        sleep(after).await;
        if stores {
            let name = event["metadata"]["name"].as_str().unwrap().to_owned();
            let mut stored = self.stored.lock().unwrap();
            if stored.contains_key(&(namespace.clone(), name.clone())) {
                let status = status(409, "AlreadyExists", &format!("events {name:?} already exists"));
                return Ok(whole(409, None, status.to_string()));
            }
            stored.insert((namespace, name), event);
            self.memory.stored(number);
        }
        match answer {
            Answer::Is { code, retry_after, body } => {
                if code == 201 {
                    self.memory.answered(number);
                }
                Ok(whole(code, retry_after, body))
            }
            Answer::NeverComes => pending().await,
            Answer::Breaks | Answer::BreaksUnread => Err(io::ErrorKind::ConnectionReset.into()),
            Answer::BreaksOff => {
                // What is left of a success after its head says nothing more.
                self.memory.answered(number);
                let body = [Ok(Frame::data("{".into())), Err(io::ErrorKind::ConnectionReset.into())];
                let body = StreamBody::new(futures::stream::iter(body)).boxed_unsync();
                Ok(Response::builder().status(201).body(body).unwrap())
            }
        }
    }
}

fn whole(code: u16, retry_after: Option<u32>, body: String) -> Response<Body> {
    let body = StreamBody::new(futures::stream::iter([Ok(Frame::data(body.into()))])).boxed_unsync();
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry_after {
        response = response.header(RETRY_AFTER, seconds);
    }
    response.body(body).unwrap()
}
