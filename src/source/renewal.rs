//! A client that takes up credentials and certificates which are replaced while it runs.
//!
//! kube reads a token file and a service account's CA again by itself, about once a minute; a
//! kubeconfig, and the CA bundle, client certificate and plugin that it names, it reads once. So
//! after a failure that may come from any of them everything is read again, and the requests after
//! it go by what is written there then. Whoever holds the client, source or sink, notices nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body};
use tokio::{task::spawn_blocking, time::Instant};

use super::connect::ConnectError;

/// The least time between two readings.
const LEAST: Duration = Duration::from_secs(10);

type Make = dyn Fn() -> Result<Client, ConnectError> + Send + Sync;

struct Renewing {
    make: Box<Make>,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    renewed: Option<Instant>,
    /// Why it could not be renewed, as it was said last.
    said: Option<String>,
}

/// The client that `make` makes, now and again after a failure. `make` may block.
///
/// # Errors
///
/// Those of `make`, the first time; later the client stays as it was.
pub(super) fn renewing(
    make: impl Fn() -> Result<Client, ConnectError> + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let client = make()?;
    let namespace = client.default_namespace().to_owned();
    let current = Mutex::new(Current { client, renewed: None, said: None });
    let renewing = Arc::new(Renewing { make: Box::new(make), current });
    Ok(Client::new(tower::service_fn(move |request| Arc::clone(&renewing).send(request)), namespace))
}

impl Renewing {
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let client = self.current().client.clone();
        let answer = client.send(request).await;
        if answer.as_ref().map_or(true, |answer| answer.status() == StatusCode::UNAUTHORIZED)
            && let Err(error) = spawn_blocking(move || self.renew()).await
        {
            tracing::error!("reading the credentials again panicked; please report it: {error}");
        }
        answer
    }

    fn renew(&self) {
        {
            let mut current = self.current();
            if current.renewed.is_some_and(|renewed| renewed.elapsed() < LEAST) {
                return;
            }
            current.renewed = Some(Instant::now());
        }
        let made = (self.make)();
        let mut current = self.current();
        match made {
            Ok(client) => {
                current.client = client;
                current.said = None;
            }
            Err(error) => {
                let sentence = error.to_string();
                if current.said.as_ref() != Some(&sentence) {
                    tracing::warn!("going on with the credentials read before: {sentence}");
                }
                current.said = Some(sentence);
            }
        }
    }

    /// Each step on it is complete in itself, so one that panicked left nothing half-done.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
