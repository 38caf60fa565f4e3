//! What waits for one sink: each finding in a [`PendingDelivery`], all of them counted in [`QueueBooks`].

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use finding::Finding;
use sinks::{Delivery, MoreKills, stdout::line};
use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, timeout_at},
};

use super::ledger::LedgerEntry;
use crate::{
    incidents::{ContainerKey, KeyMaker},
    metrics::{DeliveryOutcome, SinkAccount},
};

/// The most Pods that are told apart in all counts of a queue together.
const MAX_COUNTED_PODS: usize = 16 * 1024;

/// How many bytes the findings in the only queue may take. Each of several has half of that: most findings wait in all
/// of them, and take the memory once.
pub(super) const MAX_QUEUED_BYTES: usize = 8 << 20;

/// How long a full queue may store nothing before a list no longer waits for it.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// The counts of one queue, shared by the fan-out and the courier.
#[derive(Debug)]
pub(super) struct QueueBooks {
    pub(super) sink: Arc<str>,
    /// Whether the sink writes the Events that the ledger is kept in.
    pub(super) remembers: bool,
    pub(super) account: SinkAccount,
    /// How many findings may wait.
    pub(super) capacity: usize,
    /// How many bytes they may take.
    max_bytes: usize,
    /// Findings that were dropped or given up.
    pub(super) undelivered: AtomicU64,
    /// Findings that are left to the next start.
    pub(super) handed_over: AtomicU64,
    keys: KeyMaker,
    state: Mutex<QueueState>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    /// Deliveries that wait.
    waiting: usize,
    /// How many of them are of each group.
    groups: BTreeMap<ContainerKey, usize>,
    /// What they take, in bytes.
    bytes: usize,
    /// What those of them take that the courier has taken in, in bytes.
    held_bytes: usize,
    /// Pods that are told apart in counts.
    counted_pods: usize,
    /// How many ends of incidents of each group are to be told.
    ends: BTreeMap<ContainerKey, usize>,
    /// Since when the queue has had no room for lists, and the sink has stored nothing.
    stuck_since: Option<Instant>,
}

impl QueueBooks {
    pub(super) fn new(
        sink: Arc<str>,
        remembers: bool,
        account: SinkAccount,
        capacity: usize,
        max_bytes: usize,
    ) -> Self {
        Self {
            sink,
            remembers,
            account,
            capacity,
            max_bytes,
            undelivered: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            keys: KeyMaker::default(),
            state: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// Returns the group of a finding and a hash that tells its Pod from the few others of that.
    pub(super) fn group_and_pod(&self, finding: &Finding) -> (ContainerKey, u32) {
        (self.keys.container(finding), self.pod(finding))
    }

    fn pod(&self, finding: &Finding) -> u32 {
        self.keys.pod_of_few(&finding.pod.uid)
    }

    /// Waits until a list may bring more: until a quarter of the queue is free (the rest is for watches), the
    /// sink has stored nothing for a minute, or `until`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn room_for_list(&self, until: Instant) {
        loop {
            let settled = self.settled.notified();
            let Some(stuck_since) = self.state().stuck_since else { return };
            let until = until.min(stuck_since + STUCK_AFTER);
            if timeout_at(until, settled).await.is_err() {
                return;
            }
        }
    }

    /// Returns whether what was read back may come in: whether half of the queue is free.
    pub(super) fn has_room_to_recover(&self) -> bool {
        let state = self.state();
        state.waiting < self.capacity.div_ceil(2) && state.bytes < self.max_bytes / 2
    }

    /// Returns whether what the courier has taken in takes too much memory.
    pub(super) fn takes_too_much(&self) -> bool {
        self.state().held_bytes > self.max_bytes
    }

    /// Takes in that an incident is over, which the sink is to be told.
    pub(super) fn open_end(&self, key: ContainerKey) {
        *self.state().ends.entry(key).or_default() += 1;
    }

    /// Takes in that the sink is not to be told any more that an incident is over.
    pub(super) fn close_end(&self, key: ContainerKey) {
        take_one(&mut self.state().ends, key);
    }

    /// Returns whether an incident is still over: it isn't after another kill.
    pub(super) fn is_over(&self, key: ContainerKey) -> bool {
        self.state().ends.contains_key(&key)
    }

    /// Returns whether findings of a group wait.
    pub(super) fn is_waited_for(&self, key: ContainerKey) -> bool {
        self.state().groups.contains_key(&key)
    }

    /// Waits until the next finding is settled.
    pub(super) fn settled(&self) -> Notified<'_> {
        self.settled.notified()
    }

