//! A fan-out with the real sinks before the fakes, on paused time; and whether its books, its log and the
//! fakes' memories agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use finding::{AffectedPod, Finding, KillId, Workload};
use kubernetes_oom_event_generator::{
    config::{Config, SinkConfig},
    fanout::{Fanout, Route},
    leadership::Leadership,
    metrics::Metrics,
};
use sinks::{AttemptOutcome, Delivery, Sink, SinkContext, SinkLimits};
use support::{
    api_server::{ApiServer, Asked},
    log::{self, logged},
    slack::{Message, POD, Slack},
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Longer than any finding is tried.
const AT_MOST: Duration = Duration::from_hours(3);

/// A fan-out at work.
pub struct Books {
    fanout: Fanout,
    metrics: Arc<Metrics>,
    /// The Pods that were killed, by the kills' IDs.
    sent: BTreeMap<String, String>,
}

/// How the findings ended for one sink, as `/metrics` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub delivered: u64,
    pub duplicate: u64,
    pub failed: u64,
    pub dropped: u64,
    pub waiting: u64,
}

/// The kill of the one container of a Pod of its own, which is its own workload.
pub fn kill(namespace: &str, number: usize) -> Finding {
    let name = format!("{POD}{number:04}");
    let full = Finding::full();
    Finding {
        id: KillId::new(&[namespace, &name]),
        namespace: namespace.to_owned(),
        pod: AffectedPod {
            uid: format!("{name}-uid"),
            event_uid: format!("{name}-uid"),
            workload: Workload { kind: "Pod".to_owned(), name: name.clone() },
            name,
            ..full.pod
        },
        ..full
    }
}

/// The Events that the API server was to create, as messages of a Pod each.
pub fn events(server: &ApiServer) -> Vec<Message> {
    let message = |asked: &Asked| {
        let Asked { stored, answered, .. } = *asked;
        Message { pods: [asked.pod().to_owned()].into(), stored, answered, ..Message::default() }
    };
    server.asked().iter().map(message).collect()
}

impl Books {
    /// Starts couriers for the sinks `events`, `team`, or both; Slack's settings may be given as YAML.
    pub fn open(kubernetes: Option<kube::Client>, slack: Option<(&Slack, &str)>) -> Self {
        log::begin();
        // Every test does this; the first one succeeds.
        let events = kubernetes.as_ref().map(|_| "  events: { type: kubernetes }\n".to_owned());
        let team = slack.map(|(slack, settings)| {
            format!("  team: {{ type: slack, webhook_url: \"{}\", {settings} }}\n", slack.url())
        });
        let config: String = ["sinks:\n".to_owned()].into_iter().chain(events).chain(team).collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let config = Config::load(Some(&file), &[], []).unwrap().config;
        let kubernetes = kubernetes.unwrap_or_else(|| ApiServer::new().client());
        let context = SinkContext { kubernetes: Some(kubernetes), only_stdout: false };
        let routes = config.sinks.into_iter().map(|sink| route(sink, &context)).collect();
        let metrics = Arc::new(Metrics::new());
        Self {
            fanout: Fanout::start(routes, Arc::clone(&metrics), &Leadership::alone()),
            metrics,
            sent: BTreeMap::new(),
        }
    }

