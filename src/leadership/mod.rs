//! Decides which of several replicas delivers: the holder of a Lease (`coordination.k8s.io/v1`).
//!
//! Every replica watches and filters; one leads and delivers. `election.rs` decides, from what the API server
//! answers and when; `lease.rs` asks the API server. What must only happen while this replica leads runs in
//! [`Leadership::while_leading`].

mod election;
mod lease;
#[cfg(test)]
mod tests;

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::election::Term;
use self::{
    election::{ElectionState, LeaseAnswer, LeaseRequest},
    lease::{LeaseClient, LeaseError},
};
use crate::{
    config::{LeaseName, OwnPod},
    logging::LogThrottle,
    metrics::Metrics,
};

/// The least time between two log lines about a Lease that can't be had.
const SILENCE: Duration = Duration::from_mins(10);

/// Whether this replica leads. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// `None`: there is no election, and it always leads.
    term: Option<watch::Receiver<Option<Term>>>,
}

impl Leadership {
    /// Returns the leadership of the only replica: it always leads.
    pub fn alone() -> Self {
        Self { term: None }
    }

    /// Returns the leadership of a replica whose terms come from outside.
    pub fn by(term: watch::Receiver<Option<Term>>) -> Self {
        Self { term: Some(term) }
    }

    /// Returns whether this replica leads now.
    pub fn leads(&self) -> bool {
        let now = Instant::now();
        self.term.as_ref().is_none_or(|term| term.borrow().is_some_and(|term| term.covers(now)))
    }

    /// Waits until this replica leads.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn gained(&self) {
        let Some(mut term) = self.term.clone() else { return };
        loop {
            if term.borrow_and_update().is_some_and(|term| term.covers(Instant::now())) {
                return;
            }
            if term.changed().await.is_err() {
                // The election has ended, so nothing is gained any more.
                pending::<()>().await;
            }
        }
    }

    /// Waits until this replica no longer leads.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) {
        let Some(mut term) = self.term.clone() else { return pending().await };
        loop {
            let current = *term.borrow_and_update();
            let Some(until) = current.filter(|term| term.covers(Instant::now())).map(|term| term.until)
            else {
                return;
            };
            tokio::select! {
                changed = term.changed() => if changed.is_err() {
                    sleep_until(until).await;
                    return;
                },
                () = sleep_until(until) => {}
            }
        }
    }

    /// Does the work while this replica leads. Returns `None`, and drops the work, once it no longer does. The
    /// clock is read before each step of the work, so a process that was stopped meanwhile does none.
    ///
    /// # Cancel safety
    ///
    /// As the work.
    pub async fn while_leading<W: Future>(&self, work: W) -> Option<W::Output> {
        let (mut work, mut lost) = (pin!(work), pin!(self.lost()));
        poll_fn(|context| {
            if lost.as_mut().poll(context).is_ready() || !self.leads() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

/// An election that this replica takes part in.
pub struct Election {
    resign: CancellationToken,
    candidate: JoinHandle<()>,
}

impl Election {
    /// Takes part from now on, in the current Tokio runtime, by this Lease. Returns also whether this replica leads.
    pub fn start(
        client: Client,
        lease: LeaseName,
        own_pod: &OwnPod,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership) {
        let pod = own_pod.name.as_deref().unwrap_or("replica");
        // Differs between processes, also between two in the same Pod.
        let identity = format!("{pod}_{:016x}", fastrand::u64(..));
        let (terms, term) = watch::channel(None);
        let client = LeaseClient { client, namespace: lease.namespace, lease: lease.name, identity };
        let resign = CancellationToken::new();
        let candidate = tokio::spawn(Candidate { client, terms, metrics }.run(resign.clone()));
        (Self { resign, candidate }, Leadership::by(term))
    }

    /// Gives the Lease up, so that another replica leads at once.
    ///
    /// # Cancel safety
    ///
    /// It may be given up all the same.
    pub async fn resign(self) {
        self.resign.cancel();
        if let Err(error) = self.candidate.await {
            tracing::error!(%error, "the election ended too early; please report this bug");
        }
    }
}

/// A replica that stands for election.
struct Candidate {
    client: LeaseClient,
    terms: watch::Sender<Option<Term>>,
    metrics: Arc<Metrics>,
}

impl Candidate {
    /// Takes part until `resign` is cancelled, then gives the Lease up.
    async fn run(self, resign: CancellationToken) {
        let mut election = ElectionState::new(self.client.identity.clone(), Instant::now());
        let mut log = ElectionLog::new(&self.client);
        loop {
            let (at, request) = election.next(Instant::now());
            tokio::select! {
                () = resign.cancelled() => break,
                () = sleep_until(at) => {}
            }
            let sent = Instant::now();
            let answer = self.client.ask(&request, Timestamp::now()).await;
            let answer = answer.inspect(|_| log.well()).unwrap_or_else(|error| {
                log.failed(&request, &error);
                LeaseAnswer::Failed
            });
            let now = Instant::now();
            election.answered(&request, answer, sent, now);
            self.terms.send_replace(election.term());
            self.metrics.leads(election.leads(now));
            log.tell(&election, now);
        }
        self.terms.send_replace(None);
        if let Some(held) = election.held() {
            match self.client.release(held, Timestamp::now()).await {
                Ok(()) => tracing::info!("gave up {}", self.client),
                Err(error) => tracing::warn!(
                    "giving up {}: {error}. Another replica takes it in 15 seconds",
                    self.client
                ),
            }
        }
    }
}

/// Says in the log who leads, and what is in the way.
struct ElectionLog {
    client: LeaseClient,
    leads: bool,
    /// Who was last said to lead.
    holder: Option<String>,
    throttle: LogThrottle<String>,
}

impl ElectionLog {
    fn new(client: &LeaseClient) -> Self {
        let throttle = LogThrottle::new(SILENCE, SILENCE, 4);
        Self { client: client.clone(), leads: false, holder: None, throttle }
    }

    fn tell(&mut self, election: &ElectionState, now: Instant) {
        let leads = election.leads(now);
        let holder = election.held_by_other();
        if leads != self.leads {
            self.leads = leads;
            let now = if leads { "leading" } else { "no longer leading" };
            tracing::info!("{now}: {} decides", self.client);
        }
        if holder.is_some() && holder != self.holder.as_deref() {
            self.holder = holder.map(str::to_owned);
            tracing::info!(holder, "standing by: another replica holds {}", self.client);
        }
    }

    fn failed(&mut self, request: &LeaseRequest, error: &LeaseError) {
        let reason = format!("{}: {error}{}", self.client.what(request), self.client.remedy(request, error));
        if self.throttle.admits(reason.clone(), Instant::now()) {
            tracing::warn!("{reason}");
        }
    }

    fn well(&mut self) {
        if self.throttle.well() {
            tracing::info!("{} can be had again", self.client);
        }
    }
}
