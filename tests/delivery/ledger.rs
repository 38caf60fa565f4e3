//! The ledger through the whole pipeline, on paused time: what a start finds owed, and long outages of either
//! side.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use finding::{Finding, KillId, event_name};
use kubernetes_oom_event_generator::{
    config::{Config, LoadedConfig},
    pipeline::{self, PipelineError},
    stop::Stop,
};
use serde_json::{Value, json};
use sinks::{
    AttemptOutcome, Delivery, Sink, SinkBuildError, SinkContext, SinkLimits, SinkSettings, SinkType,
};
use support::{
    api_server::{ApiServer, Asked},
    behaviour::{Answer, Behaviour},
    log,
};
use tokio::{task::JoinHandle, time::sleep};

use super::books::kill;
use crate::source::restarted;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// `type: board`: remembers what it was told, under the name of the test.
const BOARD: SinkType = SinkType {
    name: "board",
    read: |section| Some(Arc::new(BoardSettings(section.get("test", "the name of the test")?))),
    ..SinkType::PLAIN
};

#[derive(Debug)]
struct BoardSettings(String);

impl SinkSettings for BoardSettings {
    fn build(&self, _: &SinkContext) -> Result<Arc<dyn Sink>, SinkBuildError> {
        Ok(Arc::new(Board(self.0.clone())))
    }
}

struct Board(String);

/// What the boards were told: how often of each Pod. `None` while the board is down.
type Told = BTreeMap<String, (bool, BTreeMap<String, usize>)>;

static TOLD: LazyLock<Mutex<Told>> = LazyLock::new(Mutex::default);

#[async_trait]
impl Sink for Board {
    fn limits(&self) -> SinkLimits {
        SinkLimits { batch: 10, concurrency: 1, interval: SECOND / 10, timeout: 10 * SECOND }
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        let mut told = TOLD.lock().unwrap();
        let (is_down, told) = told.entry(self.0.clone()).or_default();
        if *is_down {
            return vec![AttemptOutcome::Retry { reason: "down".to_owned(), after: None }; batch.len()];
        }
        for delivery in batch {
            *told.entry(delivery.finding.pod.name.clone()).or_default() += 1;
        }
        vec![AttemptOutcome::Delivered; batch.len()]
    }
}

/// The pipeline with the sinks `events` and `team`, a board.
struct LedgerRun {
    test: &'static str,
    stop: Stop,
    pipeline: JoinHandle<Result<(), PipelineError>>,
}

impl LedgerRun {
    fn start(server: &ApiServer, test: &'static str) -> Self {
        log::begin();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        let config = format!(
            "server: null\nsinks:\n  events: {{ type: kubernetes }}\n  \
             team: {{ type: board, test: {test}, queue_capacity: 1000 }}\n"
        );
        std::fs::write(&file, config).unwrap();
        let types: Vec<SinkType> = sinks::TYPES.iter().copied().chain([BOARD]).collect();
        let LoadedConfig { config, .. } = Config::load_with(&types, Some(&file), &[], []).unwrap();
        let (client, stop) = (server.client(), Stop::default());
        let pipeline = tokio::spawn(pipeline::run(config, || Ok(client), stop.clone()));
        Self { test, stop, pipeline }
    }

    fn told(&self) -> BTreeMap<String, usize> {
        TOLD.lock().unwrap().entry(self.test.to_owned()).or_default().1.clone()
    }

    fn is_down(&self, down: bool) {
        TOLD.lock().unwrap().entry(self.test.to_owned()).or_default().0 = down;
    }

    async fn stop(self) -> Result<(), PipelineError> {
        self.stop.ask();
        self.pipeline.await.unwrap()
    }
}

/// The Event of a finding that is owed to `team`.
fn owed(finding: &Finding) -> Value {
    json!({
        "metadata": {
            "namespace": finding.namespace,
            "name": event_name(&finding.pod.name, &finding.id),
            "annotations": {
                finding::FINDING_ANNOTATION: json!(finding).to_string(),
                finding::OWED_ANNOTATION: "team",
            },
        },
        "reason": finding::EVENT_REASON,
    })
}

