//! Decides which replica leads. Pure: time and answers come in as arguments.
//!
//! | what a replica knows | what it does |
//! |---|---|
//! | another holds the Lease | reads it every second |
//! | the Lease has not changed for 15 s | takes it |
//! | nobody holds the Lease, or this replica itself does | takes it at once |
//! | the Lease is gone for 15 s, or was not there at the start | creates it, and leads once a renewal succeeds that it sent 10 s after it knew that |
//! | this replica leads | renews the Lease every 5 s; after a failure, every second |
//! | it sent the last renewal that succeeded 10 s ago, or another holds the Lease | leads no longer |
//!
//! So two replicas never lead at a time: whoever takes the Lease waited longer than its holder leads. No
//! replica compares its clock with another's: each measures how long it has seen no change. Whoever deletes
//! the Lease hides its holder; therefore the one that creates it anew waits until that holder has given up, and
//! then has to find the Lease as it left it: a holder that created it anew as well leads on.

use std::time::Duration;

use tokio::time::Instant;

/// How long others leave a Lease alone after its last change.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// How long a replica leads after it sent a renewal that succeeded.
pub const TENURE: Duration = Duration::from_secs(10);

/// How often a leader renews its Lease.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// How often a standby reads the Lease, and how soon a leader repeats a renewal that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What the API server has stored of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// `metadata.resourceVersion`, which changes with every change.
    pub version: String,
    /// `spec.holderIdentity`; `None` if it is released.
    pub holder: Option<String>,
    /// `spec.leaseTransitions`: how often the holder has changed.
    pub transitions: i32,
}

/// What to ask the API server next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseRequest {
    /// Read the Lease.
    Read,
    /// Create it with this replica as its holder.
    Create,
    /// Make this replica its holder, if it is still as it was.
    Hold(LeaseState),
}

/// What the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The Lease, as it is now.
    Stored(LeaseState),
    /// There is no Lease.
    Missing,
    /// It was changed, or created, by somebody else in between.
    Conflict,
    /// Nothing that helps. The request may have been carried out nevertheless.
    Failed,
}

/// Until when a replica leads, unless it renews its Lease or learns of another holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it ends.
    pub until: Instant,
}

