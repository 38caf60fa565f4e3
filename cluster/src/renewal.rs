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

use crate::connect::ConnectError;

/// The least time between two readings.
const LEAST: Duration = Duration::from_secs(5);

type Make = dyn Fn() -> Result<Client, ConnectError> + Send + Sync;

struct Renewing {
    make: Box<Make>,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// Whether a request has failed since, in a way that other credentials might mend.
    is_doubtful: bool,
    made: Instant,
    /// Why it could not be made anew, as it was said last.
    said: Option<String>,
}

/// The client that `make` makes, and makes anew after a failure. `make` may block.
///
/// # Errors
///
/// Those of `make`, the first time; later the client stays as it was.
pub(super) fn renewing(
    make: impl Fn() -> Result<Client, ConnectError> + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let client = make()?;
    let namespace = client.default_namespace().to_owned();
    let current = Mutex::new(Current { client, is_doubtful: false, made: Instant::now(), said: None });
    let renewing = Arc::new(Renewing { make: Box::new(make), current });
    Ok(Client::new(tower::service_fn(move |request| Arc::clone(&renewing).send(request)), namespace))
}

impl Renewing {
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        if self.is_due() {
            let renewing = Arc::clone(&self);
            if let Err(error) = spawn_blocking(move || renewing.renew()).await {
                tracing::error!("reading the credentials again panicked; please report it: {error}");
            }
        }
        let client = self.current().client.clone();
        let answer = client.send(request).await;
        if answer.as_ref().map_or(true, |answer| answer.status() == StatusCode::UNAUTHORIZED) {
            self.current().is_doubtful = true;
        }
        answer
    }

    /// Whether the client is to be made anew, which only one caller is told.
    fn is_due(&self) -> bool {
        let mut current = self.current();
        let is_due = current.is_doubtful && current.made.elapsed() >= LEAST;
        if is_due {
            (current.is_doubtful, current.made) = (false, Instant::now());
        }
        is_due
    }

    fn renew(&self) {
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
                current.is_doubtful = true;
            }
        }
    }

    /// Each step on it is complete in itself, so one that panicked left nothing half-done.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