    pub fn send(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.sent.insert(finding.id.as_str().to_owned(), finding.pod.name.clone());
            self.fanout.send(finding);
        }
    }

    /// Waits until nothing waits any more.
    pub async fn settle(&self, sink: &str) {
        let begun = Instant::now();
        while self.ends(sink).waiting > 0 {
            assert!(begun.elapsed() < AT_MOST, "{sink} never ends: {:?}", self.ends(sink));
            sleep(Duration::from_secs(10)).await;
        }
    }

    /// How the findings ended for a sink so far.
    pub fn ends(&self, sink: &str) -> Ends {
        let text = self.metrics.render(Instant::now());
        let figure = |series: String| -> u64 {
            let series = format!("oom_event_generator_{series} ");
            text.lines().find_map(|line| line.strip_prefix(&series)).expect(&series).parse().unwrap()
        };
        let outcome = |outcome| figure(format!("deliveries_total{{sink=\"{sink}\",outcome=\"{outcome}\"}}"));
        let ends = Ends {
            delivered: outcome("delivered"),
            duplicate: outcome("duplicate"),
            failed: outcome("failed"),
            dropped: outcome("dropped"),
            waiting: figure(format!("queue_length{{sink=\"{sink}\"}}")),
        };
        let Ends { delivered, duplicate, failed, dropped, waiting } = ends;
        let sum = delivered + duplicate + failed + dropped + waiting;
        assert_eq!((outcome("filtered"), sum), (0, figure("findings_total".to_owned())), "{sink}: {ends:?}");
        ends
    }

    /// The Pods whose findings the log has as undelivered to a sink, whole.
    pub fn undelivered(&self, sink: &str) -> Vec<String> {
        logged(&["undelivered finding", &format!(" sink={sink} ")])
            .iter()
            .map(|line| {
                let (_, finding) = line.split_once(" finding=").unwrap();
                let finding: serde_json::Value = serde_json::from_str(finding).unwrap();
                assert!(finding["message"].as_str().unwrap().contains("OOMKilled"));
                self.sent[finding["id"].as_str().unwrap()].clone()
            })
            .collect()
    }

    /// The Pods whose findings had no place any more, as the log says.
    pub fn gone(&self, sink: &str) -> Vec<String> {
        let lines = logged(&["not delivered: its place is gone", &format!(" sink={sink} ")]);
        let id = |line: &String| {
            line.split(" id=").nth(1).unwrap().split(' ').next().unwrap().trim_matches('"').to_owned()
        };
        lines.iter().map(|line| self.sent[&id(line)].clone()).collect()
    }

    /// Waits until nothing waits for these sinks, and drains. Each finding has had exactly one end at
    /// each, and what its other side remembers says the same.
    pub async fn close(self, sinks: &[(&str, Vec<Message>)]) -> Vec<Ends> {
        let ends = sinks.iter().map(|(sink, messages)| self.agree(sink, messages)).collect();
        let undelivered: usize = sinks.iter().map(|(sink, _)| self.undelivered(sink).len()).sum();
        let drained = self.fanout.drain(Duration::from_secs(1), CancellationToken::new()).await;
        assert_eq!(drained.undelivered, u64::try_from(undelivered).unwrap());
        ends
    }

    fn agree(&self, sink: &str, messages: &[Message]) -> Ends {
        let (ends, undelivered, gone) = (self.ends(sink), self.undelivered(sink), self.gone(sink));
        assert_eq!(ends.waiting, 0);
        let told: BTreeSet<_> = undelivered.iter().chain(&gone).collect();
        assert_eq!(told.len(), undelivered.len() + gone.len(), "the log tells of one twice");
        assert_eq!(u64::try_from(told.len()).unwrap(), ends.failed + ends.dropped, "{ends:?}");
        let mut stored_and_lost: BTreeMap<&String, (usize, usize)> = BTreeMap::new();
        for message in messages.iter().filter(|message| message.stored) {
            for pod in &message.pods {
                let (stored, lost) = stored_and_lost.entry(pod).or_default();
                *stored += 1;
                *lost += usize::from(!message.answered);
            }
        }
        for pod in self.sent.values() {
            let (stored, lost) = stored_and_lost.get(pod).copied().unwrap_or_default();
            if told.contains(pod) {
                assert_eq!(stored, lost, "{pod} was stored, and the log says that it was not");
            } else {
                assert!(stored > 0, "{pod} is lost");
                assert!(stored <= lost + 1, "{pod} was stored {stored} times and {lost} answers were lost");
            }
        }
        ends
    }
}

fn route(sink: SinkConfig, context: &SinkContext) -> Route {
    let made = sink.settings.build(context).unwrap();
    let over_sockets = sink.sink_type.name == "slack";
    Route {
        sink: if over_sockets { Arc::new(OverSockets(made)) } else { made },
        matches: Box::new(move |finding| sink.matches.matches(finding)),
        name: sink.name,
        grouping: sink.grouping,
        retry_for: sink.retry_for,
        queue_capacity: sink.queue_capacity,
        remembers: false,
        paces_lists: false,
        send_resolved: false,
    }
}

/// A sink that uses real sockets. While it is at work, paused time goes on in small steps, each of which
/// gives the sockets real time; it would jump over time-outs otherwise, with an answer on its way.
struct OverSockets(Arc<dyn Sink>);

impl OverSockets {
    async fn steps() {
        const REAL: Duration = Duration::from_micros(100);
        const PAUSED: Duration = Duration::from_millis(20);
        loop {
            // Time stands still until it ends.
            spawn_blocking(|| thread::sleep(REAL)).await.unwrap();
            sleep(PAUSED).await;
        }
    }
}

#[async_trait]
impl Sink for OverSockets {
    fn limits(&self) -> SinkLimits {
        self.0.limits()
    }

    async fn deliver(&self, batch: &[Delivery]) -> Vec<AttemptOutcome> {
        tokio::select! {
            outcomes = self.0.deliver(batch) => outcomes,
            () = Self::steps() => unreachable!("they go on"),
        }
    }
}