/// The names that each Event has in its annotation.
fn owed_in(server: &ApiServer) -> Vec<String> {
    let events = server.objects("events");
    let owed = |event: &Value| {
        event["metadata"]["annotations"][finding::OWED_ANNOTATION].as_str().map(str::to_owned)
    };
    events.iter().filter_map(owed).collect()
}

fn writes(asked: &Asked) -> bool {
    asked.object.is_some() || asked.patch.is_some()
}

#[tokio::test(start_paused = true)]
async fn four_thousand_that_are_owed_are_delivered_once_each_through_a_queue_for_a_thousand() {
    let server = ApiServer::new();
    for number in 0..4000 {
        server.put("events", owed(&kill(&format!("shop-{}", number % 7), number)));
    }
    let running = LedgerRun::start(&server, "four-thousand");
    sleep(20 * MINUTE).await;
    let told = running.told();
    assert_eq!(told.len(), 4000);
    assert!(told.values().all(|times| *times == 1));
    assert_eq!(owed_in(&server), [""; 0]);
    assert_eq!(log::logged(&["ERROR"]), [""; 0]);
    let patches = server.asked().iter().filter(|asked| asked.patch.is_some()).count();
    assert_eq!(patches, 4000);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_for_ten_minutes_the_others_are_told_and_owed_nothing_after_it() {
    for written_before in [false, true] {
        let (server, test) = (ApiServer::new(), if written_before { "away-later" } else { "away" });
        let running = LedgerRun::start(&server, test);
        sleep(10 * SECOND).await;
        running.is_down(written_before);
        if !written_before {
            server.misbehave(Behaviour::fails(Answer::Breaks), writes);
        }
        server.put("pods", restarted("cart", 1));
        sleep(10 * SECOND).await;
        if written_before {
            assert_eq!(owed_in(&server), ["team"]);
            server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
            running.is_down(false);
        }
        sleep(10 * MINUTE).await;
        assert_eq!(running.told(), BTreeMap::from([("cart".to_owned(), 1)]));
        server.behave();
        sleep(2 * MINUTE).await;
        assert_eq!((server.objects("events").len(), owed_in(&server)), (1, Vec::new()));
        assert_eq!(running.told(), BTreeMap::from([("cart".to_owned(), 1)]));
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_sink_is_away_for_ten_minutes_its_findings_stay_owed_and_a_stop_leaves_them() {
    let server = ApiServer::new();
    let running = LedgerRun::start(&server, "sink-away");
    running.is_down(true);
    sleep(10 * SECOND).await;
    server.put("pods", restarted("cart", 1));
    sleep(10 * MINUTE).await;
    assert_eq!(owed_in(&server), ["team"]);
    let stopped = running.stop().await;
    assert!(matches!(stopped, Err(PipelineError::HandedOver(1))), "{stopped:?}");
    assert_eq!(log::logged(&["undelivered finding; the next start delivers it"]).len(), 1);

    let running = LedgerRun::start(&server, "sink-away");
    running.is_down(false);
    sleep(MINUTE).await;
    assert_eq!(running.told(), BTreeMap::from([("cart".to_owned(), 1)]));
    assert_eq!(owed_in(&server), [""; 0]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_at_a_start_is_delivered_though_the_api_server_comes_ten_minutes_later() {
    let server = ApiServer::new();
    server.put("events", owed(&kill("shop", 0)));
    server.misbehave(Behaviour::fails(Answer::Breaks), |_| true);
    let running = LedgerRun::start(&server, "late");
    sleep(10 * MINUTE).await;
    server.behave();
    sleep(3 * MINUTE).await;
    assert_eq!(running.told().len(), 1);
    assert_eq!(owed_in(&server), [""; 0]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_without_annotations_is_reported_and_owed_to_nobody() {
    let server = ApiServer::new();
    server.put("pods", restarted("cart", 1));
    let id = KillId::new(&["shop", &support::pod_dsl::id("cart-0")]);
    let metadata = json!({"namespace": "shop", "name": event_name("cart", &id)});
    server.put("events", json!({"metadata": metadata, "reason": finding::EVENT_REASON}));
    let running = LedgerRun::start(&server, "earlier");
    sleep(MINUTE).await;
    assert_eq!(running.told(), BTreeMap::new());
    running.stop().await.unwrap();
}
