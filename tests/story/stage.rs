//! Plays incidents: Pods of a Deployment that run, are killed and start again go through filter, incidents and
//! fan-out, on paused time. What Slack would be sent is the story.

use std::{
    fmt::Write,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use finding::ResolvedIncident;
use jiff::{SignedDuration, Timestamp};
use kubernetes_oom_event_generator::{
    config::Config,
    fanout::{Fanout, Route},
    leadership::Leadership,
    metrics::Metrics,
    pipeline::Detection,
    source::{Observation, Scope},
};
use serde_json::{Value, json};
use sinks::{AttemptOutcome, Delivery, Sink, SinkContext, SinkLimits, slack};
use support::{api_server::ApiServer, pod_dsl::PodDsl};
use tokio::time::{Instant, sleep};

use crate::filter::case::decoded;

/// How often the pipeline looks whether an incident is over.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The configuration of a story, with the defaults of Slack.
const CONFIG: &str = "
cluster: prod
sinks:
  team: { type: slack, webhook_url: \"https://hooks.slack.com/services/T/B/x\", send_resolved: true }
";

/// The channel of a webhook, and the clock on its wall.
struct Channel {
    slack: Arc<dyn Sink>,
    begun: Instant,
    begin: Timestamp,
    told: Mutex<Vec<StoryMessage>>,
}

/// A message in the channel.
#[derive(Clone)]
pub struct StoryMessage {
    /// Since the story began.
    pub at: Duration,
    /// What is read on a locked screen.
    pub notification: String,
    /// What is read in the channel.
    pub text: String,
}

impl Channel {
    fn time(&self) -> Timestamp {
        self.begin + self.begun.elapsed()
    }

    fn tell(&self, payload: &Value) {
        let sections = payload["blocks"].as_array().unwrap().iter();
        let sections: Vec<&str> = sections.map(|block| block["text"]["text"].as_str().unwrap()).collect();
        self.told.lock().unwrap().push(StoryMessage {
            at: self.begun.elapsed(),
            notification: payload["text"].as_str().unwrap().to_owned(),
            text: with_clock_times(&sections.join("\n\n")),
        });
    }
}

#[async_trait]
impl Sink for Channel {
    fn limits(&self) -> SinkLimits {
        self.slack.limits()
    }

    fn max_named(&self) -> Option<usize> {
        self.slack.max_named()
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        for payload in slack::payloads(batch, Instant::now(), self.time()) {
            self.tell(&payload);
        }
        vec![AttemptOutcome::Delivered; batch.len()]
    }

    async fn resolve(&self, resolved: &[ResolvedIncident]) -> Vec<AttemptOutcome> {
        for incident in resolved {
            self.tell(&slack::resolved_payload(incident));
        }
        vec![AttemptOutcome::Delivered; resolved.len()]
    }
}

/// Returns the text as Slack shows it: dates as times of the reader's clock.
fn with_clock_times(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, date)) = rest.split_once("<!date^") {
        let (seconds, date) = date.split_once('^').unwrap();
        let time = Timestamp::from_second(seconds.parse().unwrap()).unwrap();
        shown += before;
        shown += &time.strftime("%H:%M:%S").to_string();
        rest = date.split_once('>').unwrap().1;
    }
    shown + rest
}

/// A Pod of the Deployment, and which instance of its container runs.
pub struct StoryPod {
    shown: PodDsl,
    instance: u32,
}

impl StoryPod {
    /// A Pod whose container has this limit and this tag of the image.
    pub fn new(name: &str, limit: &str, tag: &str) -> Self {
        let mut shown = PodDsl::at(Timestamp::UNIX_EPOCH);
        shown.pace = SignedDuration::ZERO;
        name.clone_into(&mut shown.pod.name);
        shown.pod.uid = format!("uid of {name}");
        // `cart-6c9f7-x2x` is of the ReplicaSet `cart-6c9f7`.
        let replica_set = name.rsplit_once('-').unwrap().0;
        let hash = replica_set.rsplit_once('-').unwrap().1;
        shown.metadata = json!({
            "labels": {"pod-template-hash": hash},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": "u", "controller": true},
            ],
        });
        let image = format!("registry.example/cart:{tag}");
        let resources = json!({"limits": {"memory": limit}, "requests": {"memory": limit}});
        shown.container_specs.insert("app", json!({"image": image, "resources": resources}));
        Self { shown, instance: 0 }
    }

    fn instance(&self, number: u32) -> String {
        format!("{}-{number}", self.shown.pod.name)
    }
}

