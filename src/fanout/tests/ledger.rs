//! The ledger: what is owed is delivered whatever becomes of the program, and Events are changed no more often
//! than they must be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use async_trait::async_trait;
use finding::KillId;
use proptest::prelude::*;
use sinks::{LedgerStore, NoteOutcome};

use super::{super::ledger::LedgerRights, fakes::*};

const LOOKBACK: Duration = Duration::from_mins(56);

/// All that outlives the program: the Events, and what the sinks were told.
struct World {
    state: Mutex<WorldState>,
}

struct WorldState {
    random: fastrand::Rng,
    /// How often of ten times an answer gets lost, and how long anything takes at most, in milliseconds.
    lossy: u8,
    slowness: u64,
    events: BTreeMap<KillId, (Finding, Vec<String>)>,
    told: BTreeMap<(String, KillId), u32>,
    /// How many deliveries may be doubled, because an answer was lost or the program died before the note of it.
    excuses: BTreeMap<(String, KillId), u32>,
    notes: BTreeMap<KillId, Vec<(Instant, Vec<String>, bool)>>,
    denies: bool,
}

impl World {
    fn new(seed: u64, lossy: u8, slowness: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(WorldState {
                random: fastrand::Rng::with_seed(seed),
                lossy,
                slowness,
                events: BTreeMap::new(),
                told: BTreeMap::new(),
                excuses: BTreeMap::new(),
                notes: BTreeMap::new(),
                denies: false,
            }),
        })
    }

    fn good() -> Arc<Self> {
        Self::new(0, 0, 0)
    }

    fn with<T>(&self, change: impl FnOnce(&mut WorldState) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    async fn pause(&self) {
        let pause = self.with(|world| world.random.u64(0..=world.slowness));
        sleep(Duration::from_millis(pause)).await;
    }

    fn loses(&self) -> bool {
        self.with(|world| world.random.u8(0..10) < world.lossy)
    }

    fn owed(&self, id: &KillId) -> Vec<String> {
        self.with(|world| world.events.get(id).map(|(_, owed)| owed.clone()).unwrap_or_default())
    }

    fn notes(&self, id: &KillId) -> Vec<(Instant, Vec<String>, bool)> {
        self.with(|world| world.notes.get(id).cloned().unwrap_or_default())
    }

    fn told(&self, sink: &str, id: &KillId) -> u32 {
        self.with(|world| world.told.get(&(sink.to_owned(), id.clone())).copied().unwrap_or_default())
    }
}

/// Writes Events.
struct EventSink(Arc<World>);

#[async_trait]
impl Sink for EventSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 1, concurrency: 40, interval: Duration::ZERO, timeout: 30 * SECOND }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let Delivery { finding, owed, .. } = &batch[0];
        self.0.pause().await;
        let owed = match owed {
            Some(owed) => owed.note_for_event().await,
            None => Vec::new(),
        };
        self.0.pause().await;
        let exists = self.0.with(|world| {
            let owed = owed.iter().map(ToString::to_string).collect();
            let exists = world.events.contains_key(&finding.id);
            world.events.entry(finding.id.clone()).or_insert((Finding::clone(finding), owed));
            exists
        });
        self.0.pause().await;
        vec![match (self.0.loses(), exists) {
            (true, _) => retry(),
            (false, true) => AttemptOutcome::Duplicate,
            (false, false) => AttemptOutcome::Delivered,
        }]
    }
}

/// Remembers what it was told.
struct TellingSink {
    name: &'static str,
    world: Arc<World>,
}

#[async_trait]
impl Sink for TellingSink {
    fn limits(&self) -> SinkLimits {
        NARROW
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        self.world.pause().await;
        let key = |delivery: &Delivery| (self.name.to_owned(), delivery.finding.id.clone());
        self.world.with(|world| batch.iter().for_each(|it| *world.told.entry(key(it)).or_default() += 1));
        self.world.pause().await;
        if self.world.loses() {
            self.world.with(|world| {
                for it in batch {
                    *world.excuses.entry(key(it)).or_default() += 1;
                }
            });
            return vec![retry(); batch.len()];
        }
        vec![AttemptOutcome::Delivered; batch.len()]
    }
}

struct EventNotes(Arc<World>);