impl Term {
    /// Returns whether it has not ended.
    pub fn covers(self, now: Instant) -> bool {
        now < self.until
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KnownLease {
    /// Not read yet.
    Unknown,
    /// It was not there, and has never been seen.
    NeverSeen,
    /// It was seen, and is not there any more.
    Gone,
    Stored(LeaseState),
}

/// What one replica knows of the Lease.
#[derive(Debug)]
pub struct ElectionState {
    identity: String,
    lease: KnownLease,
    /// Since when the Lease has looked as it does.
    unchanged_since: Instant,
    /// Whether somebody changed it since it was read.
    is_stale: bool,
    term: Option<Term>,
    /// Since when this replica knows that it has created the Lease, and nobody held it since.
    created: Option<Instant>,
    /// No request is sent before this.
    not_before: Instant,
    /// No write is sent before this, whatever the answers are.
    no_write_before: Instant,
}

impl ElectionState {
    /// Begins as a standby. `identity` must differ between processes, also between two in the same Pod.
    pub fn new(identity: String, now: Instant) -> Self {
        Self {
            identity,
            lease: KnownLease::Unknown,
            unchanged_since: now,
            is_stale: false,
            term: None,
            created: None,
            not_before: now,
            no_write_before: now,
        }
    }

    /// Returns the current or last term of this replica.
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// Returns whether this replica leads.
    pub fn leads(&self, now: Instant) -> bool {
        self.term.is_some_and(|term| term.covers(now))
    }

    /// Returns the Lease if this replica may give it up: if it holds the Lease as far as it knows, and has led by
    /// it. Whoever takes what is given up doesn't wait, so a creator that still waits for a holder gives nothing up.
    pub fn held(&self) -> Option<&LeaseState> {
        match &self.lease {
            KnownLease::Stored(lease)
                if self.term.is_some() && lease.holder.as_ref() == Some(&self.identity) =>
            {
                Some(lease)
            }
            _ => None,
        }
    }

    /// Returns who holds the Lease, if it is another replica.
    pub fn held_by_other(&self) -> Option<&str> {
        match &self.lease {
            KnownLease::Stored(lease) => lease.holder.as_deref().filter(|holder| *holder != self.identity),
            _ => None,
        }
    }

    /// Returns what to ask next, and when.
    pub fn next(&self, now: Instant) -> (Instant, LeaseRequest) {
        let is_due = now >= self.unchanged_since + LEASE_DURATION;
        let request = match &self.lease {
            _ if self.is_stale => LeaseRequest::Read,
            KnownLease::Stored(lease) => {
                let is_own = lease.holder.as_ref().is_none_or(|holder| *holder == self.identity);
                if is_own || is_due { LeaseRequest::Hold(lease.clone()) } else { LeaseRequest::Read }
            }
            KnownLease::NeverSeen => LeaseRequest::Create,
            KnownLease::Gone if is_due || self.leads(now) => LeaseRequest::Create,
            KnownLease::Gone | KnownLease::Unknown => LeaseRequest::Read,
        };
        let at = self.not_before.max(now);
        (if request == LeaseRequest::Read { at } else { at.max(self.no_write_before) }, request)
    }

    /// Takes in the answer to a request that was sent at `sent`.
    pub fn answered(&mut self, request: &LeaseRequest, answer: LeaseAnswer, sent: Instant, now: Instant) {
        let is_write = *request != LeaseRequest::Read;
        self.is_stale = false;
        self.not_before = sent + RETRY_INTERVAL;
        if is_write {
            self.no_write_before = sent + RETRY_INTERVAL;
        }
        match answer {
            LeaseAnswer::Stored(lease) => {
                self.note_creation(request, &lease, now);
                let is_own = lease.holder.as_ref() == Some(&self.identity);
                if is_write {
                    self.written(sent, now);
                } else if is_own || lease.holder.is_none() {
                    self.not_before = now;
                } else {
                    self.term = None;
                }
                self.see(KnownLease::Stored(lease), now);
            }
            LeaseAnswer::Missing => {
                self.created = None;
                let never_seen = matches!(self.lease, KnownLease::Unknown | KnownLease::NeverSeen);
                if never_seen || self.leads(now) {
                    self.not_before = now;
                }
                self.see(if never_seen { KnownLease::NeverSeen } else { KnownLease::Gone }, now);
            }
            LeaseAnswer::Conflict => {
                self.is_stale = true;
                self.not_before = now;
            }
            LeaseAnswer::Failed => {}
        }
    }

    /// Takes in that a write succeeded, so that this replica holds the Lease.
    fn written(&mut self, sent: Instant, now: Instant) {
        self.not_before = sent + RENEWAL_INTERVAL;
        match self.created.map(|created| created + TENURE) {
            Some(proof) if sent < proof && !self.leads(now) => {
                self.term = None;
                self.not_before = self.not_before.min(proof);
            }
            _ => self.term = Some(Term { until: sent + TENURE }),
        }
    }

    /// Takes note of a Lease that this replica has created, also where it got no answer then. What was known of the
    /// creation holds only for the Lease that was known: another of this replica's making may have taken its place.
    fn note_creation(&mut self, request: &LeaseRequest, lease: &LeaseState, now: Instant) {
        let is_created = lease.transitions == 0 && lease.holder.as_ref() == Some(&self.identity);
        let is_known = match request {
            LeaseRequest::Create => false,
            LeaseRequest::Hold(_) => true,
            LeaseRequest::Read => {
                matches!(&self.lease, KnownLease::Stored(known) if known.version == lease.version)
            }
        };
        let known = self.created.filter(|_| is_known);
        self.created = is_created.then(|| known.unwrap_or(now));
    }

    fn see(&mut self, lease: KnownLease, now: Instant) {
        if self.lease != lease {
            self.lease = lease;
            self.unchanged_since = now;
        }
    }
}
