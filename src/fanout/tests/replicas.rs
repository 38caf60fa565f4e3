//! Two replicas, each with an election and couriers of its own, by one Lease.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use http::{Response, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    api_server::{AnswerBody, ApiServer, Asked, Store, status, whole},
    behaviour::{Answer, Behaviour},
};

use super::fakes::*;
use crate::{
    config::{LeaseName, OwnPod},
    leadership::Election,
};

const MINUTE: Duration = Duration::from_mins(1);

/// The Lease, and how often it was changed. Clones are the same.
#[derive(Clone, Default)]
struct SharedLease(Arc<Mutex<(Option<Value>, u64)>>);

impl Store for SharedLease {
    fn answer(&self, asked: &Asked) -> Response<AnswerBody> {
        let refuse = |code, reason: &str| {
            whole(StatusCode::from_u16(code).unwrap(), status(code, reason, "no").to_string())
        };
        let (lease, changes) = &mut *self.0.lock().unwrap();
        let is_creation = asked.resource.ends_with("/leases");
        match (&asked.object, &lease) {
            (Some(_), Some(_)) if is_creation => return refuse(409, "AlreadyExists"),
            (_, None) if !is_creation => return refuse(404, "NotFound"),
            (Some(new), Some(old))
                if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] =>
            {
                return refuse(409, "Conflict");
            }
            (None, _) => {}
            (Some(new), _) => {
                *changes += 1;
                let stored = lease.insert(new.clone());
                stored["metadata"]["resourceVersion"] = changes.to_string().into();
            }
        }
        whole(StatusCode::OK, json!(lease).to_string())
    }
}

/// The calls of one replica: when each began, and when it ended.
type Calls = Arc<Mutex<Vec<(Instant, Option<Instant>)>>>;

/// Takes up to 75 seconds for a call.
struct SlowSink {
    calls: Calls,
    random: Mutex<fastrand::Rng>,
}

/// Notes the end of a call, however it ends.
struct CallEnd {
    calls: Calls,
    number: usize,
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls[self.number].1 = Some(Instant::now());
    }
}

#[async_trait]
impl Sink for SlowSink {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 10, concurrency: 2, interval: Duration::ZERO, timeout: 90 * SECOND }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((Instant::now(), None));
            calls.len() - 1
        };
        let _end = CallEnd { calls: Arc::clone(&self.calls), number };
        let took = {
            let mut random = self.random.lock().unwrap();
            let most = if random.u8(..) < 30 { 75_000 } else { 500 };
            Duration::from_millis(random.u64(0..most))
        };
        sleep(took).await;
        vec![AttemptOutcome::Delivered; batch.len()]
    }
}

/// A replica that delivers something all the time while it leads.
struct DeliveringReplica {
    server: ApiServer<SharedLease>,
    calls: Calls,
    metrics: Arc<Metrics>,
    working: JoinHandle<()>,
    _election: Election,
}

impl DeliveringReplica {
    fn start(store: &SharedLease, random: &mut fastrand::Rng) -> Self {
        let (server, calls) = (ApiServer::of(store.clone()), Calls::default());
        let metrics = Arc::new(Metrics::new());
        let lease = LeaseName { namespace: "oom".to_owned(), name: "oom".to_owned() };
        let (election, leadership) =
            Election::start(server.client(), lease, &OwnPod::default(), Arc::clone(&metrics));
        let idle = FakeSink::new(NARROW, [FakeBehaviour::Succeeds]);
        let sink = Arc::new(SlowSink { calls: Arc::clone(&calls), random: Mutex::new(random.fork()) });
        let slow = Route { sink, ..route("slow", &idle) };
        let mut fanout = Fanout::start(vec![slow], Arc::clone(&metrics), &leadership);
        let working = tokio::spawn(async move {
            for number in 0.. {
                leadership.gained().await;
                send(&fanout, [number]);
                tokio::select! {
                    () = leadership.lost() => drop(fanout.hand_over().await),
                    () = sleep(SECOND / 5) => {}
                }
            }
        });
        Self { server, calls, metrics, working, _election: election }
    }