#[async_trait]
impl LedgerStore for EventNotes {
    async fn note(&self, finding: &Finding, owed: &[Arc<str>], renewed: Option<Timestamp>) -> NoteOutcome {
        self.0.pause().await;
        let owed: Vec<String> = owed.iter().map(ToString::to_string).collect();
        let outcome = self.0.with(|world| {
            let note = (Instant::now(), owed.clone(), renewed.is_some());
            world.notes.entry(finding.id.clone()).or_default().push(note);
            match world.events.get_mut(&finding.id) {
                _ if world.denies => NoteOutcome::Denied { reason: "403, grant patch".to_owned() },
                Some((_, noted)) => {
                    *noted = owed;
                    NoteOutcome::Noted
                }
                None => NoteOutcome::Gone,
            }
        });
        self.0.pause().await;
        if self.0.loses() { NoteOutcome::Retry { reason: "500".to_owned(), after: None } } else { outcome }
    }
}

fn rights() -> LedgerRights {
    LedgerRights { whole_cluster: true, ..LedgerRights::default() }
}

/// Begins a run of the program: `events`, the prompt sink `log` and the sink `team`, which gathers.
fn begin(world: &Arc<World>) -> (Fanout, Arc<Metrics>) {
    let telling = |name| -> Arc<dyn Sink> { Arc::new(TellingSink { name, world: Arc::clone(world) }) };
    let idle = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
    let gathers = Grouping { wait: 2 * SECOND, interval: HOUR };
    let routes = vec![
        Route { sink: Arc::new(EventSink(Arc::clone(world))), remembers: true, ..route("events", &idle) },
        Route { sink: telling("log"), ..route("log", &idle) },
        Route { sink: telling("team"), grouping: gathers, ..route("team", &idle) },
    ];
    let (mut fanout, metrics) = start(routes);
    let store = Arc::new(EventNotes(Arc::clone(world)));
    fanout.keep(Ledger::start(store, rights(), LOOKBACK, metrics.owed()));
    (fanout, metrics)
}

/// Reads back what is owed, as a start does.
fn read_back(world: &World, fanout: &Fanout) -> Vec<Recovery> {
    let owed = world.with(|world| world.events.values().cloned().collect::<Vec<_>>());
    let owed = owed.into_iter().filter(|(_, sinks)| !sinks.is_empty());
    owed.map(|(finding, sinks)| fanout.recover(OwedFinding { finding, sinks, written: None })).collect()
}

fn send_one(fanout: &Fanout, number: usize) -> KillId {
    let finding = finding("shop", "app", number);
    fanout.send(Arc::unwrap_or_clone(Arc::clone(&finding)));
    finding.id.clone()
}