    fn enter(&self, key: ContainerKey, bytes: usize) {
        let mut state = self.state();
        state.waiting += 1;
        state.bytes += bytes;
        *state.groups.entry(key).or_default() += 1;
        state.ends.remove(&key);
        self.account.set_used(state.waiting);
        if !self.has_room(&state) {
            state.stuck_since.get_or_insert_with(Instant::now);
        }
    }

    fn leave(
        &self,
        key: ContainerKey,
        bytes: usize,
        held_bytes: usize,
        counted_pods: usize,
        is_stored: bool,
    ) {
        let mut state = self.state();
        state.waiting -= 1;
        take_one(&mut state.groups, key);
        self.account.set_used(state.waiting);
        state.bytes -= bytes;
        state.held_bytes -= held_bytes;
        state.counted_pods -= counted_pods;
        if self.has_room(&state) {
            state.stuck_since = None;
        } else if is_stored {
            state.stuck_since = Some(Instant::now());
        }
        drop(state);
        self.settled.notify_waiters();
    }

    fn has_room(&self, state: &QueueState) -> bool {
        state.waiting < self.capacity - self.capacity / 4 && state.bytes < self.max_bytes - self.max_bytes / 4
    }

    /// Each change is complete in itself, so a panic leaves nothing half-done.
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one less of a key, which is left out at 0.
fn take_one(counts: &mut BTreeMap<ContainerKey, usize>, key: ContainerKey) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// A finding that waits for a sink, perhaps with further kills that are only counted.
///
/// It ends in one outcome. If it is dropped without one, as when the courier panics, it counts as failed and
/// is logged, or as handed over: nothing vanishes.
#[derive(Debug)]
pub(super) struct PendingDelivery {
    pub(super) delivery: Delivery,
    pub(super) key: ContainerKey,
    /// When it was first due.
    pub(super) since: Instant,
    /// How often it was tried in vain.
    pub(super) failures: usize,
    /// How often it has paused since others of its call were stored.
    pub(super) pauses: usize,
    /// Why it failed last.
    pub(super) reason: Option<String>,
    /// The Pods of [`Delivery::more`], by hashes of their UIDs.
    pods: HashSet<u64>,
    /// What it takes, about.
    bytes: usize,
    /// Whether the courier has taken it in.
    is_held: bool,
    books: Arc<QueueBooks>,
    ledger: Option<LedgerEntry>,
    end: PendingEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingEnd {
    None,
    /// Another delivery counts it.
    Counted,
    Settled(DeliveryOutcome),
}

impl PendingDelivery {
    /// Lets a finding wait that the sink's account already counts as waiting.
    pub(super) fn new(finding: Arc<Finding>, books: &Arc<QueueBooks>, ledger: Option<LedgerEntry>) -> Self {
        let bytes = size_of::<Self>() + finding.memory_bytes();
        let key = books.keys.container(&finding);
        books.enter(key, bytes);
        let owed = ledger.as_ref().filter(|_| books.remembers).map(|entry| entry.owed.clone());
        Self {
            key,
            delivery: Delivery { owed, ..Delivery::new(finding) },
            ledger,
            since: Instant::now(),
            failures: 0,
            pauses: 0,
            reason: None,
            pods: HashSet::new(),
            bytes,
            is_held: false,
            books: Arc::clone(books),
            end: PendingEnd::None,
        }
    }

    /// Takes in that the courier holds it from now on.
    pub(super) fn take_in(&mut self) {
        self.is_held = true;
        self.books.state().held_bytes += self.bytes;
    }

    /// Returns a hash that tells its Pod from the few others of its group.
    pub(super) fn pod(&self) -> u32 {
        self.books.pod(&self.delivery.finding)
    }

    /// Takes in that it is due. The message before it about the same container was due at `previous`, the next
    /// one is at `next` at the latest.
    pub(super) fn due(mut self, now: Instant, previous: Option<Instant>, next: Option<Instant>) -> Self {
        self.since = now;
        (self.delivery.previous, self.delivery.next) = (previous, next);
        self
    }

    /// Ends with everything that it counts.
    pub(super) fn settle(mut self, outcome: DeliveryOutcome) {
        self.end_as(outcome);
    }

    /// Ends undelivered, and is logged.
    pub(super) fn lose(mut self, outcome: DeliveryOutcome, reason: &str) {
        self.end_lost(outcome, reason);
    }