    fn leads(&self) -> bool {
        self.metrics.render(Instant::now()).lines().any(|line| line == "oom_event_generator_leader 1")
    }

    /// Has the API server lose, delay or break one answer of five; what is delayed takes up to half a minute.
    fn suffer(&self, mut random: fastrand::Rng) {
        let mut away_until = Instant::now();
        self.server.script(move |asked| {
            if random.u8(..) == 0 {
                away_until = asked.at + Duration::from_secs(random.u64(..60));
            }
            let late = Duration::from_millis(random.u64(..30_000));
            match random.u8(..20) {
                _ if asked.at < away_until => Some(Behaviour::fails(Answer::Never)),
                0 => Some(Behaviour::loses(Answer::Never)),
                1 => Some(Behaviour::loses(Answer::Breaks)),
                2 => Some(Behaviour::fails(Answer::Breaks)),
                3 => Some(Behaviour::good().later(late)),
                _ => None,
            }
        });
    }
}

/// Lets two replicas deliver for ten minutes through all kinds of trouble, then for two in peace.
async fn deliver_side_by_side(seed: u64) -> Result<(), TestCaseError> {
    let (store, mut random) = (SharedLease::default(), fastrand::Rng::with_seed(seed));
    let replicas =
        [DeliveringReplica::start(&store, &mut random), DeliveringReplica::start(&store, &mut random)];
    for replica in &replicas {
        replica.suffer(random.fork());
    }
    for _ in 0..600 {
        sleep(SECOND).await;
        if random.u8(..) == 0 {
            store.0.lock().unwrap().0 = None;
        }
    }
    for replica in &replicas {
        replica.server.behave();
    }
    sleep(MINUTE).await;
    let before = replicas.each_ref().map(|replica| replica.calls.lock().unwrap().len());
    let leaders: Vec<_> = replicas.iter().map(DeliveringReplica::leads).collect();
    prop_assert_eq!(leaders.iter().filter(|leads| **leads).count(), 1);
    sleep(3 * MINUTE).await;
    let calls = replicas.each_ref().map(|replica| replica.calls.lock().unwrap().clone());
    for ((calls, before), leads) in calls.iter().zip(before).zip(leaders) {
        prop_assert_eq!(calls.len() > before, leads);
    }
    for (begun, ended) in &calls[0] {
        let ended = ended.unwrap_or_else(Instant::now);
        let beside = calls[1].iter().find(|(other, other_ended)| {
            *other < ended && other_ended.is_none_or(|other_ended| *begun < other_ended)
        });
        prop_assert_eq!(beside, None, "beside a call from {:?} to {:?}", begun, ended);
    }
    for replica in replicas {
        prop_assert!(replica.working.now_or_never().is_none());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_of_one_replica_goes_on_beside_a_call_of_the_other(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(deliver_side_by_side(seed))?;
    }
}

#[tokio::test(start_paused = true)]
async fn the_leader_asks_every_five_seconds_and_the_standby_every_second() {
    let (store, mut random) = (SharedLease::default(), fastrand::Rng::with_seed(0));
    let leader = DeliveringReplica::start(&store, &mut random);
    sleep(11 * SECOND).await;
    let standby = DeliveringReplica::start(&store, &mut random);
    sleep(MINUTE).await;
    assert!(leader.leads() && !standby.leads());
    let asked = || [&leader, &standby].map(|replica| replica.server.asked());
    let before = asked().map(|asked| asked.len());
    sleep(MINUTE).await;
    let [of_leader, of_standby] = asked();
    let (of_leader, of_standby) = (&of_leader[before[0]..], &of_standby[before[1]..]);
    assert_eq!((of_leader.len(), of_standby.len()), (12, 60));
    assert!(of_leader.iter().all(|asked| asked.object.is_some()));
    assert!(of_standby.iter().all(|asked| asked.object.is_none()));
}