fn owed_metric(metrics: &Metrics) -> u64 {
    let text = metrics.render(Instant::now());
    text.lines().find_map(|line| line.strip_prefix("oom_event_generator_owed ")).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_before_the_event_is_written_costs_no_change() {
    let world = World::good();
    let (fanout, metrics) = begin(&world);
    let id = send_one(&fanout, 0);
    sleep(SECOND).await;
    assert_eq!(world.owed(&id), ["team"], "log has it already");
    assert_eq!(owed_metric(&metrics), 1);
    sleep(9 * SECOND).await;
    let notes: Vec<_> = world.notes(&id).into_iter().map(|(_, owed, _)| owed).collect();
    assert_eq!(notes, [Vec::<String>::new()], "one change, when team has it");
    assert_eq!(owed_metric(&metrics), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_for_long_is_written_anew_before_it_expires() {
    let world = World::good();
    let (fanout, _metrics) = begin(&world);
    let begun = Instant::now();
    send_one(&fanout, 0);
    sleep(10 * SECOND).await;
    send_one(&fanout, 1);
    sleep(300 * SECOND).await;
    let id = send_one(&fanout, 2);
    sleep(HOUR + 10 * SECOND).await;
    let notes: Vec<_> = (world.notes(&id).into_iter())
        .map(|(at, owed, renewed)| (at.duration_since(begun).as_secs() / 60, owed, renewed))
        .collect();
    assert_eq!(notes, [(33, vec!["team".to_owned()], true), (65, Vec::new(), false)]);
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_each_is_taken_off_within_ten_seconds() {
    let world = World::new(1, 0, 200);
    let (fanout, _metrics) = begin(&world);
    let ids: Vec<_> = (0..200).map(|number| send_one(&fanout, number)).collect();
    let mut settled: BTreeMap<usize, Instant> = BTreeMap::new();
    while settled.len() < 200 || ids.iter().any(|id| !world.owed(id).is_empty()) {
        sleep(SECOND / 10).await;
        for (number, id) in ids.iter().enumerate() {
            if world.told("team", id) > 0 {
                settled.entry(number).or_insert_with(Instant::now);
            }
        }
        let late = settled
            .iter()
            .find(|(number, at)| at.elapsed() > 10 * SECOND && !world.owed(&ids[**number]).is_empty());
        assert_eq!(late, None);
    }
    assert!(ids.iter().all(|id| world.notes(id).len() <= 2));
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_said_once_and_nothing_is_owed_in_that_namespace_any_more() {
    let world = World::good();
    world.with(|world| world.denies = true);
    let (fanout, metrics) = begin(&world);
    (0..20).for_each(|number| drop(send_one(&fanout, number)));
    sleep(HOUR / 6).await;
    assert_eq!(logged(&["WARN", "403, grant patch", "no ledger is kept in namespace shop"]).len(), 1);
    let id = send_one(&fanout, 20);
    sleep(SECOND).await;
    assert_eq!((world.owed(&id), owed_metric(&metrics)), (Vec::new(), 0));
    let drained = fanout.drain(SECOND * 20, CancellationToken::new()).await;
    assert_eq!(drained, Drained { undelivered: 0, handed_over: 0 });
    assert!(world.told("team", &id) == 1 && shown(&metrics, "team").delivered == 21);
}

#[tokio::test(start_paused = true)]
async fn what_is_undelivered_at_the_end_is_left_to_the_next_start_and_counted_so() {
    let world = World::good();
    let hangs = FakeSink::new(NARROW, [FakeBehaviour::Hangs]);
    let events = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let sink = Arc::new(EventSink(Arc::clone(&world)));
    let (mut fanout, metrics) =
        start(vec![Route { sink, remembers: true, ..route("events", &events) }, route("team", &hangs)]);
    fanout.keep(Ledger::start(Arc::new(EventNotes(Arc::clone(&world))), rights(), LOOKBACK, metrics.owed()));
    let id = send_one(&fanout, 0);
    sleep(SECOND).await;
    let drained = fanout.drain(SECOND, CancellationToken::new()).await;
    assert_eq!(drained, Drained { undelivered: 0, handed_over: 1 });
    assert_eq!(shown(&metrics, "team").handed_over, 1);
    assert_eq!(world.owed(&id), ["team"]);
    assert_eq!(logged(&["undelivered finding; the next start delivers it", id.as_str()]).len(), 1);

    let (fanout, metrics) = begin(&world);
    assert_eq!(read_back(&world, &fanout), [Recovery::Taken]);
    assert_eq!(read_back(&world, &fanout), [Recovery::Known], "it is on its way");
    sleep(10 * SECOND).await;
    let expected = ShownAccount { delivered: 1, recovered: 1, ..ShownAccount::default() };
    assert_eq!((shown(&metrics, "team"), world.owed(&id)), (expected, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_is_folded_into_a_count_is_settled_in_the_ledger_then() {
    let world = World::good();
    let counts = FakeSink::counting(Some(2), NARROW, [FakeBehaviour::Hangs]);
    let events = FakeSink::new(WIDE, [FakeBehaviour::Succeeds]);
    let sink = Arc::new(EventSink(Arc::clone(&world)));
    let gathers = Grouping { wait: HOUR, interval: HOUR };
    let (mut fanout, metrics) = start(vec![
        Route { sink, remembers: true, ..route("events", &events) },
        Route { grouping: gathers, ..route("team", &counts) },
    ]);
    fanout.keep(Ledger::start(Arc::new(EventNotes(Arc::clone(&world))), rights(), LOOKBACK, metrics.owed()));
    let ids: Vec<_> = (0..5).map(|number| send_one(&fanout, number)).collect();
    sleep(10 * SECOND).await;
    let owed: Vec<usize> = (0..5).filter(|number| !world.owed(&ids[*number]).is_empty()).collect();
    assert_eq!(owed, [0, 1]);
    assert_eq!(shown(&metrics, "team").waiting, 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_waits_in_its_event_while_the_queue_has_no_room() {
    let world = World::good();
    let hangs = FakeSink::new(NARROW, [FakeBehaviour::Hangs]);
    let only = Route {
        matches: Box::new(|finding| finding.namespace == "shop"),
        queue_capacity: 100,
        ..route("team", &hangs)
    };
    let (mut fanout, metrics) = start(vec![only]);
    fanout.keep(Ledger::start(Arc::new(EventNotes(world)), rights(), LOOKBACK, metrics.owed()));
    let recover = |namespace: &str, number: usize, sink: &str| {
        let finding = Arc::unwrap_or_clone(finding(namespace, "app", number));
        fanout.recover(OwedFinding { finding, sinks: vec![sink.to_owned()], written: None })
    };
    assert_eq!(recover("bank", 0, "team"), Recovery::Unwanted, "its match leaves that namespace out");
    assert_eq!(recover("shop", 0, "renamed"), Recovery::Unwanted);
    let taken = (0..4000).filter(|number| recover("shop", *number, "team") == Recovery::Taken).count();
    assert_eq!((taken, fanout.has_room_to_recover()), (50, false));
    assert_eq!(recover("shop", 4000, "team"), Recovery::NoRoom);
    assert_eq!(shown(&metrics, "team").waiting, 50);
}

/// One run of the program: kills that come at their times in milliseconds, and a crash.
#[derive(Clone, Debug)]
struct Life {
    kills: BTreeSet<u64>,
    crash: u64,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = (prop::collection::btree_set(0..12_000_u64, 0..6), 0..15_000_u64);
    prop::collection::vec(life.prop_map(|(kills, crash)| Life { kills, crash }), 1..6)
}

/// Lives through one run. What was killed and has no Event is found again at its start.
async fn live(world: &Arc<World>, killed: &mut usize, life: &Life, is_last: bool) {
    let (fanout, metrics) = begin(world);
    drop(read_back(world, &fanout));
    let unreported: Vec<usize> = (0..*killed)
        .filter(|number| {
            let id = &finding("shop", "app", *number).id;
            world.with(|world| !world.events.contains_key(id))
        })
        .collect();
    send(&fanout, unreported);
    let begun = Instant::now();
    for at in life.kills.iter().filter(|at| is_last || **at < life.crash) {
        tokio::time::sleep_until(begun + Duration::from_millis(*at)).await;
        send(&fanout, [*killed]);
        *killed += 1;
    }
    if is_last {
        sleep(3 * HOUR).await;
        let drained = fanout.drain(20 * SECOND, CancellationToken::new()).await;
        assert_eq!(drained, Drained { undelivered: 0, handed_over: 0 });
    } else {
        tokio::time::sleep_until(begun + Duration::from_millis(life.crash)).await;
    }
    for sink in ["events", "log", "team"] {
        shown(&metrics, sink);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whenever_the_program_is_killed_each_sink_is_told_of_each_kill(
        lives in lives(),
        seed in any::<u64>(),
        lossy in 0..4_u8,
        slowness in 0..3_000_u64,
    ) {
        let world = World::new(seed, lossy, slowness);
        let mut killed = 0;
        for (number, life) in lives.iter().enumerate() {
            let is_last = number + 1 == lives.len();
            // What runs is dropped with its runtime, wherever it waits.
            runtime().block_on(live(&world, &mut killed, life, is_last));
            world.with(|world| {
                for ((sink, id), times) in &world.told {
                    let is_noted = world.events.get(id).is_some_and(|(_, owed)| !owed.contains(sink));
                    if *times > 0 && !is_noted {
                        *world.excuses.entry((sink.clone(), id.clone())).or_default() += 1;
                    }
                }
            });
        }
        world.with(|world| {
            assert_eq!(world.events.len(), killed);
            for (id, (_, owed)) in &world.events {
                assert_eq!(owed, &[""; 0], "{id:?} is still owed");
                for sink in ["log", "team"] {
                    let key = (sink.to_owned(), id.clone());
                    let told = world.told.get(&key).copied().unwrap_or_default();
                    let excuses = world.excuses.get(&key).copied().unwrap_or_default();
                    assert!((1..=1 + excuses).contains(&told), "{sink} was told {told} times, {excuses} excused");
                }
            }
        });
    }
}