    /// Ends with the program: the ledger keeps the finding for the next start if it can, else it is lost.
    pub(super) fn leave(mut self, reason: &str) {
        self.end_left(reason);
    }

    /// Takes in a later kill of the same workload, which is only counted from now on. In the ledger it is settled
    /// with that: its Event tells of it.
    pub(super) fn count(&mut self, mut later: Self) {
        later.end = PendingEnd::Counted;
        later.settle_in_ledger();
        let first = Arc::clone(&later.delivery.finding);
        let pods = mem::take(&mut later.pods);
        let own_pod = self.books.keys.pod(&first.pod.uid);
        let counted = later.delivery.more.take();
        let more = self.delivery.more.get_or_insert_with(|| MoreKills {
            kills: 0,
            pods: 0,
            pods_are_more: false,
            same_container: true,
            last: Arc::clone(&first),
        });
        more.same_container &= self.key == later.key && counted.as_ref().is_none_or(|it| it.same_container);
        more.kills += 1 + counted.as_ref().map_or(0, |counted| counted.kills);
        more.pods_are_more |= counted.as_ref().is_some_and(|counted| counted.pods_are_more);
        more.last = counted.map_or(first, |counted| counted.last);
        let mut state = self.books.state();
        state.counted_pods -= pods.len();
        for pod in pods.into_iter().chain([own_pod]) {
            if state.counted_pods < MAX_COUNTED_PODS {
                state.counted_pods += usize::from(self.pods.insert(pod));
            } else {
                more.pods_are_more |= !self.pods.contains(&pod);
            }
        }
        more.pods = self.pods.len();
    }

    fn end_left(&mut self, reason: &str) {
        let Self { delivery, books, ledger, .. } = self;
        if ledger.as_ref().is_none_or(|entry| books.remembers || !entry.keeps_for(&books.sink)) {
            return self.end_lost(DeliveryOutcome::Failed, reason);
        }
        let finding = line(&delivery.finding);
        tracing::error!(sink = %books.sink, reason, %finding, "undelivered finding; the next start delivers it");
        if let Some(more) = &delivery.more {
            // The ledger has settled what is only counted.
            log_lost_count(more, &books.sink, reason);
            books.account.settle(DeliveryOutcome::Failed, more.kills);
            books.undelivered.fetch_add(more.kills, Ordering::Relaxed);
        }
        books.account.settle(DeliveryOutcome::HandedOver, 1);
        books.handed_over.fetch_add(1, Ordering::Relaxed);
        self.end = PendingEnd::Settled(DeliveryOutcome::HandedOver);
    }

    fn end_lost(&mut self, outcome: DeliveryOutcome, reason: &str) {
        log_lost(&self.delivery, &self.books.sink, reason);
        self.books.undelivered.fetch_add(self.kills(), Ordering::Relaxed);
        self.end_as(outcome);
    }

    fn end_as(&mut self, outcome: DeliveryOutcome) {
        self.books.account.settle(outcome, self.kills());
        self.end = PendingEnd::Settled(outcome);
        self.settle_in_ledger();
    }

    fn settle_in_ledger(&self) {
        match &self.ledger {
            Some(entry) if self.books.remembers => entry.event_is_done(),
            Some(entry) => entry.settle(&self.books.sink),
            None => {}
        }
    }

    fn kills(&self) -> u64 {
        1 + self.delivery.more.as_ref().map_or(0, |more| more.kills)
    }
}

impl Drop for PendingDelivery {
    fn drop(&mut self) {
        if self.end == PendingEnd::None {
            self.end_left("the courier ended too early; this is a bug");
        }
        let stored = [DeliveryOutcome::Delivered, DeliveryOutcome::Duplicate].map(PendingEnd::Settled);
        let held_bytes = if self.is_held { self.bytes } else { 0 };
        self.books.leave(self.key, self.bytes, held_bytes, self.pods.len(), stored.contains(&self.end));
    }
}

/// Logs a delivery that a sink will never get, so that it is not lost: its finding's whole JSON in the field
/// `finding` of one line at ERROR. What it only counts is a line of its own.
fn log_lost(delivery: &Delivery, sink: &str, reason: &str) {
    tracing::error!(%sink, reason, finding = %line(&delivery.finding), "undelivered finding");
    if let Some(more) = &delivery.more {
        log_lost_count(more, sink, reason);
    }
}

fn log_lost_count(MoreKills { kills, pods, last, .. }: &MoreKills, sink: &str, reason: &str) {
    let last = line(last);
    tracing::error!(%sink, reason, kills, pods, %last, "undelivered findings that were only counted");
}