/// What happens to a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Its container is killed.
    Killed,
    /// It runs, for the first time or again.
    Runs,
    /// It is deleted.
    Deleted,
}

/// A story as it goes on.
pub struct Story {
    detection: Detection,
    fanout: Fanout,
    channel: Arc<Channel>,
    /// How much of it was told before.
    read: usize,
}

impl Story {
    /// Begins at noon.
    pub fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs::write(&file, CONFIG).unwrap();
        let config = Config::load(Some(&file), &[], []).unwrap().config;
        let metrics = Arc::new(Metrics::new());
        let detection = Detection::new(&config, &metrics);
        let context = SinkContext { kubernetes: Some(ApiServer::new().client()), only_stdout: false };
        let sink = config.sinks.into_iter().next().unwrap();
        let channel = Arc::new(Channel {
            slack: sink.settings.build(&context).unwrap(),
            begun: Instant::now(),
            begin: "2026-03-01T12:00:00Z".parse().unwrap(),
            told: Mutex::default(),
        });
        let route = Route {
            name: sink.name,
            sink: Arc::clone(&channel) as Arc<dyn Sink>,
            matches: Box::new(|_| true),
            grouping: sink.grouping,
            retry_for: sink.retry_for,
            queue_capacity: sink.queue_capacity,
            remembers: false,
            paces_lists: false,
            send_resolved: sink.send_resolved,
        };
        let fanout = Fanout::start(vec![route], metrics, &Leadership::alone());
        Self { detection, fanout, channel, read: 0 }
    }

    /// Goes on until this time after noon.
    pub async fn until(&mut self, time: Duration) {
        while let Some(left) = time.checked_sub(self.channel.begun.elapsed()).filter(|left| !left.is_zero()) {
            sleep(left.min(HEARTBEAT)).await;
            for quiet in self.detection.over(self.channel.time(), true) {
                self.fanout.resolve(&quiet.resolved, &quiet.last);
            }
        }
    }

    /// Goes on until this has happened to the Pod.
    pub async fn happens(&mut self, time: Duration, pod: &mut StoryPod, act: Act) {
        self.until(time).await;
        let now = self.channel.time();
        pod.shown.now = now;
        let id = |number| pod.instance(number);
        let (number, next) = (pod.instance, pod.instance + 1);
        let before = number.checked_sub(1).map(|before| format!("+L({})", id(before))).unwrap_or_default();
        let status = match act {
            Act::Killed => {
                pod.instance = next;
                format!("app T({number},{}){before}", pod.instance(number))
            }
            Act::Runs | Act::Deleted => format!("app R({number},{}){before}", id(number)),
        };
        let seen = decoded(&pod.shown.object(&[&status]));
        let observation = match act {
            Act::Deleted => Observation::Deleted(Scope::WHOLE, seen),
            _ => Observation::Changed(Scope::WHOLE, seen),
        };
        for finding in self.detection.observe(observation, now) {
            self.fanout.send(finding);
        }
    }

    /// Plays what happens to several Pods, in the order of time.
    pub async fn plays(&mut self, pods: &mut [StoryPod], mut acts: Vec<(Duration, usize, Act)>) {
        acts.sort();
        for (time, pod, act) in acts {
            self.happens(time, &mut pods[pod], act).await;
        }
    }

    /// The messages so far.
    pub fn told(&self) -> Vec<StoryMessage> {
        self.channel.told.lock().unwrap().clone()
    }

    /// Returns the messages since the last call, as a person reads them.
    pub fn reads(&mut self) -> String {
        let told = self.told().split_off(self.read);
        self.read += told.len();
        let mut story = String::new();
        for StoryMessage { at, notification, text } in told {
            let time = (self.channel.begin + at).strftime("%H:%M:%S");
            writeln!(story, "{time} ({notification})\n{text}\n").unwrap();
        }
        story
    }
}

/// Returns when a container that runs for `runs` each time, from `begin` on, is killed and started: the kubelet
/// starts it at once, then after 10 s, 20 s and so on, at most 5 minutes.
pub fn crash_loop(pod: usize, begin: Duration, runs: Duration, kills: u32) -> Vec<(Duration, usize, Act)> {
    let (mut acts, mut now, mut pause) = (vec![(begin, pod, Act::Runs)], begin, Duration::ZERO);
    for _ in 0..kills {
        now += runs;
        acts.push((now, pod, Act::Killed));
        now += pause + Duration::from_secs(1);
        acts.push((now, pod, Act::Runs));
        pause = (2 * pause).clamp(Duration::from_secs(10), Duration::from_mins(5));
    }
    acts
}
