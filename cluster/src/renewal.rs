//! A client that takes up credentials and certificates which are replaced while it runs.
//!
//! After a failure that may come from any of them, everything that says where the cluster is and who asks is
//! read again: kubeconfig, CA bundle, client certificate, and which plugin to run. If anything has changed,
//! the requests after it go by what is written there then. A token file and a plugin's token are renewed by
//! [`Credentials`](crate::credentials::Credentials). Whoever holds the client, source or sink, notices
//! nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use kube::{Client, client::Body};
use tls::{ClientIdentity, SetupError};
use tokio::{task::spawn_blocking, time::Instant};
use tower::{BoxError, service_fn};

use crate::{
    access::ClusterAccess,
    error::{ConnectError, CredentialsError},
    transport::{Transport, addressed},
};

/// The least time between two readings.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// Finds the cluster. It may block.
type Find = dyn Fn() -> Result<ClusterAccess, ConnectError> + Send + Sync;

struct Renewing {
    find: Arc<Find>,
    current: Mutex<Current>,
}

struct Current {
    route: Arc<ClusterRoute>,
    /// Whether a request has failed since the last reading, in a way that another might mend.
    is_doubtful: bool,
    read: Instant,
    /// Why it could not be read again, as it was said last.
    said: Option<String>,
}

/// Returns a client of the cluster that `find` finds, and finds anew after a failure. It doesn't connect yet.
///
/// # Errors
///
/// There is no cluster, or no way to it. Later the client stays as it was.
pub(crate) fn renewing(
    find: impl Fn() -> Result<ClusterAccess, ConnectError> + Send + Sync + 'static,
) -> Result<Client, ConnectError> {
    let route = ClusterRoute::found(find()?)?;
    let namespace = route.access.namespace.clone();
    let current = Current { route: Arc::new(route), is_doubtful: false, read: Instant::now(), said: None };
    let renewing = Arc::new(Renewing { find: Arc::new(find), current: Mutex::new(current) });
    Ok(Client::new(service_fn(move |request| Arc::clone(&renewing).send(request)), namespace))
}

impl Renewing {
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        if self.is_due() {
            self.renew().await;
        }
        let answer = self.attempt(request).await;
        let is_refused = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED);
        let mut current = self.current();
        current.is_doubtful |= answer.is_err() || is_refused;
        if is_refused {
            current.route.access.credentials.refused();
        }
        answer
    }

    async fn attempt(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let route = Arc::clone(&self.current().route);
        let granted = route.access.credentials.get().await.map_err(CredentialsError::Plugin)?;
        let route = match granted.identity {
            Some(identity) => self.showing(route, identity).map_err(CredentialsError::Setup)?,
            None => route,
        };
        let request = addressed(request, &route.access, granted.authorization)?;
        Ok(route.transport.send(request).await?)
    }

    /// Returns a route like this that shows this client certificate.
    fn showing(
        &self,
        route: Arc<ClusterRoute>,
        identity: Arc<ClientIdentity>,
    ) -> Result<Arc<ClusterRoute>, SetupError> {
        if route.identity.as_ref() == Some(&identity) {
            return Ok(route);
        }
        let new = Arc::new(ClusterRoute::new(Arc::clone(&route.access), Some(identity))?);
        let mut current = self.current();
        if Arc::ptr_eq(&current.route, &route) {
            current.route = Arc::clone(&new);
        }
        Ok(new)
    }

    /// Returns whether to read everything again, which only one caller is told.
    fn is_due(&self) -> bool {
        let mut current = self.current();
        let is_due = current.is_doubtful && current.read.elapsed() >= READ_INTERVAL;
        if is_due {
            (current.is_doubtful, current.read) = (false, Instant::now());
        }
        is_due
    }

    async fn renew(&self) {
        let find = Arc::clone(&self.find);
        let found = match spawn_blocking(move || find()).await {
            Ok(found) => found,
            Err(error) => {
                return tracing::error!("reading the credentials again panicked; please report it: {error}");
            }
        };
        let mut current = self.current();
        match found.and_then(|access| current.route.renewed(access)) {
            Ok(route) => {
                if let Some(route) = route {
                    current.route = Arc::new(route);
                }
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

/// How requests reach the cluster.
struct ClusterRoute {
    access: Arc<ClusterAccess>,
    /// The client certificate that the transport shows.
    identity: Option<Arc<ClientIdentity>>,
    transport: Transport,
}

impl ClusterRoute {
    fn new(access: Arc<ClusterAccess>, identity: Option<Arc<ClientIdentity>>) -> Result<Self, SetupError> {
        let transport = Transport::new(&access, identity.as_deref())?;
        Ok(Self { access, identity, transport })
    }

    fn found(access: ClusterAccess) -> Result<Self, ConnectError> {
        let identity = access.identity.clone();
        let address = access.address.to_string();
        Self::new(Arc::new(access), identity).map_err(|error| ConnectError::Setup { address, error })
    }

    /// Returns the route by what was read again, if that has changed. The credentials stay if they come from
    /// the same place: what a plugin gave holds on, and one that is running is waited for.
    fn renewed(&self, mut access: ClusterAccess) -> Result<Option<Self>, ConnectError> {
        if access == *self.access {
            return Ok(None);
        }
        if access.credentials == self.access.credentials {
            access.credentials = Arc::clone(&self.access.credentials);
        }
        Self::found(access).map(Some)
    }
}

#[cfg(test)]
mod tests;
